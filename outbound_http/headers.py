"""The version for the User-Agent header, and readers for dates and Retry-After."""

import re
import tomllib
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

# The portal runs from its checkout and is never installed as a package, so pyproject.toml is always there.
_PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
VERSION: str = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]["version"]

# A server cannot make the portal wait for longer than this.
LONGEST_RETRY_AFTER = timedelta(days=1)
_SECONDS = re.compile(r"\s*-?[0-9]+\s*")


def parse_http_date(text: str | None) -> datetime | None:
    """The time in a header such as Date, or None if it is missing or malformed."""
    try:
        parsed = parsedate_to_datetime(text or "")
        # An HTTP date without a zone is in GMT (RFC 9110, section 5.6.7).
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def parse_retry_after(text: str | None, now: datetime) -> timedelta | None:
    """The wait that a Retry-After header asks for, from 0 to LONGEST_RETRY_AFTER; None if missing or malformed.

    The header is a number of seconds, or an HTTP date (RFC 9110, section 10.2.3), from which `now` is subtracted.
    """
    if text and _SECONDS.fullmatch(text):
        try:
            # Limited on both sides, because timedelta overflows.
            wait = timedelta(seconds=min(max(int(text), 0), 10**9))
        except ValueError:
            # Python refuses to read a number of more than 4300 digits.
            return None
    else:
        until = parse_http_date(text)
        if until is None:
            return None
        wait = until - now
    return min(max(wait, timedelta(0)), LONGEST_RETRY_AFTER)
