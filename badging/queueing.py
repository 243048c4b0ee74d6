"""From a completion to a queued issuance, and what a changed learner, score or mapping does to what waits."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from django.db.models import F, Q

from moodle_sync.models import Completion, Course, Learner
from moodle_sync.reading import Stored

from .meanings import HELD_BY_MOODLE, WITHOUT_SCORE, Outcome
from .models import CourseBadgeMapping, Issuance, IssuanceQuerySet, NavigatrConnection, recipient_key

State = Issuance.State

MOVED_AT_ONCE = 500

# What a better profile in Moodle mends by itself.
MENDED_BY_PROFILE = [
    Outcome.PROFILE_INCOMPLETE,
    Outcome.PROFILE_REFUSED,
    Outcome.NAMES_HIDDEN,
    Outcome.DUPLICATE_RECIPIENT,
]


def queue_stored(stored: Stored, *, now: datetime) -> int:
    """Queue what a batch of a poll brought, inside its transaction; returns how many issuances are newly queued."""
    move_dates(stored.again)
    requeue_changed_learners(stored.changed_learners, now=now)
    let_go(Issuance.objects.filter(completion__in=stored.changed_completions), now=now)
    return queue_completions(stored.wanted, now=now)


def move_dates(completed_again: Sequence[int]) -> None:
    """Date those of these completions anew whose date no badge says, or may say, yet."""
    if not completed_again:
        return
    dated = Issuance.objects.perhaps_sent().filter(completion__in=completed_again)
    undated = Completion.objects.filter(pk__in=completed_again, completed_again_at__isnull=False)
    undated.exclude(pk__in=dated.order_by().values("completion")).update(
        completed_at=F("completed_again_at"), completed_again_at=None
    )


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
    hold = mapping.hold_reason or held_by_moodle(completion, learner, completion.course)
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
        past=completion.last_completed_at is None or completion.last_completed_at < mapping.since,
        queued_at=now,
        next_attempt_at=now,
        recipient_key=recipient_key(learner.email) if learner.profile_complete else "",
    )


def held_by_moodle(
    completion: Completion, learner: Learner, course: Course, *, date_accepted: bool = False
) -> Outcome | None:
    """Why the badge must wait for a change in Moodle, as far as is known, or None when it may be sent.

    `date_accepted`: a person lets it go on although its date is implausible.
    """
    if learner.deleted:
        return Outcome.LEARNER_DELETED
    if course.gone_at is not None:
        return Outcome.COURSE_GONE
    if completion.undone_at is not None:
        return Outcome.COMPLETION_UNDONE
    if learner.suspended and not course.site.send_suspended:
        return Outcome.LEARNER_SUSPENDED
    if completion.implausible and not date_accepted:
        return Outcome.IMPLAUSIBLE_DATE
    return None


def let_go(rows: IssuanceQuerySet, *, now: datetime) -> int:
    """Queue those of these that Moodle had held back and that it holds back no longer; returns how many.

    Those that it holds back for another reason by now say so.
    """
    held = rows.filter(state=State.HELD, reason__in=HELD_BY_MOODLE).select_related(
        "completion", "learner", "course__site"
    )
    free = []
    for row in held:
        reason = held_by_moodle(row.completion, row.learner, row.course, date_accepted=row.date_accepted)
        if reason is None:
            free.append(row.pk)
        elif reason != row.reason:
            Issuance.objects.filter(pk=row.pk, state=State.HELD).update(reason=reason)
    return requeue(Issuance.objects.filter(pk__in=free), now=now) if free else 0


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
    """What waited for a learner's profile or account goes on once Moodle has it; returns how many."""
    if not learners:
        return 0
    people = Learner.objects.filter(pk__in=learners)
    complete = [person.pk for person in people if person.profile_complete and not person.deleted]
    failed = Issuance.objects.filter(learner__in=complete, state=State.FAILED, reason__in=MENDED_BY_PROFILE)
    return requeue(failed, now=now) + let_go(Issuance.objects.filter(learner__in=learners), now=now)
