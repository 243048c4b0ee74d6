"""The circuit breaker of a connection: after a row of failed calls it rests, and then one call probes Navigatr.

It stands in the connection's row, where every worker on every host sees it.
"""

import logging
from datetime import datetime, timedelta
from enum import Enum, auto

from django.conf import settings

from ..meanings import TROUBLE, Outcome
from ..models import NavigatrConnection

log = logging.getLogger(__name__)


class Verdict(Enum):
    """What one answer means for the round."""

    GO_ON = auto()
    BACK_AGAIN = auto()  # The probe was answered.
    REST = auto()


class Circuit:
    """The circuit of a connection as one round sees it: it counts the answers in the order in which they come."""

    def __init__(self, connection: NavigatrConnection) -> None:
        self._connection = connection
        self._failures = connection.failures
        self._probe_until: datetime | None = None
        self._rests = False

    @property
    def probing(self) -> bool:
        """After a row of failures one issuance goes first, to see whether Navigatr is back."""
        tripped: bool = self._failures >= settings.CIRCUIT_THRESHOLD
        return tripped

    @property
    def probe_is_under_way(self) -> bool:
        """Whether this round has a probe whose answer it waits for."""
        return self._probe_until is not None

    def take_probe(self, now: datetime) -> bool:
        """Take the right to probe; False where another worker has it. Until it rests, nobody else may send."""
        self._probe_until = take_probe(self._connection, self._failures, now=now)
        return self._probe_until is not None

    def note(self, outcome: Outcome | None, now: datetime) -> Verdict:
        """Count one answer (None: a good one)."""
        if outcome not in TROUBLE:
            verdict = Verdict.BACK_AGAIN if self.probing else Verdict.GO_ON
            self._count(0)
            self._probe_until = None
            return verdict
        if self._rests:
            return Verdict.GO_ON
        self._count(self._failures + 1)
        if not self.probing:
            return Verdict.GO_ON
        self._rests = True
        rest(self._connection, circuit_pause(self._failures), outcome, now=now)
        return Verdict.REST

    def _count(self, failures: int) -> None:
        if failures != self._failures:
            self._failures = failures
            count_failures(self._connection, failures, probe=self._probe_until)


def circuit_pause(failures: int) -> timedelta:
    """How long a connection rests after `failures` calls failed in a row: 30 s, doubling with each failed probe."""
    beyond = max(0, failures - settings.CIRCUIT_THRESHOLD)
    grown = int(settings.CIRCUIT_FIRST_PAUSE.total_seconds()) * 2 ** min(beyond, 100)
    return timedelta(seconds=min(grown, settings.CIRCUIT_LONGEST_PAUSE.total_seconds()))


def rest(connection: NavigatrConnection, pause_for: timedelta, why: Outcome, *, now: datetime) -> None:
    """Send nothing with the connection for a while. A longer rest that stands already is kept."""
    until = now + pause_for
    # A paused one keeps its reason.
    active = NavigatrConnection.objects.filter(pk=connection.pk, state=NavigatrConnection.State.ACTIVE)
    resting = active.exclude(not_before__gt=until)
    if resting.update(not_before=until, last_outcome=why):
        log.warning("%s rests for %d s: %s", connection, pause_for.total_seconds(), why)


def may_send(connection: NavigatrConnection, now: datetime) -> bool:
    """Whether it is active and not resting, as the database has it now: another worker may have been told to wait."""
    return NavigatrConnection.objects.sendable(now).filter(pk=connection.pk).exists()


def take_probe(connection: NavigatrConnection, failures: int, *, now: datetime) -> datetime | None:
    """Take the right to probe whether Navigatr is back; until the time returned nobody else may send.

    None: another worker has it.
    """
    until = now + circuit_pause(failures)
    taken = NavigatrConnection.objects.sendable(now).filter(pk=connection.pk).update(not_before=until)
    return until if taken else None


def count_failures(connection: NavigatrConnection, failures: int, *, probe: datetime | None) -> None:
    """Keep where every worker sees it how many calls failed in a row. After none, a probe's rest is over."""
    own = NavigatrConnection.objects.filter(pk=connection.pk)
    if failures == 0:
        # A paused one keeps its reason. Its failures count from nothing when it is resumed.
        own.filter(state=NavigatrConnection.State.ACTIVE).update(failures=0, last_outcome="")
        own.filter(not_before=probe).update(not_before=None)
    else:
        own.update(failures=failures)
