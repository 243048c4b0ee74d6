"""A connection rests when Navigatr asks for it or is in trouble, and one probe ends the rest."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from badging.meanings import Outcome
from badging.models import Issuance, IssuanceAttempt, NavigatrConnection
from badging.sending import circuit, rounds
from sandbox import Sandbox
from tests.builders import (
    OTHER_BADGE,
    connect,
    map_course,
    owe,
)
from tests.meanwhile import just_before
from tests.worker import bring_forward, send

pytestmark = pytest.mark.django_db
State = Issuance.State
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(("asked", "least"), [(120, 120), (None, 60)])
def test_too_many_requests_rests_the_connection_as_long_as_asked(
    sandbox: Sandbox, settings: Any, asked: int | None, least: int
) -> None:
    settings.SEND_THREADS = 1
    mapping = map_course(sandbox)
    rows = [owe(mapping) for _ in range(4)]
    sandbox.faults.on("slow", seconds=0.1)
    sandbox.faults.on("429", retry_after=asked)
    started = timezone.now()
    send(rows[0])
    assert len(sandbox.navigatr.puts) < 4
    tried = IssuanceAttempt.objects.select_related("issuance").first()
    assert tried is not None
    assert (tried.status, tried.outcome) == (429, Outcome.RATE_LIMITED)
    assert tried.issuance.failures == 1
    assert tried.issuance.next_attempt_at == tried.next_attempt_at
    assert tried.next_attempt_at is not None
    assert tried.next_attempt_at >= started + timedelta(seconds=least * 0.8)
    connection = NavigatrConnection.objects.get()
    assert connection.not_before is not None
    assert connection.not_before >= started + timedelta(seconds=least)
    assert connection.last_outcome == Outcome.RATE_LIMITED
    assert rounds.due_connections(timezone.now()) == []
    # A message that comes too late finds the rest in the database.
    calls = len(sandbox.navigatr.puts)
    assert send(rows[0]).attempts == 0
    assert len(sandbox.navigatr.puts) == calls
    assert rounds.due_connections(connection.not_before) == [connection]


def test_a_run_of_failures_opens_the_circuit_and_one_probe_closes_it(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_THREADS = 1
    settings.CIRCUIT_THRESHOLD = 3
    mapping = map_course(sandbox)
    rows = [owe(mapping) for _ in range(8)]
    slow, fault = sandbox.faults.on("slow", seconds=0.1), sandbox.faults.on("503")
    send(rows[0])
    connection = NavigatrConnection.objects.get()
    tried = len(sandbox.navigatr.puts)
    assert 3 <= tried <= 4
    assert connection.failures == 3
    assert connection.not_before is not None
    assert timedelta(seconds=25) < connection.not_before - timezone.now() <= timedelta(seconds=30)
    assert connection.last_outcome == Outcome.UNCLEAR
    assert Issuance.objects.filter(state=State.QUEUED, failures=0, claim=None).count() == 8 - tried

    # Still down: one probe only, and a rest twice as long.
    NavigatrConnection.objects.update(not_before=None)
    send(rows[0])
    connection.refresh_from_db()
    assert len(sandbox.navigatr.puts) == tried + 1
    assert connection.not_before is not None
    assert timedelta(seconds=55) < connection.not_before - timezone.now() <= timedelta(seconds=60)

    # Back: the probe goes through, and all the rest at once.
    sandbox.faults.off(fault.id)
    sandbox.faults.off(slow.id)
    bring_forward(*rows)
    send(rows[0])
    connection.refresh_from_db()
    assert (connection.failures, connection.not_before, connection.last_outcome) == (0, None, "")
    assert Issuance.objects.filter(state=State.ISSUED).count() == 8
    assert len(sandbox.navigatr.assertions) == 8


def test_only_one_worker_probes(sandbox: Sandbox, settings: Any) -> None:
    row = owe(map_course(sandbox, connect(sandbox, failures=settings.CIRCUIT_THRESHOLD)))
    now = timezone.now()
    assert circuit.take_probe(row.connection, 10, now=now) == now + timedelta(seconds=30)
    assert circuit.take_probe(row.connection, 10, now=now) is None
    assert send(row).attempts == 0
    assert row.state == State.QUEUED


def test_a_worker_that_loses_the_race_for_the_probe_hands_its_row_back(
    sandbox: Sandbox, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = owe(map_course(sandbox, connect(sandbox, failures=settings.CIRCUIT_THRESHOLD)))
    take_probe, probes = circuit.take_probe, []

    def other_worker_is_faster() -> None:
        probes.append(take_probe(row.connection, settings.CIRCUIT_THRESHOLD, now=timezone.now()))

    # Between the question whether it may send and its own probe.
    just_before(monkeypatch, circuit, "take_probe", other_worker_is_faster)
    assert send(row).attempts == 0
    assert len(probes) == 1
    assert probes[0] is not None
    assert (row.state, row.claim) == (State.QUEUED, None)


def test_an_answer_of_any_kind_ends_a_run_of_failures(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox, connect(sandbox, failures=5)))
    sandbox.faults.on("403")
    send(row)
    assert NavigatrConnection.objects.get().failures == 0


def test_what_is_decided_without_a_call_is_no_probe(sandbox: Sandbox, settings: Any) -> None:
    connection = connect(sandbox, failures=settings.CIRCUIT_THRESHOLD)
    without_score = map_course(sandbox, connection, min_score=50)
    for _ in range(5):
        owe(without_score, score=None, next_attempt_at=timezone.now() - timedelta(minutes=5))
    row = owe(map_course(sandbox, connection, badge_id=OTHER_BADGE))
    assert send(row).issued == 1
    assert Issuance.objects.filter(state=State.NOT_MET).count() == 5


def test_calls_that_time_out_at_the_end_of_a_turn_count_as_failures_too(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_THREADS = settings.CIRCUIT_THRESHOLD = 3
    mapping = map_course(sandbox, connect(sandbox, timeout=1))
    for _ in range(6):
        owe(mapping)
    sandbox.faults.on("slow", seconds=3)
    rounds.send_due(mapping.connection, should_stop=lambda: len(sandbox.navigatr.puts) >= 3)
    connection = NavigatrConnection.objects.get()
    assert connection.failures == 3
    assert not circuit.may_send(connection, timezone.now())


def test_look_ups_that_work_do_not_let_an_outage_of_issuing_use_up_tries(sandbox: Sandbox, settings: Any) -> None:
    settings.CIRCUIT_THRESHOLD = 5
    mapping = map_course(sandbox)
    for _number in range(60):
        owe(mapping)
        owe(mapping, unanswered="unknown", next_attempt_at=timezone.now())
    NavigatrConnection.objects.update(failures=settings.CIRCUIT_THRESHOLD)
    sandbox.faults.on("500_before", call="issue")
    for _probe in range(6):
        rounds.send_due(NavigatrConnection.objects.get())
        NavigatrConnection.objects.update(not_before=None)
    # One call for each probe.
    assert len(sandbox.navigatr.puts) == 6
