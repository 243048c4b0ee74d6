"""What a call to Navigatr can end in, named for what the caller does next.

The message of every error is method, path and status or kind of failure, such as `PUT /badge/51/issue: HTTP 503`. It
never holds a query, a header or a body: those may carry the token or personal data.
"""

import re
from datetime import timedelta
from typing import Any

LONGEST_DETAIL = 500
MOST_FIELDS = 20
# What a field of ours, or of FastAPI's, is called. Anything else in its place may hold what was sent, and is not kept.
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}", re.ASCII)
# Where FastAPI found the field; not a field itself.
_PLACES = frozenset({"body", "query", "path", "header", "cookie"})


class NavigatrError(Exception):
    """A call to Navigatr that did not do what was asked.

    `status` is the HTTP status, or None without an answer. `detail` is Navigatr's own explanation as one line of at
    most 500 characters; it may hold personal data and is therefore in neither str() nor repr(). `fields` are the names
    of the fields that it found malformed, where it tells. `retry_after` is the wait that Navigatr asked for, if it did.
    """

    def __init__(
        self,
        method: str,
        path: str,
        *,
        status: int | None = None,
        failure: str = "",
        detail: str = "",
        fields: tuple[str, ...] = (),
        retry_after: timedelta | None = None,
    ) -> None:
        outcome = [f"HTTP {status}"] if status is not None else []
        super().__init__(f"{method} {path}: {', '.join([*outcome, failure] if failure else outcome)}")
        self.method = method
        self.path = path
        self.status = status
        self.detail = detail[:LONGEST_DETAIL]
        self.fields = fields
        self.retry_after = retry_after


class NavigatrUnavailable(NavigatrError):
    """Try later: nothing happened at Navigatr's end."""


class NavigatrUnexpectedAnswer(NavigatrUnavailable):
    """Try later: a read was answered with something other than the documented shape, which is not "none found"."""


class NavigatrUnclear(NavigatrError):
    """Look before trying again: a call that changes something may or may not have done so."""


class NavigatrTokenRefused(NavigatrError):
    """Reconnect: the token is invalid, expired or revoked, so every other call of this connection would fail too."""


class NavigatrTokenMalformed(NavigatrTokenRefused, ValueError):
    """Reconnect: this cannot be a token (empty, or with blanks or foreign characters inside), so nothing was sent."""


class NavigatrRejected(NavigatrError):
    """Do not try again by itself: Navigatr refuses this call for good, and `status` says why (see API.md's table)."""


class NavigatrRequirementNotMet(NavigatrError):
    """Not issued: the badge needs a minimum score or evidence that the learner does not have (HTTP 202)."""


def detail_text(answer: Any) -> str:
    """Navigatr's own explanation from an error's JSON, as one line; "" where there is none.

    FastAPI writes `{"detail": "text"}` or `{"detail": [{"loc": [...], "msg": "...", "type": "..."}]}`.
    """
    detail = answer.get("detail") if isinstance(answer, dict) else None
    entries = detail if isinstance(detail, list) else [detail]
    return " ".join("; ".join(filter(None, map(_entry_text, entries))).split())[:LONGEST_DETAIL]


def detail_fields(answer: Any) -> tuple[str, ...]:
    """The names of the fields that FastAPI's `loc` entries name, each once, in their order."""
    detail = answer.get("detail") if isinstance(answer, dict) else None
    entries = detail if isinstance(detail, list) else [detail]
    places = [entry["loc"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("loc"), list)]
    names = {
        name: None
        for loc in places
        for position, name in enumerate(loc)
        if isinstance(name, str) and _FIELD.fullmatch(name) and not (position == 0 and name in _PLACES)
    }
    return tuple(names)[:MOST_FIELDS]


def _entry_text(entry: Any) -> str:
    if isinstance(entry, dict) and isinstance(entry.get("msg"), str):
        where = entry.get("loc")
        return f"{'.'.join(map(str, where))}: {entry['msg']}" if isinstance(where, list) else entry["msg"]
    return entry if isinstance(entry, str) else ""
