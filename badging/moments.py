"""How times and durations are written for people."""

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext


def moment(at: datetime) -> str:
    """The time as all pages show it: in the portal's zone, which it names."""
    return date_format(timezone.localtime(at), "DATETIME_FORMAT")


def clock(at: datetime) -> str:
    """The same to the second, where stages of a few seconds are told."""
    return date_format(timezone.localtime(at), "j M Y, H:i:s T")


def in_words(length: timedelta) -> str:
    """A duration in whole units that have passed, in a larger unit from two of it on: "12 s", "3 min", "2 days"."""
    seconds = max(0, int(length.total_seconds()))
    if seconds < 120:
        return _("%(number)d s") % {"number": seconds}
    if seconds < 2 * 3600:
        return _("%(number)d min") % {"number": seconds // 60}
    if seconds < 48 * 3600:
        return _("%(number)d h") % {"number": seconds // 3600}
    return ngettext("%(number)d day", "%(number)d days", seconds // 86400) % {"number": seconds // 86400}


def duration(length: timedelta) -> str:
    """A duration, such as "1.5 s" or "0:02:10"."""
    if length < timedelta(minutes=1):
        return _("%(seconds)s s") % {"seconds": number_format(f"{length.total_seconds():.2g}")}
    return str(timedelta(seconds=round(length.total_seconds())))
