"""Past completions: how many a course manager may include, and a site admin's release of more.

A mapping that a site admin chose has no limit, unless they want to look first who it is: then past completions wait
until they are released or declined, and a release can be stopped again. Under one that a course manager chose, past
completions wait while they are counted: until the whole course was read once. If more learners than the connection's
limit had completed it, they wait for a site admin. Every learner with a past completion counts, whatever became of the
badge, so that there are never more sent than the limit. That they wait is a fact of the mapping, and stands in no
issuance.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet

from moodle_sync import history
from moodle_sync.models import MoodleSite

from . import audit, transitions
from .counting import COUNTED_UP_TO
from .meanings import Outcome
from .models import (
    NOTHING_OPEN,
    PAST_HELD,
    AuditEntry,
    CourseBadgeMapping,
    Issuance,
    IssuanceQuerySet,
    NavigatrConnection,
    Past,
)
from .queueing import bring_forward, lock_mappings, past_of, pks_of, set_past_release, within_limit

# How many past completions of a course are counted to tell how far they are.
MOST_FOLLOWED = 10_000


def limit_at_save(mapping: CourseBadgeMapping, *, free: bool, asked: bool) -> None:
    """Set how far past completions are awarded under a mapping that was saved, in the transaction that saved it.

    `free`: a site admin saves it, or had let all of them go for the same badge. `asked`: past completions were asked
    for now. What a site admin wants to look at first goes on waiting, unless a site admin asks for all of it.
    """
    if mapping.past_release == Past.LOOKED_AT and not (free and asked):
        return
    if free:
        set_past_release(mapping, Past.FREE)
    else:
        # Rows of an earlier mapping count as well.
        set_past_release(mapping, Past.COUNTING if mapping.include_past else within_limit(mapping))


def settle_counts(site: MoodleSite, *, now: datetime) -> int:
    """Let past completions go on where the course has been read whole and they are few enough; returns in how many.

    Where there are too many, they go on waiting for a site admin.
    """
    was_read = Q(course__past_read_at__gte=F("past_wanted_at"))
    counted = CourseBadgeMapping.objects.filter(was_read, course__site=site, past_release=Past.COUNTING)
    return _count_again(counted, {Past.COUNTING}, now)


def limit_changed(connection: NavigatrConnection, *, now: datetime) -> int:
    """Compare past completions with the connection's new limit; returns for how many courses they go on."""
    counted = {Past.WITHIN, Past.OVER}
    return _count_again(connection.mappings.filter(past_release__in=counted), counted, now)


@transaction.atomic
def _count_again(mappings: QuerySet[CourseBadgeMapping], states: Collection[str], now: datetime) -> int:
    """Count the past completions of these mappings that are still in one of the states; returns how many go on."""
    courses = list(mappings.order_by().values_list("course", flat=True))
    going_on = []
    for mapping in lock_mappings(courses).values() if courses else ():
        before, after = mapping.past_release, within_limit(mapping)
        if before in states and before != after:
            set_past_release(mapping, after)
            going_on += [mapping] if before in PAST_HELD and after not in PAST_HELD else []
    _let_go(going_on, now)
    return len(going_on)


class PastNumbers(NamedTuple):
    """How many past completions a course has."""

    # Learners who had completed it before it was mapped, as far as it was read.
    learners: int
    # Issuances that wait, whatever else holds them.
    waiting: int


def numbers_past(mappings: Iterable[CourseBadgeMapping]) -> Mapping[int, PastNumbers]:
    """The past completions of the courses of these mappings, by course; in one query for all."""
    rows = past_of([mapping.course_id for mapping in mappings]).values_list("course")
    waits = NOTHING_OPEN & Q(state=Issuance.State.QUEUED)
    counts = rows.annotate(learners=Count("learner", distinct=True), waiting=Count("pk", filter=waits))
    return defaultdict(lambda: PastNumbers(0, 0), {course: PastNumbers(*numbers) for course, *numbers in counts})


@transaction.atomic
def look_for_past(mapping: CourseBadgeMapping, *, actor: Any, now: datetime) -> bool:
    """Have the whole course read, and let who had completed it before wait until they are released.

    False where past completions are included already, or the mapping is gone: nothing is changed then.
    """
    current = lock_mappings([mapping.course_id]).get(mapping.course_id)
    if current is None or current.include_past:
        return False
    current.past_wanted_at = now
    history.by(current, actor, at=now)
    current.save(update_fields=["past_wanted_at"])
    set_past_release(current, Past.LOOKED_AT)
    audit.record(AuditEntry.Action.PAST_LOOKED_FOR, mapping.course, actor=actor, connection=current.connection.name)
    return True


def can_stop(mapping: CourseBadgeMapping, waiting: int) -> bool:
    """Whether there is something that `stop_past` holds. `waiting`: how many of its past completions wait."""
    return mapping.past_release not in PAST_HELD and (mapping.include_past or waiting > 0)


@transaction.atomic
def stop_past(mapping: CourseBadgeMapping, *, actor: Any) -> int:
    """Hold the past completions that were not sent yet, until they are released again; returns how many are held.

    What is on its way to Navigatr in this moment still arrives. Where none are included and none wait, nothing is held.
    """
    current = lock_mappings([mapping.course_id]).get(mapping.course_id)
    if current is None:
        return 0
    waiting = numbers_past([current])[mapping.course_id].waiting
    if not can_stop(current, waiting):
        return 0
    set_past_release(current, Past.LOOKED_AT)
    audit.record(AuditEntry.Action.PAST_STOPPED, mapping.course, actor=actor, waiting=waiting)
    return waiting


@transaction.atomic
def decline_past(mapping: CourseBadgeMapping, *, actor: Any, now: datetime) -> int:
    """Do not send the past completions that are held, and look for no more; returns how many are cancelled.

    From then on the mapping limits past completions as any other one does. What is on its way to Navigatr in this
    moment still arrives.
    """
    current = lock_mappings([mapping.course_id]).get(mapping.course_id)
    if current is None or current.past_release not in PAST_HELD:
        return 0
    unsent = pks_of(Issuance.objects.filter(course=mapping.course_id, past=True).unsent())
    cancelled = transitions.change(unsent, transitions.Event.CANCEL, where=NOTHING_OPEN, reason=Outcome.BY_HAND)
    current.past_wanted_at = None
    history.by(current, actor, at=now)
    current.save(update_fields=["past_wanted_at"])
    set_past_release(current, Past.FREE if current.by_admin else Past.WITHIN)
    action = AuditEntry.Action.PAST_DECLINED
    audit.record(action, mapping.course, actor=actor, cancelled=cancelled, connection=current.connection.name)
    return cancelled


class PastProgress(NamedTuple):
    """How far the past completions of a course are."""

    learners: int
    issued: int
    waiting: int
    # Failed, not met, or held by Moodle.
    stopped: int
    # Whether there are more learners than were counted.
    is_cut: bool = False

    @property
    def settled(self) -> int:
        """How many do not wait any more."""
        return self.issued + self.stopped


def progress_of(mapping: CourseBadgeMapping) -> PastProgress:
    """How far the past completions of the mapping's course are, in the environment that it awards badges in.

    Only the first MOST_FOLLOWED are counted: a page asks every few seconds.
    """
    rows = past_of([mapping.course_id]).filter(environment=mapping.connection.environment)
    found = list(rows.order_by("learner").values_list("state", flat=True)[: MOST_FOLLOWED + 1])
    states = Counter(found[:MOST_FOLLOWED])
    waiting = states[Issuance.State.QUEUED] + states[Issuance.State.SENDING]
    issued = states[Issuance.State.ISSUED]
    learners = states.total()
    return PastProgress(learners, issued, waiting, learners - issued - waiting, len(found) > MOST_FOLLOWED)


def is_being_read(mapping: CourseBadgeMapping) -> bool:
    """Whether earlier completions are wanted and the course has not been read whole since."""
    read_at = mapping.course.past_read_at
    return mapping.past_wanted_at is not None and (read_at is None or read_at < mapping.past_wanted_at)


def would_get(mapping: CourseBadgeMapping) -> IssuanceQuerySet:
    """Who waits for the mapping's badge: the issuances that are queued and have not been sent, newest first."""
    rows = Issuance.objects.filter(NOTHING_OPEN, course=mapping.course_id, state=Issuance.State.QUEUED)
    return rows.select_related("learner", "completion").order_by("-pk")


class WouldGet(NamedTuple):
    """How many wait for a mapping's badge, of whom past completions, and of whom with too low a score.

    As far as counted: one more than COUNTED_UP_TO where there are more.
    """

    number: int
    past: int
    too_low: int


def count_would_get(mapping: CourseBadgeMapping) -> WouldGet:
    """How many wait for the mapping's badge, the newest counted first."""
    newest = would_get(mapping).values_list("past", "completion__score")[: COUNTED_UP_TO + 1]
    rows = list(newest)
    low = sum(not mapping.accepts_score(score) for _past, score in rows)
    return WouldGet(len(rows), sum(is_past for is_past, _score in rows), low)


@transaction.atomic
def release_past(mapping: CourseBadgeMapping, *, actor: Any, now: datetime) -> int:
    """Let all past completions of the mapping go on, and those that are still to be found; returns how many wait."""
    locked = lock_mappings([mapping.course_id])
    current = locked.get(mapping.course_id)
    if current is None or current.past_release not in PAST_HELD:
        return 0
    numbers = numbers_past([current])[mapping.course_id]
    set_past_release(current, Past.FREE)
    _let_go([current], now)
    audit.record(
        AuditEntry.Action.PAST_RELEASED,
        mapping.course,
        actor=actor,
        learners=numbers.learners,
        waiting=numbers.waiting,
        limit=current.connection.past_limit,
        connection=current.connection.name,
    )
    return numbers.waiting


def _let_go(mappings: Iterable[CourseBadgeMapping], now: datetime) -> None:
    """What waited under these mappings is due at once, and its tries begin anew."""
    courses = [mapping.course_id for mapping in mappings]
    CourseBadgeMapping.objects.filter(course__in=courses).update(resumed_at=now)
    bring_forward(Issuance.objects.filter(NOTHING_OPEN, course__in=courses, past=True), now=now)
