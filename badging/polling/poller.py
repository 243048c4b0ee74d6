"""The poller: polls each Moodle site as soon as it is due, many at once, so that slow sites never hold up quick ones.

Each worker process runs one round at a time. Any number of processes may do so at the same time, as each poll takes the
site's lease first.
"""

import logging
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue
from time import monotonic

from django.db import connection
from django.db.models import F, Q
from django.utils import timezone

from moodle_sync.models import MoodleSite, MoodleSiteState

from .shared_connections import SharedConnections
from .site_poll import poll_and_queue

log = logging.getLogger(__name__)

# A site whose poll takes longer than this counts as slow.
PATIENCE = timedelta(seconds=3)
# How often the database is asked which sites become due, and how far ahead. The beat tick comes as often.
LOOK_EVERY_SECONDS = 1.0
LOOK_AHEAD = timedelta(seconds=5)
# Senders are woken no more often than this.
TELL_EVERY_SECONDS = 0.5
# How long a site is left alone after its poll failed in the portal itself, without setting its next poll.
REST_SECONDS = 5.0
# Polls mostly wait for Moodle, so a few database connections serve all threads. SQLite has one writer anyway.
DATABASE_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class DueSite:
    """A site that is due now, or at `due_at`. `slow`: its last poll failed or took long."""

    pk: int
    due_at: datetime
    slow: bool


@dataclass(frozen=True, slots=True)
class Begun:
    """A poll under way; `since` is when it began, on the monotonic clock."""

    slow: bool
    since: float

    @property
    def waits(self) -> bool:
        """Whether it counts as the poll of a slow site."""
        return self.slow or monotonic() >= self.slow_from

    @property
    def slow_from(self) -> float:
        """When it begins to count as slow."""
        return self.since + PATIENCE.total_seconds()


class Poller:
    """The polls of one process, and their threads. `run` is called by one thread at a time.

    At most `at_once` polls of quick sites run at the same time, and `waiting` of slow ones besides: sites known to be
    slow or to fail, and those whose poll has taken longer than PATIENCE. Slow polls beyond `waiting` count as quick
    ones. `on_queued` is called when polls have queued something, at most twice a second.
    """

    def __init__(self, *, at_once: int, waiting: int, on_queued: Callable[[], object]) -> None:
        self._at_once, self._waiting = at_once, waiting
        self._on_queued = on_queued
        self._threads = ThreadPoolExecutor(at_once + waiting, thread_name_prefix="poll")
        self._database = SharedConnections(DATABASE_CONNECTIONS if connection.vendor == "postgresql" else 1)
        # Calls that other threads leave for the thread of `run`.
        self._news: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._begun: dict[int, Begun] = {}
        self._quick: deque[DueSite] = deque()
        self._slow: deque[DueSite] = deque()
        self._resting: dict[int, float] = {}
        self._look_at = self._tell_at = 0.0
        self._queued = False

    def wake(self) -> None:
        """Let the round that is running look at once which sites are due."""
        self._news.put(self._woken)

    def run(self, *, until: float, should_stop: Callable[[], bool]) -> None:
        """Poll what is due, until nothing becomes due before the next tick, `until` (monotonic) or `should_stop`.

        Polls under way at `until` go on, and the next run finds them. After `should_stop` all end after their call.
        """
        self._look_at = 0.0
        while not should_stop() and monotonic() < until:
            if monotonic() >= self._look_at:
                self._look()
            self._begin_what_may(should_stop)
            if not (self._begun or self._quick or self._slow):
                break
            self._wait(until)
        while self._begun and should_stop():
            self._news.get()()
        self._tell(at_once=True)
        if not self._begun:
            self._database.close_idle()

    def _look(self) -> None:
        """Read which sites are due, or become due soon, the one that waits longest first."""
        now = timezone.now()
        soon = Q(next_poll_at=None) | Q(next_poll_at__lte=now + LOOK_AHEAD)
        with self._database.lent():
            rows = list(
                MoodleSiteState.objects.free(now)
                .filter(soon)
                .order_by(F("next_poll_at").asc(nulls_first=True), "pk")
                .values_list("pk", "next_poll_at", "failures", "last_poll_took")
            )
        self._resting = {pk: until for pk, until in self._resting.items() if until > monotonic()}
        sites = [
            DueSite(pk, next_poll_at or now, slow=failures > 0 or (took is not None and took > PATIENCE))
            for pk, next_poll_at, failures, took in rows
            if pk not in self._begun and pk not in self._resting
        ]
        self._quick = deque(site for site in sites if not site.slow)
        self._slow = deque(site for site in sites if site.slow)
        self._look_at = monotonic() + LOOK_EVERY_SECONDS

    def _room(self) -> tuple[int, int]:
        """How many polls may begin, of quick sites and of slow ones."""
        waiting = sum(poll.waits for poll in self._begun.values())
        quick = len(self._begun) - waiting
        return self._at_once - quick - max(waiting - self._waiting, 0), self._waiting - waiting

    def _begin_what_may(self, should_stop: Callable[[], bool]) -> None:
        now = timezone.now()
        for sites, room in zip((self._quick, self._slow), self._room(), strict=True):
            for _free in range(room):
                if not sites or sites[0].due_at > now:
                    break
                site = sites.popleft()
                self._begun[site.pk] = Begun(site.slow, monotonic())
                self._threads.submit(self._poll, site.pk, should_stop)

    def _poll(self, pk: int, should_stop: Callable[[], bool]) -> None:
        """Poll one site, in a thread. While it waits for Moodle, other threads use its database connection."""
        failed = False
        try:
            with self._database.lent():
                # None where another process has polled it since the look, or begun to.
                site = MoodleSite.objects.due(timezone.now()).select_related("state").filter(pk=pk).first()
                if site is not None:
                    poll_and_queue(
                        site,
                        now=timezone.now(),
                        if_due=True,
                        should_stop=should_stop,
                        while_waiting=self._database.let_go,
                        on_queued=lambda: self._news.put(self._something_queued),
                    )
        except Exception:
            failed = True
            log.exception("polling the Moodle site %d failed in the portal itself", pk)
        finally:
            self._news.put(partial(self._ended, pk, failed=failed))

    def _wait(self, until: float) -> None:
        """Wait until a poll is over, the next one may begin, or it is time to look."""
        timeout = min(until, self._look_at, self._next_beginning(), *self._telling()) - monotonic()
        with suppress(Empty):
            self._news.get(timeout=max(timeout, 0))()
            while True:
                self._news.get_nowait()()
        self._tell()

    def _next_beginning(self) -> float:
        """When the next poll may begin if none ends before: a site becomes due, or a poll no longer counts as quick."""
        room_for_quick, room_for_slow = self._room()
        moments = [self._look_at]
        for sites, room in ((self._quick, room_for_quick), (self._slow, room_for_slow)):
            if sites and room > 0:
                moments.append(monotonic() + (sites[0].due_at - timezone.now()).total_seconds())
        if self._quick and room_for_quick <= 0:
            moments += [poll.slow_from for poll in self._begun.values() if not poll.waits]
        return min(moments)

    def _woken(self) -> None:
        self._look_at = 0.0

    def _something_queued(self) -> None:
        self._queued = True

    def _ended(self, pk: int, *, failed: bool) -> None:
        del self._begun[pk]
        if failed:
            self._resting[pk] = monotonic() + REST_SECONDS

    def _telling(self) -> list[float]:
        """When the senders are to be told, if they are."""
        return [self._tell_at] if self._queued else []

    def _tell(self, *, at_once: bool = False) -> None:
        """Wake the senders once for all that was queued meanwhile."""
        if self._queued and (at_once or monotonic() >= self._tell_at):
            self._queued = False
            self._tell_at = monotonic() + TELL_EVERY_SECONDS
            self._on_queued()
