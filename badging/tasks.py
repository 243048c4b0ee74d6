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
from django.db.models import F
from django.utils import timezone
from kombu.exceptions import OperationalError

from moodle_sync.models import MoodleSite, MoodleSiteState
from navigatr_client import NavigatrError
from vault.keys import WrongKey

from . import connections, issuing, mapping, queueing, sweeping
from .models import NavigatrConnection

log = logging.getLogger(__name__)

# How long one connection may send in one go before its sender goes to the end of the line: a worker has fewer threads
# than there may be connections with a long queue, and polls wait for the same threads.
TURN_SECONDS = 30.0
# Polls of slow sites leave at least half of a worker's threads (supervisor/programs.py) to sending.
POLLS_AT_ONCE = 4

stopping = threading.Event()
polls_under_way = threading.BoundedSemaphore(POLLS_AT_ONCE)
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
    """Start a poll for each Moodle site whose time has come, the one that waits longest first.

    A site that is being polled is left out.
    """
    due = MoodleSite.objects.due(timezone.now()).order_by(F("state__next_poll_at").asc(nulls_first=True))
    for pk in due.values_list("pk", flat=True):
        poll_site.apply_async((pk,), expires=60)


@shared_task(ignore_result=True)
def poll_site(site_id: int) -> None:
    """One round for one site. Twice at a time is harmless: the second finds it taken.

    Where too many are under way it stays due, and a later tick starts it.
    """
    if not polls_under_way.acquire(blocking=False):
        return
    try:
        site = MoodleSite.objects.filter(pk=site_id).select_related("state").first()
        queued = (
            queueing.poll_and_queue(site, now=timezone.now(), should_stop=stopping.is_set).queued
            if site is not None
            else 0
        )
    finally:
        polls_under_way.release()
    if queued:
        nudge()


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
        for connection in issuing.due_connections(now):
            send_due.apply_async((connection.pk,), expires=30)


@shared_task(ignore_result=True)
def send_due(connection_id: int) -> None:
    """Send what is due of one connection, for one turn. Twice at a time is harmless: each claims its own rows."""
    until = monotonic() + TURN_SECONDS
    with alone(f"sending {connection_id}", until=until) as nobody_else:
        connection = NavigatrConnection.objects.filter(pk=connection_id).first()
        if not nobody_else or connection is None:
            return
        issuing.send_due(connection, should_stop=lambda: stopping.is_set() or monotonic() >= until)
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
    try:
        send_sweep.apply_async(expires=30, retry=False)
    except OperationalError as error:
        log.warning("the broker does not answer (%s); what is due is sent by the next sweep", type(error).__name__)
        return False
    return True


def nudge_poll(site_id: int) -> bool:
    """Have a site polled now; False when no broker answers (the next tick will do it)."""
    MoodleSiteState.objects.filter(site=site_id).update(next_poll_at=timezone.now())
    try:
        poll_site.apply_async((site_id,), expires=60, retry=False)
    except OperationalError as error:
        log.warning("the broker does not answer (%s); the next tick polls the site", type(error).__name__)
        return False
    return True
