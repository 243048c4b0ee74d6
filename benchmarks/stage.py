"""Set-up of a benchmark: a sandbox in its own process, a fresh database, and the portal's commands."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet

from tests import services

# The command that maps a course of M to the first badge of N.
MAP_COURSE = ("map_course", "--site", "M", "--connection", "N", "--provider", "11", "--badge", "111")


@contextmanager
def sandbox(*, latency: float = 0) -> Iterator[dict[str, Any]]:
    """Run a sandbox; yield its `/control/info` with `url` and `pid`.

    `latency`: seconds that it takes to answer an issue call.
    """
    port = services.free_port()
    command = [sys.executable, "-m", "sandbox", "--port", str(port), "--quiet", "--empty"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            url = f"http://127.0.0.1:{port}"
            if latency:
                control(url, "faults", kind="slow", call="issue", seconds=latency)
            yield {"url": url, "pid": process.pid, **get(url, "info")}
        finally:
            process.terminate()


def control(url: str, path: str, **arguments: Any) -> Any:
    """Make a control call; return its result."""
    request = urllib.request.Request(
        f"{url}/control/{path}", json.dumps(arguments).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["result"]


def get(url: str, path: str) -> Any:
    """Make a control call with GET; return its result."""
    with urllib.request.urlopen(f"{url}/control/{path}") as answer:
        return json.load(answer)["result"]


@contextmanager
def environment(database: str, info: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The environment of a portal with a fresh, migrated `postgres` or `sqlite` database and the sandbox's Navigatr."""
    with tempfile.TemporaryDirectory(prefix="portal-benchmark-") as folder:
        variables = os.environ | {
            "PORTAL_DATA_DIR": folder,
            "SECRET_KEY": "only-for-benchmarks",
            "FIELD_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
            "DIGEST_KEYS": Fernet.generate_key().decode(),
            "NAVIGATR_STAGING_URL": info["navigatr_url"],
            "DJANGO_SETTINGS_MODULE": "config.settings",
        }
        if database == "sqlite":
            variables["DATABASE_URL"] = f"sqlite:///{Path(folder) / 'portal.sqlite3'}"
            _migrate(variables)
            yield variables
        else:
            with services.postgres() as url:
                variables["DATABASE_URL"] = url
                _migrate(variables)
                yield variables


def _migrate(variables: dict[str, str]) -> None:
    run([sys.executable, "manage.py", "migrate", "-v", "0"], variables)
    run([sys.executable, "manage.py", "createcachetable"], variables)


def run(command: list[str], variables: dict[str, str], *, stdin: str = "") -> str:
    """Run a command and return its output. Its errors are shown."""
    return subprocess.run(command, env=variables, input=stdin, check=True, stdout=subprocess.PIPE, text=True).stdout


def manage(variables: dict[str, str], *arguments: str, stdin: str = "") -> Any:
    """Run one of the portal's commands and return its JSON."""
    return json.loads(run([sys.executable, "manage.py", *arguments, "--json"], variables, stdin=stdin))


def connect(variables: dict[str, str], info: dict[str, Any], *, moodle: bool = False) -> None:
    """Connect the portal to the sandbox's Navigatr as N and, if `moodle`, to its Moodle as M."""
    manage(variables, "connect_navigatr", "--name", "N", "--environment", "staging", "--pat-stdin", stdin=info["pat"])
    if moodle:
        manage(
            variables, "connect_moodle", "--name", "M", "--url", info["moodle_url"], "--token-stdin",
            stdin=info["moodle_token"],
        )  # fmt: skip


def map_course(variables: dict[str, str], shortname: str) -> None:
    """Map a course of M to the sandbox's first badge."""
    run([sys.executable, "manage.py", *MAP_COURSE, "--course", shortname], variables)
