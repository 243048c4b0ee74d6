"""What travels: one request, one answer. Shared by both pretend services, the page and the control calls."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

HTML = "text/html; charset=UTF-8"
JSON = "application/json"


@dataclass(slots=True)
class Request:
    """One HTTP request, fully read. Header names are in lower case; `query` is still encoded."""

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def params(self) -> dict[str, str]:
        """The query string; the last of equal names wins, as in most frameworks."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def form(self) -> dict[str, str]:
        """The form-encoded body; the last of equal names wins."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. `delay` seconds pass before it is sent; `drop` closes the connection in place of an answer.

    `drop` is "" (answer), "close" (orderly close) or "reset" (the connection is reset). `drip` sends the "headers" or
    the "body" byte by byte, `pace` seconds apart. `sent` bytes of the body go out before the connection is closed.
    """

    status: int = 200
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    drop: str = ""
    drip: str = ""
    pace: float = 0.0
    sent: int | None = None

    def later(self, seconds: float) -> Reply:
        """The same answer, this much later."""
        return replace(self, delay=self.delay + seconds) if seconds else self


def json_reply(value: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """A JSON answer."""
    return Reply(status, json.dumps(value, separators=(",", ":")).encode(), JSON, headers)


def html_reply(text: str, status: int = 200) -> Reply:
    """An HTML answer."""
    return Reply(status, text.encode(), HTML)


def redirect(address: str) -> Reply:
    """Send a browser on after a form (303: the next request is a GET)."""
    return Reply(303, b"", HTML, (("Location", address),))
