"""The circuit breaker of a connection: rests after a row of failures, and probes whether Navigatr is back.

It stands in the connection's row, where every worker on every host sees it.
"""

import logging
from datetime import datetime, timedelta

from django.conf import settings

from ..meanings import Outcome
from ..models import NavigatrConnection

log = logging.getLogger(__name__)


def circuit_pause(failures: int) -> timedelta:
    """How long a connection rests after `failures` calls failed in a row: 30 s, doubling with each failed probe."""
    beyond = max(0, failures - settings.CIRCUIT_THRESHOLD)
    grown = int(settings.CIRCUIT_FIRST_PAUSE.total_seconds()) * 2 ** min(beyond, 100)
    return timedelta(seconds=min(grown, settings.CIRCUIT_LONGEST_PAUSE.total_seconds()))


def rest(connection: NavigatrConnection, pause_for: timedelta, why: Outcome, *, now: datetime) -> None:
    """Send nothing with it for a while. A longer rest that stands already is kept."""
    until = now + pause_for
    resting = NavigatrConnection.objects.filter(pk=connection.pk).exclude(not_before__gt=until)
    if resting.update(not_before=until, last_outcome=why):
        log.warning("%s rests for %d s: %s", connection, pause_for.total_seconds(), why)


def may_send(connection: NavigatrConnection, now: datetime) -> bool:
    """Whether it is active and not resting, as the database has it now: another worker may have been told to wait."""
    return NavigatrConnection.objects.sendable(now).filter(pk=connection.pk).exists()


def take_probe(connection: NavigatrConnection, failures: int, *, now: datetime) -> datetime | None:
    """Take the right to try whether Navigatr is back; until the time returned nobody else may send.

    None: another worker has it.
    """
    until = now + circuit_pause(failures)
    taken = NavigatrConnection.objects.sendable(now).filter(pk=connection.pk).update(not_before=until)
    return until if taken else None


def count_failures(connection: NavigatrConnection, failures: int, *, probe: datetime | None) -> None:
    """Keep where every worker sees it how many calls failed in a row. After none, a probe's rest is over."""
    own = NavigatrConnection.objects.filter(pk=connection.pk)
    if failures == 0:
        own.update(failures=0, last_outcome="")
        own.filter(not_before=probe).update(not_before=None)
    else:
        own.update(failures=failures)
