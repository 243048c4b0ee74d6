"""What is held for a refused token, a paused connection or a mapping that is off, and how it goes on."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from badging import connections
from badging.meanings import Outcome
from badging.models import AuditEntry, Issuance, NavigatrConnection
from badging.sending import rounds, sweeping, tally
from sandbox import Sandbox
from tests.builders import (
    connect,
    is_unknown,
    map_course,
    owe,
)
from tests.worker import attempts, bring_forward, send

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
        assert (row.state, row.reason, row.failures) == (State.HELD, Outcome.CONNECTION_PAUSED, 0)
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
    assert (row.state, row.reason) == (State.HELD, Outcome.CONNECTION_PAUSED)
    assert attempts(row) == []


def test_a_token_refused_at_the_look_up_pauses_the_connection_too(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan(row.learner.email, "500_after")
    send(row)
    bring_forward(row)
    sandbox.faults.on("401", call="lookup")
    send(row)
    assert (row.state, row.reason, is_unknown(row)) == (State.HELD, Outcome.CONNECTION_PAUSED, True)
    sandbox.faults.clear()
    connections.retest(NavigatrConnection.objects.get(), actor=None, now=timezone.now())
    send(row)
    assert (row.state, row.reason) == (State.ISSUED, Outcome.FOUND)


def test_what_is_due_under_a_disabled_or_removed_mapping_is_not_sent(sandbox: Sandbox) -> None:
    disabled = owe(map_course(sandbox, active=False))
    removed = owe(map_course(sandbox, disabled.connection))
    removed.course.mapping.delete()
    send(disabled)
    removed.refresh_from_db()
    assert (disabled.state, disabled.reason) == (State.HELD, Outcome.MAPPING_DISABLED)
    assert (removed.state, removed.reason) == (State.CANCELLED, Outcome.MAPPING_REMOVED)
    assert sandbox.navigatr.puts == []


def test_the_sweep_holds_what_was_queued_as_its_connection_was_paused(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox, connect(sandbox, state="paused")))
    sweeping.sweep(now=timezone.now())
    row.refresh_from_db()
    assert (row.state, row.reason) == (State.HELD, Outcome.CONNECTION_PAUSED)


def test_a_long_hold_does_not_count_as_a_week_of_tries(sandbox: Sandbox) -> None:
    long_ago = timezone.now() - timedelta(days=20)
    row = owe(
        map_course(sandbox), first_attempt_at=long_ago, queued_at=long_ago, state="held", reason="connection_paused"
    )
    connections.resume(row.connection, now=timezone.now())
    sandbox.faults.plan(row.learner.email, "500_before")
    send(row)
    assert (row.state, row.reason) == (State.QUEUED, Outcome.UNCLEAR)
