"""From a completion to a queued issuance, and what changes in Moodle do to those that wait."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from django.db.models import Exists, F, OuterRef, Q, QuerySet

from moodle_sync.models import Completion, Course, Learner, MoodleSite
from moodle_sync.reading import Stored
from vault import digests

from . import transitions
from .meanings import HELD_BY_MOODLE, WITHOUT_SCORE, Outcome
from .models import (
    NOTHING_OPEN,
    CourseBadgeMapping,
    Issuance,
    IssuanceAttempt,
    IssuanceQuerySet,
    Past,
    recipient_key,
    update_by_pk,
)

State = Issuance.State

# How often a profile that seems unchanged is tried again.
TRIED_AGAIN_EVERY = timedelta(days=1)

# News of the completion take these back into the queue.
CANCELLED_FOR_NOW = [Outcome.MAPPING_REMOVED, Outcome.ELSEWHERE, Outcome.WENT_LIVE]

# A better profile in Moodle lets these go on.
MENDED_BY_PROFILE = [
    Outcome.PROFILE_INCOMPLETE,
    Outcome.PROFILE_REFUSED,
    Outcome.NAMES_HIDDEN,
    Outcome.DUPLICATE_RECIPIENT,
]
# These say nothing true any more once the account is deleted: it is held for that instead.
MOOT_ONCE_DELETED = [Outcome.PROFILE_INCOMPLETE, Outcome.PROFILE_REFUSED, Outcome.NAMES_HIDDEN]
# Of these only another attempt shows whether they are mended.
SHOWN_BY_AN_ATTEMPT = [Outcome.PROFILE_REFUSED, Outcome.DUPLICATE_RECIPIENT]


def queue_stored(stored: Stored, *, now: datetime) -> int:
    """Queue what a batch of a poll brought, inside its transaction; returns how many issuances are newly queued."""
    lock_mappings(_courses_of(stored))
    move_dates(stored.again)
    requeue_changed_learners(stored.changed_learners, now=now)
    requeue_asked_learners(stored.asked_learners, now=now)
    let_go(Issuance.objects.filter(completion__in=stored.changed_completions), now=now)
    return queue_completions(stored.wanted, now=now)


def _courses_of(stored: Stored) -> set[int]:
    """The courses whose issuances the batch may change."""
    people = [*stored.changed_learners, *stored.asked_learners]
    rows = Issuance.objects.filter(Q(learner__in=people) | Q(completion__in=stored.changed_completions)).order_by()
    changed = set(rows.values_list("course", flat=True)) if people or stored.changed_completions else set()
    return changed | {row.course_id for row in stored.wanted}


def move_dates(completed_again: Sequence[int]) -> None:
    """Give those of these completions their new date whose badges have not been sent."""
    if not completed_again:
        return
    dated = Issuance.objects.perhaps_sent().filter(completion__in=completed_again)
    undated = Completion.objects.filter(pk__in=completed_again, completed_again_at__isnull=False)
    undated.exclude(pk__in=dated.order_by().values("completion")).update(
        completed_at=F("completed_again_at"), completed_again_at=None
    )


def queue_completions(completions: Sequence[Completion], *, now: datetime) -> int:
    """Make sure that each of these completions of mapped courses has its issuance; returns how many are newly queued.

    A learner who has any badge for the course, or waits for one, gets no second one. A score that changed takes
    "requirement not met" back into the queue, and a new mapping takes back what was cancelled with the removed one.
    Where this makes more past completions than a course manager may include, they wait.
    """
    # Locked, so that a mapping cannot be changed or removed between being read here and being used below.
    mappings = lock_mappings({row.course_id for row in completions})
    known: dict[tuple[int, int], list[Issuance]] = defaultdict(list)
    learners = [completion.learner_id for completion in completions]
    for known_row in Issuance.objects.filter(course__in=mappings, learner__in=learners):
        known[known_row.course_id, known_row.learner_id].append(known_row)
    new: list[Issuance] = []
    again: list[int] = []
    past: dict[int, int] = {}
    made_with = ""
    for completion in completions:
        mapping = mappings.get(completion.course_id)
        if mapping is None:
            continue
        row = _row_for(mapping, known[completion.course_id, completion.learner_id])
        if row is None:
            made_with = made_with or digests.in_use()
            new.append(_owed(completion, mapping, now, made_with))
        elif _goes_on(row, completion):
            again.append(row.pk)
            if row.past or mapping.is_past(completion):
                past[row.pk] = completion.course_id
    # What was cancelled with an earlier mapping is a past completion for this one.
    update_by_pk(list(past), Q(past=False), past=True)
    count = len(Issuance.objects.bulk_create(new)) + requeue(Issuance.objects.filter(pk__in=again), now=now)
    _hold_past({row.course_id for row in new if row.past} | set(past.values()), mappings)
    return count


def _hold_past(courses: Collection[int], mappings: dict[int, CourseBadgeMapping]) -> None:
    """Hold the past completions of those of these courses that have more than a course manager may include.

    In the transaction that queues them, and with their mapping locked: none is sent in between.
    """
    for mapping in (mappings[course] for course in courses):
        if mapping.past_release == Past.WITHIN and within_limit(mapping) == Past.OVER:
            set_past_release(mapping, Past.OVER)


def set_past_release(mapping: CourseBadgeMapping, past_release: Past) -> None:
    """Say how far past completions are awarded under a mapping that is locked."""
    mapping.past_release = past_release
    mapping.save(update_fields=["past_release"])


def within_limit(mapping: CourseBadgeMapping) -> Past:
    """Whether the past completions of its course are no more than its connection's limit: WITHIN or OVER."""
    limit = mapping.connection.past_limit
    learners = past_of([mapping.course_id]).values("learner").distinct()
    return Past.OVER if learners[: limit + 1].count() > limit else Past.WITHIN


def past_of(courses: Collection[int]) -> QuerySet[Issuance]:
    """The issuances of learners who had completed one of the courses before it was mapped, but for cancelled ones.

    A learner may have one in each environment. They are to be counted once, so that a trial in staging counts nobody
    twice.
    """
    return Issuance.objects.filter(course__in=courses, past=True).exclude(state=State.CANCELLED).order_by()


def _row_for(mapping: CourseBadgeMapping, rows: Sequence[Issuance]) -> Issuance | None:
    """The one of a learner's issuances for a course that the mapping awards, or would as soon as it is sent.

    What a person has cancelled stays cancelled in every environment.
    """
    environment = mapping.connection.environment
    same = next((row for row in rows if row.environment == environment), None)
    return same or next((row for row in rows if row.is_unsent or _is_cancelled_by_hand(row)), None)


def _is_cancelled_by_hand(row: Issuance) -> bool:
    return row.state == State.CANCELLED and row.reason == Outcome.BY_HAND


def _goes_on(row: Issuance, completion: Completion) -> bool:
    """Whether this news of the completion takes the issuance back into the queue."""
    if row.state == State.NOT_MET:
        return row.score_tried != completion.score or _has_another_reason(row, completion)
    return row.state == State.CANCELLED and row.reason in CANCELLED_FOR_NOW


def _has_another_reason(row: Issuance, completion: Completion) -> bool:
    """Whether a missing score has another reason now: the course total was hidden, or shown, since."""
    return row.reason in WITHOUT_SCORE and (row.reason == Outcome.SCORE_HIDDEN) != completion.score_hidden


def _owed(completion: Completion, mapping: CourseBadgeMapping, now: datetime, made_with: str) -> Issuance:
    """The issuance that this completion is owed: queued, or held where Moodle speaks against it.

    The digest is made already here (with the keys of that name), so that claiming it rarely has to write it.
    """
    learner = completion.learner
    hold = held_by_moodle(completion, learner, completion.course)
    row = Issuance(
        course=completion.course,
        learner=learner,
        completion=completion,
        state=State.HELD if hold else State.QUEUED,
        reason=hold or "",
        past=mapping.is_past(completion),
        queued_at=now,
        next_attempt_at=None if hold else now,
        recipient_key=recipient_key(learner.email, made_with) if learner.profile_complete else "",
    )
    row.take_award(mapping)
    return row


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
    """Put these back into the queue as if they were new; returns how many.

    What may have been sent is looked up first. Rows of a course without a mapping, or of an erased learner, are left
    alone.
    """
    return transitions.requeue(pks_of(rows.filter(learner__erased_at=None, course__mapping__isnull=False)), now=now)


def lock_mappings(courses: Collection[int]) -> dict[int, CourseBadgeMapping]:
    """The mappings of these courses with their connections, by course, locked until the end of the transaction.

    Whoever writes an issuance that may go on under its mapping locks the mapping first and the issuance second, as
    those do who change or remove a mapping. Then none of them misses the other's change.
    """
    mappings = CourseBadgeMapping.objects.filter(course__in=courses).select_related("connection").order_by("pk")
    return {mapping.course_id: mapping for mapping in mappings.select_for_update(no_key=True, of=["self"])}


def bring_forward(rows: IssuanceQuerySet, *, now: datetime) -> None:
    """Let those of these be due now that are queued for later: what made them fail may be mended."""
    later = Q(state=State.QUEUED, next_attempt_at__gt=now)
    update_by_pk(pks_of(rows.filter(later)), later, next_attempt_at=now)


def requeue_suspended(site: MoodleSite, *, now: datetime) -> int:
    """Queue what was held for suspended accounts of a site that issues to them now; returns how many."""
    held = Issuance.objects.filter(learner__site=site, state=State.HELD, reason=Outcome.LEARNER_SUSPENDED)
    return requeue(held, now=now)


def cancel_unmapped(rows: IssuanceQuerySet) -> int:
    """Cancel those of these that have not been sent and whose course awards no badge any more; returns how many."""
    unmapped = pks_of(rows.unsent().filter(course__mapping=None))
    return transitions.change(unmapped, transitions.Event.CANCEL, where=NOTHING_OPEN, reason=Outcome.MAPPING_REMOVED)


def pks_of(rows: IssuanceQuerySet) -> list[int]:
    """The primary keys, in their order."""
    return list(rows.order_by("pk").values_list("pk", flat=True))


def requeue_changed_learners(learners: Sequence[int], *, now: datetime) -> int:
    """Queue what waited for these learners' profiles or accounts and need not wait any more; returns how many."""
    if not learners:
        return 0
    return requeue(_mended(learners), now=now) + let_go(Issuance.objects.filter(learner__in=learners), now=now)


def requeue_asked_learners(learners: Sequence[int], *, now: datetime) -> int:
    """The same for learners whose profiles seem unchanged; returns how many.

    A change may have been stored while the badge was on its way. Where only an attempt shows whether something is
    different now, there is one a day.
    """
    if not learners:
        return 0
    recently = IssuanceAttempt.objects.filter(issuance=OuterRef("pk"), at__gt=now - TRIED_AGAIN_EVERY)
    return requeue(_mended(learners).exclude(Exists(recently), reason__in=SHOWN_BY_AN_ATTEMPT), now=now)


def _mended(learners: Sequence[int]) -> IssuanceQuerySet:
    """What failed for the profiles of those of these learners who have complete ones now, or no account any more.

    The latter is held when it is claimed, with the reason that counts now.
    """
    people = list(Learner.objects.filter(pk__in=learners))
    complete = [person.pk for person in people if person.profile_complete and not person.deleted]
    deleted = [person.pk for person in people if person.deleted]
    mended = Q(learner__in=complete, reason__in=MENDED_BY_PROFILE)
    moot = Q(learner__in=deleted, reason__in=MOOT_ONCE_DELETED)
    return Issuance.objects.filter(mended | moot, state=State.FAILED)
