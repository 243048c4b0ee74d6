"""Time zones by the names that Moodle uses."""

from datetime import timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

# The offsets of time zones from UTC are multiples of this.
QUARTER = timedelta(minutes=15)


def zone_named(name: str) -> tzinfo | None:
    """The time zone, or None for an unknown name. Old sites use a number of hours as a name, such as "5.5"."""
    try:
        return timezone(timedelta(hours=float(name)))
    except (ValueError, OverflowError):
        pass
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
