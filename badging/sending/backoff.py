"""How long to wait before the next try: arithmetic on its own."""

from datetime import datetime, timedelta

from django.conf import settings


def next_attempt_at(failures: int, now: datetime, *, spread: float, retry_after: timedelta | None = None) -> datetime:
    """When to try again after so many failed tries (1 or more).

    Waits RETRY_FIRST × RETRY_FACTOR^(failures-1), at most RETRY_LONGEST; `spread` (-1 to 1) moves that by up to 20 %,
    so that a crowd does not come back together. `retry_after`, what Navigatr asked for, wins when it is longer.
    """
    # In whole seconds: a long row of failures makes more than a timedelta can hold.
    grown = int(settings.RETRY_FIRST.total_seconds()) * settings.RETRY_FACTOR ** min(failures - 1, 100)
    wait = timedelta(seconds=min(grown, settings.RETRY_LONGEST.total_seconds())) * (1 + 0.2 * spread)
    return now + max(wait, retry_after or timedelta(0))


def given_up(first_attempt_at: datetime, next_at: datetime) -> bool:
    """Whether the next try would come later than RETRY_GIVE_UP after the first one."""
    return bool(next_at > first_attempt_at + settings.RETRY_GIVE_UP)
