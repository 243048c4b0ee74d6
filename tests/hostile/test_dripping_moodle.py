"""Moodle sites that never end an answer: a real portal gives each of them up in bounded time and memory."""

import gzip
import json
import re
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.launcher import running
from tests.outbound_http.wire import Answer, drips, floods, says_nothing, wire
from tests.services import free_port, wait_until

pytestmark = pytest.mark.slow

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
# Seconds that an answer may take, and so a poll of a site that gives none.
TIMEOUT = 3
# Megabytes that the worker may grow by while it polls all of these at the same time.
MOST_GROWTH = 200

HOSTILE: dict[str, Answer] = {
    "silence": says_nothing,
    "dripping status": drips(b"HTTP/1.1 200 "),
    "dripping headers": drips(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"),
    "dripping body": drips(HEAD + b"Content-Length: 90000\r\n\r\n"),
    "dripping chunks": drips(CHUNKED, b"1\r\n \r\n"),
    "endless headers": floods(b"HTTP/1.1 200 OK\r\n", b"X-Pad: 1\r\n"),
    "an endless header": floods(b"HTTP/1.1 200 OK\r\nX-Pad: ", b"x"),
    "an endless body": floods(HEAD + b"\r\n[", b'"x",'),
    "endless chunks": floods(CHUNKED, b"1000\r\n" + b" " * 4096 + b"\r\n"),
    "endless gzip": floods(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10], b"\0\0\0\xff\xff"),
    "interim answers": floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
}


def connect(data: Path, urls: dict[str, str]) -> None:
    """Save the sites as if they had been sound when they were connected."""
    code = (
        "from moodle_sync.models import MoodleSite\n"
        f"for name, url in {urls!r}.items():\n"
        "    MoodleSite.objects.create(name=name, url=url, token='token')\n"
    )
    done = running.manage(data, "shell", "-c", code)
    assert done.returncode == 0, done.stderr


def sites_of(data: Path) -> dict[str, Any]:
    """What `status` says of each site."""
    done = running.manage(data, "status", "--json")
    assert done.returncode == 0, done.stderr
    return {site["name"]: site for site in json.loads(done.stdout)["sites"]}


def megabytes_of_worker(data: Path) -> float:
    """The most memory that the worker has had."""
    workers = [pid for pid, command in running.processes_of(data).items() if " worker " in command]
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in workers]
    return max(int(re.findall(r"VmHWM:\s+([0-9]+)", status)[0]) for status in statuses) / 1024


def seconds_of_a_page(port: int) -> float:
    started = time.monotonic()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/sign-in/", timeout=30) as answer:
        assert answer.status == 200
    return time.monotonic() - started


def test_sites_that_never_end_an_answer_cost_bounded_time_and_memory_and_no_page(own_data: Path) -> None:
    data, port = own_data, free_port()
    with ExitStack() as stack:
        portal = stack.enter_context(running.portal(data, "--port", str(port), MOODLE_TIMEOUT_SECONDS=str(TIMEOUT)))
        portal.wait_for("Ctrl-C stops everything", seconds=60)
        before = megabytes_of_worker(data)
        servers = {name: stack.enter_context(wire(answer)) for name, answer in HOSTILE.items()}
        connect(data, {name: f"http://127.0.0.1:{server.port}" for name, server in servers.items()})

        pages: list[float] = []

        def each_has_been_given_up() -> bool:
            pages.append(seconds_of_a_page(port))
            time.sleep(0.1)
            given_up = running.rows(data, "SELECT 1 FROM moodle_sync_moodlesitestate WHERE error != ''")
            return len(given_up) == len(servers)

        wait_until(each_has_been_given_up, seconds=120, what="the end of every poll")
        assert all("cannot be reached" in site["error"] or "20 MB" in site["error"] for site in sites_of(data).values())
        assert all(server.requests for server in servers.values())
        assert sorted(pages)[int(len(pages) * 0.95)] < 0.5
        assert megabytes_of_worker(data) - before < MOST_GROWTH
        assert "Traceback" not in portal.text
