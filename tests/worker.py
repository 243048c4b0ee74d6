"""Sending as a worker does it: in whole rounds, or step by step with whatever a test lets happen in between."""

import threading
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.utils import timezone

from badging import connections
from badging.models import Issuance, IssuanceAttempt, NavigatrConnection
from badging.sending import calls, claiming, rounds, settling
from badging.sending.tally import Tally
from navigatr_client import NavigatrTokenRefused
from sandbox import Sandbox
from sandbox.navigatr import Entry


class Worker:
    """One sender of one connection: it claims, asks Navigatr, and writes down what came back.

    A test may let anything happen between two steps, or leave steps out as a worker does that dies. No other test code
    calls these steps of the engine.
    """

    def __init__(self, connection: NavigatrConnection) -> None:
        self.connection = connection
        self.claim_id = uuid.uuid4()
        self.results: list[calls.Sent | calls.LookedUp] = []

    def claim(self, *, limit: int = 500, now: datetime | None = None) -> "Worker":
        """Take what is due; the payloads are made at once."""
        now = now or timezone.now()
        self._claimed = claiming.claim(self.connection, self.claim_id, limit=limit, now=now)
        self._payloads = {row.pk: calls.payload(row, now=now) for row in self.to_send}
        return self

    def ask(self) -> "Worker":
        """Look up and send what was taken, in that order. Raises NavigatrTokenRefused for what cannot be a token."""
        with connections.navigatr_client_for(self.connection) as client:
            for rows in self.to_look_up:
                self.results.append(calls.look_up_rows(rows, client, ended=threading.Event()))
            for row in self.to_send:
                self.results.append(calls.send(row, self._payloads[row.pk], client))
        return self

    def write(self, *, now: datetime | None = None) -> None:
        """Write down what came back, with its audit rows."""
        now = now or timezone.now()
        settling.write_settled(settling.settle(self.results, now), self.claim_id, now)

    def die(self) -> None:
        """Write nothing down, and let the lease run out."""
        Issuance.objects.filter(claim=self.claim_id).update(leased_until=timezone.now() - timedelta(seconds=1))

    def lease_has_run_out(self) -> bool:
        """Whether others may have taken over what this worker took."""
        return Issuance.objects.lapsed(timezone.now()).filter(claim=self.claim_id).exists()

    def token_was_refused(self) -> bool:
        """Whether one of the answers says so."""
        return any(isinstance(result.error, NavigatrTokenRefused) for result in self.results)

    @property
    def rows(self) -> list[Issuance]:
        """All that was taken."""
        return self._claimed.rows

    @property
    def to_send(self) -> list[Issuance]:
        """What was taken to be sent."""
        return self._claimed.send

    @property
    def to_look_up(self) -> list[list[Issuance]]:
        """What was taken to be looked up, those of one badge together."""
        return self._claimed.look_up

    @property
    def begin_at(self) -> Sequence[datetime]:
        """When each call may begin."""
        return self._claimed.begin_at

    @property
    def more(self) -> bool:
        """Whether there may be more to take."""
        return self._claimed.more

    @property
    def limited(self) -> bool:
        """Whether the connection's own limits allowed nothing."""
        return self._claimed.limited


def send(row: Issuance) -> Tally:
    """One round for the row's connection as it stands in the database; the row is read again afterwards."""
    tally = rounds.send_due(sender_of(row))
    row.refresh_from_db()
    return tally


def sender_of(row: Issuance) -> NavigatrConnection:
    """The connection that sends the row, or looks it up, as it stands in the database."""
    row = Issuance.objects.select_related("connection", "course__mapping__connection").get(pk=row.pk)
    return row.connection if row.is_unknown or row.mapping is None else row.mapping.connection


def take(row: Issuance) -> Worker:
    """A worker with nothing but this row in its hands."""
    worker = Worker(sender_of(row)).claim()
    assert [taken.pk for taken in worker.rows] == [row.pk]
    return worker


def bring_forward(*rows: Issuance) -> None:
    """The wait for the next try is over, and so is the connection's rest."""
    NavigatrConnection.objects.update(not_before=None)
    Issuance.objects.filter(pk__in=[row.pk for row in rows]).update(next_attempt_at=timezone.now())


def attempts(row: Issuance) -> list[IssuanceAttempt]:
    """The row's audit rows, oldest first."""
    return list(row.attempts.order_by("pk"))


def trail(row: Issuance) -> list[tuple[str, str]]:
    """The row's audit trail in short: kind and outcome, oldest first."""
    return [(attempt.kind, attempt.outcome) for attempt in attempts(row)]


def lookups(sandbox: Sandbox) -> list[Entry]:
    """The look-ups that Navigatr received."""
    return [entry for entry in sandbox.navigatr.ledger if entry.path.endswith("/assertions")]
