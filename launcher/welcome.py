"""Wait until the pages answer, connect the sandbox if there is one, and print what to open.

Imports no Django. Usage:
python -m launcher.welcome --bind 127.0.0.1 --port 8000 --admin NAME [--url URL] [--sandbox-port 8001 --data FOLDER]
"""

import argparse
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import addresses
from .processes import dying_with_parent

# How long to wait until the pages answer.
PAGES_SECONDS = 120
# The demo's names for its connection and its site.
CONNECTION = "Sandbox Navigatr"
SITE = "Sandbox Moodle"
# The full name of the demo's mapped course.
DEMO_COURSE_NAME = "Safeguarding Essentials"


class CommandFailed(Exception):
    """A management command failed; the message is its name and its last line of output."""


def main() -> int:
    """Do all of it; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bind", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--admin", default="")
    parser.add_argument("--url", default="", help="what people open, if it is not the address that is listened at")
    parser.add_argument("--sandbox-port", type=int)
    parser.add_argument("--data", type=Path)
    options = parser.parse_args()
    for bind, port in ((options.bind, options.port), ("127.0.0.1", options.sandbox_port)):
        if port is not None and not wait_for_pages(port, bind=bind):
            print(f"Nothing answers at {addresses.url(bind, port)}/", flush=True)
            return 1
    pages = options.url or addresses.url(options.bind, options.port)
    if options.sandbox_port is None:
        print(box(message(pages, options.admin)), flush=True)
        return 0
    try:
        connect_sandbox(sandbox_port=options.sandbox_port, data=options.data)
    except CommandFailed as error:
        print(f"The sandbox could not be connected: {error}", flush=True)
        return 1
    print(box(message(pages, options.admin, options.sandbox_port)), flush=True)
    return 0


def wait_for_pages(port: int, *, bind: str = "127.0.0.1", seconds: float = PAGES_SECONDS) -> bool:
    """Whether a web server that listens there answers within `seconds`. Any answer will do, also a redirect."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        connection = http.client.HTTPConnection(addresses.reachable(bind), port, timeout=5)
        try:
            # A host name that is always allowed.
            connection.request("GET", "/", headers={"Host": "localhost"})
            connection.getresponse()
        except (OSError, http.client.HTTPException):
            time.sleep(0.1)
        else:
            return True
        finally:
            connection.close()
    return False


def connect_sandbox(*, sandbox_port: int, data: Path) -> None:
    """Connect the portal to the sandbox and map one course, unless an earlier start has done so.

    Raises CommandFailed.
    """
    from sandbox import demo

    moodle_url = f"http://127.0.0.1:{sandbox_port}/moodle"
    # Holds the address of the sandbox that was connected last.
    marker = data / "sandbox_connected"
    if marker.is_file() and marker.read_text() == moodle_url and _is_connected(manage("status")):
        return
    manage(
        *("connect_navigatr", "--name", CONNECTION, "--environment", "staging", "--pat-stdin"),
        stdin=demo.DEMO_PAT,
    )
    manage(
        *("connect_moodle", "--name", SITE, "--url", moodle_url, "--token-stdin", "--poll-seconds", "5"),
        stdin=demo.DEMO_MOODLE_TOKEN,
    )
    manage(
        *("map_course", "--site", SITE, "--course", demo.DEMO_COURSE, "--connection", CONNECTION),
        *("--provider", str(demo.DEMO_PROVIDER_ID), "--badge", str(demo.DEMO_BADGE_ID)),
    )
    marker.write_text(moodle_url)


def _is_connected(status: Mapping[str, Any]) -> bool:
    names = {row["name"] for row in [*status["connections"], *status["sites"]]}
    return {CONNECTION, SITE} <= names


def manage(command: str, *arguments: str, stdin: str = "") -> dict[str, Any]:
    """Run a management command and return its JSON. Raises CommandFailed."""
    process = subprocess.run(
        [sys.executable, "manage.py", command, *arguments, "--json"],
        input=stdin,
        capture_output=True,
        text=True,
        preexec_fn=dying_with_parent(),
    )
    if process.returncode != 0:
        output = (process.stderr or process.stdout).strip().splitlines()
        raise CommandFailed(f"{command}: {output[-1] if output else f'exit code {process.returncode}'}")
    result: dict[str, Any] = json.loads(process.stdout)
    return result


def message(address: str, admin: str, sandbox_port: int | None = None) -> list[str]:
    """The lines that say what to open and how to sign in. `address` is that of the pages."""
    lines = [f"Courses and badges  {address}/courses/", f"Administration      {address}/admin/"]
    if admin:
        lines += [
            f"Sign in as “{admin}”. Forgotten the password? Get a link to a new one:",
            f"                    .venv/bin/python manage.py sign_in_link {admin} --address {address}",
        ]
    if sandbox_port is not None:
        lines = [
            f"1. Sandbox             http://127.0.0.1:{sandbox_port}/",
            f"   Press “Complete this course” in {DEMO_COURSE_NAME}: the badge follows within seconds.",
            "2. See what the portal has done:",
            *(f"   {line}" for line in lines),
        ]
    return [*lines, "", "Ctrl-C stops everything."]


def box(lines: list[str]) -> str:
    """The lines in a frame."""
    width = max(map(len, lines))
    return "\n".join(
        ["┌" + "─" * (width + 2) + "┐", *(f"│ {line:<{width}} │" for line in lines), "└" + "─" * (width + 2) + "┘"]
    )


if __name__ == "__main__":
    sys.exit(main())
