"""Past completions: how many a course manager may include, and a site admin's release of more.

A mapping that a site admin chose has no limit. Under one that a course manager chose, past completions wait while they
are counted: until the whole course was read once. If more learners than the connection's limit had completed it, they
wait for a site admin. Every learner with a past completion counts, whatever became of the badge, so that there are
never more sent than the limit. That they wait is a fact of the mapping, and stands in no issuance.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet

from moodle_sync.models import MoodleSite

from . import audit
from .models import NOTHING_OPEN, PAST_HELD, AuditEntry, CourseBadgeMapping, Issuance, NavigatrConnection, Past
from .queueing import bring_forward, lock_mappings, past_of, set_past_release, within_limit


def limit_at_save(mapping: CourseBadgeMapping, *, free: bool) -> None:
    """Set how far past completions are awarded under a mapping that was saved, in the transaction that saved it.

    `free`: a site admin saves it, or had let all of them go for the same badge.
    """
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
