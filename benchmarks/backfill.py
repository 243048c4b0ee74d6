"""A back-fill: seconds and memory that it takes to queue a large course's past completions through a real poll.

    python -m benchmarks.backfill [--completions 100000] [--database postgres]

The sandbox's Moodle holds one course that so many learners have completed, with a grade each. One `manage.py map_course
--include-past` in a process of its own reads and queues them all: the same poll as the worker's. Limits: 60 s, and
300 MB resident at the peak; over them the exit code is 1.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time

from . import stage

LIMIT_SECONDS, LIMIT_MB = 60, 300
AT_ONCE = 10_000


def main() -> None:
    """Fill the pretend Moodle, map the course, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=100_000)
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="postgres")
    options = parser.parse_args()
    with stage.sandbox() as info, stage.environment(options.database, info) as variables:
        course = stage.control(info["url"], "moodle/add_course", shortname="C", fullname="Course")["result"]
        left = options.completions
        while left > 0:
            number = min(AT_ONCE, left)
            learners = stage.control(info["url"], "moodle/add_learners", number=number, course_id=course)["result"]
            stage.control(info["url"], "moodle/complete_many", course_id=course, user_ids=learners, grade=80)
            left -= number
        stage.connect(variables, info, moodle=True)
        queued, seconds, busy, peak = _map(variables)
    assert queued == options.completions, f"{queued} of {options.completions} queued"
    print(
        f"{options.database}: {queued} completions queued in {seconds:.1f} s ({busy:.1f} s of them its own computing), "
        f"{peak:.0f} MB at the peak"
    )
    sys.exit(0 if seconds < LIMIT_SECONDS and peak < LIMIT_MB else 1)


def _map(variables: dict[str, str]) -> tuple[int, float, float, float]:
    """Map the course with its past: how many that queued, its seconds, those of its own processor time, its peak in MB.

    The command's start is part of it.
    """
    command = [
        sys.executable, "manage.py", "map_course", "--json", "--site", "M", "--course", "C", "--connection", "N",
        "--provider", "11", "--badge", "111", "--include-past",
    ]  # fmt: skip
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, env=variables, stdout=out)
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"map_course: exit code {process.returncode}"
        out.seek(0)
        queued: int = json.load(out)["queued"]
    # Linux counts in KiB.
    return queued, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
