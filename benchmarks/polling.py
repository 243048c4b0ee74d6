"""Moodle calls and seconds of one poll, with feed A (report) and feed B (per learner).

    python -m benchmarks.polling [--courses 20] [--learners 500] [--new 100]

Every course is mapped and every learner enrolled in it; half of them have completed it and are known already. Then one
poll with nothing new, and one with some new completions (whose grades are read too). No network lies in between: the
sandbox runs on this machine, so a real site adds its round trips, and the number of calls is what counts.
"""

import argparse
import sys
import time
from typing import Any

from . import stage


def main() -> None:
    """Measure both feeds on a fresh PostgreSQL each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--courses", type=int, default=20)
    parser.add_argument("--learners", type=int, default=500, help="in each course")
    parser.add_argument("--new", type=int, default=100, help="completions in the second poll")
    options = parser.parse_args()
    print(f"{options.courses} courses × {options.learners} learners, half of them complete and known")
    print(f"{'feed':6} {'poll':>14} {'calls':>6} {'seconds':>8} {'queued':>7}")
    for feed in ("A", "B"):
        with stage.sandbox() as info, stage.environment("postgres", info) as variables:
            for poll, calls, seconds, queued in _polls(feed, info, variables, options):
                print(f"{feed:6} {poll:>14} {calls:6} {seconds:8.2f} {queued:7}", flush=True)


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
        stage.control(url, "moodle/complete_many", course_id=course, user_ids=learners[: len(learners) // 2], grade=80)
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


def _poll(variables: dict[str, str]) -> tuple[int, float, int]:
    """One poll; the time includes the start of the command (about half a second)."""
    started = time.monotonic()
    [site] = stage.manage(variables, "poll")["sites"]
    return site["calls"], time.monotonic() - started, site["queued"]


if __name__ == "__main__":
    main()
