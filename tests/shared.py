"""What all processes of a test run share: the first that needs it makes it, the others wait and take a copy."""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

# The environment variable that names the folder of the run.
FOLDER = "PORTAL_TESTS_FOLDER"


@contextmanager
def only_one(name: str) -> Iterator[None]:
    """Keep all other processes of the run out of the same block."""
    with (_folder() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """The path of that name, which `make` has filled in one of the processes."""
    path = _folder() / name
    with only_one(name):
        if not path.exists():
            unfinished = path.with_name(f"{name} unfinished")
            make(unfinished)
            unfinished.rename(path)
    return path


class MigratedDatabase:
    """The migrations run in one process of the run. The test databases of the others are copies of its own.

    `connection` is Django's. The others wait until the first has called `keep`, or has ended.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._name: str = connection.creation._get_test_db_name()
        self._made = _folder() / f"migrated {connection.vendor}"
        self._keeper: sqlite3.Connection | None = None
        self._turn = ExitStack()
        self._turn.enter_context(only_one("migrated"))
        self.copied = self._made.exists()
        if self.copied:
            self._copy()
            self._turn.close()

    def _copy(self) -> None:
        if self._connection.vendor == "postgresql":
            self._create(self._name, source=self._made.read_text())
        else:
            # The database lives in memory, and as long as somebody has it open.
            self._keeper = sqlite3.connect(self._name, uri=True, check_same_thread=False)
            with closing(sqlite3.connect(self._made)) as made:
                made.backup(self._keeper)

    def keep(self) -> None:
        """Give the others a copy of this process's test database, as the migrations left it."""
        if self.copied:
            return
        unfinished = self._made.with_suffix(".unfinished")
        if self._connection.vendor == "postgresql":
            # PostgreSQL copies no database that somebody is connected to.
            self._connection.close()
            self._create("migrated", source=self._name)
            unfinished.write_text("migrated")
        else:
            with closing(sqlite3.connect(unfinished)) as copy:
                self._connection.connection.backup(copy)
        unfinished.rename(self._made)
        self._turn.close()

    def close(self) -> None:
        """Let the copy go."""
        if self._keeper is not None:
            self._keeper.close()

    def _create(self, name: str, *, source: str) -> None:
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(source))
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(statement)


def _folder() -> Path:
    return Path(os.environ[FOLDER])
