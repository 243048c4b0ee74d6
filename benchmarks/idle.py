"""CPU time and memory of the idle portal.

    python -m benchmarks.idle [--seconds 60] [--database sqlite]

Runs `manage.py portal` with a connection and a Moodle site that is polled every minute, and adds up its processes. The
sandbox and a PostgreSQL server do not count. Limits: 2 % of one core and 450 MB resident memory, in which shared pages
count for each process. Over a limit the exit code is 1.
"""

import argparse
import sys
import time
from pathlib import Path

from . import running, stage

LIMIT_PERCENT, LIMIT_MB = 2.0, 450


def main() -> None:
    """Measure; print each process and the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--settle", type=int, default=20, help="seconds to wait after the start")
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="sqlite")
    options = parser.parse_args()
    with stage.sandbox() as info, stage.environment(options.database, info) as variables:
        stage.connect(variables, info, moodle=True)
        with running.portal(variables) as process:
            time.sleep(options.settle)
            before = {pid: running.cpu_seconds(pid) for pid in running.family(process.pid)}
            time.sleep(options.seconds)
            rows = [
                (running.cpu_seconds(pid) - seconds, running.resident_mb(pid), running.name(pid))
                for pid, seconds in before.items()
                if Path(f"/proc/{pid}").exists()
            ]
    for seconds, megabytes, name in rows:
        print(f"{100 * seconds / options.seconds:6.2f} % {megabytes:7.1f} MB  {name}")
    percent = 100 * sum(row[0] for row in rows) / options.seconds
    megabytes = sum(row[1] for row in rows)
    print(f"{percent:6.2f} % {megabytes:7.1f} MB  in total, over {options.seconds} s")
    sys.exit(0 if percent < LIMIT_PERCENT and megabytes < LIMIT_MB else 1)


if __name__ == "__main__":
    main()
