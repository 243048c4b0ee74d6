"""What becomes of an issuance by the answer of Navigatr, and by a fault of ours."""

import logging
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from badging import by_hand
from badging.meanings import Outcome
from badging.models import Issuance, IssuanceAttempt, NavigatrConnection
from badging.queueing import requeue_changed_learners
from moodle_sync.models import Learner
from navigatr_client import NavigatrClient
from sandbox import Sandbox, navigatr
from tests.builders import (
    BADGE,
    PROVIDER,
    connect,
    map_course,
    owe,
)
from tests.worker import attempts, bring_forward, send, trail

pytestmark = pytest.mark.django_db
State = Issuance.State
MINUTE = timedelta(minutes=1)


def test_an_issued_badge_is_kept_with_its_assertion(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), score=87)
    tally = send(row)
    [assertion] = sandbox.navigatr.assertions_for(row.learner.email)
    assert (row.state, row.reason, row.assertion_id) == (State.ISSUED, Outcome.ISSUED, str(assertion.id))
    assert row.assertion_url.endswith(f"/assertion/{assertion.id}")
    assert row.issued_at is not None
    assert (row.claim, row.leased_until, row.next_attempt_at, row.is_unknown) == (None, None, None, False)
    [attempt] = attempts(row)
    assert (attempt.kind, attempt.status, attempt.outcome) == ("send", 201, Outcome.ISSUED)
    assert attempt.duration is not None
    assert timedelta(0) < attempt.duration < timedelta(seconds=2)
    assert (attempt.environment, attempt.provider_id, attempt.badge_id) == ("staging", PROVIDER, BADGE)
    assert (tally.attempts, tally.issued) == (1, 1)


# fault, state, reason, status of the audit row, for each answer of Navigatr that is final.
FINAL_ANSWERS = [
    ("202", State.NOT_MET, Outcome.NOT_MET, 202),
    ("400", State.FAILED, Outcome.BAD_SOURCE, 400),
    ("403", State.FAILED, Outcome.FORBIDDEN, 403),
    ("404", State.FAILED, Outcome.NOT_FOUND, 404),
    ("422", State.FAILED, Outcome.UNPUBLISHED, 422),
    ("422_recipient", State.FAILED, Outcome.PROFILE_REFUSED, 422),
]


@pytest.mark.parametrize(("fault", "state", "reason", "status"), FINAL_ANSWERS)
def test_an_answer_that_is_final_ends_in_a_state_that_says_why(
    sandbox: Sandbox, fault: str, state: str, reason: str, status: int
) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.on(fault)
    send(row)
    assert (row.state, row.reason, row.next_attempt_at, row.is_unknown) == (state, reason, None, False)
    [attempt] = attempts(row)
    assert (attempt.status, attempt.outcome, attempt.next_attempt_at) == (status, reason, None)
    assert attempt.detail
    sandbox.faults.clear()
    assert send(row).attempts == 0


def test_a_score_that_only_rounding_lifts_to_the_badges_own_limit_is_not_enough(sandbox: Sandbox) -> None:
    distinction = next(badge.id for badge in sandbox.navigatr.badges.values() if badge.min_score == 80)
    row = owe(map_course(sandbox, badge_id=distinction), score=Decimal("79.5"))
    send(row)
    assert (row.state, row.reason) == (State.NOT_MET, Outcome.NOT_MET)
    assert sandbox.navigatr.assertions_for(row.learner.email) == []


def test_navigatrs_words_are_kept_without_the_learners_data(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), person={"email": ".no-address@example.org", "firstname": "Ana"})
    sandbox.faults.on("422_recipient")
    send(row)
    [attempt] = attempts(row)
    assert (attempt.status, attempt.outcome) == (422, Outcome.PROFILE_REFUSED)
    assert attempt.fields == "recipient_email"
    assert "value is not a valid email address" in attempt.detail
    assert "no-address" not in attempt.detail


def test_a_profile_that_navigatr_refuses_goes_on_once_it_has_changed_in_moodle(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), person={"email": "odd@example.org"})
    sandbox.faults.plan("odd@example.org", "422_recipient", times=2)
    send(row)
    assert (row.state, row.reason) == (State.FAILED, Outcome.PROFILE_REFUSED)
    Learner.objects.update(email="mended@example.org", email_key="mended@example.org")
    requeue_changed_learners([row.learner_id], now=timezone.now())
    send(row)
    assert (row.state, row.reason) == (State.ISSUED, Outcome.ISSUED)
    assert len(sandbox.navigatr.assertions_for("mended@example.org")) == 1


def test_another_field_that_navigatr_refuses_is_not_the_learners_fault(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(navigatr.CHECKS, "evidence_url", lambda address: address.endswith(".edu"))
    row = owe(map_course(sandbox))
    send(row)
    assert (row.state, row.reason) == (State.FAILED, Outcome.UNPUBLISHED)
    assert attempts(row)[0].fields == "evidence_url"


def test_retries_end_after_a_week_and_a_person_can_start_them_anew(sandbox: Sandbox) -> None:
    long_ago = timezone.now() - timedelta(days=8)
    row = owe(map_course(sandbox), first_attempt_at=long_ago, queued_at=long_ago, failures=9)
    sandbox.faults.plan(row.learner.email, "500_before", times=2)
    assert send(row).failed == 1
    assert (row.state, row.reason, row.is_unknown) == (State.FAILED, Outcome.GAVE_UP, True)
    assert by_hand.send_again(Issuance.objects.all(), now=timezone.now()) == 1
    send(row)
    # Looked up, sent, and failed again: but the week starts anew.
    assert (row.state, row.reason, row.failures) == (State.QUEUED, Outcome.UNCLEAR, 1)
    bring_forward(row)
    send(row)
    assert row.state == State.ISSUED


class Broken(Exception):
    """Stands for a fault of ours; its message holds what must never be logged."""


def test_a_fault_of_ours_waits_for_a_person_and_is_logged_without_personal_data(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(client: NavigatrClient, badge_id: int, **fields: Any) -> Any:
        raise Broken(fields["recipient_email"])

    monkeypatch.setattr(NavigatrClient, "issue", breaks)
    row = owe(map_course(sandbox, connect(sandbox, failures=4)))
    with caplog.at_level(logging.INFO):
        send(row)
    assert (row.state, row.reason, row.is_unknown) == (State.FAILED, Outcome.OUR_BUG, True)
    assert attempts(row)[0].detail == "Broken"
    assert f"issuing issuance {row.pk} failed in the portal itself: Broken at breaks:" in caplog.text
    assert row.learner.email not in caplog.text
    # It says nothing about Navigatr.
    assert NavigatrConnection.objects.get().failures == 4


def test_a_fault_of_ours_in_a_look_up_waits_for_a_person(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def breaks(*_args: Any, **_fields: Any) -> Any:
        raise Broken("ana@example.org")

    monkeypatch.setattr(NavigatrClient, "assertions", breaks)
    row = owe(map_course(sandbox), unanswered="unknown")
    send(row)
    assert (row.state, row.reason, row.is_unknown) == (State.FAILED, Outcome.OUR_BUG, True)
    assert trail(row) == [("lookup", "our_bug")]
    assert "ana@example.org" not in caplog.text


@pytest.mark.parametrize(("bad", "state"), [("a\x00b", "issued"), ("a\ud800b", "issued"), ("\x00", "failed")])
def test_an_answer_that_cannot_be_stored_costs_the_others_nothing(sandbox: Sandbox, bad: str, state: str) -> None:
    mapping = map_course(sandbox)
    row, other = owe(mapping), owe(mapping)
    sandbox.faults.plan([row.learner.email], "500_after")
    sandbox.faults.plan([other.learner.email], "500_after")
    send(row)
    [assertion] = sandbox.navigatr.assertions_for(row.learner.email)
    assertion.id = bad
    bring_forward(row, other)
    send(row)
    other.refresh_from_db()
    assert (row.state, other.state) == (state, "issued")
    assert row.is_unknown == (state == "failed")
    assert IssuanceAttempt.objects.filter(kind="lookup").count() == 2
