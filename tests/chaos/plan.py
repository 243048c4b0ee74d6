"""What happens when in one run: drawn from the seed before anything starts, so that a seed says it all."""

import random
from dataclasses import dataclass
from typing import Any

# The full run; a smaller one has the same kinds of trouble in proportion, and each kind at least once.
FULL = 10_000
FULL_SECONDS = 200.0
FULL_KILLS = 30

COURSES = 8
COURSES_EACH = 4
"""How many of the courses each learner completes."""
PROVIDER = 11
FIRST_BADGE, FIRST_OTHER_BADGE = 111, 131
"""Course n awards FIRST_BADGE + n, and once it is mapped anew FIRST_OTHER_BADGE + n."""

# Faults of the pretend Navigatr that any call may meet, all the time. The last is longer than the connection's
# time-out: the badge is issued, and the answer comes when nobody waits for it any more.
TIMEOUT_SECONDS = 4
ALL_THE_TIME: list[dict[str, Any]] = [
    {"kind": "slow", "call": "issue", "probability": 0.05, "seconds": 0.5},
    {"kind": "slow", "call": "issue", "probability": 0.005, "seconds": TIMEOUT_SECONDS + 1},
    {"kind": "500_before", "call": "issue", "probability": 0.05},
    {"kind": "500_after", "call": "issue", "probability": 0.02},
    {"kind": "drop_after", "call": "issue", "probability": 0.02},
    {"kind": "drop_before", "call": "issue", "probability": 0.01},
    {"kind": "429", "call": "issue", "probability": 0.01, "retry_after": 1},
    {"kind": "500_before", "call": "lookup", "probability": 0.02},
    {"kind": "500", "side": "moodle", "call": "core_reportbuilder_retrieve_report", "probability": 0.01},
]


@dataclass(frozen=True)
class Plan:
    """The size of a run. `seconds`: over which completions arrive and things break."""

    seed: int
    completions: int
    seconds: float

    @classmethod
    def of_size(cls, seed: int, completions: int) -> "Plan":
        """The full run's plan, or one in proportion to it."""
        return cls(seed, completions, max(20.0, FULL_SECONDS * completions / FULL))

    def some(self, in_full_run: int, least: int = 1) -> int:
        """So many in a full run, fewer in a smaller one."""
        return max(least, round(in_full_run * self.completions / FULL))


@dataclass(frozen=True, slots=True)
class Event:
    """What the driver does `at` so many seconds after the start. `name` is one of its methods."""

    at: float
    name: str
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Timetable:
    """Who completes what before the start and later, as (course, learner) numbers from 0, and all events in order."""

    learners: int
    past: list[tuple[int, int]]
    events: list[Event]


def draw(plan: Plan) -> Timetable:
    """The timetable that belongs to this seed and size."""
    dice = random.Random(plan.seed)
    learners = plan.completions // COURSES_EACH
    pairs = [((learner + n) % COURSES, learner) for learner in range(learners) for n in range(COURSES_EACH)]
    dice.shuffle(pairs)
    in_the_past = len(pairs) // 5
    past, arriving = pairs[:in_the_past], pairs[in_the_past:]
    events: list[Event] = []

    def at_random(name: str, times: int, *arguments: Any) -> None:
        events.extend(Event(plan.seconds * dice.uniform(0.02, 0.98), name, arguments) for _ in range(times))

    for second in range(round(plan.seconds)):
        share = arriving[second :: round(plan.seconds)]
        events.append(Event(float(second), "complete", (share,)))
    for _ in range(plan.some(FULL_KILLS, least=6)):
        events.append(Event(plan.seconds * dice.uniform(0.02, 0.98), "kill", (dice.random(),)))
    at_random("flush_broker", plan.some(3))
    # Two stops of the same server lie in different parts of the run.
    for name, times in (("broker", plan.some(2)), ("database", plan.some(2))):
        for number in range(times):
            start = plan.seconds * (number + dice.uniform(0.1, 0.8)) / times
            events.append(Event(start, f"stop_{name}"))
            events.append(Event(start + dice.uniform(0.5, 3), f"start_{name}"))
    down = plan.seconds * dice.uniform(0.1, 0.3)
    events.append(Event(down, "switch_on", ("down",)))
    events.append(Event(down + max(5.0, plan.some(60)), "switch_off", ("down",)))
    refused = plan.seconds * dice.uniform(0.7, 0.85)
    events.append(Event(refused, "switch_on", ("401",)))
    events.append(Event(refused + max(4.0, plan.some(10)), "switch_off", ("401",)))
    events.append(Event(refused + max(4.0, plan.some(10)), "reconnect"))
    courses = dice.sample(range(COURSES), 4)
    for course in courses[: plan.some(2)]:
        events.append(Event(plan.seconds * dice.uniform(0.1, 0.9), "map_anew", (course,)))
    for course in courses[2 : 2 + plan.some(2)]:
        start = plan.seconds * dice.uniform(0.1, 0.8)
        events.append(Event(start, "disable", (course,)))
        events.append(Event(start + dice.uniform(3, 10), "enable", (course,)))
    chosen = dice.sample(range(learners), plan.some(40, 4) + plan.some(20, 2))
    for learner in chosen[: plan.some(40, 4)]:
        at_random("change_address", 1, learner)
    known = [learner for _, learner in past if learner in chosen[plan.some(40, 4) :]]
    for learner in sorted(set(known)):
        at_random("erase", 1, learner)
    return Timetable(learners, past, sorted(events, key=lambda event: event.at))
