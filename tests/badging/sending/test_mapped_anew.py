"""A course that is mapped anew while something is on its way."""

from datetime import timedelta

import pytest

from badging import mapping
from badging.meanings import Outcome
from badging.models import Issuance
from sandbox import Sandbox
from tests.builders import (
    BADGE,
    OTHER_BADGE,
    map_anew,
    map_course,
    mapping_of,
    owe,
)
from tests.worker import attempts, bring_forward, send, take

pytestmark = pytest.mark.django_db
State = Issuance.State
MINUTE = timedelta(minutes=1)


def test_what_may_have_been_sent_is_looked_up_under_the_old_badge_after_a_re_mapping(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan(row.learner.email, "500_after")
    send(row)
    map_anew(row)
    send(row)
    assert (row.state, row.badge_id, row.reason) == (State.ISSUED, BADGE, Outcome.FOUND)
    assert len(sandbox.navigatr.assertions) == 1


def test_what_was_not_issued_under_the_old_badge_is_sent_as_the_new_one(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan(row.learner.email, "500_before")
    send(row)
    map_anew(row)
    send(row)
    assert (row.state, row.badge_id) == (State.ISSUED, OTHER_BADGE)
    assert [assertion.badge_id for assertion in sandbox.navigatr.assertions_for(row.learner.email)] == [OTHER_BADGE]
    assert [attempt.badge_id for attempt in attempts(row)] == [BADGE, BADGE, OTHER_BADGE]


def test_a_refusal_under_a_mapping_changed_meanwhile_goes_on_under_the_new_one(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    worker = take(row)
    map_anew(row)
    sandbox.faults.on("404", count=1)
    worker.ask().write()
    row.refresh_from_db()
    assert row.state == State.QUEUED
    send(row)
    assert (row.state, row.badge_id) == (State.ISSUED, OTHER_BADGE)


@pytest.mark.parametrize("badge_id", [BADGE, OTHER_BADGE])
@pytest.mark.parametrize("fault", ["500_before", "429", "401"])
def test_what_was_on_its_way_while_its_course_was_mapped_anew_goes_on_under_the_new_mapping(
    sandbox: Sandbox, fault: str, badge_id: int
) -> None:
    row = owe(map_course(sandbox))
    worker = take(row)
    mapping.remove_mapping(mapping_of(row))
    current = map_anew(row, badge_id)
    sandbox.faults.on(fault, count=1)
    worker.ask().write()
    bring_forward(row)
    send(row)
    assert (row.state, row.badge_id, row.mapping) == (State.ISSUED, badge_id, current)
