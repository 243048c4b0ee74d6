"""A few database connections for many threads, which mostly wait for Moodle.

In Django each thread keeps a connection of its own, so a hundred threads would take all that PostgreSQL has. Opening
one after each wait would cost 6 ms each time, a third of a poll's own time.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty, LifoQueue

from django.db import DEFAULT_DB_ALIAS, connections
from django.db import Error as DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper


class SharedConnections:
    """At most `most` connections, which threads use one after the other."""

    def __init__(self, most: int) -> None:
        # Last in, first out, so that those not needed grow old and are closed. None: not opened yet.
        self._idle: LifoQueue[BaseDatabaseWrapper | None] = LifoQueue()
        for _number in range(most):
            self._idle.put(None)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Give this thread one of the connections until the end of the block, in the place of its own."""
        own = connections[DEFAULT_DB_ALIAS]
        self._take()
        try:
            yield
        finally:
            self._give_back()
            connections[DEFAULT_DB_ALIAS] = own

    @contextmanager
    def let_go(self) -> Iterator[None]:
        """Leave this thread's connection to the others until the end of the block, unless a transaction is open."""
        if connections[DEFAULT_DB_ALIAS].in_atomic_block:
            yield
            return
        self._give_back()
        try:
            yield
        finally:
            self._take()

    def close_idle(self) -> None:
        """Close those that no thread has."""
        idle = []
        with suppress(Empty):
            while True:
                idle.append(self._idle.get_nowait())
        for connection in idle:
            if connection is not None:
                connection.close()
            self._idle.put(None)

    def _take(self) -> None:
        connection = self._idle.get()
        try:
            if connection is not None:
                connection.close_if_unusable_or_obsolete()
        except DatabaseError:
            # It could not even be closed, and a new one takes its place.
            connection = None
        if connection is None:
            connection = connections.create_connection(DEFAULT_DB_ALIAS)
            # Threads have it one after the other, never at the same time.
            connection.inc_thread_sharing()
        connections[DEFAULT_DB_ALIAS] = connection

    def _give_back(self) -> None:
        self._idle.put(connections[DEFAULT_DB_ALIAS])
        del connections[DEFAULT_DB_ALIAS]
