"""Navigatr connections in the admin: tested before they are saved, removed, reconnected."""

import re
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection as database
from django.db.models.signals import post_init
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from badging import connections, waiting
from badging.admin.connections import MOST_TARGETS, ConnectionForm
from badging.meanings import Outcome
from badging.models import AuditEntry, ConnectionGrant, CourseBadgeMapping, Issuance, NavigatrConnection
from badging.setup import SITE_ADMINS
from badging.tasks import once_a_day
from people.models import Session
from sandbox import Sandbox
from tests.builders import (
    make_connection,
    make_issuance,
    make_mapping,
)
from vault.fields import Sealed

from .browsing import (
    confirm,
    entered,
    listed,
    page_of,
    run,
    said,
    signed_in,
)

State = Issuance.State
pytestmark = pytest.mark.django_db


ADD = "admin:badging_navigatrconnection_add"


def test_a_connection_is_saved_after_its_token_passed(site_admin: Client, sandbox: Sandbox) -> None:
    done = site_admin.post(reverse(ADD), entered(f"  {sandbox.pat}\n"), follow=True)
    connection = NavigatrConnection.objects.get()
    assert connection.pat == sandbox.pat
    assert connection.pat_hint == f"…{sandbox.pat[-4:]}"
    assert (connection.test_ok, connection.send_evidence) == (True, False)
    assert "The token belongs to" in said(done)
    assert not connection.grants.exists()
    assert "Main (Staging) is open to nobody yet." in said(done)
    assert [name for _number, name in connection.providers] == ["Northgate College", "Südstadt Academy"]
    assert AuditEntry.objects.get().action == "connection_saved"


@pytest.mark.parametrize("token", ["wrong-token-wrong-token", "two words", "töken", ""])
def test_a_token_that_fails_saves_nothing(token: str, site_admin: Client, sandbox: Sandbox) -> None:
    answer = site_admin.post(reverse(ADD), entered(token))
    assert answer.status_code == 200
    assert answer.context["adminform"].form.errors["new_token"]
    assert not NavigatrConnection.objects.exists()
    assert not token or token not in answer.content.decode()


def test_navigatr_is_not_asked_while_something_else_is_wrong(site_admin: Client, sandbox: Sandbox) -> None:
    make_connection(name="Main")
    before = len(sandbox.navigatr.ledger)
    for wrong in ({}, {"name": "Other", "timeout": "301"}, {"name": "Other", "environment": "moon"}):
        assert site_admin.post(reverse(ADD), entered(sandbox.pat, **wrong)).status_code == 200
    assert len(sandbox.navigatr.ledger) == before
    assert NavigatrConnection.objects.count() == 1


def test_a_new_token_that_fails_leaves_the_old_one_in_use(site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(name="Main", pat=sandbox.pat)
    answer = site_admin.post(page_of("badging_navigatrconnection", connection.pk), entered("wrong", name="Other"))
    assert "Nothing was saved" in answer.content.decode()
    connection.refresh_from_db()
    assert (connection.name, connection.pat, connection.state) == ("Main", sandbox.pat, "active")
    assert not AuditEntry.objects.exists()


def test_without_a_new_token_the_stored_one_is_kept_and_nobody_is_asked(site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(name="Main", pat=sandbox.pat, state="paused")
    before = len(sandbox.navigatr.ledger)
    changed = entered("", name="Renamed", timeout="7", environment="production")
    site_admin.post(page_of("badging_navigatrconnection", connection.pk), changed)
    connection.refresh_from_db()
    assert (connection.name, connection.timeout, connection.pat) == ("Renamed", 7, sandbox.pat)
    assert (connection.environment, connection.state) == ("staging", "paused")
    assert len(sandbox.navigatr.ledger) == before


def test_navigatr_being_down_saves_nothing_and_says_so(site_admin: Client, sandbox: Sandbox) -> None:
    sandbox.faults.on("down", call="all")
    answer = site_admin.post(reverse(ADD), entered(sandbox.pat))
    assert "could not be reached" in answer.content.decode()
    assert not NavigatrConnection.objects.exists()


def test_no_call_to_navigatr_holds_a_transaction(site_admin: Client, sandbox: Sandbox) -> None:
    with CaptureQueriesContext(database) as seen:
        site_admin.post(reverse(ADD), entered("wrong"))
    begun = [number for number, row in enumerate(seen) if re.match("SAVEPOINT|BEGIN", row["sql"])]
    # Only what keeps the typed token, the session and the cache, is written in one, after the call.
    assert begun
    assert all(re.search("people_session|portal_cache", seen[number + 1]["sql"]) for number in begun)


def test_removing_a_connection_holds_what_waits_and_a_new_token_takes_it_up_again(
    site_admin: Client, sandbox: Sandbox
) -> None:
    connection = make_connection(name="Main", pat=sandbox.pat)
    issuance = make_issuance(make_mapping(connection=connection))
    name, pk = "badging_navigatrconnection", connection.pk
    asked = run(site_admin, name, "remove_connection", pk).content.decode()
    assert "Courses that award no badge until it is reconnected: 1." in asked
    assert "Queued badges held until you reconnect: 1." in asked
    connection.refresh_from_db()
    assert connection.pat == sandbox.pat
    confirm(site_admin, name, "remove_connection", pk)
    connection.refresh_from_db()
    issuance.refresh_from_db()
    assert (connection.pat, connection.state) == ("", "removed")
    assert (issuance.standing, issuance.standing_reason) == (State.HELD, Outcome.CONNECTION_REMOVED)
    assert "Create a new token and reconnect." in site_admin.get(page_of(name, pk)).content.decode()
    done = site_admin.post(page_of(name, pk), entered(sandbox.pat, enable_mappings="on"), follow=True)
    issuance.refresh_from_db()
    assert issuance.standing == State.QUEUED
    assert "1 badge that waited goes on" in said(done)
    assert CourseBadgeMapping.objects.get().active


def test_reconnecting_can_leave_the_mappings_disabled(site_admin: Client, sandbox: Sandbox) -> None:
    issuance = make_issuance()
    name, pk = "badging_navigatrconnection", issuance.connection_id
    confirm(site_admin, name, "remove_connection", pk)
    site_admin.post(page_of(name, pk), entered(sandbox.pat))
    issuance.refresh_from_db()
    assert NavigatrConnection.objects.get().state == "active"
    assert not CourseBadgeMapping.objects.get().active
    assert issuance.standing == State.HELD


def test_test_connection_resumes_a_paused_one(site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(pat=sandbox.pat, state="paused")
    done = run(site_admin, "badging_navigatrconnection", "test_connection", connection.pk, back=str(connection.pk))
    assert "The token belongs to" in said(done)
    connection.refresh_from_db()
    assert (connection.state, connection.test_ok) == ("active", True)


def test_a_failing_test_changes_only_its_note(site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(pat="wrong")
    done = run(site_admin, "badging_navigatrconnection", "test_connection", connection.pk)
    assert "Navigatr refused the token" in said(done)
    connection.refresh_from_db()
    assert (connection.state, connection.pat, connection.test_ok) == ("active", "wrong", False)


def test_an_account_without_providers_is_saved_with_a_warning(site_admin: Client, sandbox: Sandbox) -> None:
    for provider in sandbox.navigatr.providers:
        sandbox.navigatr.set_provider(provider, admin=False)
    done = site_admin.post(reverse(ADD), entered(sandbox.pat), follow=True)
    assert "no provider administrator" in said(done)
    assert NavigatrConnection.objects.exists()


def test_a_token_that_cannot_be_decrypted_is_a_message_everywhere(site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(name="Main")
    NavigatrConnection.objects.update(pat=Sealed("gAAAA-of-another-key"))
    name, pk = "badging_navigatrconnection", connection.pk
    assert site_admin.get(listed(name)).status_code == 200
    assert site_admin.get(page_of(name, pk)).status_code == 200
    assert "cannot be read with the keys" in said(run(site_admin, name, "test_connection", pk))
    assert site_admin.post(page_of(name, pk), entered("", timeout="9")).status_code == 302
    assert site_admin.post(page_of(name, pk), entered(sandbox.pat)).status_code == 302
    connection.refresh_from_db()
    assert (connection.timeout, connection.pat) == (30, sandbox.pat)


def test_only_an_unused_connection_may_be_deleted(site_admin: Client) -> None:
    used, unused = make_mapping().connection, make_connection()
    name = "badging_navigatrconnection"
    assert "so it is kept" in site_admin.get(page_of(name, used.pk)).content.decode()
    assert site_admin.post(reverse(f"admin:{name}_delete", args=[used.pk]), {"post": "yes"}).status_code == 403
    assert site_admin.post(reverse(f"admin:{name}_delete", args=[unused.pk]), {"post": "yes"}).status_code == 302
    assert list(NavigatrConnection.objects.all()) == [used]
    assert AuditEntry.objects.get().details == {"deleted": True}


def test_checking_the_fields_of_the_form_asks_nobody_and_saves_nothing(sandbox: Sandbox) -> None:
    before = len(sandbox.navigatr.ledger)
    assert ConnectionForm(entered(sandbox.pat)).is_valid()
    assert len(sandbox.navigatr.ledger) == before
    assert not NavigatrConnection.objects.exists()


def test_a_refused_token_shows_the_page_again_with_what_was_entered(site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(name="Main", pat=sandbox.pat)
    page = site_admin.post(page_of("badging_navigatrconnection", connection.pk), entered("wrong", name="Other"))
    shown = page.content.decode()
    assert 'value="Other"' in shown
    assert 'name="new_token"' in shown
    assert 'value="remove_connection"' in shown


@pytest.mark.parametrize("token", ["wrong", ""])
def test_save_as_new_cannot_get_round_the_test(token: str, site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(name="Main", pat=sandbox.pat)
    copy = entered(token, name="Copy", _saveasnew="1")
    assert site_admin.post(page_of("badging_navigatrconnection", connection.pk), copy).status_code in (200, 403)
    assert list(NavigatrConnection.objects.values_list("name", flat=True)) == ["Main"]


def test_without_a_place_nothing_is_tested_and_nothing_is_lost(site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(name="Main", pat=sandbox.pat)
    with ExitStack() as others:
        for person in range(waiting.MOST_IN_ALL):
            others.enter_context(waiting.place(f"somebody {person}"))
        told = run(site_admin, "badging_navigatrconnection", "test_connection", connection.pk)
        assert "slow just now" in said(told)
        form = site_admin.post(reverse(ADD), entered(sandbox.pat, name="Other"))
        assert "slow just now" in form.content.decode()
        assert 'value="Other"' in form.content.decode()
    assert not sandbox.navigatr.ledger
    connection.refresh_from_db()
    assert connection.test_ok is None
    assert "The token belongs to" in said(
        run(site_admin, "badging_navigatrconnection", "test_connection", connection.pk)
    )


def test_the_list_reads_few_of_many_to_whom_a_connection_is_open(site_admin: Client) -> None:
    users = User.objects.bulk_create(User(username=f"manager-{number}") for number in range(60))
    many, few = make_connection(name="Many", open_to_all=False), make_connection(name="Few", open_to_all=False)
    for connection, number in ((many, 60), (few, MOST_TARGETS)):
        ConnectionGrant.objects.bulk_create(
            ConnectionGrant(connection=connection, kind="manager", user=user) for user in users[:number]
        )
    read = []

    def note(**signal: Any) -> None:
        read.append(signal["instance"])

    post_init.connect(note, sender=ConnectionGrant)
    try:
        with CaptureQueriesContext(database) as seen:
            page = site_admin.get(listed("badging_navigatrconnection")).content.decode()
    finally:
        post_init.disconnect(note, sender=ConnectionGrant)
    assert len([row for row in seen if "badging_connectiongrant" in row["sql"]]) == 1
    assert len(read) == MOST_TARGETS + 1 + MOST_TARGETS
    first = "; ".join(f"course manager manager-{number}" for number in range(MOST_TARGETS))
    assert f"{first}; and more<" in page
    assert f"{first}<" in page
    # The page of the connection shows more of them.
    assert (
        "course manager manager-40" in site_admin.get(page_of("badging_navigatrconnection", many.pk)).content.decode()
    )


# What was typed is kept, tested, and saved all the same


def handle_in(answer: Any) -> str:
    """The handle of the token that the page says it keeps."""
    page = answer.content.decode()
    assert "The token that you typed is kept" in page
    found = re.search(r'name="new_token_kept" value="([\w-]{20,})"', page)
    assert found
    return found[1]


def test_a_typed_token_survives_an_error_elsewhere_and_is_in_no_page(
    site_admin: Client, sandbox: Sandbox, officer: Client
) -> None:
    again = site_admin.post(reverse(ADD), entered(f" {sandbox.pat} ", timeout="301"))
    handle = handle_in(again)
    assert sandbox.pat not in again.content.decode()
    stored = str([dict(row.get_decoded()) for row in Session.objects.all()])
    assert handle in stored
    assert sandbox.pat not in stored
    # It means nothing in another session, and is used up by the save.
    other = signed_in(SITE_ADMINS, "other")
    assert other.post(reverse(ADD), entered("", new_token_kept=handle)).status_code == 200
    assert not NavigatrConnection.objects.exists()
    assert site_admin.post(reverse(ADD), entered("", new_token_kept=handle)).status_code == 302
    assert NavigatrConnection.objects.get().pat == sandbox.pat
    assert handle not in str([dict(row.get_decoded()) for row in Session.objects.all()])


def test_a_typed_token_is_forgotten_after_ten_minutes_and_a_new_one_wins(site_admin: Client, sandbox: Sandbox) -> None:
    def kept() -> str:
        with database.cursor() as cursor:
            cursor.execute("SELECT cache_key FROM portal_cache WHERE cache_key LIKE %s", ["%kept-token%"])
            return str(cursor.fetchall())

    handle = handle_in(site_admin.post(reverse(ADD), entered("another", timeout="301")))
    assert handle in kept()
    replaced = handle_in(site_admin.post(reverse(ADD), entered(sandbox.pat, name="", new_token_kept=handle)))
    with time_machine.travel(timezone.now() + timedelta(minutes=9), tick=False):
        tested = site_admin.post(reverse(ADD), entered("", new_token_kept=replaced, _test="1"))
        assert "The test passed" in tested.content.decode()
    with time_machine.travel(timezone.now() + timedelta(minutes=20), tick=False):
        answer = site_admin.post(reverse(ADD), entered("", new_token_kept=handle_in(tested)))
        # The ciphertext itself is deleted as well: with the nightly checks, if nothing else did it before.
        once_a_day.send(sender=None)
        assert kept() == "[]"
    assert answer.context["adminform"].form.errors["new_token"] == ["This field is required."]
    assert not NavigatrConnection.objects.exists()


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("x" * 10_000, "This has 10000 characters"),
        ("<b>token</b>", "a piece of a page"),
        ("two words", "no blanks"),
        ("a\x07b", "no blanks"),
        ("a\x00b", "no blanks"),
    ],
)
def test_what_cannot_be_a_token_is_told_before_anybody_is_asked(
    token: str, says: str, site_admin: Client, sandbox: Sandbox
) -> None:
    for button in ({}, {"_test": "1"}, {"_anyway": "1"}):
        page = site_admin.post(reverse(ADD), entered(token, **button)).content.decode()
        assert says in page
        assert token not in page
        assert "new_token_kept" not in page
    assert not sandbox.navigatr.ledger
    assert not NavigatrConnection.objects.exists()


def test_test_connection_tries_what_is_typed_and_saves_nothing(site_admin: Client, sandbox: Sandbox) -> None:
    page = site_admin.post(reverse(ADD), entered(sandbox.pat, name="", _test="1")).content.decode()
    assert "The test passed. Nothing was saved." in page
    assert "The token belongs to" in page
    assert "provider administrator. It may issue for 2 providers: Northgate College, Südstadt Academy." in page
    wrong = site_admin.post(reverse(ADD), entered(sandbox.pat, environment="production", _test="1")).content.decode()
    assert "The test did not pass. Nothing was saved." in wrong
    assert "belongs to the other environment" in wrong
    for provider in sandbox.navigatr.providers:
        sandbox.navigatr.set_provider(provider, admin=False)
    none = site_admin.post(reverse(ADD), entered(sandbox.pat, _test="1")).content.decode()
    assert "The account is no provider administrator" in none
    assert not NavigatrConnection.objects.exists()
    assert not AuditEntry.objects.exists()


def test_test_connection_tries_the_stored_token_where_none_is_typed(site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(name="Main", pat=sandbox.pat, state="paused")
    address = page_of("badging_navigatrconnection", connection.pk)
    page = site_admin.post(address, entered("", timeout="9", _test="1")).content.decode()
    assert "The test passed. Nothing was saved." in page
    connection.refresh_from_db()
    assert (connection.state, connection.timeout, connection.test_ok) == ("paused", 30, None)
    NavigatrConnection.objects.update(pat=Sealed("gAAAA-of-another-key"))
    assert "cannot be read with the keys" in site_admin.post(address, entered("", _test="1")).content.decode()


@pytest.mark.parametrize("fault", ["401", "down", "html_before", "429"])
def test_who_insists_saves_a_paused_connection_with_its_reason(
    fault: str, site_admin: Client, sandbox: Sandbox
) -> None:
    sandbox.faults.on(fault, call="all")
    refused = site_admin.post(reverse(ADD), entered(sandbox.pat))
    assert "Save anyway" in refused.content.decode()
    assert not NavigatrConnection.objects.exists()
    kept = entered("", new_token_kept=handle_in(refused), _anyway="1")
    page = site_admin.post(reverse(ADD), kept, follow=True).content.decode()
    connection = NavigatrConnection.objects.get()
    assert (connection.state, connection.pat, connection.test_ok) == ("paused", sandbox.pat, False)
    why = "Navigatr refused the token" if fault == "401" else "it was saved while Navigatr did not answer"
    assert f": {why}." in page
    assert "No badge is waiting." in page
    sandbox.faults.clear()
    run(site_admin, "badging_navigatrconnection", "resume", connection.pk)
    connection.refresh_from_db()
    assert connection.state == "active"


def test_save_anyway_is_an_ordinary_save_where_the_test_passes(site_admin: Client, sandbox: Sandbox) -> None:
    assert "Save anyway" not in site_admin.get(reverse(ADD)).content.decode()
    site_admin.post(reverse(ADD), entered(sandbox.pat, _anyway="1"))
    assert NavigatrConnection.objects.get().state == "active"


def test_a_paused_connection_says_since_when_why_and_how_many_wait(site_admin: Client, sandbox: Sandbox) -> None:
    connection = make_connection(name="Main", pat=sandbox.pat)
    for _number in range(3):
        make_issuance(make_mapping(connection=connection))
    connections.pause(connection, asked_at=timezone.now(), now=datetime(2026, 11, 28, 10, 42, tzinfo=UTC))
    for address in (listed("badging_navigatrconnection"), page_of("badging_navigatrconnection", connection.pk)):
        page = " ".join(site_admin.get(address).content.decode().split())
        assert re.search("Paused since [^<]*10:42[^<]*: Navigatr refused the token.", page)
        assert re.search("3 badges are waiting. Create a new token and reconnect.", page)
    assert "waits for this connection" in page
    assert settings.NAVIGATR_TOKEN_PAGES["staging"] in page
    assert settings.NAVIGATR_TOKEN_PAGES["production"] not in page
    new = site_admin.get(reverse(ADD)).content.decode()
    assert all(f'href="{address}"' in new for address in settings.NAVIGATR_TOKEN_PAGES.values())


def test_the_set_up_path_goes_on_after_a_connection_and_after_opening_it(site_admin: Client, sandbox: Sandbox) -> None:
    setup = {"setup": "1"}
    done = site_admin.post(reverse(ADD, query=setup), entered(sandbox.pat))
    assert done["Location"] == reverse("admin:set_up")
    connection = NavigatrConnection.objects.get()
    opening = reverse("admin:badging_connectiongrant_add", query=setup)
    done = site_admin.post(opening, {"what": f"{connection.pk}-", "kind": "all"})
    assert done["Location"] == reverse("admin:set_up")
