"""HTTP requests and replies, shared by both pretend services, the page and the control calls."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl

HTML = "text/html; charset=UTF-8"
JSON = "application/json"


@dataclass(slots=True)
class Request:
    """A complete HTTP request. Header names are in lower case; `query` is still encoded."""

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def params(self) -> dict[str, str]:
        """The decoded query string. If a name repeats, its last value counts."""
        return dict(parse_qsl(self.query, keep_blank_values=True))

    def form(self) -> dict[str, str]:
        """The decoded form in the body. If a name repeats, its last value counts."""
        return dict(parse_qsl(self.body.decode("utf-8", "replace"), keep_blank_values=True))


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP reply, and how it is sent.

    - `delay`: seconds before it is sent.
    - `drop`: "close" or "reset" ends the connection that way without a reply.
    - `drip`: "headers" or "body" is sent byte by byte, `pace` seconds apart.
    - `sent`: the connection is closed after this many bytes of the body.
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
        """The same reply, delayed further."""
        return replace(self, delay=self.delay + seconds) if seconds else self


def json_reply(value: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Reply:
    """A reply with JSON."""
    return Reply(status, json.dumps(value, separators=(",", ":")).encode(), JSON, headers)


def html_reply(text: str, status: int = 200) -> Reply:
    """A reply with HTML."""
    return Reply(status, text.encode(), HTML)


def redirect(address: str) -> Reply:
    """Redirect a browser after a form. With 303 its next request is a GET."""
    return Reply(303, b"", HTML, (("Location", address),))
