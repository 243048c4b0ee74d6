"""Processes that can be killed and started again: the portal's programs, PostgreSQL, Valkey and the sandbox."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psycopg
import redis

from launcher import embedded
from launcher.processes import dying_with_parent
from tests import services

ROOT = Path(__file__).resolve().parent.parent.parent
# A statement of the portal that takes longer has gone wrong, however busy the machine is.
SLOW_SECONDS = 10


class Process:
    """One program, in a process group of its own, that dies with this process. Its output goes to a file."""

    def __init__(
        self, name: str, command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str], user: str = ""
    ) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._environment = dict(environment)
        self._user = user or None
        self._process: subprocess.Popen[bytes] | None = None
        # What an earlier run has left in the same folder is not this run's.
        log.write_bytes(b"")

    def start(self) -> None:
        """Start it. Call from the main thread (see `dying_with_parent`)."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
                preexec_fn=dying_with_parent(),
                user=self._user,
                extra_groups=[] if self._user else None,
                cwd="/" if self._user else ROOT,
            )

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def end(self, number: signal.Signals = signal.SIGKILL, *, seconds: float = 15) -> None:
        """Send it a signal and wait until it has ended; what is left of its group, or of its time, is killed."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            # SIGKILL hits a whole group at once, as when a machine fails; anything else is for the leader to pass on.
            if number is signal.SIGKILL:
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


class Postgres:
    """A PostgreSQL whose commits are on disk: it is stopped at once and started again on the same data."""

    def __init__(self, logs: Path) -> None:
        self._user = "nobody" if os.geteuid() == 0 else None
        self._folder = Path(tempfile.mkdtemp(prefix="portal-chaos-pg-"))
        binaries = services._postgres_binaries(self._folder, self._user)
        if self._user:
            shutil.chown(self._folder, self._user)
        data, port = self._folder / "data", services.free_port()
        create = ["--no-sync", "--no-locale", "-E", "UTF8", "-A", "trust", "-U", "portal"]
        services._run_as(self._user, [binaries / "initdb", *create, "-D", data])
        options = ["--listen_addresses=127.0.0.1", f"--port={port}", "--unix_socket_directories="]
        options.append(f"--log_min_duration_statement={SLOW_SECONDS}s")
        command: list[str | Path] = [binaries / "postgres", "-D", data, *options, "--max_connections=300"]
        self.url = f"postgres://portal@127.0.0.1:{port}/postgres"
        self._server = Process(
            "database", command, log=logs / "database.log", environment=os.environ, user=self._user or ""
        )

    def start(self) -> None:
        """Start it, and return when it answers (after a stop it first recovers what it had written)."""
        self._server.start()
        services.wait_until(self._answers, seconds=60, what="PostgreSQL")

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            psycopg.connect(self.url).close()
            return True
        return False

    def slow_statements(self) -> list[str]:
        """Those that took longer than SLOW_SECONDS, waits for others' locks included, as PostgreSQL logged them."""
        lines = self._server.log.read_text(errors="replace").splitlines()
        return [line for line in lines if " LOG:  duration: " in line]

    def under_way(self) -> list[tuple[float, str, str]]:
        """What it is working at: for how many seconds, what it waits for, and the beginning of the statement."""
        with suppress(psycopg.Error), psycopg.connect(self.url) as session:
            return session.execute(
                "SELECT round(extract(epoch FROM now() - query_start), 1)::float, coalesce(wait_event, ''),"
                " left(query, 300) FROM pg_stat_activity WHERE state <> 'idle' AND pid <> pg_backend_pid()"
            ).fetchall()
        return []

    def stop(self) -> None:
        """PostgreSQL's immediate stop: every session is cut off, and nothing is tidied up."""
        self._server.end(signal.SIGQUIT)

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.stop()
        shutil.rmtree(self._folder)


class Valkey:
    """A Valkey on a unix socket, with the portal's own settings."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self._socket = folder / "chaos-valkey.sock"
        command = embedded.broker_command(embedded.packaged_program(), data=folder, socket_path=self._socket)
        self._server = Process("broker", command, log=logs / "broker.log", environment=os.environ)
        self.url = f"redis+socket://{self._socket}?virtual_host=0"

    def start(self) -> None:
        """Start it, and return when it answers."""
        self._server.start()
        services.wait_until(self._answers, what="Valkey")

    def _answers(self) -> bool:
        with suppress(redis.ConnectionError), redis.Redis(unix_socket_path=str(self._socket)) as client:
            return bool(client.ping())
        return False

    def flush(self) -> None:
        """FLUSHALL: every message is gone."""
        with redis.Redis(unix_socket_path=str(self._socket)) as client:
            client.flushall()

    def stop(self) -> None:
        """Kill -9."""
        self._server.end()
