"""Celery's doors: each tick or message becomes one call of a verb. The rows say what became of it.

Every task may be lost, doubled or late without harm: the database is the queue's truth, and each verb takes its work
with a lease.
"""

import logging
import threading
from typing import Any

from celery import shared_task
from celery.signals import worker_shutting_down
from django.utils import timezone
from kombu.exceptions import OperationalError

from moodle_sync.models import MoodleSite
from navigatr_client import NavigatrError
from vault.keys import WrongKey

from . import connections, issuing, mapping, queueing
from .models import NavigatrConnection

log = logging.getLogger(__name__)

_stopping = threading.Event()
# The connections that this process is sending for: one sender each, so that a long queue of one connection, for which
# every sweep starts another sender, leaves room for the others and for the polls.
_sending: set[int] = set()
_sending_lock = threading.Lock()


@worker_shutting_down.connect
def _stop_sending(**kwargs: Any) -> None:
    """A warm stop: what is in flight is finished, the rest is handed back at once."""
    _stopping.set()


@shared_task(ignore_result=True)
def poll_due() -> None:
    """Start a poll for each Moodle site whose time has come; a site that is being polled is left out."""
    for pk in MoodleSite.objects.due(timezone.now()).values_list("pk", flat=True):
        poll_site.apply_async((pk,), expires=60)


@shared_task(ignore_result=True)
def poll_site(site_id: int) -> None:
    """One round for one site. Twice at a time is harmless: the second finds it taken."""
    site = MoodleSite.objects.filter(pk=site_id).first()
    if site is not None and queueing.poll(site, now=timezone.now()).queued:
        nudge()


@shared_task(ignore_result=True)
def send_sweep() -> None:
    """Take back what dead workers held, and start a sender for each connection with something due."""
    now = timezone.now()
    issuing.sweep(now=now)
    for connection in issuing.due_connections(now):
        send_due.apply_async((connection.pk,), expires=30)


@shared_task(ignore_result=True)
def send_due(connection_id: int) -> None:
    """Send what is due of one connection. Twice at a time is harmless: each claims its own rows."""
    with _sending_lock:
        if connection_id in _sending:
            return
        _sending.add(connection_id)
    try:
        connection = NavigatrConnection.objects.filter(pk=connection_id).first()
        if connection is not None:
            issuing.send_due(connection, should_stop=_stopping.is_set)
    finally:
        with _sending_lock:
            _sending.discard(connection_id)


@shared_task(ignore_result=True)
def daily_checks() -> None:
    """Look at every connection's token and mapped badges again. Sites check themselves when they are polled."""
    for connection in NavigatrConnection.objects.exclude(state=NavigatrConnection.State.REMOVED):
        try:
            if connections.retest(connection, actor=None, now=timezone.now()).ok:
                mapping.refresh_badges(connection)
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
    """Tell a worker to poll a site now; False when no broker answers (the schedule will do it)."""
    try:
        poll_site.apply_async((site_id,), expires=60, retry=False)
    except OperationalError as error:
        log.warning("the broker does not answer (%s); the site is polled on schedule", type(error).__name__)
        return False
    return True
