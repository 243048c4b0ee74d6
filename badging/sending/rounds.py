"""Rounds of sending: take what is due, issue it in Navigatr, and write down what became of each.

One issuance in a round:

1. `claim` (claiming.py) takes it with a lease, and decides what needs no call.
2. What may have been sent before is looked up first (lookup.py).
3. A thread (callers.py) sends it (calls.py), with no transaction and no lock held.
4. `write_down` (settling.py) writes its new state and its audit row together.

A worker that dies leaves a lease that runs out, and the sweep (sweeping.py) then marks the answer unknown. Each learner
gets each badge once.
"""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial
from time import monotonic

from django.conf import settings
from django.utils import timezone

from navigatr_client import NavigatrClient, NavigatrError, NavigatrTokenRefused
from vault import digests
from vault.keys import WrongKey

from .. import connections
from ..connections import navigatr_client_for
from ..meanings import TROUBLE, Outcome
from ..models import Issuance, NavigatrConnection
from . import circuit, limits
from .callers import Call, Callers, NotBegun, Result, outcome_of
from .calls import LookedUp, Sent, look_up_rows, payload, send
from .circuit import Circuit, Verdict
from .claiming import Claimed, claim
from .confirming import confirm_due
from .leases import Leases
from .settling import Settled, database_may_be_away, settle, write_down
from .sweeping import sweep
from .tally import Tally

# How often a round asks the database whether others were told to wait, and whether something new is due.
LOOK_EVERY_SECONDS = 1.0

# Outcomes of a look-up after which the issuance is sent at once.
SENT_AT_ONCE = {Outcome.NOT_THERE, Outcome.LOOKUP_REFUSED}


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
    Raises WrongKey, before anything is taken, when the stored token cannot be read, or the address digests were made
    with other keys.
    """
    digests.in_use()
    try:
        navigatr_client_for(connection).close()
    except NavigatrTokenRefused:
        connections.pause(connection, asked_at=timezone.now(), now=timezone.now())
        return Tally()
    tally = _Round(connection, should_stop).run()
    # What has waited long is sent once Moodle has said that it is still so.
    while not should_stop() and circuit.may_send(connection, timezone.now()):
        if not confirm_due(connection, now=timezone.now(), should_stop=should_stop):
            break
        tally.add(_Round(connection, should_stop).run())
    return tally


def due_connections(now: datetime) -> list[NavigatrConnection]:
    """The connections that have something to send, or to look up, and may do so."""
    due = Issuance.objects.due(now)
    # `exists` would drop the order, and with it the index that passes over what other connections send.
    return [
        connection
        for connection in NavigatrConnection.objects.sendable(now)
        if due.unknown_for(connection).exists() or due.unsent_for(connection).in_turn()[:1]
    ]


class _Round:
    """One run of `send_due`. Threads talk to Navigatr; this thread claims, writes results and renews the leases."""

    def __init__(self, connection: NavigatrConnection, should_stop: Callable[[], bool]) -> None:
        self._connection, self._should_stop = connection, should_stop
        self._leases = Leases(connection)
        self._callers = Callers(connection, self._leases.may_begin)
        self._circuit = Circuit(connection)
        self._tally = Tally()
        # Claimed rows whose results are not written yet, by number.
        self._in_hand: dict[int, Issuance] = {}
        # Rows that went back into the queue unsent.
        self._left: list[int] = []
        self._more = True
        self._halted = False
        self._looked_at = monotonic()

    def run(self) -> Tally:
        """Claim, send and settle until nothing is due, the connection rests, or it is told to stop."""
        with self._callers:
            try:
                self._claim_more()
                while self._in_hand:
                    self._callers.begin(len(self._in_hand))
                    self._settle(self._callers.collect(len(self._in_hand)))
                    self._callers.raise_failure()
                    if self._should_stop():
                        self._halt()
                    with database_may_be_away(unless=not self._in_hand):
                        self._leases.renew(self._in_hand, timezone.now())
                        self._look_around()
                        if self._has_room():
                            self._claim_more()
            finally:
                self._halt()
        self._count_held()
        return self._tally

    # Taking work

    def _has_room(self) -> bool:
        """Whether to take more: the threads soon have nothing to do, and a crash would leave few answers unknown."""
        few = self._callers.waiting < settings.SEND_BATCH // 2 and len(self._in_hand) < 2 * settings.SEND_BATCH
        return self._more and few and not self._halted

    def _claim_more(self) -> None:
        """Take more into hand; several claims in a row when one only decided things without a call."""
        now = timezone.now()
        while self._more and self._leases.may_begin(now) and not self._should_stop():
            if not circuit.may_send(self._connection, now):
                self._more = False
                return
            probing = self._circuit.probing
            limit = 1 if probing else settings.SEND_BATCH
            claimed = claim(self._connection, self._leases.claim_id, limit=limit, now=now)
            self._tally.add(claimed.tally)
            self._in_hand.update((row.pk, row) for row in claimed.rows)
            self._callers.schedule(_calls(claimed, self._callers, now))
            # What was decided without a call is no probe.
            self._more = claimed.more and not (probing and claimed.rows)
            if probing and claimed.rows and not self._circuit.take_probe(now):
                # Another worker's probe is on its way, and one is enough.
                self._halt()
                return
            self._callers.begin(len(self._in_hand))
            if self._in_hand or claimed.limited:
                return

    def _look_around(self) -> None:
        """Once a second: end where others were told to wait, and see whether something new is due.

        One call that takes long holds up neither.
        """
        recently = monotonic() - self._looked_at < LOOK_EVERY_SECONDS
        if self._halted or self._circuit.probe_is_under_way or recently:
            return
        self._looked_at = monotonic()
        if circuit.may_send(self._connection, timezone.now()):
            self._more = True
        else:
            self._halt()

    # Writing results

    def _settle(self, results: Sequence[Result]) -> None:
        """Write new states and audit rows of these results in one transaction, then see how the connection does."""
        not_begun = [row for result in results if isinstance(result, NotBegun) for row in result.rows]
        if not_begun or self._callers.refused.is_set():
            self._halt()
            self._hand_back(not_begun)
        answers = [result for result in results if not isinstance(result, NotBegun)]
        if not answers:
            return
        now = timezone.now()
        for settled in write_down(settle(answers, now), self._leases.claim_id, now):
            self._note(settled)
        with database_may_be_away():
            for answer in answers:
                limits.count_more(self._connection, answer.calls - 1, since=answer.at)
                self._see_how_the_connection_does(answer, now)

    def _note(self, settled: Settled) -> None:
        """Count a result that is written."""
        row, outcome = settled.row, settled.attempt.outcome
        del self._in_hand[row.pk]
        self._tally.attempts += 1
        if outcome == Outcome.TOKEN_REFUSED:
            self._left.append(row.pk)
        else:
            self._tally.count(row.state)
        # What was looked up and is not there is sent in this very round.
        self._more = self._more or outcome in SENT_AT_ONCE

    def _see_how_the_connection_does(self, answer: Sent | LookedUp, now: datetime) -> None:
        """What concerns everybody stops the round: a refused token, a pause asked for, a row of failures."""
        error, outcome = answer.error, outcome_of(answer.error)
        if outcome is Outcome.TOKEN_REFUSED:
            connections.pause(self._connection, asked_at=answer.at, now=now)
        elif outcome is Outcome.RATE_LIMITED:
            wanted: timedelta | None = error.retry_after if isinstance(error, NavigatrError) else None
            circuit.rest(self._connection, wanted or settings.RETRY_FIRST, outcome, now=now)
        # A fault of ours says nothing about Navigatr, nor does a failure after it has told this round to wait.
        elif outcome is not Outcome.OUR_BUG and not (outcome in TROUBLE and self._callers.refused.is_set()):
            verdict = self._circuit.note(outcome, now)
            self._more = self._more or verdict is Verdict.BACK_AGAIN
            if verdict is Verdict.REST:
                self._halt()

    # Ending

    def _halt(self) -> None:
        """Begin nothing more, and hand back at once what no thread has begun."""
        if not self._halted:
            self._halted = True
            self._hand_back(self._callers.withdraw())

    def _hand_back(self, rows: Sequence[Issuance]) -> None:
        pks = [row.pk for row in rows]
        self._left += pks
        for pk in pks:
            del self._in_hand[pk]
        # Without the database their leases run out, and they are looked up for nothing.
        if pks:
            with database_may_be_away():
                self._leases.hand_back(pks)

    def _count_held(self) -> None:
        """Count what is held because the connection was paused, or the mapping disabled, in this round."""
        if self._left:
            with database_may_be_away():
                self._tally.held += Issuance.objects.filter(pk__in=self._left).switched_off().count()


def _calls(claimed: Claimed, callers: Callers, now: datetime) -> list[Call]:
    """What is to be asked about the rows of a claim, each from its own moment on."""
    asks: list[tuple[list[Issuance], Callable[[NavigatrClient], Sent | LookedUp]]] = [
        *((rows, partial(look_up_rows, rows, ended=callers.refused)) for rows in claimed.look_up),
        *(([row], partial(send, row, payload(row, now=now))) for row in claimed.send),
    ]
    return [Call(rows, ask, begin_at) for (rows, ask), begin_at in zip(asks, claimed.begin_at, strict=True)]
