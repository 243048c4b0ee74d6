"""What headers say: the portal's version, dates, waits."""

import re
import tomllib
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

# The portal runs from its checkout and is never installed as a package, so pyproject.toml is always there.
_PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
VERSION: str = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]["version"]

LONGEST_RETRY_AFTER = timedelta(days=1)
_SECONDS = re.compile(r"\s*-?[0-9]+\s*")


def user_agent(version: str) -> str:
    """The product's User-Agent header."""
    return f"navigatr-badge-portal/{version}"


def parse_http_date(text: str | None) -> datetime | None:
    """A date header such as Date; None if missing or unreadable."""
    try:
        parsed = parsedate_to_datetime(text or "")
        # An HTTP date is always in GMT, whether it says so or not (RFC 9110, section 5.6.7).
        return parsed.astimezone(UTC) if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def parse_retry_after(text: str | None, now: datetime) -> timedelta | None:
    """The wait that a Retry-After header asks for, between nothing and one day; None if missing or unreadable.

    RFC 9110, section 10.2.3, allows seconds or an HTTP date, which is measured from `now` (aware).
    """
    if text and _SECONDS.fullmatch(text):
        try:
            # A timedelta holds no number of hundreds of digits.
            wait = timedelta(seconds=min(int(text), 10**9))
        except ValueError:
            # Python reads no number of thousands of digits.
            return None
    else:
        until = parse_http_date(text)
        if until is None:
            return None
        wait = until - now
    return min(max(wait, timedelta(0)), LONGEST_RETRY_AFTER)
