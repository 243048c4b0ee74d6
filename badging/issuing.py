"""Issuing: takes what is due, issues it in Navigatr, and writes down what became of each.

The story of one issuance: `claim` (claiming.py) takes it with a lease; what may have been sent before is looked up
first; a thread sends it (sending.py), with no transaction and no lock held; `write_settled` (settling.py) writes its
new state and its audit row together. A worker that dies leaves a lease that runs out, and `sweep` then marks the answer
unknown. Each learner gets each badge once.
"""

import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic

from django.conf import settings
from django.utils import timezone

from navigatr_client import NavigatrClient, NavigatrError, NavigatrTokenRefused
from vault.keys import WrongKey

from . import connections, meanings
from .backoff import circuit_pause
from .claiming import claim, lease_of
from .connections import client_for
from .meanings import Outcome
from .models import Issuance, IssuanceAttempt, NavigatrConnection
from .sending import LookedUp, Sent, look_up_rows, payload, send
from .settling import TRY_AGAIN, database_may_be_away, is_written, persist, settle, write_settled
from .sweeping import sweep
from .tally import Tally

State = Issuance.State
Kind = IssuanceAttempt.Kind

# Results are written together: at most so many, at most so long after they came.
WRITE_EVERY = 250
WRITE_AFTER_SECONDS = 0.25

# Outcomes that say that Navigatr is in trouble; those that may end the round; and a look-up's that send at once.
TROUBLE = {Outcome.UNAVAILABLE, Outcome.UNCLEAR}
STOPS_OTHERS = {*TRY_AGAIN, Outcome.TOKEN_REFUSED}
SEND_AT_ONCE = {Outcome.NOT_THERE, Outcome.LOOKUP_REFUSED}


def never() -> bool:
    """The default of `should_stop`."""
    return False


def send_all_due(*, should_stop: Callable[[], bool] = never) -> Tally:
    """Send all that is due, connection after connection, in the foreground; needs no worker and no broker.

    Raises WrongKey, at the end, when a connection's token cannot be read.
    """
    tally = Tally()
    sweep(now=timezone.now())
    unreadable: WrongKey | None = None
    for connection in due_connections(timezone.now()):
        if should_stop():
            break
        try:
            tally.add(send_due(connection, should_stop=should_stop))
        except WrongKey as error:
            # The others are sent all the same.
            unreadable = error
    if unreadable is not None:
        raise unreadable
    return tally


def send_due(connection: NavigatrConnection, *, should_stop: Callable[[], bool] = never) -> Tally:
    """Send what is due of one connection until nothing is, the connection rests, or `should_stop` says so.

    Any number of these may run at the same time, in any number of processes: `claim` gives each issuance to one.
    Raises WrongKey, before anything is taken, when the stored token cannot be read.
    """
    try:
        client_for(connection).close()
    except NavigatrTokenRefused:
        connections.pause(connection, now=timezone.now(), asked_at=timezone.now())
        return Tally()
    return _Round(connection, should_stop).run()


def due_connections(now: datetime) -> list[NavigatrConnection]:
    """The connections that have something to send and may send it."""
    return [
        connection
        for connection in NavigatrConnection.objects.sendable(now)
        if Issuance.objects.due(now).filter(connection=connection).exists()
    ]


@dataclass(frozen=True, slots=True)
class NotBegun:
    """A thread did not begin with these, because they may belong to another worker by now."""

    rows: list[Issuance]


@dataclass(frozen=True, slots=True)
class Call:
    """Something for a thread to ask Navigatr, the issuances that it is about, and the moment when it may begin."""

    rows: list[Issuance]
    ask: Callable[[NavigatrClient], Sent | LookedUp]
    begin_at: datetime


class _Round:
    """One run of `send_due`: threads talk to Navigatr; this thread claims, writes results and renews the leases."""

    def __init__(self, connection: NavigatrConnection, should_stop: Callable[[], bool]) -> None:
        self.connection = connection
        self.should_stop = should_stop
        self.claim_id = uuid.uuid4()
        self.tally = Tally()
        # What may not begin yet; calls for the threads, None to end one; what comes back; and the claimed rows that
        # are not settled yet.
        self.scheduled: deque[Call] = deque()
        self.calls: SimpleQueue[Call | None] = SimpleQueue()
        self.results: SimpleQueue[Sent | LookedUp | NotBegun] = SimpleQueue()
        self.unsettled: dict[int, Issuance] = {}
        self.threads: list[Future[None]] = []
        self.more = True
        self.halted = False
        self.failures = connection.failures
        self.probe: datetime | None = None
        # Nothing is begun from then on: without a renewal its lease may run out before the answer comes.
        self.begin_until = timezone.now() + settings.LEASE

    def run(self) -> Tally:
        """Claim, send and settle until nothing is due, the connection rests, or it is told to stop."""
        with ThreadPoolExecutor(settings.SEND_THREADS, thread_name_prefix="send") as pool:
            try:
                self._claim_more(pool)
                while self.unsettled:
                    self._begin_what_may()
                    self._settle(self._collect())
                    self._raise_what_ended_a_thread()
                    if not self.halted and self.should_stop():
                        self._halt()
                    with database_may_be_away(unless=not self.unsettled):
                        if not self.halted and self._has_room():
                            self._claim_more(pool)
                        self._renew_leases()
            finally:
                try:
                    self._halt()
                finally:
                    for _thread in self.threads:
                        self.calls.put(None)
        return self.tally

    @property
    def probing(self) -> bool:
        """After a run of failures one issuance goes first, to see whether Navigatr is back."""
        tripped: bool = self.failures >= settings.CIRCUIT_THRESHOLD
        return tripped

    def _has_room(self) -> bool:
        """Whether to take more: the threads soon have nothing to do, and a crash would leave few answers unknown."""
        few = self.calls.qsize() < settings.SEND_BATCH // 2 and len(self.unsettled) < 2 * settings.SEND_BATCH
        return self.more and few

    def _claim_more(self, pool: ThreadPoolExecutor) -> None:
        """Take more into hand; several claims in a row when one only decided things without a call."""
        now = timezone.now()
        while self.more and not self.should_stop():
            if not connections.may_send(self.connection, now):
                self.more = False
                return
            limit = 1 if self.probing else settings.SEND_BATCH
            claimed = claim(self.connection, self.claim_id, limit=limit, now=now)
            self.tally.add(claimed.tally)
            self.more = claimed.more and not self.probing
            rows = claimed.rows
            self.unsettled.update((row.pk, row) for row in rows)
            asks: list[tuple[list[Issuance], Callable[[NavigatrClient], Sent | LookedUp]]] = [
                *((together, partial(look_up_rows, together)) for together in claimed.look_up),
                *(([row], partial(send, row, payload(row))) for row in claimed.send),
            ]
            self.scheduled.extend(Call(*ask, at) for ask, at in zip(asks, claimed.begin_at, strict=True))
            if rows and self.probing:
                self.probe = connections.take_probe(self.connection, self.failures, now=now)
                if self.probe is None:
                    # Another worker's probe is on its way, and one is enough.
                    self._halt()
                    return
            self._begin_what_may()
            while len(self.threads) < min(len(self.unsettled), settings.SEND_THREADS):
                self.threads.append(pool.submit(self._work))
            if self.unsettled or claimed.limited:
                return

    def _begin_what_may(self) -> None:
        """Hand the threads those calls whose time has come."""
        now = timezone.now()
        while self.scheduled and self.scheduled[0].begin_at <= now:
            self.calls.put(self.scheduled.popleft())

    def _work(self) -> None:
        """One thread: a client of its own, call after call, until told to end."""
        with client_for(self.connection) as client:
            while (call := self.calls.get()) is not None:
                in_time = timezone.now() < self.begin_until
                self.results.put(call.ask(client) if in_time else NotBegun(call.rows))

    def _raise_what_ended_a_thread(self) -> None:
        """A thread that ended before it was told to has failed; what it had in hand is looked up after the lease."""
        for thread in self.threads:
            if thread.done():
                thread.result()

    def _collect(self) -> list[Sent | LookedUp | NotBegun]:
        """The results that came within a moment, up to one write's worth; at once when one may concern the others."""
        until = monotonic() + WRITE_AFTER_SECONDS
        results: list[Sent | LookedUp | NotBegun] = []
        outstanding = len(self.unsettled)
        while len(results) < min(WRITE_EVERY, outstanding) and (left := until - monotonic()) > 0:
            with suppress(Empty):
                results.append(newest := self.results.get(timeout=left))
                error = None if isinstance(newest, NotBegun) else newest.error
                if isinstance(error, NavigatrError) and meanings.of_error(error) in STOPS_OTHERS:
                    break
        return results

    def _settle(self, collected: Sequence[Sent | LookedUp | NotBegun]) -> None:
        """Write new states and audit rows of these results in one transaction, then see how the connection does."""
        not_begun = [result for result in collected if isinstance(result, NotBegun)]
        if not_begun:
            self._halt()
            self._hand_back(not_begun)
        results = [result for result in collected if not isinstance(result, NotBegun)]
        if not results:
            return
        now = timezone.now()
        settled = settle(results, now)
        rows, attempts = [row for row, _ in settled], [attempt for _, attempt in settled]
        persist(partial(write_settled, rows, attempts, self.claim_id, now), is_written=partial(is_written, attempts[0]))
        for row, attempt in settled:
            del self.unsettled[row.pk]
            self.tally.attempts += 1
            self.tally.count(row.state)
            # What was looked up and is not there goes out again in this very round.
            self.more = self.more or attempt.outcome in SEND_AT_ONCE
        with database_may_be_away():
            self._see_how_the_connection_does(results, now)

    def _see_how_the_connection_does(self, results: Sequence[Sent | LookedUp], now: datetime) -> None:
        """Failures that concern everybody stop the round: a refused token, a pause asked for, a run of failures."""
        for result in results:
            error = result.error
            if error is not None and not isinstance(error, NavigatrError):
                # A fault of ours says nothing about Navigatr.
                continue
            outcome = meanings.of_error(error) if error is not None else None
            if outcome is Outcome.TOKEN_REFUSED:
                self._halt()
                connections.pause(self.connection, now=now, asked_at=result.at)
            elif outcome is Outcome.RATE_LIMITED and error is not None:
                self._halt()
                connections.rest(self.connection, error.retry_after or settings.RETRY_FIRST, outcome, now=now)
            elif outcome not in TROUBLE:
                # An answer, whatever it said: Navigatr is there.
                self.more = self.more or self.probing
                self._count_failures(0)
            elif not self.halted:
                self._count_failures(self.failures + 1)
                if self.probing:
                    self._halt()
                    connections.rest(self.connection, circuit_pause(self.failures), outcome, now=now)

    def _count_failures(self, failures: int) -> None:
        if failures != self.failures:
            self.failures = failures
            connections.count_failures(self.connection, failures, probe=self.probe)

    def _halt(self) -> None:
        """Begin nothing more, and hand back at once what no thread has begun."""
        if self.halted:
            return
        self.halted = True
        back = [*self.scheduled]
        self.scheduled.clear()
        with suppress(Empty):
            while (call := self.calls.get_nowait()) is not None:
                back.append(call)
        self._hand_back(back)

    def _hand_back(self, unbegun: Sequence[Call | NotBegun]) -> None:
        """Let others take these; those that others have taken already stay theirs."""
        back = [row.pk for call in unbegun for row in call.rows]
        for pk in back:
            del self.unsettled[pk]
        # Without the database their leases run out, and they are looked up for nothing.
        with database_may_be_away():
            mine = Issuance.objects.filter(pk__in=back, claim=self.claim_id, state=State.SENDING)
            # What was never begun has not begun its week.
            mine.filter(failures=0, maybe_sent=False).update(first_attempt_at=None)
            mine.update(state=State.QUEUED, claim=None, leased_until=None)

    def _renew_leases(self) -> None:
        """Keep what is in hand ours while Navigatr is slow.

        What could not be renewed in time, as the database was away or this machine stood still, may be another's by
        now: it is not renewed, and the threads begin nothing more.
        """
        now = timezone.now()
        if self.begin_until - settings.LEASE * 2 / 3 < now < self.begin_until:
            Issuance.objects.filter(pk__in=list(self.unsettled), claim=self.claim_id, state=State.SENDING).update(
                leased_until=now + lease_of(self.connection)
            )
            self.begin_until = now + settings.LEASE
