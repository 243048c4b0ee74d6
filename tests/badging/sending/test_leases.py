"""A lease outlasts what is done under it; when it runs out, others take over and nothing is sent twice."""

from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from badging.meanings import Outcome
from badging.models import Issuance
from badging.sending import rounds, sweeping
from sandbox import Sandbox
from tests.builders import (
    connect,
    map_course,
    owe,
)
from tests.worker import Worker, send, take, trail

pytestmark = pytest.mark.django_db
State = Issuance.State
MINUTE = timedelta(minutes=1)


def test_a_kill_between_the_call_and_the_audit_row_never_issues_twice(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    take(row).ask().die()
    assert sweeping.sweep(now=timezone.now()) == 1
    row.refresh_from_db()
    assert (row.state, row.reason, row.is_unknown) == (State.QUEUED, Outcome.LEASE_RAN_OUT, True)
    send(row)
    assert trail(row) == [("send", "lease_ran_out"), ("lookup", "found")]
    assert row.state == State.ISSUED
    assert len(sandbox.navigatr.assertions_for(row.learner.email)) == 1


def test_a_kill_before_the_call_is_sent_after_the_look_up(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    take(row).die()
    tally = rounds.send_all_due()
    row.refresh_from_db()
    assert trail(row) == [("send", "lease_ran_out"), ("lookup", "not_there"), ("send", "issued")]
    assert tally.issued == 1


def test_a_lease_that_has_not_run_out_is_left_alone(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    take(row).die()
    assert sweeping.sweep(now=timezone.now() - MINUTE) == 0
    row.refresh_from_db()
    assert row.state == State.SENDING


@pytest.mark.parametrize(("fault", "state", "reason"), [(None, "issued", "issued"), ("403", "queued", "lease_ran_out")])
def test_an_answer_after_the_lease_ran_out_is_told_and_only_a_success_is_taken(
    sandbox: Sandbox, fault: str | None, state: str, reason: str
) -> None:
    row = owe(map_course(sandbox))
    worker = take(row)
    sweeping.sweep(now=timezone.now() + timedelta(hours=1))
    if fault:
        sandbox.faults.on(fault)
    worker.ask().write()
    row.refresh_from_db()
    assert (row.state, row.reason) == (state, reason)
    assert trail(row)[0] == ("send", "lease_ran_out")
    assert len(trail(row)) == 2


def test_a_late_look_up_does_not_undo_what_was_issued(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), unanswered="unknown")
    worker = take(row)
    Issuance.objects.filter(pk=row.pk).update(state="issued", assertion_id="7", claim=None, unanswered="")
    worker.ask().write()
    row.refresh_from_db()
    assert (row.state, row.assertion_id) == (State.ISSUED, "7")


def test_leases_are_renewed_while_navigatr_is_slow(sandbox: Sandbox, settings: Any) -> None:
    row = owe(map_course(sandbox, connect(sandbox, timeout=5)))
    sandbox.faults.on("slow", seconds=0.6)
    seen: list[datetime] = []
    with time_machine.travel(timezone.now(), tick=True) as clock:

        def watch() -> bool:
            seen.extend(Issuance.objects.exclude(leased_until=None).values_list("leased_until", flat=True))
            if len(seen) == 1:
                clock.shift(settings.LEASE / 2)
            return False

        rounds.send_due(row.connection, should_stop=watch)
    row.refresh_from_db()
    assert row.state == State.ISSUED
    assert max(seen) - min(seen) >= settings.LEASE / 2


def test_a_lease_outlasts_whatever_is_begun_under_it(sandbox: Sandbox, settings: Any) -> None:
    row = owe(map_course(sandbox, connect(sandbox, timeout=300)))
    now = timezone.now()
    Worker(row.connection).claim(now=now)
    row.refresh_from_db()
    # LEASE to begin in, then 5 s to connect and the connection's own time-out for the answer.
    assert row.leased_until == now + settings.LEASE + timedelta(seconds=305)


def test_a_worker_that_stood_still_begins_nothing_that_may_be_anothers_by_now(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_THREADS = 1
    mapping = map_course(sandbox)
    for _ in range(5):
        owe(mapping)
    sandbox.faults.on("slow", seconds=0.3)
    stood_still = []
    with time_machine.travel(timezone.now(), tick=True) as clock:

        def stand_still_once() -> bool:
            if sandbox.navigatr.puts and not stood_still:
                clock.shift(settings.LEASE)
                stood_still.append(True)
            return False

        rounds.send_due(mapping.connection, should_stop=stand_still_once)
    begun = len(sandbox.navigatr.puts)
    assert 0 < begun < 5
    assert Issuance.objects.filter(state=State.ISSUED).count() == begun
    handed_back = Issuance.objects.filter(state=State.QUEUED)
    assert {(row.claim, row.leased_until, row.is_unknown, row.failures) for row in handed_back} == {
        (None, None, False, 0)
    }
