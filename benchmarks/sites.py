"""The time since the last poll with many Moodle sites.

    python -m benchmarks.sites [--seconds 90] [--rows 0 1 2]

Runs the whole portal (PostgreSQL, embedded Valkey) with many sites that are polled every 30 s and all due at the start.
All sites are the sandbox's Moodle. Dead sites do not accept connections; slow ones take 5 s for each answer. Once a
second the time since the last poll is read, for the sites that are neither. Limits: p95 35 s; one core for worker and
scheduler together. Over a limit the exit code is 1. The CPU time of the sandbox and PostgreSQL, and the most
connections to PostgreSQL, are printed for information.
"""

import argparse
import socket
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from . import running, stage

# How often each site is polled.
INTERVAL_SECONDS = 30
LIMIT_SECONDS, LIMIT_CORES = 35.0, 1.0
# How long a slow site takes to answer.
SLOW_SECONDS = 5.0
# The id of the first copy of the site.
FIRST = 1000

# Copies the site with its mapped course. Some copies are dead and some slow, in mixed order.
MULTIPLY = """
UPDATE moodle_sync_moodlesite SET enabled = false, poll_interval = make_interval(secs => {interval}),
    busy_interval = make_interval(secs => {interval});
UPDATE moodle_sync_moodlesitestate SET next_poll_at = now(), pace = NULL, last_poll_took = NULL;
INSERT INTO moodle_sync_moodlesite SELECT (jsonb_populate_record(site, jsonb_build_object(
        'id', {first} + n, 'name', 'M' || n, 'enabled', true, 'url',
        CASE WHEN n * 7 % 100 < {dead} THEN '{dead_url}' WHEN n * 7 % 100 < {slow} THEN '{slow_url}' ELSE url END))).*
    FROM moodle_sync_moodlesite site, generate_series(0, {sites} - 1) n;
INSERT INTO moodle_sync_moodlesitestate SELECT (jsonb_populate_record(state, jsonb_build_object(
        'site_id', {first} + n))).*
    FROM moodle_sync_moodlesitestate state, generate_series(0, {sites} - 1) n;
INSERT INTO moodle_sync_course SELECT (jsonb_populate_record(course, jsonb_build_object(
        'id', {first} + n, 'site_id', {first} + n))).*
    FROM moodle_sync_course course, generate_series(0, {sites} - 1) n;
INSERT INTO badging_coursebadgemapping SELECT (jsonb_populate_record(mapping, jsonb_build_object(
        'id', {first} + n, 'course_id', {first} + n))).*
    FROM badging_coursebadgemapping mapping, generate_series(0, {sites} - 1) n;
ANALYZE;
"""
# The last poll of each site that is neither dead nor slow.
AGES = """
SELECT site_id, last_poll_at, extract(epoch FROM now() - last_poll_at)
FROM moodle_sync_moodlesitestate state JOIN moodle_sync_moodlesite site ON site.id = site_id
WHERE site_id >= 1000 AND url = (SELECT url FROM moodle_sync_moodlesite WHERE id < 1000)
"""
# The connections of the portal, and the one of the benchmark.
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"


@dataclass(frozen=True)
class Row:
    """A measurement: the number of sites, the seconds that an answer takes, the percentages of dead and slow sites."""

    sites: int
    latency: float
    dead: int = 0
    slow: int = 0

    def __str__(self) -> str:
        others = f", {self.dead} % dead, {self.slow} % slow" if self.dead or self.slow else ""
        return f"{self.sites} sites, {self.latency * 1000:.0f} ms{others}"


ROWS = [Row(500, 0.3), Row(100, 0.05), Row(500, 0.3, dead=10, slow=5)]


def main() -> None:
    """Measure each row on a fresh database; print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=90, help="how long to measure")
    parser.add_argument("--settle", type=int, default=40, help="seconds to wait after the start")
    parser.add_argument("--rows", type=int, nargs="+", default=list(range(len(ROWS))), help="which of the rows")
    options = parser.parse_args()
    print(f"polled every {INTERVAL_SECONDS} s, over {options.seconds} s; CPU time in cores")
    print(
        f"{'':36}{'p50':>8}{'p95':>8}{'longest':>9}{'polls/s':>9}{'worker':>8}{'sandbox':>9}{'PostgreSQL':>12}{'connections':>13}"
    )
    ok = True
    for row in [ROWS[number] for number in options.rows]:
        with stage.sandbox() as info, stage.environment("postgres", info) as variables:
            ok = _measure(row, info, variables, options) and ok
    sys.exit(0 if ok else 1)


def _measure(row: Row, info: dict[str, Any], variables: dict[str, str], options: argparse.Namespace) -> bool:
    """Measure and print one row; return whether it is within the limits."""
    stage.control(info["url"], "moodle/add_course", shortname="C", fullname="Course")
    stage.connect(variables, info, moodle=True)
    stage.map_course(variables, "C")
    with ExitStack() as stack:
        database = stack.enter_context(psycopg.connect(variables["DATABASE_URL"], autocommit=True))
        dead = stack.enter_context(_dead_address())
        slow = stack.enter_context(stage.sandbox())
        stage.control(info["url"], "faults", kind="slow", side="moodle", seconds=row.latency)
        stage.control(slow["url"], "faults", kind="slow", side="moodle", seconds=SLOW_SECONDS)
        kinds = {"dead": row.dead, "slow": row.dead + row.slow, "dead_url": dead, "slow_url": slow["moodle_url"]}
        database.execute(MULTIPLY.format(interval=INTERVAL_SECONDS, first=FIRST, sites=row.sites, **kinds))
        portal = stack.enter_context(running.portal(variables))
        time.sleep(options.settle)
        programs = _programs(portal.pid, info["pid"], database)
        cpu_before = {name: sum(map(running.family_cpu_seconds, pids)) for name, pids in programs.items()}
        started = time.monotonic()
        ages, polls, connections = _watch(database, options.seconds)
        seconds = time.monotonic() - started
        cores = {
            name: (sum(map(running.family_cpu_seconds, pids)) - cpu_before[name]) / seconds
            for name, pids in programs.items()
        }
    *_rest, p95 = statistics.quantiles(ages, n=20)
    print(
        f"{row!s:36}{statistics.median(ages):6.1f} s{p95:6.1f} s{max(ages):7.1f} s{polls / seconds:9.1f}"
        f"{cores['worker']:8.2f}{cores['sandbox']:9.2f}{cores['PostgreSQL']:12.2f}{connections:13}",
        flush=True,
    )
    return p95 <= LIMIT_SECONDS and cores["worker"] <= LIMIT_CORES


def _programs(portal_pid: int, sandbox_pid: int, database: psycopg.Connection[Any]) -> dict[str, list[int]]:
    """The processes whose CPU time is printed, each with its descendants; "worker" includes the scheduler."""
    [(backend_pid,)] = database.execute("SELECT pg_backend_pid()").fetchall()
    return {
        "worker": [pid for pid in running.family(portal_pid) if "-A config" in running.name(pid)],
        "sandbox": [sandbox_pid],
        "PostgreSQL": [running.parent(backend_pid)],
    }


def _watch(database: psycopg.Connection[Any], seconds: int) -> tuple[list[float], int, int]:
    """Every second, for `seconds`: return all ages of last polls, the number of polls, and the most connections."""
    ages: list[float] = []
    last_polls: set[tuple[int, datetime]] = set()
    connections = 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        rows = database.execute(AGES).fetchall()
        ages += [float(age) for _site, _polled_at, age in rows]
        last_polls |= {(site, polled_at) for site, polled_at, _age in rows}
        connections = max(connections, *database.execute(CONNECTIONS).fetchall()[0])
        time.sleep(1)
    # Each site's first last poll was before the start.
    return ages, len(last_polls) - len(rows), connections


@contextmanager
def _dead_address() -> Iterator[str]:
    """An address that neither accepts nor refuses connections, because the queue of its listener is full."""
    with socket.socket() as listener, ExitStack() as queue:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        with suppress(TimeoutError):
            while True:
                queue.enter_context(socket.create_connection(address, timeout=0.2))
        yield f"http://127.0.0.1:{address[1]}/moodle"


if __name__ == "__main__":
    main()
