"""What becomes of an issuance: every answer, unknown ones, retries, holds, leases and rests."""

import logging
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import IntegrityError, close_old_connections
from django.db import connection as database
from django.db import connections as databases
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from badging import by_hand, connections, privacy
from badging import mapping as mappings
from badging.meanings import Outcome
from badging.models import AuditEntry, Issuance, IssuanceAttempt, NavigatrConnection, recipient_key
from badging.queueing import queue_completions, requeue_changed_learners
from badging.sending import calls, circuit, claiming, rounds, settling, sweeping, tally
from moodle_sync.models import Completion, Course, Learner
from navigatr_client import Badge, NavigatrClient, Provider
from sandbox import Sandbox
from tests.badging.world import (
    BADGE,
    OTHER_BADGE,
    PROVIDER,
    attempts,
    bring_forward,
    connect,
    kill_while_sending,
    map_course,
    owe,
    send,
    told,
)
from tests.builders import make_course, make_learner, make_site

pytestmark = pytest.mark.django_db
State = Issuance.State
MINUTE = timedelta(minutes=1)

# fault, state, reason, status of the audit row: API.md's table, row by row.
FINAL_ANSWERS = [
    ("202", State.NOT_MET, Outcome.NOT_MET, 202),
    ("400", State.FAILED, Outcome.BAD_SOURCE, 400),
    ("403", State.FAILED, Outcome.FORBIDDEN, 403),
    ("404", State.FAILED, Outcome.NOT_FOUND, 404),
    ("422", State.FAILED, Outcome.UNPUBLISHED, 422),
    ("422_recipient", State.FAILED, Outcome.PROFILE_REFUSED, 422),
]


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


def test_the_payload_is_the_plugins_with_date_and_address(sandbox: Sandbox) -> None:
    person = {"email": "Ana@Example.org", "firstname": "Ana &amp; Sons", "lastname": "O'Brien\u00a0<3"}
    row = owe(map_course(sandbox, min_score=50), score=87, person=person)
    send(row)
    [put] = sandbox.navigatr.puts
    assert put.body == {
        "provider_id": PROVIDER,
        "recipient_email": "Ana@Example.org",
        "recipient_firstname": "Ana &amp; Sons",
        "recipient_lastname": "O'Brien\u00a0<3",
        "score": 87,
        "min_score": 50,
        "issue_date": row.completion.completed_at.isoformat(),
        "evidence_text": f"Recipient completed course {row.course.fullname}",
        "evidence_url": f"https://moodle.example/course/view.php?id={row.course.moodle_id}",
    }


@pytest.mark.parametrize(
    ("ahead", "dated"), [(timedelta(), True), (timedelta(days=-400), True), (timedelta(days=400), False)]
)
def test_a_completion_of_the_future_is_sent_without_its_date(sandbox: Sandbox, ahead: timedelta, dated: bool) -> None:
    row = owe(map_course(sandbox))
    row.completion.completed_at = timezone.now() + ahead
    row.completion.save()
    send(row)
    assert row.state == State.ISSUED
    assert ("issue_date" in sandbox.navigatr.puts[0].body) == dated


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"fullname": "Café & <b>Éthique</b>", "shortname": "ÉTH"}, "Café & <b>Éthique</b>"),
        ({"fullname": "", "shortname": "ÉTH"}, "ÉTH"),
        ({"fullname": "", "shortname": "", "moodle_id": 42}, "#42"),
    ],
)
def test_the_evidence_names_the_course_as_the_pages_do(sandbox: Sandbox, names: dict[str, Any], told: str) -> None:
    row = owe(map_course(sandbox, course=make_course(**names)))
    send(row)
    assert sandbox.navigatr.puts[0].body["evidence_text"] == f"Recipient completed course {told}"


def test_score_and_evidence_can_be_switched_off(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox, connect(sandbox, send_score=False, send_evidence=False)))
    send(row)
    sent = sandbox.navigatr.puts[0].body
    assert not {"score", "min_score", "evidence_text", "evidence_url"} & set(sent)


def test_no_score_is_never_made_up(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), score=None)
    send(row)
    assert row.state == State.ISSUED
    assert "score" not in sandbox.navigatr.puts[0].body


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
    assert told(row) == [("send", "unclear"), ("lookup", "found")]
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
    assert told(row) == [("send", "unclear"), ("lookup", "not_there"), ("send", "issued")]
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
    assert told(row) == [("send", "unavailable"), ("send", "issued")]


def test_a_refused_look_up_is_followed_by_one_more_try_and_no_third(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.on("lookup_403")
    sandbox.faults.plan(row.learner.email, "500_before", times=2)
    send(row)
    bring_forward(row)
    send(row)
    assert told(row) == [("send", "unclear"), ("lookup", "lookup_refused"), ("send", "unclear")]
    assert attempts(row)[1].status == 403
    bring_forward(row)
    send(row)
    assert (row.state, row.reason, row.is_unknown) == (State.FAILED, Outcome.LOOKUP_REFUSED, True)
    assert len(sandbox.navigatr.puts) == 2


def test_hidden_recipients_count_as_a_refused_look_up(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.on("no_recipients")
    sandbox.faults.plan(row.learner.email, "500_after")
    send(row)
    bring_forward(row)
    send(row)
    assert told(row) == [("send", "unclear"), ("lookup", "lookup_refused"), ("send", "perhaps_twice")]
    assert "recipients are hidden" in attempts(row)[1].looked_up


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
    assert told(row) == [("send", "unclear"), ("lookup", "lookup_failed"), ("lookup", "found")]
    assert len(sandbox.navigatr.puts) == 1


def test_a_token_refused_at_the_look_up_pauses_the_connection_too(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan(row.learner.email, "500_after")
    send(row)
    bring_forward(row)
    sandbox.faults.on("401", call="lookup")
    send(row)
    assert (row.state, row.reason, row.is_unknown) == (State.HELD, Outcome.CONNECTION_PAUSED, True)
    sandbox.faults.clear()
    connections.retest(NavigatrConnection.objects.get(), actor=None, now=timezone.now())
    send(row)
    assert (row.state, row.reason) == (State.ISSUED, Outcome.FOUND)


def test_one_look_up_serves_all_that_wait_for_the_same_badge(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    rows = [owe(mapping) for _ in range(6)]
    for row in rows:
        sandbox.faults.plan(row.learner.email, "500_after")
    send(rows[0])
    bring_forward(*rows)
    send(rows[0])
    lookups = [entry for entry in sandbox.navigatr.ledger if entry.path.endswith("/assertions")]
    assert len(lookups) == 1
    assert Issuance.objects.filter(state=State.ISSUED, reason=Outcome.FOUND).count() == 6


def test_a_revoked_assertion_does_not_count_as_issued(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan(row.learner.email, "500_after")
    send(row)
    sandbox.navigatr.revoke(sandbox.navigatr.assertions_for(row.learner.email)[0].id)
    bring_forward(row)
    send(row)
    assert told(row)[1:] == [("lookup", "not_there"), ("send", "issued")]


def test_a_kill_between_the_call_and_the_audit_row_never_issues_twice(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    kill_while_sending(row)
    with connections.navigatr_client_for(row.connection) as client:
        client.issue(row.badge_id, **calls.payload(row, now=timezone.now()))
    assert sweeping.sweep(now=timezone.now()) == 1
    row.refresh_from_db()
    assert (row.state, row.reason, row.is_unknown) == (State.QUEUED, Outcome.LEASE_RAN_OUT, True)
    send(row)
    assert told(row) == [("send", "lease_ran_out"), ("lookup", "found")]
    assert row.state == State.ISSUED
    assert len(sandbox.navigatr.assertions_for(row.learner.email)) == 1


def test_a_kill_before_the_call_is_sent_after_the_look_up(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    kill_while_sending(row)
    tally = rounds.send_all_due()
    row.refresh_from_db()
    assert told(row) == [("send", "lease_ran_out"), ("lookup", "not_there"), ("send", "issued")]
    assert tally.issued == 1


def test_a_lease_that_has_not_run_out_is_left_alone(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    kill_while_sending(row)
    assert sweeping.sweep(now=timezone.now() - MINUTE) == 0
    row.refresh_from_db()
    assert row.state == State.SENDING


@pytest.mark.parametrize(("fault", "state", "reason"), [(None, "issued", "issued"), ("403", "queued", "lease_ran_out")])
def test_an_answer_after_the_lease_ran_out_is_told_and_only_a_success_is_taken(
    sandbox: Sandbox, fault: str | None, state: str, reason: str
) -> None:
    row = owe(map_course(sandbox))
    claim_id = uuid.uuid4()
    [taken] = claiming.claim(row.connection, claim_id, limit=1, now=timezone.now()).send
    sweeping.sweep(now=timezone.now() + timedelta(hours=1))
    if fault:
        sandbox.faults.on(fault)
    with connections.navigatr_client_for(row.connection) as client:
        late = calls.send(taken, calls.payload(taken, now=timezone.now()), client)
    attempt = settling.settle_sent(late, timezone.now())
    settling.write_settled([taken], [attempt], claim_id, timezone.now())
    row.refresh_from_db()
    assert (row.state, row.reason) == (state, reason)
    assert told(row)[0] == ("send", "lease_ran_out")
    assert len(told(row)) == 2


def test_a_late_look_up_does_not_undo_what_was_issued(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), unanswered="unknown")
    claim_id = uuid.uuid4()
    [[taken]] = claiming.claim(row.connection, claim_id, limit=1, now=timezone.now()).look_up
    Issuance.objects.filter(pk=row.pk).update(state="issued", assertion_id="7", claim=None, unanswered="")
    with connections.navigatr_client_for(row.connection) as client:
        found = calls.look_up_rows([taken], client, ended=threading.Event())
    attempt = settling.settle_looked_up(taken, found, timezone.now())
    settling.write_settled([taken], [attempt], claim_id, timezone.now())
    row.refresh_from_db()
    assert (row.state, row.assertion_id) == (State.ISSUED, "7")


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


def test_a_long_hold_does_not_count_as_a_week_of_tries(sandbox: Sandbox) -> None:
    long_ago = timezone.now() - timedelta(days=20)
    row = owe(
        map_course(sandbox), first_attempt_at=long_ago, queued_at=long_ago, state="held", reason="connection_paused"
    )
    connections.resume(row.connection, now=timezone.now())
    sandbox.faults.plan(row.learner.email, "500_before")
    send(row)
    assert (row.state, row.reason) == (State.QUEUED, Outcome.UNCLEAR)


# What is decided without a call


@pytest.mark.parametrize(
    "lacks",
    [
        {"firstname": " "},
        {"firstname": "\u200b"},
        {"lastname": ""},
        {"lastname": "\u3164\u2800"},
        {"email": ""},
        {"email": "no address"},
        {"email": "pat@college"},
        {"email": "pat smith@college.example"},
    ],
)
def test_an_incomplete_profile_fails_without_a_call(sandbox: Sandbox, lacks: dict[str, str]) -> None:
    row = owe(map_course(sandbox), person=lacks)
    tally = send(row)
    assert (row.state, row.reason, row.next_attempt_at) == (State.FAILED, Outcome.PROFILE_INCOMPLETE, None)
    assert told(row) == [("decision", "profile_incomplete")]
    assert (tally.failed, tally.attempts) == (1, 0)
    assert sandbox.navigatr.puts == []


@pytest.mark.parametrize(
    ("person", "state", "reason"),
    [
        ({"deleted": True}, State.HELD, Outcome.LEARNER_DELETED),
        ({"suspended": True}, State.HELD, Outcome.LEARNER_SUSPENDED),
        ({"erased_at": timezone.now()}, State.CANCELLED, Outcome.ERASED),
    ],
)
def test_who_must_not_get_a_badge_is_never_sent(
    sandbox: Sandbox, person: dict[str, Any], state: str, reason: str
) -> None:
    course = make_course(make_site(send_suspended=False))
    row = owe(map_course(sandbox, course=course), person=person)
    send(row)
    assert (row.state, row.reason) == (state, reason)
    assert told(row) == [("decision", reason)]
    assert sandbox.navigatr.puts == []


def test_suspended_learners_are_sent_where_the_site_says_so(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), person={"suspended": True})
    send(row)
    assert row.state == State.ISSUED


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (None, Outcome.NO_SCORE),
        (Decimal("49"), Outcome.BELOW_MIN_SCORE),
        (Decimal("59.5"), Outcome.BELOW_MIN_SCORE),
        (Decimal("59.999999"), Outcome.BELOW_MIN_SCORE),
    ],
)
def test_a_least_score_that_is_not_reached_is_not_sent(sandbox: Sandbox, score: Decimal | None, reason: str) -> None:
    row = owe(map_course(sandbox, min_score=60), score=score)
    assert send(row).not_met == 1
    assert (row.state, row.reason, row.score_tried) == (State.NOT_MET, reason, score)
    assert sandbox.navigatr.puts == []


def test_a_least_score_that_is_just_reached_is_sent(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox, min_score=50), score=50)
    send(row)
    assert row.state == State.ISSUED


@pytest.mark.parametrize(
    ("score", "sent"), [("60", 60), ("60.999999", 60), ("79.5", 79), ("0.999999", 0), ("100", 100)]
)
def test_what_is_sent_is_rounded_down(sandbox: Sandbox, score: str, sent: int) -> None:
    row = owe(map_course(sandbox), score=Decimal(score))
    send(row)
    assert (row.state, row.score_tried) == (State.ISSUED, Decimal(score))
    assert sandbox.navigatr.puts[0].body["score"] == sent


def test_a_score_that_only_rounding_lifts_to_the_badges_own_limit_is_not_enough(sandbox: Sandbox) -> None:
    distinction = next(badge.id for badge in sandbox.navigatr.badges.values() if badge.min_score == 80)
    row = owe(map_course(sandbox, badge_id=distinction), score=Decimal("79.5"))
    send(row)
    assert (row.state, row.reason) == (State.NOT_MET, Outcome.NOT_MET)
    assert sandbox.navigatr.assertions_for(row.learner.email) == []


def test_a_hidden_course_total_is_told_as_the_reason_and_goes_on_once_it_is_shown(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox, min_score=60), score=None)
    Completion.objects.update(score_hidden=True)
    send(row)
    assert (row.state, row.reason) == (State.NOT_MET, Outcome.SCORE_HIDDEN)
    completion = Completion.objects.get()
    assert queue_completions([completion], now=timezone.now()) == 0
    completion.score_hidden = False
    completion.save()
    assert queue_completions([completion], now=timezone.now()) == 1
    send(row)
    assert (row.state, row.reason) == (State.NOT_MET, Outcome.NO_SCORE)
    completion.score = Decimal("60")
    completion.save()
    assert queue_completions([completion], now=timezone.now()) == 1
    send(row)
    assert row.state == State.ISSUED


def test_what_is_due_under_a_disabled_or_removed_mapping_is_not_sent(sandbox: Sandbox) -> None:
    disabled = owe(map_course(sandbox, active=False))
    removed = owe(map_course(sandbox, disabled.connection))
    removed.course.mapping.delete()
    send(disabled)
    removed.refresh_from_db()
    assert (disabled.state, disabled.reason) == (State.HELD, Outcome.MAPPING_DISABLED)
    assert (removed.state, removed.reason) == (State.CANCELLED, Outcome.MAPPING_REMOVED)
    assert sandbox.navigatr.puts == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("shared@example.org", "Shared@Example.org"),
        ("shared@bücher.example", "shared@xn--bcher-kva.example"),
        ("josé@example.org", "jose\u0301@example.org"),
    ],
)
def test_two_learners_with_one_address_get_one_badge_and_the_second_waits_for_a_person(
    sandbox: Sandbox, one: str, other: str
) -> None:
    connection = connect(sandbox)
    first = owe(map_course(sandbox, connection), person={"email": one})
    second = owe(map_course(sandbox, connection), person={"email": other})
    send(first)
    second.refresh_from_db()
    assert first.state == State.ISSUED
    # While the first was on its way, the second stepped aside.
    assert (second.state, second.reason) == (State.QUEUED, Outcome.DUPLICATE_RECIPIENT)
    assert attempts(second) == []
    bring_forward(second)
    send(second)
    assert (second.state, second.reason) == (State.FAILED, Outcome.DUPLICATE_RECIPIENT)
    assert len(sandbox.navigatr.assertions) == 1


def test_a_learner_whose_other_course_may_have_sent_the_badge_waits_for_a_person(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    first = owe(mapping, state="failed", reason="gave_up", unanswered="unknown")
    second = owe(map_course(sandbox, mapping.connection, make_course(mapping.course.site)), first.learner)
    send(second)
    assert (second.state, second.reason) == (State.FAILED, Outcome.MAY_HOLD)
    assert sandbox.navigatr.puts == []


def test_a_second_learner_waits_for_a_person_where_nobody_knows_if_the_first_has_it(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    owe(mapping, person={"email": "shared@example.org"}, state="failed", reason="lookup_refused", unanswered="unknown")
    second = owe(mapping, person={"email": "shared@example.org"})
    send(second)
    assert (second.state, second.reason) == (State.FAILED, Outcome.DUPLICATE_RECIPIENT)
    assert sandbox.navigatr.puts == []


@pytest.mark.parametrize("email", ["learner101@example.org", "changed@example.org"])
def test_a_learner_gets_a_badge_once_through_two_courses_even_with_a_new_address(sandbox: Sandbox, email: str) -> None:
    connection, site = connect(sandbox), make_site()
    first = owe(map_course(sandbox, connection, make_course(site)))
    send(first)
    Learner.objects.update(email=email, email_key=email)
    learner = Learner.objects.get()
    second = owe(map_course(sandbox, connection, make_course(site)), learner)
    send(second)
    assert (second.state, second.reason) == (State.CANCELLED, Outcome.ALREADY_HOLDS)
    assert len(sandbox.navigatr.assertions) == 1


def test_the_database_has_the_last_word_on_one_badge_for_one_address(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    key = recipient_key("shared@example.org")
    owe(mapping, state="issued", assertion_id="1", recipient_key=key)
    with pytest.raises(IntegrityError):
        owe(mapping, unanswered="unknown", recipient_key=key)


def test_a_changed_address_is_used_for_what_was_never_sent_and_the_old_one_for_the_look_up(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    unsent, unknown = owe(mapping), owe(mapping)
    sandbox.faults.plan(unknown.learner.email, "500_after")
    Learner.objects.filter(pk=unsent.learner_id).update(email="new@example.org")
    send(unknown)
    Learner.objects.filter(pk=unknown.learner_id).update(email="other@example.org")
    bring_forward(unknown)
    send(unknown)
    assert (unknown.state, unknown.reason) == (State.ISSUED, Outcome.FOUND)
    assert len(sandbox.navigatr.assertions_for("new@example.org")) == 1
    assert sandbox.navigatr.assertions_for("other@example.org") == []


# Re-mapping while something is on its way


def remap(row: Issuance, badge_id: int = OTHER_BADGE) -> None:
    assert row.mapping is not None
    badge = Badge(badge_id, "Other", "", "Published", "Internal", "Badge", "", "", (PROVIDER,))
    mappings.save_mapping(
        course=row.course,
        connection=row.connection,
        provider=Provider(PROVIDER, "P"),
        badge=badge,
        now=timezone.now(),
    )


def test_what_may_have_been_sent_is_looked_up_under_the_old_badge_after_a_re_mapping(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan(row.learner.email, "500_after")
    send(row)
    remap(row)
    send(row)
    assert (row.state, row.badge_id, row.reason) == (State.ISSUED, BADGE, Outcome.FOUND)
    assert len(sandbox.navigatr.assertions) == 1


def test_what_was_not_issued_under_the_old_badge_is_sent_as_the_new_one(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan(row.learner.email, "500_before")
    send(row)
    remap(row)
    send(row)
    assert (row.state, row.badge_id) == (State.ISSUED, OTHER_BADGE)
    assert [assertion.badge_id for assertion in sandbox.navigatr.assertions_for(row.learner.email)] == [OTHER_BADGE]
    assert [attempt.badge_id for attempt in attempts(row)] == [BADGE, BADGE, OTHER_BADGE]


def test_a_refusal_under_a_mapping_changed_meanwhile_goes_on_under_the_new_one(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    claim_id = uuid.uuid4()
    [taken] = claiming.claim(row.connection, claim_id, limit=1, now=timezone.now()).send
    remap(row)
    sandbox.faults.on("404", count=1)
    with connections.navigatr_client_for(row.connection) as client:
        result = calls.send(taken, calls.payload(taken, now=timezone.now()), client)
    attempt = settling.settle_sent(result, timezone.now())
    settling.write_settled([taken], [attempt], claim_id, timezone.now())
    row.refresh_from_db()
    assert (row.state, row.badge_id) == (State.QUEUED, OTHER_BADGE)
    send(row)
    assert row.state == State.ISSUED


def test_staging_and_production_never_meet(sandbox: Sandbox) -> None:
    staging = owe(map_course(sandbox))
    # However it may have come about: a row of one environment under a connection to the other is never taken.
    NavigatrConnection.objects.update(environment="production", pat=sandbox.production_pat)
    assert send(staging) == tally.Tally()
    assert staging.state == State.QUEUED
    assert sandbox.production.puts == sandbox.navigatr.puts == []


# Rests, probes, stops and leases


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


def test_a_worker_that_loses_the_race_for_the_probe_hands_its_row_back(sandbox: Sandbox, settings: Any) -> None:
    row = owe(map_course(sandbox, connect(sandbox, failures=settings.CIRCUIT_THRESHOLD)))
    taken = []

    def other_worker_is_faster(execute: Any, sql: str, *arguments: Any) -> Any:
        # Between the question whether it may send and its own probe.
        if not taken and sql.startswith('UPDATE "badging_navigatrconnection" SET "not_before"'):
            taken.append(sql)
            assert circuit.take_probe(row.connection, settings.CIRCUIT_THRESHOLD, now=timezone.now())
        return execute(sql, *arguments)

    with database.execute_wrapper(other_worker_is_faster):
        assert send(row).attempts == 0
    assert taken
    assert (row.state, row.claim) == (State.QUEUED, None)


def test_an_answer_of_any_kind_ends_a_run_of_failures(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox, connect(sandbox, failures=5)))
    sandbox.faults.on("403")
    send(row)
    assert NavigatrConnection.objects.get().failures == 0


def test_a_request_to_stop_hands_back_what_was_not_begun(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_THREADS = 2
    mapping = map_course(sandbox)
    rows = [owe(mapping) for _ in range(30)]
    sandbox.faults.on("slow", seconds=0.1)
    tally = rounds.send_due(rows[0].connection, should_stop=lambda: len(sandbox.navigatr.puts) > 0)
    done = len(sandbox.navigatr.assertions)
    assert 0 < done < 30
    assert tally.issued == done == Issuance.objects.filter(state=State.ISSUED).count()
    assert Issuance.objects.filter(state=State.QUEUED, claim=None, leased_until=None).count() == 30 - done


def test_a_stop_that_comes_first_begins_nothing(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    assert rounds.send_all_due(should_stop=lambda: True) == tally.Tally()
    row.refresh_from_db()
    assert row.state == State.QUEUED


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
    claiming.claim(row.connection, uuid.uuid4(), limit=1, now=now)
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
    assert set(handed_back.values_list("claim", "leased_until", "maybe_sent", "failures")) == {(None, None, False, 0)}


def test_few_are_in_hand_at_once_however_many_one_call_is_about(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_BATCH, settings.SEND_THREADS = 8, 1
    mapping = map_course(sandbox)
    for _ in range(48):
        row = owe(mapping)
        Issuance.objects.filter(pk=row.pk).update(unanswered="unknown", recipient_key=recipient_key(row.learner.email))
    sandbox.faults.on("slow", call="lookup", seconds=0.05)
    in_hand: list[int] = []

    def count() -> bool:
        in_hand.append(Issuance.objects.filter(state=State.SENDING).count())
        return False

    assert rounds.send_due(mapping.connection, should_stop=count).issued == 48
    assert max(in_hand) < 3 * settings.SEND_BATCH


def test_more_than_one_batch_is_sent_in_a_round_today_before_a_back_fill(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_BATCH = 3
    settings.SEND_THREADS = 1
    mapping = map_course(sandbox)
    past = [owe(mapping, past=True) for _ in range(4)]
    today = [owe(mapping) for _ in range(4)]
    assert send(past[0]).issued == 8
    sent = [put.body["recipient_email"] for put in sandbox.navigatr.puts]
    assert set(sent[:4]) == {row.learner.email for row in today}


def test_all_connections_are_sent_in_the_foreground(sandbox: Sandbox) -> None:
    staging = owe(map_course(sandbox))
    production = connect(sandbox, environment="production", pat=sandbox.production_pat)
    mapping = map_course(
        sandbox, production, provider_id=min(sandbox.production.providers), badge_id=min(sandbox.production.badges)
    )
    other = owe(mapping)
    assert rounds.send_all_due().issued == 2
    assert len(sandbox.navigatr.assertions_for(staging.learner.email)) == 1
    assert len(sandbox.production.assertions_for(other.learner.email)) == 1


def test_the_sweep_holds_what_was_queued_as_its_connection_was_paused(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox, connect(sandbox, state="paused")))
    sweeping.sweep(now=timezone.now())
    row.refresh_from_db()
    assert (row.state, row.reason) == (State.HELD, Outcome.CONNECTION_PAUSED)


# Faults of ours, erasure, threads


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
    assert told(row) == [("lookup", "our_bug")]
    assert "ana@example.org" not in caplog.text


def test_navigatrs_words_are_kept_without_the_learners_data(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), person={"email": ".no-address@example.org", "firstname": "Ana"})
    sandbox.faults.on("422_recipient")
    send(row)
    [attempt] = attempts(row)
    assert (attempt.status, attempt.outcome) == (422, Outcome.PROFILE_REFUSED)
    assert "recipient_email" in attempt.detail
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


def test_another_field_that_navigatr_refuses_is_not_the_learners_fault(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    Course.objects.update(site=make_site(url="https://moodle.example", wwwroot="no address"))
    send(row)
    assert (row.state, row.reason) == (State.FAILED, Outcome.UNPUBLISHED)
    assert "evidence_url" in attempts(row)[0].detail


@pytest.mark.parametrize(
    ("fault", "state", "reason"),
    [(None, "issued", "issued"), ("503", "cancelled", "erased"), ("403", "cancelled", "erased")],
)
def test_a_learner_erased_while_sending_does_not_come_back(
    sandbox: Sandbox, fault: str | None, state: str, reason: str
) -> None:
    row = owe(map_course(sandbox))
    claim_id = uuid.uuid4()
    [taken] = claiming.claim(row.connection, claim_id, limit=1, now=timezone.now()).send
    privacy.erase_learner(row.learner, now=timezone.now())
    if fault:
        sandbox.faults.on(fault)
    with connections.navigatr_client_for(row.connection) as client:
        result = calls.send(taken, calls.payload(taken, now=timezone.now()), client)
    attempt = settling.settle_sent(result, timezone.now())
    settling.write_settled([taken], [attempt], claim_id, timezone.now())
    row.refresh_from_db()
    assert (row.state, row.reason, row.recipient_key, row.is_unknown) == (state, reason, "", False)
    assert row.learner.erased_at is not None
    assert row.learner.email == ""


def test_a_learner_erased_while_a_worker_died_is_not_sent(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    kill_while_sending(row)
    privacy.erase_learner(row.learner, now=timezone.now())
    rounds.send_all_due()
    row.refresh_from_db()
    assert (row.state, row.reason, row.recipient_key) == (State.CANCELLED, Outcome.ERASED, "")
    assert sandbox.navigatr.puts == []


def test_an_unknown_answer_of_an_erased_learner_is_not_looked_up(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), unanswered="unknown", person={"erased_at": timezone.now()})
    send(row)
    assert (row.state, row.reason, row.is_unknown, row.recipient_key) == (State.CANCELLED, Outcome.ERASED, False, "")
    assert not sandbox.navigatr.ledger


def test_sending_threads_do_no_database_work(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[str] = set()
    ensure = BaseDatabaseWrapper.ensure_connection

    def noted(self: BaseDatabaseWrapper) -> None:
        threads.add(threading.current_thread().name)
        ensure(self)

    monkeypatch.setattr(BaseDatabaseWrapper, "ensure_connection", noted)
    mapping = map_course(sandbox)
    rows = [owe(mapping) for _ in range(10)] + [owe(mapping, unanswered="unknown")]
    send(rows[0])
    assert Issuance.objects.filter(state=State.ISSUED).count() == 11
    assert threads == {threading.current_thread().name}


@pytest.mark.django_db(transaction=True)
def test_rounds_at_the_same_time_never_send_one_twice(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_BATCH = 7
    mapping = map_course(sandbox)
    for _ in range(60):
        owe(mapping)
    twin = map_course(sandbox, mapping.connection, make_course(mapping.course.site))
    for learner in Learner.objects.all()[:20]:
        owe(twin, learner)

    def one_round(_number: int) -> None:
        close_old_connections()
        try:
            rounds.send_due(NavigatrConnection.objects.get())
        finally:
            databases.close_all()

    # SQLite has one writer at a time, so there the rounds come one after the other.
    with ThreadPoolExecutor(4 if database.vendor == "postgresql" else 1) as pool:
        list(pool.map(one_round, range(4)))
    assert len(sandbox.navigatr.puts) == len(sandbox.navigatr.assertions) == 60
    assert len({assertion.recipient_email for assertion in sandbox.navigatr.assertions.values()}) == 60
    assert Issuance.objects.filter(state=State.ISSUED).count() == 60


def test_taking_what_is_due_reads_the_index_made_for_it(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    due = (
        Issuance.objects.due(timezone.now())
        .filter(connection=row.connection_id, environment="staging")
        .order_by("past", "next_attempt_at")[:500]
    )
    if database.vendor == "postgresql":
        with database.cursor() as cursor:
            # So few rows would be read and sorted without an index.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
    assert "due_first" in due.explain()


def test_a_claim_costs_the_same_whatever_the_number_of_rows(
    sandbox: Sandbox, django_assert_max_num_queries: Any
) -> None:
    mapping = map_course(sandbox)
    rows = [owe(mapping) for _ in range(20)]
    # Savepoint and its release, the rows, their courses, sites, what is known of these, mappings and connections, who
    # holds the badge by address and by person, the lease.
    with django_assert_max_num_queries(11):
        claimed = claiming.claim(mapping.connection, uuid.uuid4(), limit=500, now=timezone.now())
    assert len(claimed.send) == len(rows)


def test_a_claim_that_others_win_each_time_is_left_to_the_next_sweep(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    other = owe(mapping)
    row = owe(mapping, person={"email": "shared@example.org"})
    Issuance.objects.filter(pk=other.pk).update(next_attempt_at=timezone.now() + MINUTE)
    wins = []

    def other_worker_is_faster(execute: Any, sql: str, *arguments: Any) -> Any:
        # After the question who holds the badge, and before the row is taken.
        if sql.startswith('UPDATE "badging_issuance"') and '"claim"' in sql:
            wins.append(sql)
            Issuance.objects.filter(pk=other.pk).update(
                state=State.ISSUED, assertion_id="1", recipient_key=recipient_key("shared@example.org")
            )
        return execute(sql, *arguments)

    with database.execute_wrapper(other_worker_is_faster):
        assert send(row) == tally.Tally()
    assert len(wins) == 5
    assert row.state == State.QUEUED


def test_a_learner_of_another_site_is_another_person(sandbox: Sandbox) -> None:
    connection = connect(sandbox)
    rows = [
        owe(map_course(sandbox, connection), make_learner(site, moodle_id=7, email=f"{site.pk}@example.org"))
        for site in (make_site(), make_site())
    ]
    send(rows[0])
    assert Issuance.objects.filter(state=State.ISSUED).count() == 2
