"""Moodle calls and seconds of one poll, with feed A (report) and feed B (per learner).

    python -m benchmarks.polling [--courses 20] [--learners 500] [--new 100]

Every course is mapped and every learner enrolled in it; half of them have completed it a day ago and are known already.
Then one poll with nothing new, and one with some new completions (whose grades are read too). With the report, 3,000
more are completed an hour ago and read, and after that another poll meets nothing new. No network lies in between: the
sandbox runs on this machine, so a real site adds its round trips, and the number of calls is what counts.
"""

import argparse
import sys
import time
from typing import Any

import psycopg

from . import stage

LATE = 3000


def main() -> None:
    """Measure both feeds on a fresh PostgreSQL each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--courses", type=int, default=20)
    parser.add_argument("--learners", type=int, default=500, help="in each course")
    parser.add_argument("--new", type=int, default=100, help="completions in the second poll")
    options = parser.parse_args()
    print(f"{options.courses} courses × {options.learners} learners, half of them complete and known")
    print(f"{'feed':6} {'poll':>16} {'calls':>6} {'seconds':>8} {'queued':>7}")
    for feed in ("A", "B"):
        with stage.sandbox() as info, stage.environment("postgres", info) as variables:
            for poll, calls, seconds, queued in _polls(feed, info, variables, options):
                print(f"{feed:6} {poll:>16} {calls:6} {seconds:8.2f} {queued:7}", flush=True)


def _polls(feed: str, info: dict[str, Any], variables: dict[str, str], options: argparse.Namespace) -> Any:
    """Fill Moodle, read it once, then measure."""
    url = info["url"]
    if feed == "B":
        stage.control(url, "faults", kind="reports_off", side="moodle")
    learners = stage.control(url, "moodle/add_learners", number=options.learners)["result"]
    courses = []
    for number in range(options.courses):
        course = stage.control(url, "moodle/add_course", shortname=f"C{number}", fullname=f"Course {number}")["result"]
        courses.append(course)
        for learner in learners:
            stage.control(url, "moodle/enrol", course_id=course, user_id=learner)
        known = {"user_ids": learners[: len(learners) // 2], "at": time.time() - 86400}
        stage.control(url, "moodle/complete_many", course_id=course, grade=80, **known)
    stage.connect(variables, info, moodle=True)
    for number in range(options.courses):
        stage.run(
            [
                sys.executable, "manage.py", "map_course", "--site", "M", "--course", f"C{number}",
                "--connection", "N", "--provider", "11", "--badge", "111",
            ],
            variables,
        )  # fmt: skip
    yield "first", *_poll(variables)
    yield "nothing new", *_poll(variables)
    fresh = learners[len(learners) // 2 :]
    for number in range(options.new):
        course, learner = courses[number % len(courses)], fresh[number // len(courses)]
        stage.control(url, "moodle/complete", course_id=course, user_id=learner, grade=80)
    yield f"{options.new} new", *_poll(variables)
    if feed == "A":
        each = max(min(LATE // options.courses, len(fresh)), 1)
        for course in courses:
            learners = fresh[-each:]
            stage.control(
                url, "moodle/complete_many", course_id=course, user_ids=learners, grade=80, at=time.time() - 3600
            )
        late = each * options.courses
        # They lie further back than polls look but a few times an hour: as if that time had come.
        with psycopg.connect(variables["DATABASE_URL"], autocommit=True) as database:
            database.execute("UPDATE moodle_sync_moodlesitestate SET looked_back_at = '{}'")
        yield f"{late} late", *_poll(variables)
        yield f"none after {late}", *_poll(variables)


def _poll(variables: dict[str, str]) -> tuple[int, float, int]:
    """One poll; the time includes the start of the command (about half a second)."""
    started = time.monotonic()
    [site] = stage.manage(variables, "poll")["sites"]
    return site["calls"], time.monotonic() - started, site["queued"]


if __name__ == "__main__":
    main()
