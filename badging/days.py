"""What was issued and what failed on each day, and how long badges took: the numbers of the start page.

Past days are counted once, by a task, and kept as `DayCount`. Today, and yesterday until it is counted, are counted
when somebody looks; indexes answer that. Production and staging are counted apart: test badges are never among the
issued ones.
"""

import math
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.db.models import Count
from django.utils import timezone

from moodle_sync.models import Completion

from .models import ENDED_IN_FAILURE, DayCount, Environment, Issuance, IssuanceAttempt

DAY = timedelta(days=1)
# What an attempt of a day led to may be written this long after midnight.
LATE = timedelta(hours=1)
# How far back days are counted, and how many in one go.
MOST_DAYS_BACK = 366
COUNTED_AT_ONCE = 20
# From how many of the newest badges of a day that is not over its delays are taken.
NEWEST_TIMED = 1000
# Completions whose time is known well enough to measure from.
TIMED_BY = [Completion.TimeSource.REPORT, Completion.TimeSource.CRITERIA]


@dataclass(frozen=True, slots=True)
class Day:
    """One day's numbers; None for what is not counted yet, or has nothing to be measured."""

    day: date
    issued: int | None = None
    failed: int | None = None
    median_delay: timedelta | None = None
    p95_delay: timedelta | None = None


def last_days(number: int, environment: str, *, now: datetime) -> list[Day]:
    """The numbers of so many days, the last of which is today. At most eight queries."""
    today = timezone.localdate(now)
    first = today - DAY * (number - 1)
    found = {
        row.day: Day(row.day, row.issued, row.failed, row.median_delay, row.p95_delay)
        for row in DayCount.objects.filter(environment=environment, day__range=(first, today - DAY))
    }
    for day in {today, *_uncounted_yesterday(today, found)}:
        found[day] = _look(day, environment)
    begun = _first_day()
    for day in (first + DAY * n for n in range(number)):
        if day not in found:
            nothing_happened = begun is None or day < begun
            found[day] = Day(day, 0, 0) if nothing_happened else Day(day)
    return [found[first + DAY * n] for n in range(number)]


def is_counted(days: Iterable[Day]) -> bool:
    """Whether all of these days are counted."""
    return all(day.issued is not None for day in days)


def _uncounted_yesterday(today: date, found: Iterable[date]) -> set[date]:
    return {today - DAY}.difference(found)


def _first_day() -> date | None:
    """The day of the first attempt, or None."""
    oldest = IssuanceAttempt.objects.order_by("at").values_list("at", flat=True).first()
    return timezone.localdate(oldest) if oldest else None


def count_days(*, now: datetime) -> int:
    """Count past days that are not counted yet, at most COUNTED_AT_ONCE, the latest first; returns how many.

    It goes back to the first attempt, and no further than MOST_DAYS_BACK.
    """
    begun, last = _first_day(), timezone.localdate(now - LATE) - DAY
    if begun is None:
        return 0
    first = max(begun, last - DAY * MOST_DAYS_BACK)
    counted = DayCount.objects.filter(day__range=(first, last)).values_list("day").annotate(rows=Count("pk"))
    done = {day for day, rows in counted if rows == len(Environment)}
    missing = [day for n in range((last - first).days + 1) if (day := last - DAY * n) not in done]
    for day in missing[:COUNTED_AT_ONCE]:
        _count(day)
    return len(missing[:COUNTED_AT_ONCE])


def _count(day: date) -> None:
    """Count one day that is over. Counting it again gives the same row."""
    rows = []
    for environment in Environment.values:
        delays = _delays(day, environment)
        rows.append(
            DayCount(
                day=day,
                environment=environment,
                issued=_issued(day, environment),
                failed=_failed(day, environment),
                timed=len(delays),
                median_delay=percentile(delays, 50),
                p95_delay=percentile(delays, 95),
            )
        )
    DayCount.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["day", "environment"],
        update_fields=["issued", "failed", "timed", "median_delay", "p95_delay"],
    )


def _look(day: date, environment: str) -> Day:
    """The numbers of a day that is not over, or not counted. Three queries."""
    delays = _delays(day, environment, newest=NEWEST_TIMED)
    counts = _issued(day, environment), _failed(day, environment)
    return Day(day, *counts, percentile(delays, 50), percentile(delays, 95))


def span(day: date) -> tuple[datetime, datetime]:
    """The beginning of a day in the portal's zone, and that of the next."""
    begin, end = (timezone.make_aware(datetime.combine(which, time.min)) for which in (day, day + DAY))
    return begin, end


def _issued(day: date, environment: str) -> int:
    begin, end = span(day)
    return Issuance.objects.filter(environment=environment, issued_at__gte=begin, issued_at__lt=end).count()


def _failed(day: date, environment: str) -> int:
    """How many badges came to need a person. One that failed twice on that day counts once."""
    begin, end = span(day)
    attempts = IssuanceAttempt.objects.filter(ENDED_IN_FAILURE, environment=environment, at__gte=begin, at__lt=end)
    count: int = attempts.aggregate(number=Count("issuance", distinct=True))["number"]
    return count


def _delays(day: date, environment: str, *, newest: int | None = None) -> "array[float]":
    """The seconds from completion to badge of a day's badges, sorted.

    Without those of learners who had completed the course before it was mapped, or who completed it again.
    """
    begin, end = span(day)
    issued = Issuance.objects.filter(environment=environment, issued_at__gte=begin, issued_at__lt=end)
    timed = issued.filter(
        past=False, completion__completed_again_at=None, completion__time_source__in=TIMED_BY
    ).order_by("-issued_at")
    times = timed.values_list("issued_at", "completion__completed_at")[:newest]
    # A day may have any number; those of today are few, and read at once.
    found = times if newest else times.iterator()
    seconds = ((at - completed).total_seconds() for at, completed in found if at and completed)
    # Moodle's clock may be ahead.
    return array("d", sorted(max(0.0, delay) for delay in seconds))


def percentile(sorted_seconds: "array[float]", percent: int) -> timedelta | None:
    """The time that so many of 100 did not exceed; None for none at all."""
    if not sorted_seconds:
        return None
    return timedelta(seconds=sorted_seconds[math.ceil(len(sorted_seconds) * percent / 100) - 1])
