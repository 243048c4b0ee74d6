"""When a course was completed: from the clock times of Moodle's report, and from the times of its criteria.

The report shows minutes in a zone that the site decides. Criteria have exact times, but the last of them is not always
that of the course. See docs/moodle-api.md, "Times" and "Completion of a learner".
"""

from datetime import UTC, datetime, timedelta, tzinfo

from .client.records import CompletionStatus
from .client.zones import QUARTER
from .models import Completion
from .reading import Seen

MINUTE = timedelta(minutes=1)
# The largest difference between two time zones.
FURTHEST_ZONE = timedelta(hours=26)
# A difference between Moodle's clock and ours that may go unnoticed.
CLOCKS_DIFFER = timedelta(minutes=10)
# How long Moodle's task, if cron runs, takes to notice that a met criterion completes the course.
TASK_TAKES = timedelta(minutes=15)
# The month in which Moodle 1.0 was released.
FIRST_MOODLE = datetime(2002, 8, 1, tzinfo=UTC)

Source = Completion.TimeSource


def from_clock(
    clock_time: datetime | None, zone: tzinfo | None, *, since: datetime | None, now: datetime
) -> tuple[datetime | None, bool]:
    """The time at which a clock in this zone shows `clock_time`, and whether it is doubtful.

    `since` is the limit that Moodle's filter applied exactly. A time before it or a few hours in the future is
    doubtful, since the zone may have changed. So is an hour that occurs twice in autumn; the earlier time is returned.
    None without a zone, and for a time that the zone does not have.
    """
    if clock_time is None or zone is None:
        return None, True
    try:
        first, second = (clock_time.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    except OverflowError:
        # The first or last day of the calendar.
        return None, True
    if first.astimezone(zone).replace(tzinfo=None) != clock_time:
        # The zone skips this time in spring, so it is not the zone that was used.
        return None, True
    possible = [time for time in dict.fromkeys((first, second)) if since is None or time >= since - MINUTE]
    is_ahead = now + CLOCKS_DIFFER < first <= now + FURTHEST_ZONE
    return (possible or [first])[0], is_ahead or len(possible) != 1


def from_criteria(status: CompletionStatus, *, incomplete_at: datetime | None) -> datetime | None:
    """The time of a completion by its criteria alone; None if no criterion has a time.

    `incomplete_at` is when Moodle last said that the course was not completed, or None. Without it the earliest
    possible time is returned, so that an old completion never counts as new.
    """
    if status.earliest is None or status.is_exact or incomplete_at is None:
        return status.earliest
    since_then = [time for time in status.times if time >= incomplete_at - TASK_TAKES]
    return min(since_then, default=status.latest)


def exact_time(
    seen: Seen, status: CompletionStatus | None, *, since: datetime | None, now: datetime
) -> tuple[datetime | None, str]:
    """The time of a completion and its source, after Moodle was asked about the learner.

    `status` is None if Moodle did not answer. Of several possible times the earliest is returned, so that an old
    completion never counts as new. Without any time it is `now` if Moodle's filter says that the completion is new
    (`since` is given), else None.
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
    """Whether the report's time differs from the exact time as the times of two zones differ.

    It compares wall-clock times, since an hour that occurs twice in autumn has two times but one wall-clock time.
    """
    if zone is None or seen.completed_at is None or status.earliest is None or not status.is_exact:
        return False
    shown, exact = (time.astimezone(zone).replace(tzinfo=None) for time in (seen.completed_at, status.earliest))
    difference = minute_of(shown) - minute_of(exact)
    return bool(difference) and not difference % QUARTER and abs(difference) <= FURTHEST_ZONE


def is_implausible(completed_at: datetime | None, now: datetime, clock_skew: timedelta) -> bool:
    """Whether the time lies in the future or before Moodle existed.

    Start dates of courses are no limit, since they may be moved; Moodle gives no creation dates.
    """
    if completed_at is None:
        return False
    return completed_at > now + max(clock_skew, timedelta()) + CLOCKS_DIFFER or completed_at < FIRST_MOODLE


def minute_of(time: datetime) -> datetime:
    """The time without its seconds."""
    return time.replace(second=0, microsecond=0)
