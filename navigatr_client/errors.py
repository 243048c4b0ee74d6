"""The errors of a call to Navigatr, one class for each thing that the caller can do next.

A message has the method, the path, and the status or the failure, as in `PUT /badge/51/issue: HTTP 503`. It never has
a query, a header or a body, because these may hold the token or personal data.
"""

import re
from datetime import timedelta
from typing import Any

# Characters of Navigatr's explanation that are kept.
LONGEST_DETAIL = 500
# Names of malformed fields that are kept.
MOST_FIELDS = 20
# A field's name. Other text in its place may be a value that was sent, so it is not kept.
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}", re.ASCII)
# The first part of FastAPI's `loc`, which is not a field's name.
_LOCATIONS = frozenset({"body", "query", "path", "header", "cookie"})


class NavigatrError(Exception):
    """Base class: a call to Navigatr failed.

    - `status`: the HTTP status, or None if there was no answer.
    - `detail`: Navigatr's explanation, one line of at most LONGEST_DETAIL characters. It may hold personal data, so
      neither str() nor repr() shows it.
    - `fields`: the names of malformed fields, if Navigatr says which.
    - `retry_after`: how long Navigatr asks us to wait, if it does.
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
    """Try later: Navigatr did nothing."""


class NavigatrUnexpectedAnswer(NavigatrUnavailable):
    """Try later: the answer to a GET is not the documented one. It does not mean that nothing was found."""


class NavigatrUnclear(NavigatrError):
    """Look up what happened before you try again: a PUT may or may not have been carried out."""


class NavigatrTokenRefused(NavigatrError):
    """Reconnect: the token is invalid, expired or revoked, so every call with it fails."""


class NavigatrTokenMalformed(NavigatrTokenRefused, ValueError):
    """Reconnect: the token is empty or has characters that no token has, so nothing was sent."""


class NavigatrRejected(NavigatrError):
    """Do not retry: Navigatr refuses this call. `status` says why (docs/navigatr-api.md, "Issuing")."""


class NavigatrRequirementNotMet(NavigatrError):
    """Not issued (HTTP 202): the learner lacks the score or the evidence that the badge requires."""


def detail_text(answer: Any) -> str:
    """The explanation in the JSON of an error as one line, "" if there is none."""
    return " ".join("; ".join(filter(None, map(_entry_text, _entries(answer)))).split())[:LONGEST_DETAIL]


def detail_fields(answer: Any) -> tuple[str, ...]:
    """The names of the malformed fields in the JSON of an error, each once, in their order."""
    locs = [
        entry["loc"] for entry in _entries(answer) if isinstance(entry, dict) and isinstance(entry.get("loc"), list)
    ]
    names = {
        name: None
        for loc in locs
        for position, name in enumerate(loc)
        if isinstance(name, str) and _FIELD.fullmatch(name) and not (position == 0 and name in _LOCATIONS)
    }
    return tuple(names)[:MOST_FIELDS]


def _entries(answer: Any) -> list[Any]:
    """The entries of FastAPI's `{"detail": "text"}` or `{"detail": [{"loc": […], "msg": "text", "type": "…"}]}`."""
    detail = answer.get("detail") if isinstance(answer, dict) else None
    return detail if isinstance(detail, list) else [detail]


def _entry_text(entry: Any) -> str:
    if isinstance(entry, dict) and isinstance(entry.get("msg"), str):
        loc = entry.get("loc")
        return f"{'.'.join(map(str, loc))}: {entry['msg']}" if isinstance(loc, list) else entry["msg"]
    return entry if isinstance(entry, str) else ""
