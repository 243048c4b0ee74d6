"""What is held for a refused token, a paused connection or a mapping that is off, and how it goes on."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from badging import connections, mapping, queueing
from badging.meanings import Outcome
from badging.models import AuditEntry, Issuance, NavigatrConnection
from badging.sending import rounds, tally
from sandbox import Sandbox
from tests.builders import (
    connect,
    map_course,
    mapping_of,
    owe,
)
from tests.worker import attempts, bring_forward, send, trail

pytestmark = pytest.mark.django_db
State = Issuance.State
MINUTE = timedelta(minutes=1)


def test_a_refused_token_holds_everything_and_uses_up_no_tries(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_THREADS = 1
    mapping = map_course(sandbox)
    rows = [owe(mapping) for _ in range(5)]
    sandbox.faults.on("slow", seconds=0.1)
    sandbox.faults.on("401")
    tally = send(rows[0])
    for row in rows:
        row.refresh_from_db()
        assert (row.standing, row.standing_reason, row.failures) == (State.HELD, Outcome.CONNECTION_PAUSED, 0)
    connection = NavigatrConnection.objects.get()
    assert connection.state == "paused"
    assert connection.hold_reason == Outcome.CONNECTION_PAUSED
    assert len(sandbox.navigatr.puts) < 5
    assert tally.held == 5
    assert AuditEntry.objects.filter(action="connection_paused").count() == 1

    sandbox.faults.clear()
    connections.retest(connection, actor=None, now=timezone.now())
    tally = send(rows[0])
    assert tally.issued == 5
    assert len(sandbox.navigatr.assertions) == 5


def test_a_token_replaced_meanwhile_is_not_paused_by_the_old_ones_refusal(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox, connect(sandbox, pat="old")))
    old = NavigatrConnection.objects.get()
    fresh = NavigatrConnection.objects.get()
    fresh.pat = sandbox.pat
    fresh.save()
    rounds.send_due(old)
    row.refresh_from_db()
    assert NavigatrConnection.objects.get().state == "active"
    assert row.state == State.QUEUED
    send(row)
    assert row.state == State.ISSUED


@pytest.mark.parametrize("pat", ["", "two words"])
def test_what_cannot_be_a_token_pauses_the_connection_before_anything_is_taken(sandbox: Sandbox, pat: str) -> None:
    row = owe(map_course(sandbox, connect(sandbox, pat=pat)))
    assert send(row) == tally.Tally()
    assert (row.standing, row.standing_reason) == (State.HELD, Outcome.CONNECTION_PAUSED)
    assert attempts(row) == []


def test_a_token_refused_at_the_look_up_pauses_the_connection_too(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan(row.learner.email, "500_after")
    send(row)
    bring_forward(row)
    sandbox.faults.on("401", call="lookup")
    send(row)
    assert (row.standing, row.standing_reason, row.is_unknown) == (State.HELD, Outcome.CONNECTION_PAUSED, True)
    sandbox.faults.clear()
    connections.retest(NavigatrConnection.objects.get(), actor=None, now=timezone.now())
    send(row)
    assert (row.state, row.reason) == (State.ISSUED, Outcome.FOUND)


@pytest.mark.parametrize("unanswered", ["", "repeat"])
def test_what_is_due_under_a_disabled_mapping_is_not_sent_until_it_is_enabled(
    sandbox: Sandbox, unanswered: str
) -> None:
    row = owe(map_course(sandbox, active=False), unanswered=unanswered)
    send(row)
    assert (row.standing, row.standing_reason) == (State.HELD, Outcome.MAPPING_DISABLED)
    assert sandbox.navigatr.puts == []
    mapping.enable_mapping(mapping_of(row), now=timezone.now())
    send(row)
    assert row.state == State.ISSUED


def test_what_may_have_been_sent_is_looked_up_although_its_mapping_is_disabled(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox, active=False), unanswered="unknown")
    assert row.standing == State.QUEUED
    send(row)
    assert [kind for kind, _outcome in trail(row)] == ["lookup"]
    assert (row.standing, row.standing_reason) == (State.HELD, Outcome.MAPPING_DISABLED)


def test_a_connection_that_is_paused_holds_what_it_looks_up(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox, connect(sandbox, state="paused")), unanswered="unknown")
    assert (row.standing, row.standing_reason) == (State.HELD, Outcome.CONNECTION_PAUSED)


def test_a_long_hold_does_not_count_as_a_week_of_tries(sandbox: Sandbox) -> None:
    long_ago = timezone.now() - timedelta(days=20)
    row = owe(map_course(sandbox, connect(sandbox, state="paused")), first_attempt_at=long_ago, queued_at=long_ago)
    connections.retest(NavigatrConnection.objects.get(), actor=None, now=timezone.now())
    sandbox.faults.plan(row.learner.email, "500_before")
    send(row)
    assert (row.state, row.reason) == (State.QUEUED, Outcome.UNCLEAR)


@pytest.mark.parametrize("reason", [Outcome.PROFILE_INCOMPLETE, Outcome.PROFILE_REFUSED, Outcome.NAMES_HIDDEN])
def test_what_failed_for_a_profile_is_held_once_the_account_is_deleted(sandbox: Sandbox, reason: str) -> None:
    person = {"firstname": "", "deleted": True}
    row = owe(map_course(sandbox), person=person, state="failed", reason=reason, next_attempt_at=None)
    assert queueing.requeue_changed_learners([row.learner_id], now=timezone.now()) == 1
    send(row)
    assert (row.state, row.reason) == (State.HELD, Outcome.LEARNER_DELETED)
    assert queueing.requeue_changed_learners([row.learner_id], now=timezone.now()) == 0
