"""Who acts now: the user of the present request, or somebody at the shell. Needs no Django.

`people.changes` records changes of accounts only while this is known, so that programs which merely prepare data (a
benchmark, a test) fill no audit trail.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

_ask: ContextVar[Callable[[], Any] | None] = ContextVar("people.acting", default=None)


@contextmanager
def acting(ask: Callable[[], Any] | None) -> Iterator[None]:
    """Within this block `ask` tells who acts; it is called late, because signing in changes the answer.

    With None nobody is known to act: the caller records by itself what is changed.
    """
    token = _ask.set(ask)
    try:
        yield
    finally:
        _ask.reset(token)


def nobody() -> None:
    """Who acts at the shell: no user of the portal."""


def at_the_shell() -> bool:
    """Whether a command is under way."""
    return _ask.get() is nobody


def is_known() -> bool:
    """Whether somebody acts: a request or a command is under way."""
    return _ask.get() is not None


def actor() -> Any:
    """The user who acts; None for a command, as for a visitor who is not signed in."""
    ask = _ask.get()
    return ask() if ask else None


class ActingMiddleware:
    """Tells that the user of the request acts. Belongs behind AuthenticationMiddleware."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        """Answer the request."""
        with acting(lambda: request.user):
            return self.get_response(request)
