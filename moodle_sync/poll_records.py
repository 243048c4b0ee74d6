"""How far behind the portal was: what polls of a site came to, in rows of five minutes.

A row of its own for each poll would be 17,000 a day and site while people complete courses; five minutes are as fine as
anybody looks, and a week of them is at most 2,016 rows of a site. A poll adds one UPDATE, in the transaction that ends
it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, Max, Sum
from django.db.models.functions import Greatest, TruncHour

from .models import MoodleSite, PollRecord

# What one row covers.
SPAN = timedelta(minutes=5)
# How long rows are kept.
KEPT_FOR = timedelta(days=7)
# The hours that the chart shows.
HOURS_SHOWN = 24


@dataclass(frozen=True, slots=True)
class Hour:
    """What the polls of one hour came to; `lag` is None where none was read to its end."""

    at: datetime
    polls: int = 0
    failed: int = 0
    new: int = 0
    longest: timedelta = timedelta(0)
    lag: timedelta | None = None


def note_poll(site: MoodleSite, *, began_at: datetime, took: timedelta, read_up_to: datetime | None, new: int) -> None:
    """Add a poll that was read to its end.

    `read_up_to` is when the one before it began: whoever completed a course right after that has waited since then,
    which is the lag. The first poll of a site has none.
    """
    lag = began_at + took - read_up_to if read_up_to is not None else timedelta(0)
    _add(site, began_at + took, new=new, longest=took, lag=max(lag, timedelta(0)))


def note_failure(site: MoodleSite, *, at: datetime) -> None:
    """Add a poll that failed."""
    _add(site, at, failed=1)


def _add(
    site: MoodleSite,
    at: datetime,
    *,
    failed: int = 0,
    new: int = 0,
    longest: timedelta = timedelta(0),
    lag: timedelta = timedelta(0),
) -> None:
    begin = at.replace(minute=at.minute - at.minute % 5, second=0, microsecond=0)
    rows = PollRecord.objects.filter(site=site, at=begin)
    added = rows.update(
        polls=F("polls") + 1,
        failed=F("failed") + failed,
        new=F("new") + new,
        longest=Greatest(F("longest"), longest),
        lag=Greatest(F("lag"), lag),
    )
    if not added:
        # Only one poll of a site runs at a time. Should two meet here, the second row is left out.
        row = PollRecord(site=site, at=begin, polls=1, failed=failed, new=new, longest=longest, lag=lag)
        PollRecord.objects.bulk_create([row], ignore_conflicts=True)


def last_hours(site: MoodleSite, now: datetime) -> list[Hour]:
    """The last HOURS_SHOWN hours, the oldest first. Those without a poll are among them."""
    newest = now.replace(minute=0, second=0, microsecond=0)
    hours = [newest - timedelta(hours=number) for number in reversed(range(HOURS_SHOWN))]
    rows = (
        PollRecord.objects.filter(site=site, at__gte=hours[0], at__lte=now)
        .annotate(hour=TruncHour("at", tzinfo=now.tzinfo))
        .values_list("hour")
        .annotate(Sum("polls"), Sum("failed"), Sum("new"), Max("longest"), Max("lag"))
        .order_by("hour")
    )
    found = {
        hour: Hour(hour, polls, failed, new, longest, lag if polls > failed else None)
        for hour, polls, failed, new, longest, lag in rows
    }
    return [found.get(hour, Hour(hour)) for hour in hours]


def longest_lags(sites: Iterable[MoodleSite], now: datetime) -> dict[int, timedelta]:
    """The longest lag of each site within the last hour, by its number. One query."""
    rows = PollRecord.objects.filter(site__in=[site.pk for site in sites], at__gt=now - timedelta(hours=1))
    return dict(rows.filter(polls__gt=F("failed")).values_list("site").annotate(Max("lag")).order_by())


def forget_old(now: datetime) -> None:
    """Delete what is older than KEPT_FOR."""
    PollRecord.objects.filter(at__lt=now - KEPT_FOR).delete()
