"""`connect_navigatr`: tests before it saves, says who it is, and reconnects under the same name."""

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django.fixtures import Settings

from badging import connections
from badging.meanings import Outcome
from badging.models import AuditEntry, ConnectionGrant, CourseBadgeMapping, Issuance, NavigatrConnection
from sandbox import Sandbox

from .calling import manage, succeed
from .conftest import CONNECT_NAVIGATR, Connected

pytestmark = pytest.mark.django_db


def test_json_names_the_account_its_providers_and_what_was_looked_at(sandbox: Sandbox) -> None:
    answer = succeed("connect_navigatr", *CONNECT_NAVIGATR, stdin=sandbox.pat)
    assert answer.keys() == {"ok", "account", "providers", "findings", "released", "open_to"}
    assert (answer["ok"], answer["account"], answer["released"]) == (True, "Priya Admin", 0)
    assert answer["providers"] == [{"id": 11, "name": "Northgate College"}, {"id": 12, "name": "Südstadt Academy"}]
    assert [finding.keys() for finding in answer["findings"]] == [{"check", "ok", "message"}] * 2
    assert all(finding["ok"] for finding in answer["findings"])


def test_text_is_for_people_and_holds_no_token(sandbox: Sandbox) -> None:
    done = manage("connect_navigatr", *CONNECT_NAVIGATR, stdin=sandbox.pat)
    assert (done.code, done.err) == (0, "")
    assert "Connected “College” as Priya Admin." in done.out
    assert "provider 12: Südstadt Academy" in done.out
    assert sandbox.pat not in done.out


def test_the_token_is_trimmed_and_kept_sealed(sandbox: Sandbox) -> None:
    succeed("connect_navigatr", *CONNECT_NAVIGATR, stdin=f"  {sandbox.pat}\t\r\n")
    saved = NavigatrConnection.objects.get()
    assert (saved.pat, saved.timeout, saved.environment) == (sandbox.pat, 30, "staging")
    kept = AuditEntry.objects.order_by("pk").values_list("action", "actor")
    assert list(kept) == [("connection_saved", None), ("connection_opened", None)]


def test_production_is_another_address_with_another_token(sandbox: Sandbox) -> None:
    arguments = ("--name", "Live", "--environment", "production", "--pat-stdin")
    assert manage("connect_navigatr", *arguments, stdin=sandbox.pat).code == 1
    answer = succeed("connect_navigatr", *arguments, stdin=sandbox.production_pat)
    assert answer["providers"][0]["id"] == 7011


@pytest.mark.parametrize("token", ["wrong", "", "   ", "no token äöü"])
def test_a_bad_token_saves_nothing_and_is_not_repeated(sandbox: Sandbox, token: str) -> None:
    done = manage("connect_navigatr", *CONNECT_NAVIGATR, stdin=token)
    assert (done.code, done.out) == (1, "")
    assert "token" in done.err
    assert len(done.err.splitlines()) == 1
    assert not token.strip() or token not in done.err
    assert not NavigatrConnection.objects.exists()


def test_a_failure_with_json_says_so_on_both_sides(sandbox: Sandbox) -> None:
    done = manage("connect_navigatr", *CONNECT_NAVIGATR, "--json", stdin="wrong")
    assert done.code == 1
    assert (done.json["ok"], [finding["check"] for finding in done.json["findings"]]) == (False, ["token"])
    assert "Navigatr refused the token" in done.err


def test_a_token_without_its_option_is_asked_for(sandbox: Sandbox) -> None:
    done = manage("connect_navigatr", *CONNECT_NAVIGATR[:-1], stdin=sandbox.pat)
    assert done.code == 1
    assert "-stdin" in done.err


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/v1", "http://no-such-host.invalid/v1"])
def test_a_navigatr_that_does_not_answer_saves_nothing(sandbox: Sandbox, settings: Settings, address: str) -> None:
    settings.NAVIGATR_URLS = {"staging": address, "production": address}
    done = manage("connect_navigatr", *CONNECT_NAVIGATR, stdin=sandbox.pat)
    assert done.code == 1
    assert "could not be reached" in done.err
    assert not NavigatrConnection.objects.exists()


@pytest.mark.parametrize("seconds", [0, 301, -1])
def test_a_time_out_is_from_1_to_300_seconds(sandbox: Sandbox, seconds: int) -> None:
    done = manage("connect_navigatr", *CONNECT_NAVIGATR, f"--timeout={seconds}", stdin=sandbox.pat)
    assert done.code == 1
    assert "time-out in seconds: " in done.err
    assert not NavigatrConnection.objects.exists()
    assert not sandbox.navigatr.ledger


@pytest.mark.parametrize("seconds", [1, 300])
def test_the_ends_of_that_range_are_in_it(sandbox: Sandbox, seconds: int) -> None:
    succeed("connect_navigatr", *CONNECT_NAVIGATR, "--timeout", seconds, stdin=sandbox.pat)
    assert NavigatrConnection.objects.get().timeout == seconds


def test_a_known_name_stays_in_its_environment(connected: Connected) -> None:
    arguments = ("--name", "College", "--environment", "production", "--pat-stdin")
    done = manage("connect_navigatr", *arguments, stdin=connected.sandbox.production_pat)
    assert done.code == 1
    assert "Staging" in done.err
    assert NavigatrConnection.objects.get().pat == connected.sandbox.pat


def test_reconnecting_takes_up_what_is_held(connected: Connected) -> None:
    connected.map()
    emails = connected.complete(3)
    connected.sandbox.navigatr.pat = "renewed"
    succeed("poll")
    assert succeed("issue")["held"] == 3
    assert Issuance.objects.switched_off().count() == 3
    answer = succeed("connect_navigatr", *CONNECT_NAVIGATR, "--timeout", 7, stdin="renewed")
    assert answer["released"] == 3
    assert NavigatrConnection.objects.get().timeout == 7
    assert succeed("issue")["issued"] == 3
    assert [connected.badges(email) for email in emails] == [1, 1, 1]


def test_reconnecting_without_a_time_out_keeps_the_old_one(connected: Connected) -> None:
    succeed("connect_navigatr", *CONNECT_NAVIGATR, "--timeout", 7, stdin=connected.sandbox.pat)
    succeed("connect_navigatr", *CONNECT_NAVIGATR, stdin=connected.sandbox.pat)
    assert NavigatrConnection.objects.get().timeout == 7


def test_a_reconnection_that_fails_changes_nothing(connected: Connected) -> None:
    assert manage("connect_navigatr", *CONNECT_NAVIGATR, "--timeout", 9, stdin="wrong").code == 1
    saved = NavigatrConnection.objects.get()
    assert (saved.pat, saved.timeout, saved.state) == (connected.sandbox.pat, 30, NavigatrConnection.State.ACTIVE)


def test_reconnecting_a_removed_connection_lets_its_mappings_award_again(connected: Connected) -> None:
    connected.map()
    connections.remove(NavigatrConnection.objects.get(), actor=None, now=timezone.now())
    assert CourseBadgeMapping.objects.get().hold_reason == Outcome.CONNECTION_REMOVED
    done = manage("connect_navigatr", *CONNECT_NAVIGATR, stdin=connected.sandbox.pat)
    assert done.code == 0
    assert CourseBadgeMapping.objects.get().hold_reason is None


def test_an_account_without_providers_is_saved_and_told(sandbox: Sandbox) -> None:
    for provider in sandbox.navigatr.providers:
        sandbox.navigatr.set_provider(provider, admin=False)
    done = manage("connect_navigatr", *CONNECT_NAVIGATR, stdin=sandbox.pat)
    assert done.code == 0
    assert "no provider administrator" in done.out


def test_a_new_connection_is_open_to_all_unless_something_else_is_said(sandbox: Sandbox) -> None:
    assert succeed("connect_navigatr", *CONNECT_NAVIGATR, stdin=sandbox.pat)["open_to"] == ["everybody"]
    arguments = ("--name", "Closed", "--environment", "staging", "--pat-stdin")
    done = manage("connect_navigatr", *arguments, "--open-to", "nobody", stdin=sandbox.pat)
    assert "open to: nobody but site admins" in done.out
    assert not NavigatrConnection.objects.get(name="Closed").grants.exists()


def test_a_connection_is_opened_to_sites_categories_and_managers_and_stays_so(connected: Connected) -> None:
    User.objects.create_user("mina")
    words = ("--open-to", "site:Moodle", "--open-to", "category:2:Moodle", "--open-to", "manager:mina")
    expected = ["Moodle site Moodle", "category 2 of Moodle", "course manager mina"]
    pat = connected.sandbox.pat
    assert succeed("connect_navigatr", *CONNECT_NAVIGATR, *words, stdin=pat)["open_to"] == expected
    # Without the option a known connection keeps what it is open to.
    assert succeed("connect_navigatr", *CONNECT_NAVIGATR, stdin=pat)["open_to"] == expected
    assert succeed("connect_navigatr", *CONNECT_NAVIGATR, "--open-to", "nobody", stdin=pat)["open_to"] == []
    # What a command mapped goes on all the same.
    connected.map()
    (email,) = connected.complete(1)
    succeed("poll")
    succeed("issue")
    assert connected.badges(email) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["site:South"], "Known: Moodle"),
        (["category:99:Moodle"], "2 (Compliance & Safety)"),
        (["manager:nobody"], "no user"),
        (["all", "nobody"], "stands alone"),
        (["some"], "--open-to takes"),
    ],
)
def test_what_cannot_be_opened_to_changes_nothing(connected: Connected, words: list[str], says: str) -> None:
    options = [part for word in words for part in ("--open-to", word)]
    done = manage("connect_navigatr", *CONNECT_NAVIGATR, *options, stdin=connected.sandbox.pat)
    assert done.code == 1
    assert says in done.err
    assert [grant.kind for grant in ConnectionGrant.objects.all()] == ["all"]
