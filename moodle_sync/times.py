"""When a course was completed: from the clock times of Moodle's report, and from the times of its criteria.

FACTS-2.md, sections 1.4 and 3: the report shows minutes in a zone that the site decides; criteria have exact times, of
which not always the last one is that of the course.
"""

from datetime import UTC, datetime, timedelta, tzinfo

from .client.records import CompletionStatus
from .models import Completion
from .reading import Seen

MINUTE = timedelta(minutes=1)
# No zone is further from another one.
FURTHEST_ZONE = timedelta(hours=26)
# What clocks, Moodle's and ours, may differ by unnoticed.
CLOCKS_DIFFER = timedelta(minutes=10)
# How long after a criterion was met Moodle may still say that the course is not completed, if its cron runs.
TASK_TAKES = timedelta(minutes=15)
# Offsets of zones are multiples of this.
QUARTER = timedelta(minutes=15)
# Moodle 1.0 appeared in this month.
FIRST_MOODLE = datetime(2002, 8, 1, tzinfo=UTC)

Source = Completion.TimeSource


def from_clock(
    clock_time: datetime | None, zone: tzinfo | None, *, since: datetime | None, now: datetime
) -> tuple[datetime | None, bool]:
    """The time that the report's clock showed in this zone, and whether it is doubtful.

    `since` is the beginning of what was asked for, on which Moodle's filter is exact. Doubtful are a time that
    contradicts it or lies a few hours ahead (the zone may have been changed), and an hour that autumn repeats, of
    which the earlier one is returned. Without a zone nothing is known.
    """
    if clock_time is None or zone is None:
        return None, True
    try:
        first, second = (clock_time.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    except OverflowError:
        # The first or last day of the calendar.
        return None, True
    if first.astimezone(zone).replace(tzinfo=None) != clock_time:
        # The zone skips this time in spring, so it is not the one that was used.
        return None, True
    fitting = [time for time in dict.fromkeys((first, second)) if since is None or time >= since - MINUTE]
    ahead = now + CLOCKS_DIFFER < first <= now + FURTHEST_ZONE
    return (fitting or [first])[0], ahead or len(fitting) != 1


def from_criteria(status: CompletionStatus, *, incomplete_at: datetime | None) -> datetime | None:
    """When a course was completed by the times of its criteria alone; None where they have none.

    `incomplete_at` is when Moodle last said that it was not completed; None where that is not known. Then the earliest
    possible time is returned, so that doubt never makes an old completion new.
    """
    if status.earliest is None or status.is_exact or incomplete_at is None:
        return status.earliest
    # Moodle's task notices a completion some minutes after the criterion was met.
    since_then = [time for time in status.times if time >= incomplete_at - TASK_TAKES]
    return min(since_then, default=status.latest)


def exact_time(
    seen: Seen, status: CompletionStatus | None, *, since: datetime | None, now: datetime
) -> tuple[datetime | None, str]:
    """The completion's time and where it comes from, once Moodle has been asked about the learner.

    `status` is None where Moodle told nothing. Where doubt remains the earliest possible time is returned, so that
    doubt never makes an old completion new; without any time, and with Moodle's word that it is new (`since`), now.
    """
    times = status.times if status else frozenset()
    if seen.completed_at is not None and not seen.doubtful:
        same_minute = [time for time in times if minute_of(time) == minute_of(seen.completed_at)]
        if same_minute:
            return min(same_minute), Source.CRITERIA
        return seen.completed_at, seen.source
    if status and status.earliest:
        possible = [time for time in times if time >= status.earliest and (since is None or time >= since)]
        return min(possible, default=status.earliest), Source.CRITERIA
    if seen.completed_at is not None and seen.completed_at > now + FURTHEST_ZONE:
        return seen.completed_at, seen.source
    return (now, Source.SEEN) if since is not None else (None, Source.UNKNOWN)


def shows_another_zone(seen: Seen, status: CompletionStatus, zone: tzinfo | None) -> bool:
    """Whether the clock of the report's zone would have shown another time than it did, as in another zone.

    Clock times are compared, since an hour that autumn repeats reads the same twice.
    """
    if zone is None or seen.completed_at is None or status.earliest is None or not status.is_exact:
        return False
    showed, exact = (time.astimezone(zone).replace(tzinfo=None) for time in (seen.completed_at, status.earliest))
    difference = minute_of(showed) - minute_of(exact)
    return bool(difference) and not difference % QUARTER and abs(difference) <= FURTHEST_ZONE


def is_implausible(completed_at: datetime | None, now: datetime, clock_skew: timedelta) -> bool:
    """Whether nobody can have completed anything then: in the future, or before Moodle existed.

    Moodle tells no creation date of courses and accounts, and a course's start date may be moved, so neither counts.
    """
    if completed_at is None:
        return False
    return completed_at > now + max(clock_skew, timedelta()) + CLOCKS_DIFFER or completed_at < FIRST_MOODLE


def minute_of(time: datetime) -> datetime:
    """The time without its seconds."""
    return time.replace(second=0, microsecond=0)
