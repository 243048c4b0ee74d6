"""Time and memory of a back-fill: one poll that queues all past completions of a large course.

    python -m benchmarks.backfill [--completions 100000] [--database postgres]

Runs `manage.py map_course --include-past` for a course of the sandbox that all learners have completed with a grade; it
polls as a worker does. Limits: 60 s and 300 MB resident memory. Over a limit the exit code is 1.
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
# Learners that one control call adds.
AT_ONCE = 10_000


def main() -> None:
    """Fill the sandbox, map the course, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=100_000)
    parser.add_argument("--database", choices=["postgres", "sqlite"], default="postgres")
    options = parser.parse_args()
    with stage.sandbox() as info, stage.environment(options.database, info) as variables:
        course = stage.control(info["url"], "moodle/add_course", shortname="C", fullname="Course")
        remaining = options.completions
        while remaining > 0:
            number = min(AT_ONCE, remaining)
            learners = stage.control(info["url"], "moodle/add_learners", number=number, course_id=course)
            stage.control(info["url"], "moodle/complete_many", course_id=course, user_ids=learners, grade=80)
            remaining -= number
        stage.connect(variables, info, moodle=True)
        queued, seconds, cpu_seconds, peak = _map(variables)
    assert queued == options.completions, f"{queued} of {options.completions} queued"
    print(
        f"{options.database}: {queued} completions queued in {seconds:.1f} s ({cpu_seconds:.1f} s CPU time of the "
        f"command), {peak:.0f} MB at the peak"
    )
    sys.exit(0 if seconds < LIMIT_SECONDS and peak < LIMIT_MB else 1)


def _map(variables: dict[str, str]) -> tuple[int, float, float, float]:
    """Map the course; return the queued completions, and the command's seconds, CPU seconds and peak memory in MB."""
    command = [sys.executable, "manage.py", *stage.MAP_COURSE, "--course", "C", "--include-past", "--json"]
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, env=variables, stdout=out)
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"map_course: exit code {process.returncode}"
        out.seek(0)
        queued: int = json.load(out)["queued"]
    # ru_maxrss is in KiB on Linux.
    return queued, seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


if __name__ == "__main__":
    main()
