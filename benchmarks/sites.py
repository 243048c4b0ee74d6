"""How far behind the portal falls with many Moodle sites: the time since each site's last poll.

    python -m benchmarks.sites [--seconds 90] [--rows 0 1 2]

Runs the whole portal (`manage.py portal`, PostgreSQL, embedded Valkey) with many sites that are polled every 30 s, all
of them due at the start, and looks once a second when each was polled last. The sites are the sandbox's Moodle under
many names, and each answer takes as long as the row says. Dead sites never take a connection; slow ones need five
seconds for each answer. Limits: time since the last poll p95 35 s, over the sites that are neither; worker and
scheduler together one core. Over them the exit code is 1. The processor time of the sandbox and of PostgreSQL
is told beside, and the most connections that the portal had to PostgreSQL.
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

INTERVAL_SECONDS = 30
LIMIT_SECONDS, LIMIT_CORES = 35.0, 1.0
SLOW_SECONDS = 5.0
FIRST = 1000

# The one site that there is becomes many, in any order dead, slow and quick, each with its mapped course.
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
# Of the quick ones.
AGES = """
SELECT site_id, last_poll_at, extract(epoch FROM now() - last_poll_at)
FROM moodle_sync_moodlesitestate state JOIN moodle_sync_moodlesite site ON site.id = site_id
WHERE site_id >= 1000 AND url = (SELECT url FROM moodle_sync_moodlesite WHERE id < 1000)
"""

# Of the whole portal, with the one that asks.
CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"


@dataclass(frozen=True)
class Row:
    """One measurement: so many sites, the seconds that an answer takes, and how many in a hundred are dead or slow."""

    sites: int
    latency: float
    dead: int = 0
    slow: int = 0

    def __str__(self) -> str:
        others = f", {self.dead} % dead, {self.slow} % slow" if self.dead or self.slow else ""
        return f"{self.sites} sites, {self.latency * 1000:.0f} ms{others}"


ROWS = [Row(500, 0.3), Row(100, 0.05), Row(500, 0.3, dead=10, slow=5)]


def main() -> None:
    """Measure each row on a fresh database, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=90, help="how long to measure")
    parser.add_argument("--settle", type=int, default=40, help="seconds to wait after the start")
    parser.add_argument("--rows", type=int, nargs="+", default=list(range(len(ROWS))), help="which of the rows")
    options = parser.parse_args()
    print(f"polled every {INTERVAL_SECONDS} s, over {options.seconds} s; processor time in cores")
    print(
        f"{'':36}{'p50':>8}{'p95':>8}{'longest':>9}{'polls/s':>9}{'worker':>8}{'sandbox':>9}{'PostgreSQL':>12}{'connections':>13}"
    )
    ok = True
    for row in [ROWS[number] for number in options.rows]:
        with stage.sandbox() as info, stage.environment("postgres", info) as variables:
            ok = _measure(row, info, variables, options) and ok
    sys.exit(0 if ok else 1)


def _measure(row: Row, info: dict[str, Any], variables: dict[str, str], options: argparse.Namespace) -> bool:
    """One row; whether it is within the limits."""
    stage.control(info["url"], "moodle/add_course", shortname="C", fullname="Course")
    stage.connect(variables, info, moodle=True)
    stage.run(
        [
            sys.executable, "manage.py", "map_course", "--site", "M", "--course", "C", "--connection", "N",
            "--provider", "11", "--badge", "111",
        ],
        variables,
    )  # fmt: skip
    with ExitStack() as stack:
        database = stack.enter_context(psycopg.connect(variables["DATABASE_URL"], autocommit=True))
        dead = stack.enter_context(_dead_address())
        slow = stack.enter_context(stage.sandbox())
        stage.control(info["url"], "faults", kind="slow", side="moodle", seconds=row.latency)
        stage.control(slow["url"], "faults", kind="slow", side="moodle", seconds=SLOW_SECONDS)
        kinds = {"dead": row.dead, "slow": row.dead + row.slow, "dead_url": dead, "slow_url": slow["moodle_url"]}
        database.execute(MULTIPLY.format(interval=INTERVAL_SECONDS, first=FIRST, sites=row.sites, **kinds))
        supervisor = stack.enter_context(running.portal(variables))
        time.sleep(options.settle)
        [(server,)] = database.execute("SELECT pg_backend_pid()").fetchall()
        programs = {
            # Worker and scheduler.
            "worker": [pid for pid in running.family(supervisor.pid) if "-A config" in running.name(pid)],
            "sandbox": [info["pid"]],
            "PostgreSQL": [running.parent(server)],
        }
        before = {name: sum(map(running.cpu_seconds_together, pids)) for name, pids in programs.items()}
        started = time.monotonic()
        ages: list[float] = []
        polls: set[tuple[int, datetime]] = set()
        connections = 0
        while time.monotonic() - started < options.seconds:
            found = database.execute(AGES).fetchall()
            ages += [float(age) for _site, _polled_at, age in found]
            polls |= {(site, polled_at) for site, polled_at, _age in found}
            connections = max(connections, *database.execute(CONNECTIONS).fetchall()[0])
            time.sleep(1)
        took = time.monotonic() - started
        cores = {
            name: (sum(map(running.cpu_seconds_together, pids)) - before[name]) / took
            for name, pids in programs.items()
        }
    *_rest, p95 = statistics.quantiles(ages, n=20)
    rate = (len(polls) - len(found)) / took
    print(
        f"{row!s:36}{statistics.median(ages):6.1f} s{p95:6.1f} s{max(ages):7.1f} s{rate:9.1f}"
        f"{cores['worker']:8.2f}{cores['sandbox']:9.2f}{cores['PostgreSQL']:12.2f}{connections:13}",
        flush=True,
    )
    return p95 <= LIMIT_SECONDS and cores["worker"] <= LIMIT_CORES


@contextmanager
def _dead_address() -> Iterator[str]:
    """An address that takes no connection and refuses none: a listener whose queue is full."""
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
