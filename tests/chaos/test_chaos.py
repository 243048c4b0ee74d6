"""A small run of the machine behind `make chaos`, and that the machine finds what it looks for."""

import os
import subprocess
import sys
from collections import Counter

import pytest

from badging.meanings import Outcome
from badging.models import Issuance, IssuanceAttempt
from tests.builders import NOW, make_issuance

from .plan import FULL, Plan, draw
from .servers import ROOT
from .verdict import compare

SEED = 20261123
# Few, because each trouble of the full run happens at least once however few there are.
COMPLETIONS = 200


@pytest.mark.slow
@pytest.mark.chaos
def test_completions_survive_kills_faults_and_outages_each_with_one_badge() -> None:
    command = [sys.executable, "-m", "tests.chaos", "--completions", str(COMPLETIONS), "--seed", str(SEED)]
    # Measuring its programs would slow down what this run times.
    env = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_CONFIG"}
    run = subprocess.run(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(run.stdout)
    assert run.returncode == 0, run.stdout


def test_a_seed_says_all_that_happens_and_a_full_run_has_every_kind_of_trouble() -> None:
    timetable = draw(Plan.of_size(7, FULL))
    assert timetable == draw(Plan.of_size(7, FULL))
    assert timetable != draw(Plan.of_size(8, FULL))
    happens = Counter(event.name for event in timetable.events)
    assert (happens["kill"], happens["flush_broker"], happens["stop_broker"], happens["stop_database"]) == (30, 3, 2, 2)
    down = {event.name: event.at for event in timetable.events if event.arguments == ("down",)}
    assert down["switch_off"] - down["switch_on"] == pytest.approx(60)
    arriving = [pair for event in timetable.events if event.name == "complete" for pair in event.arguments[0]]
    assert len({*timetable.past, *arriving}) == len(timetable.past) + len(arriving) == FULL


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("badges", "calls", "told", "found"),
    [
        (1, 1, 1, (0, 0, 0)),
        (0, 1, 1, (1, 0, 0)),
        (2, 2, 2, (0, 1, 0)),
        (1, 2, 1, (0, 0, 1)),
    ],
    ids=["all well", "lost", "doubled", "untold"],
)
def test_what_is_lost_doubled_or_untold_is_found(
    badges: int, calls: int, told: int, found: tuple[int, int, int]
) -> None:
    row = make_issuance(state=Issuance.State.ISSUED, assertion_id="900", issued_at=NOW, next_attempt_at=None)
    for _ in range(told):
        IssuanceAttempt.objects.create(
            issuance=row, kind=IssuanceAttempt.Kind.SEND, at=NOW, outcome=Outcome.ISSUED, environment=row.environment,
            provider_id=row.provider_id, badge_id=row.badge_id,
        )  # fmt: skip
    email = row.learner.email
    verdict = compare(
        owed={(row.course.moodle_id, row.learner.moodle_id): NOW.timestamp() - 5},
        erased=[],
        course_of_badge={row.badge_id: row.course.moodle_id},
        assertions=[
            {"id": 900 + number, "badge_id": row.badge_id, "recipient_email": email} for number in range(badges)
        ],
        ledger=[{"method": "PUT", "path": f"/badge/{row.badge_id}/issue", "body": {"recipient_email": email}}] * calls,
    )
    assert (verdict.lost, verdict.doubled, verdict.audit_missing) == found
    assert verdict.passed == (found == (0, 0, 0)) == (not verdict.wrong)
    assert verdict.longest_delay == (5 if badges else 0)


@pytest.mark.django_db
def test_a_status_that_counts_more_than_was_completed_is_found() -> None:
    make_issuance()
    verdict = compare(owed={}, erased=[], course_of_badge={}, assertions=[], ledger=[])
    assert (verdict.off_by, verdict.passed) == (1, False)
