"""Moodle calls and seconds of one poll, with feed A (report) and feed B (per learner).

    python -m benchmarks.polling [--courses 20] [--learners 500] [--new 100]

All courses are mapped, and all learners are enrolled in all of them. Half of the learners completed them a day ago.
The first poll reads these completions; then follow a poll with nothing new and one with new completions and grades.
With feed A, there are also a poll with 3,000 completions of an hour ago and one after it. The sandbox runs on this
machine: a real site adds network time for each call.
"""

import argparse
import time
from collections.abc import Iterator
from typing import Any

import psycopg

from . import stage

# The number of completions of an hour ago.
LATE = 3000


def main() -> None:
    """Measure both feeds, each on a fresh PostgreSQL."""
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


def _polls(
    feed: str, info: dict[str, Any], variables: dict[str, str], options: argparse.Namespace
) -> Iterator[tuple[str, int, float, int]]:
    """Poll several times; yield each poll's name, calls, seconds and queued completions."""
    url = info["url"]
    if feed == "B":
        stage.control(url, "faults", kind="reports_off", side="moodle")
    courses, fresh = _fill(url, options)
    stage.connect(variables, info, moodle=True)
    for number in range(options.courses):
        stage.map_course(variables, f"C{number}")
    yield "first", *_poll(variables)
    yield "nothing new", *_poll(variables)
    for number in range(options.new):
        course, learner = courses[number % len(courses)], fresh[number // len(courses)]
        stage.control(url, "moodle/complete", course_id=course, user_id=learner, grade=80)
    yield f"{options.new} new", *_poll(variables)
    if feed == "A":
        late = fresh[-max(min(LATE // options.courses, len(fresh)), 1) :]
        for course in courses:
            completed = {"user_ids": late, "at": time.time() - 3600}
            stage.control(url, "moodle/complete_many", course_id=course, grade=80, **completed)
        # Polls look an hour back only a few times an hour: make the next one do so.
        with psycopg.connect(variables["DATABASE_URL"], autocommit=True) as database:
            database.execute("UPDATE moodle_sync_moodlesitestate SET looked_back_at = '{}'")
        count = len(late) * options.courses
        yield f"{count} late", *_poll(variables)
        yield f"none after {count}", *_poll(variables)


def _fill(url: str, options: argparse.Namespace) -> tuple[list[int], list[int]]:
    """Add courses and learners; return the courses, and the learners who have not completed them."""
    learners = stage.control(url, "moodle/add_learners", number=options.learners)
    half = len(learners) // 2
    courses = []
    for number in range(options.courses):
        course = stage.control(url, "moodle/add_course", shortname=f"C{number}", fullname=f"Course {number}")
        courses.append(course)
        for learner in learners:
            stage.control(url, "moodle/enrol", course_id=course, user_id=learner)
        completed = {"user_ids": learners[:half], "at": time.time() - 86400}
        stage.control(url, "moodle/complete_many", course_id=course, grade=80, **completed)
    return courses, learners[half:]


def _poll(variables: dict[str, str]) -> tuple[int, float, int]:
    """Poll once. The time includes the start of the command, about half a second."""
    started = time.monotonic()
    [site] = stage.manage(variables, "poll")["sites"]
    return site["calls"], time.monotonic() - started, site["queued"]


if __name__ == "__main__":
    main()
