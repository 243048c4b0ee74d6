"""Issuing: takes what is due, issues it in Navigatr, and writes down what became of each.

The story of one issuance: `claim` (claiming.py) takes it with a lease; what may have been sent before is looked up
first; a thread sends it (sending.py), with no transaction and no lock held; `write_settled` (settling.py) writes its
new state and its audit row together. A worker that dies leaves a lease that runs out, and `sweep` then marks the answer
unknown. Each learner gets each badge once.
"""

import threading
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

from .. import connections, meanings
from ..connections import navigatr_client_for
from ..meanings import Outcome
from ..models import Issuance, IssuanceAttempt, NavigatrConnection
from . import circuit, limits
from .calls import LookedUp, LookUpEnded, Sent, look_up_rows, payload, send
from .claiming import claim, lease_of
from .confirming import confirm_due
from .settling import TRY_AGAIN, database_may_be_away, settle, write_down
from .sweeping import hold_what_is_off, sweep
from .tally import Tally

State = Issuance.State
Kind = IssuanceAttempt.Kind

# Results are written together: at most so many, at most so long after they came.
WRITE_EVERY = 250
WRITE_AFTER_SECONDS = 0.25
LOOK_EVERY_SECONDS = 1.0

# Outcomes that say that Navigatr is in trouble; those that may end the round; those after which nothing more is begun;
# and a look-up's that send at once.
TROUBLE = {Outcome.UNAVAILABLE, Outcome.UNCLEAR}
STOPS_OTHERS = {*TRY_AGAIN, Outcome.TOKEN_REFUSED}
CONCERNS_ALL = {Outcome.TOKEN_REFUSED, Outcome.RATE_LIMITED}
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
        navigatr_client_for(connection).close()
    except NavigatrTokenRefused:
        connections.pause(connection, now=timezone.now(), asked_at=timezone.now())
        return Tally()
    tally = _Round(connection, should_stop).run()
    # What has waited long goes out once Moodle has said that it is still so.
    while not should_stop() and circuit.may_send(connection, timezone.now()):
        if not confirm_due(connection, now=timezone.now(), should_stop=should_stop):
            break
        tally.add(_Round(connection, should_stop).run())
    return tally


def due_connections(now: datetime) -> list[NavigatrConnection]:
    """The connections that have something to send and may send it."""
    return [
        connection
        for connection in NavigatrConnection.objects.sendable(now)
        if Issuance.objects.due(now).filter(connection=connection).exists()
    ]


@dataclass(frozen=True, slots=True)
class NotBegun:
    """A thread did not begin with these: they may belong to another worker by now, or the connection is to wait."""

    rows: list[Issuance]


@dataclass(frozen=True, slots=True)
class Call:
    """Something for a thread to ask Navigatr, the issuances that it is about, and the moment when it may begin."""

    rows: list[Issuance]
    ask: Callable[[NavigatrClient], Sent | LookedUp]
    begin_at: datetime


def outcome_of(error: Exception | None) -> Outcome | None:
    """What an error stands for; None where there was none."""
    if error is None:
        return None
    return meanings.of_error(error) if isinstance(error, NavigatrError) else Outcome.OUR_BUG


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
        self.handed_back: list[int] = []
        self.threads: list[Future[None]] = []
        self.more = True
        self.halted = self.rested = False
        self.failures = connection.failures
        self.probe: datetime | None = None
        self.looked = monotonic()
        # Set by the thread that is told that the token is refused, or to wait: no other begins a call after that.
        self.refused = threading.Event()
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
                        self._renew_leases()
                        self._look_around()
                        if not self.halted and self._has_room():
                            self._claim_more(pool)
            finally:
                try:
                    self._halt()
                finally:
                    for _thread in self.threads:
                        self.calls.put(None)
        if self.handed_back:
            # What came back after the rest had been held waits as they do.
            with database_may_be_away():
                hold_what_is_off()
                self.tally.held += Issuance.objects.filter(pk__in=self.handed_back, state=State.HELD).count()
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
        while self.more and now < self.begin_until and not self.should_stop():
            if not circuit.may_send(self.connection, now):
                self.more = False
                return
            limit = 1 if self.probing else settings.SEND_BATCH
            claimed = claim(self.connection, self.claim_id, limit=limit, now=now)
            self.tally.add(claimed.tally)
            rows = claimed.rows
            # What was decided without a call is no probe.
            self.more = claimed.more and not (self.probing and rows)
            self.unsettled.update((row.pk, row) for row in rows)
            asks: list[tuple[list[Issuance], Callable[[NavigatrClient], Sent | LookedUp]]] = [
                *((together, partial(look_up_rows, together, ended=self.refused)) for together in claimed.look_up),
                *(([row], partial(send, row, payload(row, now=now))) for row in claimed.send),
            ]
            self.scheduled.extend(Call(*ask, at) for ask, at in zip(asks, claimed.begin_at, strict=True))
            if rows and self.probing:
                self.probe = circuit.take_probe(self.connection, self.failures, now=now)
                if self.probe is None:
                    # Another worker's probe is on its way, and one is enough.
                    self._halt()
                    return
            self._begin_what_may()
            while len(self.threads) < min(len(self.unsettled), settings.SEND_THREADS):
                self.threads.append(pool.submit(self._work))
            if self.unsettled or claimed.limited:
                return

    def _look_around(self) -> None:
        """Once a second: end where others were told to wait, and see whether something new is due.

        One call that takes long holds up neither.
        """
        if self.halted or self.probe is not None or monotonic() - self.looked < LOOK_EVERY_SECONDS:
            return
        self.looked = monotonic()
        if circuit.may_send(self.connection, timezone.now()):
            self.more = True
        else:
            self._halt()

    def _begin_what_may(self) -> None:
        """Hand the threads those calls whose time has come."""
        now = timezone.now()
        while self.scheduled and self.scheduled[0].begin_at <= now:
            self.calls.put(self.scheduled.popleft())

    def _work(self) -> None:
        """One thread: a client of its own, call after call, until told to end."""
        with navigatr_client_for(self.connection) as client:
            while (call := self.calls.get()) is not None:
                if self.refused.is_set() or timezone.now() >= self.begin_until:
                    self.results.put(NotBegun(call.rows))
                    continue
                try:
                    result = call.ask(client)
                except LookUpEnded:
                    self.results.put(NotBegun(call.rows))
                    continue
                if outcome_of(result.error) in CONCERNS_ALL:
                    self.refused.set()
                self.results.put(result)

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
                if isinstance(newest, NotBegun) or outcome_of(newest.error) in STOPS_OTHERS:
                    break
        return results

    def _settle(self, collected: Sequence[Sent | LookedUp | NotBegun]) -> None:
        """Write new states and audit rows of these results in one transaction, then see how the connection does."""
        not_begun = [result for result in collected if isinstance(result, NotBegun)]
        if not_begun or self.refused.is_set():
            self._halt()
        if not_begun:
            self._hand_back(not_begun)
        results = [result for result in collected if not isinstance(result, NotBegun)]
        if not results:
            return
        now = timezone.now()
        for row, attempt in write_down(settle(results, now), self.claim_id, now):
            del self.unsettled[row.pk]
            self.tally.attempts += 1
            self.tally.count(row.state)
            # What was looked up and is not there goes out again in this very round.
            self.more = self.more or attempt.outcome in SEND_AT_ONCE
        with database_may_be_away():
            for result in results:
                limits.count_more(self.connection, result.calls - 1, since=result.at)
            self._see_how_the_connection_does(results, now)

    def _see_how_the_connection_does(self, results: Sequence[Sent | LookedUp], now: datetime) -> None:
        """Failures that concern everybody stop the round: a refused token, a pause asked for, a run of failures."""
        for result in results:
            error, outcome = result.error, outcome_of(result.error)
            if outcome is Outcome.OUR_BUG:
                # A fault of ours says nothing about Navigatr.
                continue
            if outcome is Outcome.TOKEN_REFUSED:
                connections.pause(self.connection, now=now, asked_at=result.at)
            elif outcome is Outcome.RATE_LIMITED:
                asked = error.retry_after if isinstance(error, NavigatrError) else None
                circuit.rest(self.connection, asked or settings.RETRY_FIRST, outcome, now=now)
            elif outcome not in TROUBLE:
                # An answer, whatever it said: Navigatr is there.
                self.more = self.more or self.probing
                self._count_failures(0)
                self.probe = None
            elif not (self.rested or self.refused.is_set()):
                self._count_failures(self.failures + 1)
                if self.probing:
                    self._halt()
                    self.rested = True
                    circuit.rest(self.connection, circuit.circuit_pause(self.failures), outcome, now=now)

    def _count_failures(self, failures: int) -> None:
        if failures != self.failures:
            self.failures = failures
            circuit.count_failures(self.connection, failures, probe=self.probe)

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
        self.handed_back += back
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
            mine = Issuance.objects.filter(pk__in=list(self.unsettled), claim=self.claim_id, state=State.SENDING)
            renewed = mine.update(leased_until=now + lease_of(self.connection))
            # Where some are another's already, the clocks of two hosts differ, and no lease can be trusted.
            self.begin_until = now + settings.LEASE if renewed == len(self.unsettled) else now
