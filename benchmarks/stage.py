"""The stage of a benchmark: a sandbox in a process of its own, a fresh database, and Django loaded on it."""

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


@contextmanager
def sandbox(*, latency: float = 0) -> Iterator[dict[str, Any]]:
    """Run a sandbox; yields what its `/control/info` tells, `url` and `pid`.

    `latency`: seconds before each PUT's answer.
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
            yield {"url": url, "pid": process.pid, **ask(f"{url}/control/info")["result"]}
        finally:
            process.terminate()


def control(url: str, path: str, **arguments: Any) -> Any:
    """One control call to the sandbox."""
    request = urllib.request.Request(
        f"{url}/control/{path}", json.dumps(arguments).encode(), {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def ask(url: str) -> Any:
    """The JSON behind an address."""
    with urllib.request.urlopen(url) as answer:
        return json.load(answer)


@contextmanager
def environment(database: str, info: dict[str, Any]) -> Iterator[dict[str, str]]:
    """The environment of a portal on a fresh `postgres` or `sqlite` database, migrated, connected to the sandbox."""
    with tempfile.TemporaryDirectory(prefix="portal-benchmark-") as folder:
        variables = os.environ | {
            "PORTAL_DATA_DIR": folder,
            "SECRET_KEY": "only-for-benchmarks",
            "FIELD_ENCRYPTION_KEYS": Fernet.generate_key().decode(),
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


def run(command: list[str], variables: dict[str, str], *, stdin: str = "") -> str:
    """Run a command to its end and return what it printed; its errors are shown."""
    return subprocess.run(command, env=variables, input=stdin, check=True, stdout=subprocess.PIPE, text=True).stdout


def manage(variables: dict[str, str], *arguments: str, stdin: str = "") -> Any:
    """One of the portal's commands, with its JSON answer."""
    return json.loads(run([sys.executable, "manage.py", *arguments, "--json"], variables, stdin=stdin))


def connect(variables: dict[str, str], info: dict[str, Any], *, moodle: bool = False) -> None:
    """Connect the portal to the sandbox's Navigatr as N, and to its Moodle as M."""
    manage(variables, "connect_navigatr", "--name", "N", "--environment", "staging", "--pat-stdin", stdin=info["pat"])
    if moodle:
        manage(
            variables, "connect_moodle", "--name", "M", "--url", info["moodle_url"], "--token-stdin",
            stdin=info["moodle_token"],
        )  # fmt: skip
