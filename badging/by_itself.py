"""Requests that a page makes by itself, with nobody at the keyboard. They keep no session alive (`people.sessions`)."""

from django.http import HttpRequest

_MARK = "portal.by_itself"
# A script of ours sends it where it loads a whole page again (`refresh.js`).
HEADER = "X-Portal-By-Itself"


def mark(request: HttpRequest) -> None:
    """Mark the request of a view that only scripts call."""
    request.META[_MARK] = True


def is_by_itself(request: HttpRequest) -> bool:
    """Whether nobody asked for this. A false header only makes the sender's session end sooner."""
    return _MARK in request.META or HEADER in request.headers
