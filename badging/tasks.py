"""Celery's doors: each tick or message becomes one call of a verb. The rows say what became of it.

Every task may be lost, doubled or late without harm: the database is the queue's truth, and each verb takes its work
with a lease.
"""

import logging
import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down
from django.conf import settings
from django.utils import timezone
from kombu.exceptions import OperationalError

from moodle_sync.models import MoodleSiteState
from navigatr_client import NavigatrError
from vault.keys import WrongKey

from . import connections, mapping
from .models import NavigatrConnection
from .polling.rounds import Poller
from .sending import rounds, sweeping

log = logging.getLogger(__name__)

# How long one connection may send in one go before its sender goes to the end of the line: a worker has fewer threads
# (launcher/programs.py) than there may be connections with a long queue. Polling takes one of them, by turns as well.
TURN_SECONDS = 30.0

stopping = threading.Event()
# The polls of this process, in all its rounds.
poller = Poller(at_once=settings.POLLS_AT_ONCE, waiting=settings.POLLS_WAITING, on_queued=lambda: nudge())
_under_way: dict[str, list[float]] = {}
_under_way_lock = threading.Lock()


@contextmanager
def alone(job: str, *, until: float = math.inf) -> Iterator[bool]:
    """Whether no other thread of this process is at the same job; until the end of the block it is this one's.

    Ticks go on while a job takes long, and each would take another thread, until none is left for anything else. One
    whose time (`until`, on the monotonic clock) is up, and that only waits for its last answers, lets one other begin.
    """
    with _under_way_lock:
        others = _under_way.setdefault(job, [])
        mine = len(others) < 2 and all(other <= monotonic() for other in others)
        if mine:
            others.append(until)
    try:
        yield mine
    finally:
        if mine:
            with _under_way_lock:
                others.remove(until)


@worker_shutting_down.connect
def stop_sending(**kwargs: Any) -> None:
    """A warm stop: what is in flight is finished, the rest is handed back at once, and polls end after their call."""
    stopping.set()


@shared_task(ignore_result=True)
def poll_due() -> None:
    """Poll each Moodle site as soon as it is due, for one turn; ends early when none will be before the next tick.

    Twice at a time is harmless: each poll takes its site with a lease. Where this process is at it already, the round
    that is running looks at once what is due.
    """
    until = monotonic() + TURN_SECONDS
    with alone("polling") as nobody_else:
        if not nobody_else:
            poller.wake()
            return
        poller.run(until=until, should_stop=stopping.is_set)
    if monotonic() >= until and not stopping.is_set():
        _wake(poll_due, "polling goes on at the next tick")


@shared_task(ignore_result=True)
def send_sweep() -> None:
    """Take back what dead workers held, and start a sender for each connection with something due.

    Twice at a time is harmless.
    """
    with alone("sweep") as nobody_else:
        if not nobody_else:
            return
        now = timezone.now()
        sweeping.sweep(now=now)
        for connection in rounds.due_connections(now):
            send_due.apply_async((connection.pk,), expires=30)


@shared_task(ignore_result=True)
def send_due(connection_id: int) -> None:
    """Send what is due of one connection, for one turn. Twice at a time is harmless: each claims its own rows."""
    until = monotonic() + TURN_SECONDS
    with alone(f"sending {connection_id}", until=until) as nobody_else:
        connection = NavigatrConnection.objects.filter(pk=connection_id).first()
        if not nobody_else or connection is None:
            return
        rounds.send_due(connection, should_stop=lambda: stopping.is_set() or monotonic() >= until)
    if monotonic() >= until and not stopping.is_set():
        nudge()


@shared_task(ignore_result=True)
def daily_checks() -> None:
    """Look at every connection's token and mapped badges again. Sites check themselves when they are polled."""
    for connection in NavigatrConnection.objects.exclude(state=NavigatrConnection.State.REMOVED):
        try:
            if connections.retest(connection, actor=None, now=timezone.now()).ok:
                mapping.refresh_badges(connection, now=timezone.now())
        except (NavigatrError, WrongKey) as error:
            log.warning("%s: the mapped badges could not be looked at: %s", connection, error)


def nudge() -> bool:
    """Tell a worker that something is due, so that nobody waits for the next sweep; False when no broker answers.

    Nothing is lost then: it is sent when the worker is back.
    """
    return _wake(send_sweep, "what is due is sent by the next sweep")


def nudge_poll(site_id: int) -> bool:
    """Have a site polled now; False when no broker answers (the next tick will do it)."""
    MoodleSiteState.objects.filter(site=site_id).update(next_poll_at=timezone.now())
    return _wake(poll_due, "the next tick polls the site")


def _wake(task: Any, otherwise: str) -> bool:
    """Have a worker begin with a task; False, and a line in the log, when no broker answers."""
    try:
        task.apply_async(expires=30, retry=False)
    except OperationalError as error:
        log.warning("the broker does not answer (%s); %s", type(error).__name__, otherwise)
        return False
    return True
