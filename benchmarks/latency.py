"""From a completion in Moodle to the badge in Navigatr: how long a learner waits.

    python -m benchmarks.latency [--interval 30] [--rates 1 20] [--seconds 120]

Runs the whole portal (`manage.py portal`, PostgreSQL, embedded Valkey) beside the sandbox, polls every `--interval`
seconds, has learners complete one course at an even rate, and compares the sandbox's own clock at each completion and
at each assertion. A completion waits half the interval on average for the next poll; the rest is the portal's.
"""

import argparse
import statistics
import time

from tests import services

from . import running, stage


def main() -> None:
    """Measure each rate on a fresh database; print p50, p95 and the longest wait."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interval", type=int, default=30, help="seconds between two polls")
    parser.add_argument("--rates", type=float, nargs="+", default=[1, 20], help="completions in a second")
    parser.add_argument("--seconds", type=int, default=120, help="how long completions come in")
    options = parser.parse_args()
    print(f"a poll every {options.interval} s, completions for {options.seconds} s")
    print(f"{'a second':>8} {'badges':>7} {'p50':>8} {'p95':>8} {'longest':>8}")
    for rate in options.rates:
        waits = _waits(rate, options.interval, options.seconds)
        *_rest, p95 = statistics.quantiles(waits, n=20)
        p50 = statistics.median(waits)
        print(f"{rate:8g} {len(waits):7} {p50:6.1f} s {p95:6.1f} s {max(waits):6.1f} s", flush=True)


def _waits(rate: float, interval: int, seconds: int) -> list[float]:
    """The seconds from each completion to its badge."""
    with stage.sandbox() as info, stage.environment("postgres", info) as variables:
        url = info["url"]
        course = stage.control(url, "moodle/add_course", shortname="C", fullname="Course")["result"]
        count = int(rate * seconds)
        learners = stage.control(url, "moodle/add_learners", number=count, course_id=course)["result"]
        stage.manage(
            variables, "connect_navigatr", "--name", "N", "--environment", "staging", "--pat-stdin", stdin=info["pat"]
        )
        stage.manage(
            variables, "connect_moodle", "--name", "M", "--url", info["moodle_url"], "--token-stdin",
            "--poll-seconds", str(interval), stdin=info["moodle_token"],
        )  # fmt: skip
        stage.manage(
            variables, "map_course", "--site", "M", "--course", "C", "--connection", "N", "--provider", "11",
            "--badge", "111",
        )  # fmt: skip
        with running.portal(variables):
            completed_at = _complete(url, course, learners, rate)
            badges = _badges(url, count, seconds=3 * interval + 60)
    return [badges[f"learner{learner}@example.org"] - at for learner, at in completed_at.items()]


def _complete(url: str, course: int, learners: list[int], rate: float) -> dict[int, float]:
    """Let one learner after the other complete the course, at an even rate; returns when each did (Unix time)."""
    completed_at = {}
    started = time.monotonic()
    for number, learner in enumerate(learners):
        time.sleep(max(started + number / rate - time.monotonic(), 0))
        completed_at[learner] = time.time()
        stage.control(url, "moodle/complete", course_id=course, user_id=learner, grade=80)
    return completed_at


def _badges(url: str, count: int, *, seconds: float) -> dict[str, float]:
    """When each badge was made, by recipient, once there are so many. Raises AssertionError when they take too long."""

    def all_there() -> bool:
        assertions: int = stage.ask(f"{url}/control/navigatr/counts")["result"]["assertions"]
        return assertions == count

    services.wait_until(all_there, seconds=seconds, what=f"{count} badges in Navigatr")
    rows = stage.ask(f"{url}/control/navigatr/assertions")["result"]
    return {row["recipient_email"]: row["time_created"] for row in rows}


if __name__ == "__main__":
    main()
