"""From a completion to a queued issuance, and what a changed learner, score or mapping does to what waits."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from django.db.models import Q

from moodle_sync.models import Completion, Learner, MoodleSite
from moodle_sync.polling import PollResult, poll_site, sweep_is_due
from moodle_sync.storing import Stored, WantedCourse

from .meanings import WITHOUT_SCORE, Outcome
from .models import CourseBadgeMapping, Issuance, IssuanceQuerySet, NavigatrConnection, recipient_key

State = Issuance.State

MOVED_AT_ONCE = 500

# What a better profile in Moodle mends by itself.
MENDED_BY_PROFILE = [
    Outcome.PROFILE_INCOMPLETE,
    Outcome.PROFILE_REFUSED,
    Outcome.DUPLICATE_RECIPIENT,
    Outcome.LEARNER_DELETED,
]


def poll(site: MoodleSite, *, now: datetime, should_stop: Callable[[], bool] = lambda: False) -> PollResult:
    """One round for one site: read the mapped courses, and queue an issuance for each completion that counts.

    Running it twice, or two at a time, changes nothing. Never raises for what Moodle answers. `should_stop` is asked
    between calls to Moodle; the next round goes on from there.
    """
    rows = Issuance.objects.filter(course__site=site)
    suspended = rows.filter(state=State.HELD, reason=Outcome.LEARNER_SUSPENDED)
    if site.send_suspended:
        requeue(suspended, now=now)
    if sweep_is_due(site, now):
        # What lacked score, and who was suspended, is looked at again once a day: either may have changed since.
        again = rows.filter(state=State.NOT_MET) | suspended
        Completion.objects.filter(pk__in=again.values("completion")).update(score_read_at=None)
    wanted = wanted_courses(site)
    result = poll_site(
        site, wanted, on_stored=lambda stored: queue_stored(stored, now=now), now=now, should_stop=should_stop
    )
    if not result.busy:
        # Their courses are marked to be read from the start, even if this round did not come so far.
        afresh = [row.course.pk for row in wanted if row.afresh]
        CourseBadgeMapping.objects.filter(course__in=afresh).update(past_pending=False)
    return result


def wanted_courses(site: MoodleSite) -> list[WantedCourse]:
    """The mapped courses. A disabled one is read too: what is completed meanwhile waits as held, and is not lost."""
    mappings = CourseBadgeMapping.objects.filter(course__site=site).select_related("course")
    return [
        WantedCourse(
            mapping.course,
            None if mapping.include_past else mapping.since + min(site.clock_skew, timedelta()),
            afresh=mapping.past_pending,
        )
        for mapping in mappings
    ]


def queue_stored(stored: Stored, *, now: datetime) -> int:
    """Queue what a batch of a poll brought, inside its transaction; returns how many issuances are newly queued."""
    requeue_changed_learners(stored.changed_learners, now=now)
    return queue_completions(stored.wanted, now=now)


def queue_completions(completions: Sequence[Completion], *, now: datetime) -> int:
    """Make sure that each of these completions of mapped courses has its issuance; returns how many are newly queued.

    A learner who holds any badge for the course, or waits for one, gets no second one. A score that changed takes
    "requirement not met" back into the queue, and so does a new mapping with what the removed one had cancelled.
    """
    # Locked, so that a mapping cannot be changed or removed between being read here and being used below.
    mappings = {
        mapping.course_id: mapping
        for mapping in CourseBadgeMapping.objects.filter(course__in={row.course_id for row in completions})
        .select_related("connection")
        .select_for_update(of=["self"])
    }
    known: dict[tuple[int, int, str], Issuance] = {
        (row.course_id, row.learner_id, row.environment): row
        for row in Issuance.objects.filter(
            course__in=mappings, learner__in=[completion.learner_id for completion in completions]
        )
    }
    new = []
    again = []
    for completion in completions:
        mapping = mappings.get(completion.course_id)
        if mapping is None:
            continue
        row = known.get((completion.course_id, completion.learner_id, mapping.connection.environment))
        if row is None:
            new.append(_owed(completion, mapping, now))
        elif (
            row.state == State.NOT_MET
            and (row.score_tried != completion.score or _is_told_wrongly(row, completion))
            or row.state == State.CANCELLED
            and row.reason == Outcome.MAPPING_REMOVED
        ):
            again.append(row.pk)
    made = Issuance.objects.bulk_create(new)
    return len(made) + requeue(Issuance.objects.filter(pk__in=again), now=now)


def _is_told_wrongly(row: Issuance, completion: Completion) -> bool:
    """Whether a missing score has another reason now: the course total was hidden, or shown, since."""
    return row.reason in WITHOUT_SCORE and (row.reason == Outcome.SCORE_HIDDEN) != completion.score_hidden


def _owed(completion: Completion, mapping: CourseBadgeMapping, now: datetime) -> Issuance:
    """The issuance that this completion is owed, queued, or held where it may not be sent now."""
    learner = completion.learner
    hold = mapping.hold_reason
    if hold is None and learner.suspended and not completion.course.site.send_suspended:
        hold = Outcome.LEARNER_SUSPENDED
    return Issuance(
        course=completion.course,
        learner=learner,
        completion=completion,
        mapping=mapping,
        connection=mapping.connection,
        environment=mapping.connection.environment,
        provider_id=mapping.provider_id,
        badge_id=mapping.badge_id,
        badge_name=mapping.badge_name,
        state=State.HELD if hold else State.QUEUED,
        reason=hold or "",
        backfill=completion.last_completed_at is None or completion.last_completed_at < mapping.since,
        queued_at=now,
        next_attempt_at=now,
        recipient_key=recipient_key(learner.email) if learner.profile_complete else "",
    )


def requeue(rows: IssuanceQuerySet, *, now: datetime) -> int:
    """Put these back into the queue as if new, under their course's current mapping; returns how many.

    What may have been sent stays under the badge it may have been sent as, and is looked up first. Rows of a course
    without a mapping, or of an erased learner, are left alone. Rows whose mapping or connection is off become held.
    """
    by_course: dict[int, list[int]] = defaultdict(list)
    movable = rows.exclude(state__in=[State.SENDING, State.ISSUED]).filter(learner__erased_at=None)
    for course, pk in movable.order_by("pk").values_list("course_id", "pk"):
        by_course[course].append(pk)
    mappings = CourseBadgeMapping.objects.filter(course__in=list(by_course)).select_related("connection")
    return sum(_move(mapping, by_course[mapping.course_id], now) for mapping in mappings)


def move_to(mapping: CourseBadgeMapping, rows: IssuanceQuerySet, *, now: datetime) -> int:
    """Queue these rows of the mapping's course anew, for the mapping's badge; returns how many."""
    return _move(mapping, list(rows.order_by("pk").values_list("pk", flat=True)), now)


def _move(mapping: CourseBadgeMapping, pks: Sequence[int], now: datetime) -> int:
    """`move_to` for rows that have been chosen, a batch at a time.

    By their numbers and not by a query inside the UPDATE: PostgreSQL, where its statistics are out of date, compares
    every row of such a query with every row of the table. And what is asked of the row that is changed itself
    (its state), PostgreSQL asks once more when a worker took the row since the statement began.
    """
    hold = mapping.hold_reason
    afresh = {
        "state": State.HELD if hold else State.QUEUED,
        "reason": hold or "",
        "mapping": mapping,
        "queued_at": now,
        "next_attempt_at": now,
        "failures": 0,
        "claim": None,
        "leased_until": None,
        "lookups_refused": 0,
    }
    target = mapping.connection.environment
    count = 0
    for start in range(0, len(pks), MOVED_AT_ONCE):
        free = ~Q(state__in=[State.SENDING, State.ISSUED])
        rows = Issuance.objects.filter(free, pk__in=pks[start : start + MOVED_AT_ONCE])
        count += rows.filter(maybe_sent=True).update(**afresh)
        rows = rows.filter(maybe_sent=False)
        # A learner who has a row in the other environment already goes on with that one.
        coming = list(rows.exclude(environment=target).values_list("learner_id", flat=True))
        there = Issuance.objects.filter(course=mapping.course_id, environment=target, learner__in=coming)
        taken = list(there.values_list("learner_id", flat=True)) if coming else []
        rows.exclude(environment=target).filter(learner__in=taken).update(
            state=State.CANCELLED, reason=Outcome.MAPPING_REMOVED, next_attempt_at=None
        )
        count += rows.filter(Q(environment=target) | ~Q(learner__in=taken)).update(
            **afresh,
            first_attempt_at=None,
            connection=mapping.connection,
            environment=target,
            provider_id=mapping.provider_id,
            badge_id=mapping.badge_id,
            badge_name=mapping.badge_name,
        )
    return count


def release_held(rows: IssuanceQuerySet, *, now: datetime) -> int:
    """Queue what is held under the mappings and connections of these rows, if both are on again; returns how many.

    Their tries are kept. Those that still wait say for what. A row whose mapping was removed meanwhile may have been
    sent, and is looked up.
    """
    places = set(rows.switched_off().order_by().values_list("mapping", "connection").distinct())
    mappings = CourseBadgeMapping.objects.select_related("connection").in_bulk([pk for pk, _ in places if pk])
    connections = NavigatrConnection.objects.in_bulk([pk for _, pk in places])
    together: dict[tuple[int, Outcome | None], list[int | None]] = defaultdict(list)
    for mapping, connection in places:
        # One that was removed in this moment has left its rows to the next sweep.
        if mapping is None or mapping in mappings:
            hold = (mappings[mapping].hold_reason if mapping else None) or connections[connection].hold_reason
            together[connection, hold].append(mapping)
    count = 0
    for (connection, hold), under in together.items():
        # Columns of the row that is changed, and no query inside the UPDATE: see `_move`.
        mapped = Q(mapping__in=[pk for pk in under if pk is not None])
        own = Issuance.objects.switched_off().filter(
            mapped | Q(mapping=None) if None in under else mapped, connection=connection
        )
        if hold is None:
            count += own.update(state=State.QUEUED, reason="", queued_at=now, next_attempt_at=now)
        else:
            own.exclude(reason=hold).update(reason=hold)
    return count


def requeue_changed_learners(learners: Sequence[int], *, now: datetime) -> int:
    """What waited for a learner's profile goes on once Moodle has it; returns how many."""
    if not learners:
        return 0
    people = Learner.objects.filter(pk__in=learners).select_related("site")
    complete = [person.pk for person in people if person.profile_complete and not person.deleted]
    sendable = [person.pk for person in people if not person.suspended or person.site.send_suspended]
    failed = Issuance.objects.filter(learner__in=complete, state=State.FAILED, reason__in=MENDED_BY_PROFILE)
    held = Issuance.objects.filter(learner__in=sendable, state=State.HELD, reason=Outcome.LEARNER_SUSPENDED)
    return requeue(failed, now=now) + requeue(held, now=now)
