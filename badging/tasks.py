"""Celery's tasks: each calls one function, and the database's rows tell what became of it.

Every task may be lost, doubled or late without harm: the database is the queue, and work is taken with a lease.
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
from django.dispatch import Signal
from django.utils import timezone
from kombu.exceptions import OperationalError

from moodle_sync import poll_records
from moodle_sync.models import MoodleSiteState
from navigatr_client import NavigatrError
from vault.keys import WrongKey

from . import bulk, connections, days, mapping, privacy, schedule
from .models import BulkRun, NavigatrConnection
from .polling.poller import Poller
from .sending import rounds, sweeping

log = logging.getLogger(__name__)

# How long a sender or a polling round works in one go. A worker has fewer threads (launcher/programs.py) than there may
# be connections with a long queue, so that each goes to the end of the line after its turn.
TURN_SECONDS = 30.0
# How many background actions one sweep wakes.
RUNS_WOKEN = 20

# Sent by `daily_checks`: what other apps do once a day, without a task of their own in the schedule.
once_a_day = Signal()

# Set when the worker is told to stop.
stopping = threading.Event()
# The polls of this process, shared by its rounds.
poller = Poller(at_once=settings.POLLS_AT_ONCE, waiting=settings.POLLS_WAITING, on_queued=lambda: nudge())
# The ends of the turns of those threads that are at a job, by job.
_under_way: dict[str, list[float]] = {}
_under_way_lock = threading.Lock()


@contextmanager
def alone(job: str, *, until: float = math.inf) -> Iterator[bool]:
    """Yield True if no other thread of this process runs `job`.

    Without this each tick would start one more thread while a job takes long. Once a thread's turn (`until`, on the
    monotonic clock) is over, and it only waits for its last answers, one more may begin.
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
    """Finish what is in flight, hand back the rest at once, and end polls after their present call."""
    stopping.set()


@shared_task(ignore_result=True)
def poll_due() -> None:
    """Poll each Moodle site as soon as it is due, for one turn; ends early when none will be before the next tick.

    Running it twice at a time is harmless: each poll takes its site with a lease. If this process polls already, the
    running round looks at once which sites are due.
    """
    schedule.note("badging.tasks.poll_due", timezone.now())
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
    """Take back what dead workers held, and wake a sender for each connection with something due.

    Background actions that wait, or whose worker has died, go on as well. Running it twice at a time is harmless.
    """
    schedule.note("badging.tasks.send_sweep", timezone.now())
    with alone("sweep") as nobody_else:
        if not nobody_else:
            return
        sweeping.sweep(now=timezone.now())
        nudge()
        for run_id in BulkRun.objects.to_be_worked_on(timezone.now()).values_list("pk", flat=True)[:RUNS_WOKEN]:
            nudge_bulk(run_id)


@shared_task(ignore_result=True)
def send_due(connection_id: int) -> None:
    """Send what is due of one connection, for one turn.

    Running it twice at a time is harmless: each claims its own rows.
    """
    until = monotonic() + TURN_SECONDS
    with alone(f"sending {connection_id}", until=until) as nobody_else:
        connection = NavigatrConnection.objects.filter(pk=connection_id).first()
        if not nobody_else or connection is None:
            return
        rounds.send_due(connection, should_stop=lambda: stopping.is_set() or monotonic() >= until)
    if monotonic() >= until and not stopping.is_set():
        _wake(send_due, "what is due is sent by the next sweep", connection_id)


@shared_task(ignore_result=True)
def bulk_run(run_id: int) -> None:
    """Go on with a background action, for one turn.

    Running it twice at a time is harmless: a lease lets one worker go on, and each batch says how far it came.
    """
    until = monotonic() + TURN_SECONDS
    bulk.work(run_id, should_stop=lambda: stopping.is_set() or monotonic() >= until, clock=timezone.now)
    nudge()


@shared_task(ignore_result=True)
def daily_checks() -> None:
    """Delete what is old, look at connections' tokens and mapped badges again, and have other apps do their daily work.

    Sites check themselves when they are polled. Running it twice at a time is harmless.
    """
    schedule.note("badging.tasks.daily_checks", timezone.now())
    privacy.remove_old_words(now=timezone.now())
    privacy.empty_log()
    poll_records.forget_old(timezone.now())
    # Robust: an error of a receiver is logged, and the rest is done.
    once_a_day.send_robust(sender=None)
    for connection in NavigatrConnection.objects.exclude(state=NavigatrConnection.State.REMOVED):
        try:
            if connections.retest(connection, actor=None, now=timezone.now()).ok:
                mapping.refresh_badges(connection, now=timezone.now())
        except (NavigatrError, WrongKey) as error:
            log.warning("%s: the mapped badges could not be looked at: %s", connection, error)


@shared_task(ignore_result=True)
def count_days() -> None:
    """Count a few of the past days that are not counted yet. Running it twice at a time is harmless."""
    schedule.note("badging.tasks.count_days", timezone.now())
    days.count_days(now=timezone.now())


def nudge() -> bool:
    """Wake a sender for each connection with something due, with one message; False when no broker answers.

    Nothing is lost then: the next sweep does the same.
    """
    due = rounds.due_connections(timezone.now())
    return all(_wake(send_due, "what is due is sent by the next sweep", connection.pk) for connection in due)


def nudge_bulk(run_id: int) -> bool:
    """Have a worker go on with a background action; False when no broker answers. The next sweep does it then."""
    return _wake(bulk_run, "the background action goes on at the next sweep", run_id)


def nudge_poll(site_id: int) -> bool:
    """Have a site polled now; False when no broker answers. The next tick polls it then."""
    MoodleSiteState.objects.filter(site=site_id).update(next_poll_at=timezone.now())
    return _wake(poll_due, "the next tick polls the site")


def _wake(task: Any, otherwise: str, *arguments: int) -> bool:
    """Have a worker begin with a task; False, and a line in the log, when no broker answers."""
    try:
        task.apply_async(arguments, expires=30, retry=False)
    except OperationalError as error:
        log.warning("the broker does not answer (%s); %s", type(error).__name__, otherwise)
        return False
    return True
