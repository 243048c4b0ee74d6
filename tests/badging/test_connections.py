"""Connections: tested before they are saved, paused, resumed, removed, rested."""

from datetime import timedelta

import pytest
from django.db import connection as database
from django.utils import timezone

from badging import connections
from badging.connections import ConnectionTest, EnvironmentIsFixed
from badging.meanings import Outcome
from badging.models import AuditEntry, Issuance, NavigatrConnection
from badging.sending import circuit
from badging.status import why_stopped
from sandbox import Sandbox
from tests.builders import NOW, connect, make_connection, make_issuance, make_mapping

pytestmark = pytest.mark.django_db
State = Issuance.State
LATER = NOW + timedelta(hours=1)


def test_a_good_token_names_its_account_and_providers(sandbox: Sandbox) -> None:
    tested = connections.try_out(NavigatrConnection(environment="staging", pat=f"  {sandbox.pat}\n"))
    assert (tested.ok, tested.account) == (True, "Priya Admin")
    assert [provider.name for provider in tested.providers] == ["Northgate College", "Südstadt Academy"]
    assert all(finding.ok for finding in tested.findings)


def test_an_account_without_a_name_is_known_by_its_number(sandbox: Sandbox) -> None:
    sandbox.navigatr.account |= {"firstname": "", "lastname": ""}
    tested = connections.try_out(NavigatrConnection(environment="staging", pat=sandbox.pat))
    assert tested.account == f"#{sandbox.navigatr.account['id']}"


def test_an_account_that_is_no_provider_admin_is_told_so(sandbox: Sandbox) -> None:
    for provider_id in list(sandbox.navigatr.providers):
        sandbox.navigatr.set_provider(provider_id, admin=False)
    tested = connections.try_out(NavigatrConnection(environment="staging", pat=sandbox.pat))
    assert tested.ok
    assert [finding.check for finding in tested.findings if not finding.ok] == ["providers"]
    assert "no provider administrator" in tested.message


@pytest.mark.parametrize(
    ("fault", "check", "says"),
    [("401", "token", "refused the token"), ("503", "address", "try again later"), ("404", "address", "the address")],
)
def test_a_failed_test_says_what_to_do_and_saves_nothing(sandbox: Sandbox, fault: str, check: str, says: str) -> None:
    sandbox.faults.on(fault, call="account")
    tested = connections.try_out(NavigatrConnection(name="New", environment="staging", pat=sandbox.pat))
    assert not tested.ok
    assert [finding.check for finding in tested.findings] == [check]
    assert says in tested.message
    assert sandbox.pat not in tested.message
    assert not NavigatrConnection.objects.exists()


def test_the_other_environments_token_fails_the_test(sandbox: Sandbox) -> None:
    assert not connections.try_out(NavigatrConnection(environment="production", pat=sandbox.pat)).ok
    assert not connections.try_out(NavigatrConnection(environment="staging", pat="")).ok


def test_saving_trims_the_token_and_lets_what_was_held_go_on(sandbox: Sandbox) -> None:
    connection = connect(sandbox, state="paused", failures=12, not_before=LATER, last_outcome="token_refused")
    row = make_issuance(make_mapping(connection=connection), failures=2, next_attempt_at=LATER + timedelta(hours=4))
    assert row.standing == State.HELD
    connection.pat = f" {sandbox.pat} "
    assert connections.save_tested(connection, connections.try_out(connection), actor=None, now=LATER) == 1
    saved = NavigatrConnection.objects.get()
    assert (saved.pat, saved.pat_hint, saved.state) == (sandbox.pat, f"…{sandbox.pat[-4:]}", "active")
    assert (saved.failures, saved.not_before, saved.last_outcome) == (0, None, "")
    assert (saved.account, saved.test_ok, saved.tested_at) == ("Priya Admin", True, LATER)
    row.refresh_from_db()
    assert (row.standing, row.failures, row.next_attempt_at) == (State.QUEUED, 2, LATER)


def test_the_token_is_encrypted_at_rest(sandbox: Sandbox) -> None:
    connect(sandbox)
    with database.cursor() as cursor:
        cursor.execute("SELECT pat FROM badging_navigatrconnection")
        [stored] = cursor.fetchone()
    assert sandbox.pat not in stored


def test_a_connection_never_changes_its_environment(sandbox: Sandbox) -> None:
    connection = connect(sandbox)
    connection.environment, connection.pat = "production", sandbox.production_pat
    tested = connections.try_out(connection)
    assert tested.ok
    with pytest.raises(EnvironmentIsFixed):
        connections.save_tested(connection, tested, actor=None, now=NOW)
    assert NavigatrConnection.objects.get().environment == "staging"


def test_removing_spends_nothing_and_reconnecting_takes_all_up_again(sandbox: Sandbox) -> None:
    connection = connect(sandbox)
    row = make_issuance(make_mapping(connection=connection))
    off = make_mapping(connection=connection, active=False)
    assert connections.remove(connection, actor=None, now=timezone.now()) == 1
    row.refresh_from_db()
    assert (row.standing, row.standing_reason) == (State.HELD, Outcome.CONNECTION_REMOVED)
    removed = NavigatrConnection.objects.get()
    assert (removed.pat, removed.pat_hint, removed.state) == ("", "", "removed")

    removed.pat = sandbox.pat
    assert connections.save_tested(removed, connections.try_out(removed), actor=None, now=LATER) == 1
    row.refresh_from_db()
    assert row.standing == State.QUEUED
    off.refresh_from_db()
    # What a person had switched off stays off.
    assert not off.active
    assert [entry.action for entry in AuditEntry.objects.all()] == ["connection_saved", "connection_removed"]


def test_reconnecting_may_leave_the_mappings_off(sandbox: Sandbox) -> None:
    connection = connect(sandbox)
    row = make_issuance(make_mapping(connection=connection))
    connections.remove(connection, actor=None, now=timezone.now())
    connection.pat = sandbox.pat
    tested = connections.try_out(connection)
    assert connections.save_tested(connection, tested, actor=None, now=LATER, enable_mappings=False) == 0
    row.refresh_from_db()
    assert (row.standing, row.standing_reason) == (State.HELD, Outcome.MAPPING_DISABLED)


def test_a_passing_retest_resumes_and_a_failing_one_leaves_its_note(sandbox: Sandbox) -> None:
    connection = connect(sandbox, state="paused", failures=10, not_before=LATER)
    row = make_issuance(make_mapping(connection=connection))
    assert row.standing == State.HELD
    sandbox.faults.on("401", call="account", count=1)
    assert not connections.retest(connection, actor=None, now=LATER).ok
    saved = NavigatrConnection.objects.get()
    assert (saved.state, saved.test_ok) == ("paused", False)
    assert "refused the token" in saved.test_message
    assert connections.retest(saved, actor=None, now=LATER).ok
    saved.refresh_from_db()
    row.refresh_from_db()
    assert (saved.state, saved.failures, saved.not_before, row.standing) == ("active", 0, None, State.QUEUED)


@pytest.mark.parametrize("paused_by", ["a refusal", "an outage"])
def test_a_later_test_does_not_change_why_a_connection_is_paused(sandbox: Sandbox, paused_by: str) -> None:
    connection = connect(sandbox)
    if paused_by == "a refusal":
        connections.pause(connection, asked_at=LATER, now=LATER)
    else:
        outage = ConnectionTest(False, "away", "", [], [], Outcome.UNAVAILABLE)
        connections.save_paused(connection, outage, actor=None, now=LATER)
    connection.refresh_from_db()
    before = why_stopped(connection)
    sandbox.faults.on("503" if paused_by == "a refusal" else "401", call="all")
    assert not connections.retest(connection, actor=None, now=LATER).ok
    # A call that was under way when it was paused.
    circuit.count_failures(connection, 0, probe=None)
    connection.refresh_from_db()
    assert why_stopped(connection) == before
    assert connection.test_ok is False


def test_a_longer_rest_is_kept() -> None:
    connection = make_connection()
    circuit.rest(connection, timedelta(minutes=10), Outcome.RATE_LIMITED, now=NOW)
    circuit.rest(connection, timedelta(minutes=1), Outcome.UNAVAILABLE, now=NOW)
    connection.refresh_from_db()
    assert (connection.not_before, connection.last_outcome) == (NOW + timedelta(minutes=10), Outcome.RATE_LIMITED)
    assert not circuit.may_send(connection, NOW + timedelta(minutes=9))
    assert circuit.may_send(connection, NOW + timedelta(minutes=10))


def test_a_pause_that_is_told_twice_is_written_once() -> None:
    connection = make_connection()
    for _ in range(2):
        connections.pause(connection, asked_at=NOW, now=NOW)
    assert AuditEntry.objects.count() == 1
