"""Runs the real portal commands in processes of their own and looks at what they leave behind."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.services import wait_until

ROOT = Path(__file__).resolve().parents[2]
# What conftest sets for the tests' own process, and a portal under test must choose for itself.
OURS = (
    *("DATABASE_URL", "CELERY_BROKER_URL", "SECRET_KEY", "FIELD_ENCRYPTION_KEYS", "DIGEST_KEYS"),
    *("NAVIGATR_STAGING_URL", "NAVIGATR_PRODUCTION_URL", "DJANGO_SETTINGS_MODULE"),
    *("BIND_ADDRESS", "PORT", "ALLOWED_HOSTS", "TRUST_PROXY_HEADER", "TRUSTED_PROXIES", "SECRET_KEY_FALLBACKS"),
)


def environment(data: Path, **settings: str) -> dict[str, str]:
    """The environment of a portal whose data lies there."""
    inherited = {name: value for name, value in os.environ.items() if name not in OURS}
    return {**inherited, "PORTAL_DATA_DIR": str(data), "PYTHONUNBUFFERED": "1", **settings}


def manage(data: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one management command to its end."""
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment(data, **settings), capture_output=True, text=True, timeout=600
    )


class Running:
    """A started program with what it has said so far."""

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
        self.process.stdout.close()

    @property
    def text(self) -> str:
        """All that was said."""
        return "\n".join(self.lines)

    def wait_for(self, words: str, *, seconds: float = 30) -> None:
        """Return once the program has said these words."""
        assert_alive = self.process.poll

        def said() -> bool:
            return words in self.text or assert_alive() is not None

        wait_until(said, seconds=seconds, what=f"“{words}”")
        assert words in self.text, f"“{words}” was not said:\n{self.text}"

    def stop(self, number: int = signal.SIGTERM, *, seconds: float = 40) -> int:
        """Send the signal; returns the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(timeout=seconds)
        self._reader.join(timeout=10)
        return code


@contextmanager
def portal(data: Path, *arguments: str, **settings: str) -> Iterator[Running]:
    """A running `manage.py portal`; killed at the end, with all that it started, if it still runs."""
    with program([sys.executable, "manage.py", "portal", *arguments], environment(data, **settings)) as running:
        yield running
    for pid in processes_of(data):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextmanager
def program(command: list[str], env: Mapping[str, str]) -> Iterator[Running]:
    """Any program; killed at the end if it still runs."""
    running = Running(command, env)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.stop(signal.SIGKILL)


def rows(data: Path, query: str, *values: object) -> list[Any]:
    """What the SQLite database in that folder answers. A command would take a second of a processor to start."""
    with closing(sqlite3.connect(data / "portal.sqlite3")) as database:
        return database.execute(query, values).fetchall()


def processes_of(data: Path) -> dict[int, str]:
    """Every living process whose environment names that data folder, with its command line.

    Valkey writes its title over its environment, and is known by working in the folder or below.
    """
    mark = b"PORTAL_DATA_DIR=" + os.fsencode(data) + b"\0"
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        # Processes come and go while this looks at them.
        with suppress(OSError):
            below = (folder / "cwd").readlink().is_relative_to(data.resolve())
            if below or mark in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def status_of(url: str) -> int:
    """The HTTP status of a page; 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
