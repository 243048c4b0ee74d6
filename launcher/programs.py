"""The portal's programs and their command lines."""

import sys
from pathlib import Path

from . import embedded
from .processes import Program

# Seconds for a worker to finish what it is sending. Then it is killed, and its leases expire.
WORKER_GRACE = 30.0
# Seconds for the web server to finish requests in flight: `launcher.web.STOP_SECONDS` and some for the rest.
WEB_GRACE = 15.0


def sandbox_url(sandbox_port: int) -> str:
    """The sandbox's address."""
    return f"http://127.0.0.1:{sandbox_port}"


def sandbox_environment(sandbox_port: int) -> dict[str, str]:
    """Settings that replace Navigatr by the sandbox, in both environments."""
    url = sandbox_url(sandbox_port)
    return {
        "NAVIGATR_STAGING_URL": f"{url}/navigatr/v1",
        "NAVIGATR_PRODUCTION_URL": f"{url}/navigatr-production/v1",
    }


def portal_programs(
    *,
    data: Path,
    bind: str,
    port: int,
    sandbox_port: int | None,
    broker: embedded.BrokerProgram | None,
    admin: str,
    public_url: str = "",
) -> list[Program]:
    """The programs in the order in which they start. They stop in reverse order.

    `broker`: the program of the embedded broker, if there is one. `public_url`: what people open, if it is not the
    address at which the web server listens.
    """
    programs = []
    if broker is not None:
        command = embedded.broker_command(broker, data=data, socket_path=embedded.broker_socket(data))
        programs.append(Program(broker.name, command))
    welcome = ["launcher.welcome", "--bind", bind, "--port", str(port), "--admin", admin, "--url", public_url]
    if sandbox_port is not None:
        state = str(data / "sandbox.json")
        programs.append(
            Program("sandbox", _python("sandbox", "--port", str(sandbox_port), "--state", state, "--quiet"))
        )
        welcome += ["--sandbox-port", str(sandbox_port), "--data", str(data)]
    programs += [
        Program("web", _web(bind, port), grace=WEB_GRACE),
        Program("worker", _worker(), grace=WORKER_GRACE),
        Program("beat", _beat()),
        Program("welcome", _python(*welcome), once=True),
    ]
    return programs


def _python(*module_and_arguments: str) -> list[str]:
    return [sys.executable, "-m", *module_and_arguments]


def _web(bind: str, port: int) -> list[str]:
    # One process with threads, because pages mostly wait for the database, and a second process costs 70 MB.
    return _python("launcher.web", "config.wsgi:application", "--bind", bind, "--port", str(port))


def _worker() -> list[str]:
    # Threads, because tasks mostly wait for the network. Without gossip, mingle and heartbeat, because workers do not
    # need to know of each other.
    return _celery(
        *("worker", "--pool", "threads", "--concurrency", "8"),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"),
    )


def _beat() -> list[str]:
    # No pid file, because the lock on the data folder already prevents a second beat. Schedules that are edited in the
    # admin take effect after at most 5 s.
    return _celery("beat", "--pidfile", "", "--max-interval", "5", "--loglevel", "WARNING")


def _celery(*arguments: str) -> list[str]:
    # We allow root, so silence Celery's warning: it is about pickled messages, and ours are JSON.
    warning = "ignore:You're running the worker with superuser privileges"
    return [sys.executable, "-W", warning, "-m", "celery", "--quiet", "-A", "config", *arguments]
