"""A connection's own limits, kept in its row, where every worker on every host sees them."""

import math
from datetime import datetime, timedelta

from django.db import transaction

from ..models import Issuance, NavigatrConnection

# How far ahead calls are given their times: far enough that a sender always has some in hand.
AHEAD = timedelta(seconds=1)


def places(connection: NavigatrConnection, wanted: int, now: datetime) -> int:
    """How many issuances a worker may take in hand now, at most `wanted`.

    Call it in the transaction that takes them, and `begin_at` after that: a connection with limits is locked until the
    end of the transaction, so that two workers never count the same place twice.
    """
    if not connection.has_limits:
        return wanted
    row = NavigatrConnection.objects.select_for_update(no_key=True).only("next_slot_at", "page_call_until")
    current = row.get(pk=connection.pk)
    connection.next_slot_at = current.next_slot_at
    if connection.calls_at_once is not None:
        in_use = in_hand(connection, most=connection.calls_at_once)
        if current.page_call_until and current.page_call_until > now:
            # A page asks, or waits for this place (`page_calls`).
            in_use += 1
        wanted = min(wanted, max(0, connection.calls_at_once - in_use))
    if connection.calls_per_second is not None:
        free = now + AHEAD - max(now, connection.next_slot_at or now)
        wanted = min(wanted, max(0, math.ceil(free.total_seconds() * connection.calls_per_second)))
    return wanted


def in_hand(connection: NavigatrConnection, *, most: int) -> int:
    """How many issuances workers have in hand with the connection, counted no further than `most`."""
    return Issuance.objects.filter(connection=connection, state=Issuance.State.SENDING)[:most].count()


def begin_at(connection: NavigatrConnection, calls: int, now: datetime) -> list[datetime]:
    """The moments at which so many calls may begin, evenly spaced; from then on they are taken."""
    if connection.calls_per_second is None or not calls:
        return [now] * calls
    space = timedelta(seconds=1 / connection.calls_per_second)
    first = max(now, connection.next_slot_at or now)
    NavigatrConnection.objects.filter(pk=connection.pk).update(next_slot_at=first + calls * space)
    return [first + number * space for number in range(calls)]


def count_more(connection: NavigatrConnection, calls: int, since: datetime) -> None:
    """Calls were made since then that had no moment of their own, a look-up's further pages: those to come wait."""
    if connection.calls_per_second is None or calls < 1:
        return
    with transaction.atomic():
        current = NavigatrConnection.objects.select_for_update(no_key=True).only("next_slot_at").get(pk=connection.pk)
        later = max(since, current.next_slot_at or since) + timedelta(seconds=calls / connection.calls_per_second)
        NavigatrConnection.objects.filter(pk=connection.pk).update(next_slot_at=later)
