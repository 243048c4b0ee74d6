"""Requests that a page makes by itself, with nobody at the keyboard. They keep no session alive (`people.sessions`)."""

from django.http import HttpRequest

_MARK = "portal.by_itself"
# A script of ours sends it where it loads a whole page again (`refresh.js`).
HEADER = "X-Portal-By-Itself"


def mark(request: HttpRequest) -> None:
    """Say so of a request, in a view that only scripts ask."""
    request.META[_MARK] = True


def is_by_itself(request: HttpRequest) -> bool:
    """Whether nobody asked for this. Whoever sends the header without need only has the session end sooner."""
    return _MARK in request.META or HEADER in request.headers
