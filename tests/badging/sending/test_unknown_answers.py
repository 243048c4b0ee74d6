"""An answer that was lost: the badge may have been issued, so it is looked up before anything is sent again."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from badging.meanings import Outcome
from badging.models import Issuance, NavigatrConnection
from sandbox import Sandbox
from tests.builders import (
    BADGE,
    PROVIDER,
    connect,
    map_course,
    owe,
)
from tests.worker import attempts, bring_forward, lookups, send, trail

pytestmark = pytest.mark.django_db
State = Issuance.State
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("500_after", 500),
        ("drop_after", None),
        ("timeout_after", None),
        ("html_after", 200),
    ],
)
def test_a_badge_issued_behind_an_unknown_answer_is_found_and_not_sent_again(
    sandbox: Sandbox, fault: str, status: int | None
) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan(row.learner.email, fault, seconds=1.3)
    tally = send(row)
    assert (row.state, row.reason, row.is_unknown, row.failures) == (State.QUEUED, Outcome.UNCLEAR, True, 1)
    assert tally.retry == 1
    [first] = attempts(row)
    assert (first.status, first.outcome, first.next_attempt_at) == (status, Outcome.UNCLEAR, row.next_attempt_at)
    bring_forward(row)
    send(row)
    [assertion] = sandbox.navigatr.assertions_for(row.learner.email)
    assert (row.state, row.reason, row.assertion_id) == (State.ISSUED, Outcome.FOUND, str(assertion.id))
    assert trail(row) == [("send", "unclear"), ("lookup", "found")]
    assert f"found {assertion.id} on page 1" in attempts(row)[1].looked_up
    assert len(sandbox.navigatr.puts) == 1


@pytest.mark.parametrize("fault", ["500_before", "502", "503", "drop_before", "timeout", "html_before", "down"])
def test_what_was_not_issued_is_looked_up_and_sent_again_in_the_same_round(sandbox: Sandbox, fault: str) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan(row.learner.email, fault, seconds=1.3)
    send(row)
    assert (row.state, row.is_unknown) == (State.QUEUED, True)
    bring_forward(row)
    tally = send(row)
    assert row.state == State.ISSUED
    assert trail(row) == [("send", "unclear"), ("lookup", "not_there"), ("send", "issued")]
    assert len(sandbox.navigatr.assertions_for(row.learner.email)) == 1
    assert (tally.attempts, tally.issued) == (2, 1)


def test_a_connection_that_is_refused_has_sent_nothing_and_needs_no_look_up(sandbox: Sandbox, settings: Any) -> None:
    row = owe(map_course(sandbox))
    good = settings.NAVIGATR_URLS
    settings.NAVIGATR_URLS = {"staging": "http://127.0.0.1:1/v1"}
    send(row)
    assert (row.state, row.reason, row.is_unknown) == (State.QUEUED, Outcome.UNAVAILABLE, False)
    settings.NAVIGATR_URLS = good
    bring_forward(row)
    send(row)
    assert trail(row) == [("send", "unavailable"), ("send", "issued")]


def test_a_look_up_that_fails_is_tried_again_before_anything_is_sent(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan(row.learner.email, "500_after")
    send(row)
    bring_forward(row)
    fault = sandbox.faults.on("503", call="lookup", retry_after=3600)
    send(row)
    assert (row.state, row.reason, row.is_unknown, row.failures) == (State.QUEUED, "lookup_failed", True, 2)
    assert row.next_attempt_at is not None
    assert row.next_attempt_at > timezone.now() + timedelta(minutes=59)
    sandbox.faults.off(fault.id)
    bring_forward(row)
    send(row)
    assert trail(row) == [("send", "unclear"), ("lookup", "lookup_failed"), ("lookup", "found")]
    assert len(sandbox.navigatr.puts) == 1


def test_one_look_up_serves_all_that_wait_for_the_same_badge(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    rows = [owe(mapping) for _ in range(6)]
    for row in rows:
        sandbox.faults.plan(row.learner.email, "500_after")
    send(rows[0])
    bring_forward(*rows)
    send(rows[0])
    assert len(lookups(sandbox)) == 1
    assert Issuance.objects.filter(state=State.ISSUED, reason=Outcome.FOUND).count() == 6


def test_a_revoked_assertion_does_not_count_as_issued(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan(row.learner.email, "500_after")
    send(row)
    sandbox.navigatr.revoke(sandbox.navigatr.assertions_for(row.learner.email)[0].id)
    bring_forward(row)
    send(row)
    assert trail(row)[1:] == [("lookup", "not_there"), ("send", "issued")]


def test_one_look_up_serves_all_however_few_calls_may_run_at_once(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, connect(sandbox, calls_at_once=2))
    rows = [owe(mapping, unanswered="unknown") for _ in range(12)]
    assert send(rows[0]).issued == 12
    assert len(lookups(sandbox)) == 1


def test_the_pages_of_a_look_up_count_against_the_connections_limit(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, connect(sandbox, calls_per_second=100))
    row = owe(mapping, unanswered="unknown")
    for number in range(250):
        sandbox.navigatr.issue(BADGE, PROVIDER, recipient_email=f"other{number}@example.org")
    before, space = timezone.now(), timedelta(seconds=0.01)
    assert send(row).issued == 1
    times = [entry.time for entry in lookups(sandbox)]
    assert len(times) == 3
    assert min(later - earlier for earlier, later in zip(times, times[1:], strict=False)) >= space.total_seconds()
    after_the_last = NavigatrConnection.objects.get().next_slot_at
    assert after_the_last is not None
    # Three pages and the issue call.
    assert after_the_last >= before + 4 * space


def test_a_look_up_is_not_gone_on_with_once_the_token_was_refused(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_THREADS = 2
    mapping = map_course(sandbox, connect(sandbox, calls_per_second=4))
    row = owe(mapping, unanswered="unknown")
    other = owe(mapping)
    for number in range(950):
        sandbox.navigatr.issue(BADGE, PROVIDER, recipient_email=f"other{number}@example.org")
    sandbox.faults.plan([other.learner.email], "401")
    send(row)
    assert len(lookups(sandbox)) < 10
    assert {(row.standing, row.failures) for row in Issuance.objects.all()} == {(State.HELD, 0)}
