"""Signing in with an OpenID Connect provider: a real one, over HTTP."""

import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import Group, User
from django.core import checks
from django.test import Client

from badging.models import AuditEntry
from badging.setup import DATA_PROTECTION_OFFICERS, SITE_ADMINS
from tests.people import providing
from tests.people.providing import add_person, sign_in, use
from tests.people.users import recorded

pytestmark = [pytest.mark.django_db, pytest.mark.slow]

GROUPS = {"badge-admins": SITE_ADMINS, "privacy": DATA_PROTECTION_OFFICERS}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with providing.provider() as url:
        yield url


@pytest.fixture
def mina(settings: Any, url: str) -> User:
    """A user with a password, whom the provider knows by the same address."""
    use(settings, url)
    add_person(url, "m1", email="Mina@example.org", email_verified=True)
    return User.objects.create_user("mina", "mina@example.org", "correct horse battery")


def is_signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_an_existing_account_is_opened_by_its_verified_address(mina: User, url: str, client: Client) -> None:
    assert "Sign in with Northgate" in client.get("/sign-in/").content.decode()
    assert sign_in(client, url, "m1", next="/courses/")["Location"] == "/courses/"
    assert client.session["_auth_user_id"] == str(mina.pk)
    mina.refresh_from_db()
    assert mina.check_password("correct horse battery")
    actions = set(AuditEntry.objects.values_list("action", flat=True))
    assert {"account_linked", "signed_in"} <= actions
    # Nothing that the provider told about the person is kept.
    assert SocialAccount.objects.get().extra_data == {}


def test_pkce_is_used(mina: User, url: str, client: Client) -> None:
    query = parse_qs(urlsplit(client.post("/sign-in/with/oidc/")["Location"]).query)
    assert query["code_challenge_method"] == ["S256"]


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"email": "mina@example.org", "email_verified": False}, "address not verified"),
        ({"email": "mina@example.org"}, "address not verified"),
        ({"email": "stranger@example.org", "email_verified": True}, "no active account"),
    ],
)
def test_nobody_else_gets_in_or_gets_an_account(
    mina: User, url: str, client: Client, claims: dict[str, Any], reason: str
) -> None:
    add_person(url, "x1", **claims)
    answer = sign_in(client, url, "x1")
    assert "Ask a site admin of this portal to invite you" in answer.content.decode()
    assert not is_signed_in(client)
    assert User.objects.count() == 1
    assert not SocialAccount.objects.exists()
    # Whose address it was is not kept.
    assert list(AuditEntry.objects.values_list("action", "subject", "details")) == [
        ("sign_on_refused", "oidc", {"reason": reason})
    ]


def test_an_address_that_two_accounts_have_opens_neither(mina: User, url: str, client: Client) -> None:
    User.objects.create_user("mina2", "mina@example.org")
    assert "No account here" in sign_in(client, url, "m1").content.decode()
    assert not is_signed_in(client)
    assert recorded("sign_on_refused") == [("", "oidc", {"reason": "several accounts"})]


def test_a_deactivated_account_stays_closed(mina: User, url: str, client: Client) -> None:
    sign_in(client, url, "m1")
    client.post("/sign-out/")
    User.objects.update(is_active=False)
    assert sign_in(client, url, "m1")["Location"] == "/sign-in/inactive/"
    assert not is_signed_in(client)


def test_who_is_signed_in_cannot_connect_an_account_of_another_address(mina: User, url: str, client: Client) -> None:
    add_person(url, "x2", email="other@example.org", email_verified=True)
    client.force_login(mina)
    away = client.post("/sign-in/with/oidc/?process=connect")
    back = providing.requests.post(away["Location"], data={"sub": "x2"}, allow_redirects=False, timeout=10)
    client.get(back.headers["Location"])
    assert not SocialAccount.objects.exists()


def test_groups_come_from_the_claim_and_only_those_that_are_mapped(
    mina: User, url: str, client: Client, settings: Any
) -> None:
    use(settings, url, OIDC_GROUPS_CLAIM="groups", OIDC_GROUPS=GROUPS)
    other = Group.objects.create(name="Tutors")
    mina.groups.add(other, Group.objects.get(name=DATA_PROTECTION_OFFICERS))
    add_person(url, "m1", email="mina@example.org", email_verified=True, groups=["badge-admins", "superusers"])
    sign_in(client, url, "m1")
    mina.refresh_from_db()
    assert set(mina.groups.values_list("name", flat=True)) == {"Tutors", SITE_ADMINS}
    assert (mina.is_staff, mina.is_superuser) == (True, False)
    changed = {"from": [DATA_PROTECTION_OFFICERS, "Tutors"], "to": [SITE_ADMINS, "Tutors"], "by": "single sign-on"}
    assert recorded("roles_changed") == [("", "mina", changed)]
    assert recorded("user_changed") == []
    client.post("/sign-out/")
    add_person(url, "m1", email="mina@example.org", email_verified=True, groups=[])
    sign_in(client, url, "m1")
    mina.refresh_from_db()
    # Every group is a role, and who has a role has staff status (people/roles.py).
    assert (list(mina.groups.all()), mina.is_staff) == ([other], True)


def test_a_group_that_does_not_exist_is_warned_of_and_changes_nothing(
    mina: User, url: str, client: Client, settings: Any
) -> None:
    use(settings, url, OIDC_GROUPS_CLAIM="groups", OIDC_GROUPS=GROUPS | {"staff": "Site admin"})
    [warning] = checks.run_checks(tags=["database"], databases=["default"])
    assert (warning.id, "does not exist: Site admin." in warning.msg) == ("people.W002", True)
    add_person(url, "m1", email="mina@example.org", email_verified=True, groups=["staff"])
    sign_in(client, url, "m1")
    assert not mina.groups.exists()
    assert recorded("roles_changed") == []


def test_known_groups_are_not_warned_of(settings: Any) -> None:
    settings.OIDC_GROUPS = GROUPS
    assert checks.run_checks(tags=["database"], databases=["default"]) == []


def test_without_the_claim_or_the_setting_groups_stay(mina: User, url: str, client: Client, settings: Any) -> None:
    mina.groups.add(Group.objects.get(name=SITE_ADMINS))
    use(settings, url, OIDC_GROUPS_CLAIM="groups", OIDC_GROUPS=GROUPS)
    sign_in(client, url, "m1")
    assert mina.groups.get().name == SITE_ADMINS


def test_an_address_that_was_taken_away_opens_the_account_no_more(mina: User, url: str, client: Client) -> None:
    sign_in(client, url, "m1")
    client.post("/sign-out/")
    mina.first_name, mina.email = "Mina", "MINA@example.org"
    mina.save()
    assert SocialAccount.objects.exists()
    mina.email = "mina.new@example.org"
    mina.save()
    assert not SocialAccount.objects.exists()
    assert "No account here" in sign_in(client, url, "m1").content.decode()
    assert not is_signed_in(client)
    add_person(url, "m2", email="mina.new@example.org", email_verified=True)
    sign_in(client, url, "m2")
    assert client.session["_auth_user_id"] == str(mina.pk)


def test_the_provider_may_be_led_to_from_the_sign_in_page_only(mina: User, url: str, client: Client) -> None:
    def form_action(address: str) -> str:
        policy = client.get(address)["Content-Security-Policy"]
        return next(part for part in policy.split("; ") if part.startswith("form-action"))

    assert form_action("/sign-in/") == f"form-action 'self' {url}"
    assert form_action("/password/forgotten/") == "form-action 'self'"
    # By a link nobody is sent there.
    assert client.get("/sign-in/with/oidc/")["Location"] == "/sign-in/"


def test_a_provider_that_is_away_is_told_and_no_secret_is_logged(
    settings: Any, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    use(settings, "http://localhost:9")
    with caplog.at_level(logging.DEBUG):
        page = client.post("/sign-in/with/oidc/")
    assert "Sign-in did not work" in page.content.decode()
    assert providing.CLIENT_SECRET not in caplog.text


def test_a_second_factor_is_asked_here_as_well(mina: User, url: str, client: Client) -> None:
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    TOTP.activate(mina, generate_totp_secret())
    assert sign_in(client, url, "m1")["Location"] == "/sign-in/code/"
    assert not is_signed_in(client)


def test_who_has_no_password_can_add_a_second_factor(url: str, client: Client, settings: Any) -> None:
    use(settings, url)
    add_person(url, "n1", email="nia@example.org", email_verified=True)
    User.objects.create_user("nia", "nia@example.org")
    sign_in(client, url, "n1")
    assert client.get("/account/app/").status_code == 200
