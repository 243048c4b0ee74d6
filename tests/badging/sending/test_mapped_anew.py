"""A course that is mapped anew while something is on its way."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from badging import mapping
from badging.meanings import Outcome
from badging.models import CourseBadgeMapping, Issuance
from moodle_sync.models import Learner
from navigatr_client import Provider
from sandbox import Sandbox
from tests.builders import (
    BADGE,
    OTHER_BADGE,
    PROVIDER,
    connect,
    make_issuance,
    map_anew,
    map_course,
    mapping_of,
    navigatr_badge,
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


def test_what_waits_is_sent_to_the_environment_of_the_new_mapping(sandbox: Sandbox) -> None:
    issued = owe(map_course(sandbox))
    send(issued)
    waiting = owe(mapping_of(issued))
    production = connect(sandbox, environment="production", pat=sandbox.production_pat)
    mapping.save_mapping(
        course=waiting.course,
        connection=production,
        provider=Provider(PROVIDER + 7000, "College"),
        badge=navigatr_badge(BADGE + 7000, PROVIDER + 7000),
        now=timezone.now(),
    )
    send(waiting)
    assert (waiting.state, waiting.environment, waiting.badge_id) == (State.ISSUED, "production", BADGE + 7000)
    issued.refresh_from_db()
    assert (issued.environment, issued.badge_id) == ("staging", BADGE)


def test_who_has_an_issuance_in_the_other_environment_goes_on_with_that_one(sandbox: Sandbox) -> None:
    issued = owe(map_course(sandbox))
    send(issued)
    other = make_issuance(mapping_of(issued), issued.completion, environment="production")
    send(other)
    assert (other.state, other.reason, other.environment) == (State.CANCELLED, Outcome.ELSEWHERE, "production")
    assert len(sandbox.navigatr.puts) == 1


@pytest.mark.parametrize(("fields", "person"), [({"min_score": 90}, {}), ({}, {"lastname": ""})])
def test_what_is_decided_without_a_call_stays_in_its_environment_beside_another(
    sandbox: Sandbox, fields: dict[str, Any], person: dict[str, Any]
) -> None:
    issued = owe(map_course(sandbox))
    send(issued)
    other = make_issuance(mapping_of(issued), issued.completion, environment="production")
    Learner.objects.filter(pk=other.learner_id).update(**person)
    CourseBadgeMapping.objects.update(**fields)
    send(other)
    assert (other.state, other.reason, other.environment) == (State.CANCELLED, Outcome.ELSEWHERE, "production")


@pytest.mark.parametrize("fault", ["429", "401", "403"])
def test_an_answer_that_comes_while_its_mapping_is_removed_leaves_nothing_waiting(sandbox: Sandbox, fault: str) -> None:
    row = owe(map_course(sandbox))
    worker = take(row)
    sandbox.faults.on(fault, count=1)
    worker.ask()
    mapping.remove_mapping(mapping_of(row))
    worker.write()
    row.refresh_from_db()
    assert (row.state, row.reason) == (State.CANCELLED, Outcome.MAPPING_REMOVED)


def test_lists_find_what_waits_under_what_it_will_be_sent_as(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    current = map_anew(row, OTHER_BADGE)
    row.refresh_from_db()
    assert (row.badge_id, row.badge_name, row.award) == (OTHER_BADGE, current.badge_name, current)
