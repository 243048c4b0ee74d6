"""Which programs make up the portal, and their command lines."""

import sys
from pathlib import Path

from . import embedded
from .processes import Program

# What a worker may take to finish the sends in hand before it is killed; their leases then run out.
WORKER_GRACE = 30.0


def sandbox_url(sandbox_port: int) -> str:
    """Where the sandbox answers."""
    return f"http://127.0.0.1:{sandbox_port}"


def sandbox_environment(sandbox_port: int) -> dict[str, str]:
    """The settings that point the portal at the sandbox's pretend Navigatr, in both environments."""
    address = sandbox_url(sandbox_port)
    return {
        "NAVIGATR_STAGING_URL": f"{address}/navigatr/v1",
        "NAVIGATR_PRODUCTION_URL": f"{address}/navigatr-production/v1",
    }


def portal_programs(
    *, data: Path, port: int, sandbox_port: int | None, embedded_broker: bool, admin: str
) -> list[Program]:
    """The portal's programs in the order in which they start; they stop in the reverse order."""
    programs = []
    if embedded_broker:
        command = embedded.valkey_command(data=data, socket_path=embedded.broker_socket(data))
        programs.append(Program("valkey", command))
    opening = ["launcher.opening", "--port", str(port), "--admin", admin]
    if sandbox_port is not None:
        state = str(data / "sandbox.json")
        programs.append(
            Program("sandbox", _python("sandbox", "--port", str(sandbox_port), "--state", state, "--quiet"))
        )
        opening += ["--sandbox-port", str(sandbox_port), "--data", str(data)]
    programs += [
        Program("web", _web(port)),
        Program("worker", _worker(), grace=WORKER_GRACE),
        Program("beat", _beat()),
        Program("welcome", _python(*opening), once=True),
    ]
    return programs


def _python(*module_and_arguments: str) -> list[str]:
    return [sys.executable, "-m", *module_and_arguments]


def _web(port: int) -> list[str]:
    # One process with threads: the portal waits for its database, and a second process costs 70 MB. So many threads
    # that a few pages waiting for a slow Navigatr (10 s at most, badging/wizard.py) hold up nobody else's.
    # The control socket would be written under the home folder of whoever runs this.
    return _python(
        *("gunicorn", "config.wsgi:application", "--bind", f"127.0.0.1:{port}"),
        *("--worker-class", "gthread", "--workers", "1", "--threads", "16"),
        *("--no-control-socket", "--log-level", "warning"),
    )


def _worker() -> list[str]:
    # Threads, for sending is waiting. Workers need not know of each other, so there is no gossip and no heartbeat.
    return _celery(
        *("worker", "--pool", "threads", "--concurrency", "8"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"),
    )


def _beat() -> list[str]:
    # No pid file: the lock on the data folder already keeps a second portal away. Schedules edited in the admin
    # are seen within the 5 s.
    return _celery("beat", "--pidfile", "", "--max-interval", "5", "--loglevel", "WARNING")


def _celery(*arguments: str) -> list[str]:
    # Without its banner, and without its warning to root: root was told by nobody not to try the portal, and the
    # messages are JSON, not the pickles that the warning is about.
    warning = "ignore:You're running the worker with superuser privileges"
    return [sys.executable, "-W", warning, "-m", "celery", "--quiet", "-A", "config", *arguments]
