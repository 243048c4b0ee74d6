"""How times are written for people."""

from datetime import datetime

from django.utils import timezone
from django.utils.formats import date_format


def moment(at: datetime) -> str:
    """The time as all pages show it: in the portal's zone, which it names."""
    return date_format(timezone.localtime(at), "DATETIME_FORMAT")
