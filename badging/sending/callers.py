"""The threads of one round, which ask Navigatr while the round's own thread reads and writes the database."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from queue import Empty, SimpleQueue
from time import monotonic
from types import TracebackType
from typing import Self

from django.conf import settings
from django.utils import timezone

from navigatr_client import NavigatrClient, NavigatrError

from .. import meanings
from ..connections import navigatr_client_for
from ..meanings import TROUBLE, Outcome
from ..models import Issuance, NavigatrConnection
from .calls import LookedUp, LookUpEnded, Sent

# Results are written together: at most so many, at most so long after they came.
WRITE_EVERY = 250
WRITE_AFTER_SECONDS = 0.25

# After these no other call of the round begins.
CONCERNS_ALL = {Outcome.TOKEN_REFUSED, Outcome.RATE_LIMITED}
# After these the round is looked after at once, as it may have to end.
MAY_END_THE_ROUND = CONCERNS_ALL | TROUBLE


@dataclass(frozen=True, slots=True)
class NotBegun:
    """A call that a thread did not make, because no call may begin any more."""

    rows: list[Issuance]


@dataclass(frozen=True, slots=True)
class Call:
    """Something to ask Navigatr, the issuances that it is about, and the moment when it may begin."""

    rows: list[Issuance]
    ask: Callable[[NavigatrClient], Sent | LookedUp]
    begin_at: datetime


Result = Sent | LookedUp | NotBegun


def outcome_of(error: Exception | None) -> Outcome | None:
    """The outcome that an error stands for; None without one."""
    if error is None:
        return None
    return meanings.of_error(error) if isinstance(error, NavigatrError) else Outcome.OUR_BUG


class Callers:
    """Up to SEND_THREADS threads, each with a client of its own. Use it in a `with` block, at whose end all are over.

    `may_begin` is asked, in a thread, before each call.
    """

    def __init__(self, connection: NavigatrConnection, may_begin: Callable[[datetime], bool]) -> None:
        self._connection, self._may_begin = connection, may_begin
        # Calls delayed by the connection's limit.
        self._scheduled: deque[Call] = deque()
        # The threads' work; None ends one of them.
        self._calls: SimpleQueue[Call | None] = SimpleQueue()
        self._results: SimpleQueue[Result] = SimpleQueue()
        self._pool = ThreadPoolExecutor(settings.SEND_THREADS, thread_name_prefix="send")
        self._threads: list[Future[None]] = []
        # Set by the thread to which Navigatr refused the token, or said to wait.
        self.refused = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _thread in self._threads:
            self._calls.put(None)
        self._pool.shutdown()

    @property
    def waiting(self) -> int:
        """How many calls no thread has begun with, of those whose time has come."""
        return self._calls.qsize()

    def schedule(self, calls: Iterable[Call]) -> None:
        """Take on these calls, in the order of their times."""
        self._scheduled.extend(calls)

    def begin(self, outstanding: int) -> None:
        """Hand the threads what may begin now; start threads for as many outstanding issuances as there are."""
        now = timezone.now()
        while self._scheduled and self._scheduled[0].begin_at <= now:
            self._calls.put(self._scheduled.popleft())
        while len(self._threads) < min(outstanding, settings.SEND_THREADS):
            self._threads.append(self._pool.submit(self._work))

    def collect(self, outstanding: int) -> list[Result]:
        """The results that came within a moment, up to one write's worth; at once when one may end the round."""
        until = monotonic() + WRITE_AFTER_SECONDS
        results: list[Result] = []
        while len(results) < min(WRITE_EVERY, outstanding) and (left := until - monotonic()) > 0:
            with suppress(Empty):
                results.append(newest := self._results.get(timeout=left))
                if isinstance(newest, NotBegun) or outcome_of(newest.error) in MAY_END_THE_ROUND:
                    break
        return results

    def withdraw(self) -> list[Issuance]:
        """Take back all calls that no thread has begun with; returns what they are about."""
        calls = list(self._scheduled)
        self._scheduled.clear()
        with suppress(Empty):
            while (call := self._calls.get_nowait()) is not None:
                calls.append(call)
        return [row for call in calls for row in call.rows]

    def raise_failure(self) -> None:
        """Raise what ended a thread before it was told to; what it had in hand is looked up after the lease."""
        for thread in self._threads:
            if thread.done():
                thread.result()

    def _work(self) -> None:
        """One thread: call after call, until told to end."""
        with navigatr_client_for(self._connection) as client:
            while (call := self._calls.get()) is not None:
                self._results.put(self._make(call, client))

    def _make(self, call: Call, client: NavigatrClient) -> Result:
        if self.refused.is_set() or not self._may_begin(timezone.now()):
            return NotBegun(call.rows)
        try:
            result = call.ask(client)
        except LookUpEnded:
            return NotBegun(call.rows)
        if outcome_of(result.error) in CONCERNS_ALL:
            self.refused.set()
        return result
