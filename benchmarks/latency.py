"""The time from a completion in Moodle to the badge in Navigatr.

    python -m benchmarks.latency [--rates 1 20] [--seconds 120]

Runs the whole portal (PostgreSQL, embedded Valkey) with a site that has the default poll intervals, and lets learners
complete a course at a constant rate. The first completion waits for the next regular poll; after it the site is polled
often. So the first badge is shown separately. Limits for the others: p50 5 s, p95 10 s. Over a limit the exit code is
1.
"""

import argparse
import statistics
import sys
import time

from tests import services

from . import running, stage

LIMIT_P50, LIMIT_P95 = 5.0, 10.0
# Seconds to wait for a badge. Longer than the default poll interval.
LONGEST_WAIT = 120


def main() -> None:
    """Measure each rate on a fresh database; print the first wait, and p50, p95 and maximum of the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[1, 20], help="completions in a second")
    parser.add_argument("--seconds", type=int, default=120, help="how long completions come in")
    options = parser.parse_args()
    print(f"the default poll intervals, completions for {options.seconds} s after the first badge")
    print(f"{'a second':>8} {'badges':>7} {'first':>8} {'p50':>8} {'p95':>8} {'longest':>8}")
    ok = True
    for rate in options.rates:
        first, waits = _waits(rate, options.seconds)
        *_rest, p95 = statistics.quantiles(waits, n=20)
        p50 = statistics.median(waits)
        print(
            f"{rate:8g} {len(waits):7} {first:6.1f} s {p50:6.1f} s {p95:6.1f} s {max(waits):6.1f} s",
            flush=True,
        )
        ok = ok and p50 <= LIMIT_P50 and p95 <= LIMIT_P95
    sys.exit(0 if ok else 1)


def _waits(rate: float, seconds: int) -> tuple[float, list[float]]:
    """Seconds from the first completion to its badge, and from each other completion to its badge."""
    with stage.sandbox() as info, stage.environment("postgres", info) as variables:
        url = info["url"]
        course = stage.control(url, "moodle/add_course", shortname="C", fullname="Course")
        count = int(rate * seconds)
        learners = stage.control(url, "moodle/add_learners", number=count + 1, course_id=course)
        stage.connect(variables, info, moodle=True)
        stage.map_course(variables, "C")
        with running.portal(variables):
            completed_at = _complete(url, course, learners[:1], rate)
            _wait_for_badges(url, 1)
            completed_at |= _complete(url, course, learners[1:], rate)
            issued_at = _wait_for_badges(url, count + 1)
    first, *others = (issued_at[f"learner{learner}@example.org"] - at for learner, at in completed_at.items())
    return first, others


def _complete(url: str, course: int, learners: list[int], rate: float) -> dict[int, float]:
    """Let learners complete the course at a constant rate; return the Unix time of each completion."""
    completed_at = {}
    started = time.monotonic()
    for number, learner in enumerate(learners):
        time.sleep(max(started + number / rate - time.monotonic(), 0))
        completed_at[learner] = time.time()
        stage.control(url, "moodle/complete", course_id=course, user_id=learner, grade=80)
    return completed_at


def _wait_for_badges(url: str, count: int) -> dict[str, float]:
    """Wait until there are `count` badges; return the Unix time of each by recipient."""

    def all_issued() -> bool:
        assertions: int = stage.get(url, "navigatr/counts")["assertions"]
        return assertions == count

    services.wait_until(all_issued, seconds=LONGEST_WAIT, what=f"{count} badges in Navigatr")
    rows = stage.get(url, "navigatr/assertions")
    return {row["recipient_email"]: row["time_created"] for row in rows}


if __name__ == "__main__":
    main()
