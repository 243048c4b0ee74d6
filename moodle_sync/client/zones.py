"""Time zones by the names that Moodle gives them."""

from datetime import timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


def zone_named(name: str) -> tzinfo | None:
    """The zone of this name, as Moodle writes it; None for an unknown one. Old sites have a number of hours."""
    try:
        return timezone(timedelta(hours=float(name)))
    except (ValueError, OverflowError):
        pass
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
