"""Calls that a page makes with a connection: within the connection's own limits, and without holding up the sending.

- `calls_per_second`: a call for a page takes the next moment of the same line as the senders' (`limits`), but at most
  every second one, so that the senders keep at least half.
- `calls_at_once`: one page at a time, and the senders leave one place to it. After it no other page follows for as long
  as it took. A page that died frees its place when `page_call_until` is over.

A page waits only shortly for its turn.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import NamedTuple

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from ..models import NavigatrConnection
from ..waiting import Busy
from .leases import CONNECTING
from .limits import in_hand

# How long a page waits for its turn.
PATIENCE = timedelta(seconds=3)
# How often it looks whether a place is free, in seconds.
LOOK_EVERY = 0.1


class _Turn(NamedTuple):
    """When to begin; and until when a place is kept, None without `calls_at_once`."""

    begin: datetime
    until: datetime | None


class LimitsReached(Busy):
    """The connection's own limits allow no call for a page just now. Nothing was asked."""


@contextmanager
def page_call(connection: NavigatrConnection, *, calls: int = 1, longest: timedelta) -> Iterator[None]:
    """Wait for the turn of so many calls, which take no longer than `longest` together. Raises LimitsReached."""
    if not connection.has_limits:
        yield
        return
    give_up = timezone.now() + PATIENCE
    turn = _take(connection, calls, longest)
    while turn is None:
        _rest(give_up)
        turn = _take(connection, calls, longest)
    took = timedelta()
    try:
        while _is_full(connection):
            _rest(give_up)
        sleep(max(0.0, (turn.begin - timezone.now()).total_seconds()))
        started = monotonic()
        try:
            yield
        finally:
            took = timedelta(seconds=monotonic() - started)
    finally:
        _give_back(connection, turn, took)


def _rest(give_up: datetime) -> None:
    """Wait a little. Raises LimitsReached when that has been done long enough."""
    if timezone.now() >= give_up:
        raise _reached()
    sleep(LOOK_EVERY)


def _reached() -> LimitsReached:
    return LimitsReached(_("The connection's limit of calls is used up just now. Try again in a moment."))


@transaction.atomic
def _take(connection: NavigatrConnection, calls: int, longest: timedelta) -> _Turn | None:
    """Take a turn; None while another page has the place. Raises LimitsReached."""
    now = timezone.now()
    current = NavigatrConnection.objects.select_for_update(no_key=True).defer("pat").get(pk=connection.pk)
    if current.calls_at_once is not None:
        if current.page_call_until and current.page_call_until > now:
            return None
        current.page_call_until = now + PATIENCE + CONNECTING + longest
    begin = max(now, current.next_page_call_at or now)
    if current.calls_per_second is not None:
        line = max(now, current.next_slot_at or now)
        begin = max(begin, line)
        space = timedelta(seconds=calls / current.calls_per_second)
        current.next_slot_at, current.next_page_call_at = line + space, begin + 2 * space
    if begin > now + PATIENCE:
        raise _reached()
    current.save(update_fields=["page_call_until", "next_slot_at", "next_page_call_at"])
    return _Turn(begin, current.page_call_until)


def _is_full(connection: NavigatrConnection) -> bool:
    """Whether the senders still use the place that was taken from them."""
    most = connection.calls_at_once
    return most is not None and in_hand(connection, most=most) >= most


def _give_back(connection: NavigatrConnection, turn: _Turn, took: timedelta) -> None:
    """Free the place; then the senders have it for as long as this call took."""
    if connection.calls_at_once is not None:
        rests_until = timezone.now() + took
        # Not if it was over, and another page has it now.
        NavigatrConnection.objects.filter(pk=connection.pk, page_call_until=turn.until).update(page_call_until=None)
        earlier = Q(next_page_call_at=None) | Q(next_page_call_at__lt=rests_until)
        NavigatrConnection.objects.filter(earlier, pk=connection.pk).update(next_page_call_at=rests_until)
