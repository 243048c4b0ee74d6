"""Signing in and out, resets by mail, and what the admin no longer has of its own."""

import re
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import User
from django.core import mail
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from badging.models import AuditEntry
from people.models import SignInLock
from tests.badging.pages.reading import text

from .test_guessing import PASSWORD, attempt, guess

pytestmark = pytest.mark.django_db

NEW = "battery staple horse"


@pytest.fixture
def mina() -> User:
    return User.objects.create_user("mina", "Mina@example.org", PASSWORD)


@pytest.fixture
def mailing(settings: Any) -> None:
    """A portal with a mail server."""
    settings.SENDS_MAIL = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    mail.outbox = []


def link_in(message: Any) -> str:
    found = re.search(r"http://testserver(/\S+)", message.body)
    assert found, message.body
    return found[1]


@pytest.mark.parametrize("name", ["mina", "MINA", "mina@example.org", "Mina@Example.org"])
def test_by_name_or_address_in_any_case(mina: User, client: Client, name: str) -> None:
    assert attempt(client, name, PASSWORD)["Location"] == "/"
    assert AuditEntry.objects.get(action="signed_in").actor == mina


def test_signing_out_is_asked_and_done_by_post(mina: User, client: Client) -> None:
    client.force_login(mina)
    assert "Do you want to sign out?" in text(client.get("/sign-out/"))
    assert client.post("/sign-out/")["Location"] == "/sign-in/"
    assert client.get("/courses/").status_code == 302
    assert AuditEntry.objects.get(action="signed_out").actor == mina


def test_nobody_can_sign_up(client: Client) -> None:
    for address in ("/sign-up/", "/signup/", "/accounts/signup/", "/account/email/"):
        assert client.get(address).status_code == 404
    assert "sign up" not in text(client.get("/sign-in/")).lower()


def test_the_admin_has_no_sign_in_form_of_its_own(mina: User, client: Client) -> None:
    page = client.get("/admin/badging/issuance/?state=failed")
    assert page["Location"].startswith("/admin/login/?next=")
    there = client.get(page["Location"])["Location"]
    assert there == "/sign-in/?next=%2Fadmin%2Fbadging%2Fissuance%2F%3Fstate%3Dfailed"
    assert client.post("/admin/login/", {"username": "mina", "password": PASSWORD})["Location"].startswith("/sign-in/")
    client.force_login(mina)
    assert client.get("/admin/login/").status_code == 403
    User.objects.update(is_staff=True)
    assert client.get("/admin/login/?next=/admin/badging/issuance/")["Location"] == "/admin/badging/issuance/"
    assert client.get("/admin/login/?next=https://evil.example/")["Location"] == "/admin/"
    assert client.post("/admin/login/", {"username": "mina", "password": PASSWORD})["Location"] == "/admin/"
    assert client.get("/admin/password_change/")["Location"] == "/password/"


def test_next_is_followed_inside_the_portal_only(mina: User) -> None:
    for wanted, there in (("/courses/?q=a", "/courses/?q=a"), ("https://evil.example/", "/"), ("//evil.example", "/")):
        answer = Client().post("/sign-in/", {"login": "mina", "password": PASSWORD, "next": wanted})
        assert answer["Location"] == there


def test_a_reset_by_mail_changes_the_password_ends_the_locks_and_is_audited(
    mina: User, client: Client, mailing: None
) -> None:
    guess(5)
    assert client.post("/password/forgotten/", {"email": "mina@EXAMPLE.org"})["Location"] == "/password/forgotten/sent/"
    [message] = mail.outbox
    assert message.to == ["mina@example.org"]
    link = link_in(message)
    form = client.get(link)["Location"]
    assert link.split("-", 2)[2].strip("/") not in form
    assert "Choose a password" in text(client.get(form))
    assert client.post(form, {"password1": NEW, "password2": NEW})["Location"] == "/password/chosen/"
    assert not SignInLock.objects.exists()
    assert attempt(Client(), password=NEW).status_code == 302
    assert "no longer valid" in text(Client().get(link))
    actions = list(AuditEntry.objects.exclude(action__startswith="sign").values_list("action", flat=True))
    assert sorted(actions) == ["password_reset", "reset_sent"]


def test_an_unknown_address_gets_a_mail_that_offers_no_account_and_whoever_asks_sees_no_difference(
    mina: User, mailing: None
) -> None:
    pages = [
        Client().post("/password/forgotten/", {"email": address}, follow=True)
        for address in ("mina@example.org", "stranger@example.org")
    ]
    assert text(pages[0]) == text(pages[1])
    message = mail.outbox[1]
    assert "no account with this address" in message.body
    assert "http" not in message.body


def test_links_are_sent_seldom(mina: User, mailing: None) -> None:
    statuses = [Client().post("/password/forgotten/", {"email": "mina@example.org"}).status_code for _n in range(5)]
    assert statuses == [302, 302, 302, 429, 429]
    assert len(mail.outbox) == 3


def test_links_lead_to_an_allowed_host_only(mina: User, mailing: None) -> None:
    data = {"email": "mina@example.org"}
    assert Client().post("/password/forgotten/", data, HTTP_HOST="evil.example").status_code == 400
    assert mail.outbox == []


def test_without_mail_the_page_says_whom_to_ask(mina: User, client: Client) -> None:
    page = client.get("/password/forgotten/")
    assert "Ask a site admin" in text(page)
    assert "<input" not in page.content.decode().split("</header>")[1]
    client.post("/password/forgotten/", {"email": "mina@example.org"})
    assert not AuditEntry.objects.filter(action="reset_sent").exists()


def test_a_mail_server_that_is_away_is_told_without_an_address_in_the_log(
    mina: User, client: Client, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SENDS_MAIL = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    answer = client.post("/password/forgotten/", {"email": "mina@example.org"})
    assert answer.status_code == 503
    assert "The mail server does not answer" in text(answer)
    assert "ConnectionRefusedError" in caplog.text
    assert "example.org" not in caplog.text


def test_an_invited_person_is_welcomed_by_the_page_of_the_link(client: Client) -> None:
    from allauth.account.forms import default_token_generator
    from allauth.account.utils import user_pk_to_url_str

    invited = User.objects.create_user("nia", "nia@example.org")
    key = {"uidb36": user_pk_to_url_str(invited), "key": default_token_generator.make_token(invited)}
    page = client.get(reverse("account_reset_password_from_key", kwargs=key), follow=True)
    assert "Welcome. Your user name is nia" in text(page)


@pytest.mark.parametrize(
    ("password", "reason"),
    [
        ("short horse", "at least 12 characters"),
        ("password1234", "too common"),
        ("983457239847", "entirely numeric"),
        ("mina@example.org", "too similar"),
        ("mina.okafor1", "too similar"),
    ],
)
def test_weak_passwords_are_refused_with_the_reason(mina: User, client: Client, password: str, reason: str) -> None:
    User.objects.update(first_name="Mina", last_name="Okafor", username="mina.okafor")
    client.force_login(User.objects.get())
    data = {"oldpassword": PASSWORD, "password1": password, "password2": password}
    assert reason in text(client.post("/password/", data))


def test_allauth_knows_the_present_address_and_no_other(mina: User, client: Client, mailing: None) -> None:
    assert EmailAddress.objects.get().email == "mina@example.org"
    mina.email = "new@example.org"
    mina.save()
    assert EmailAddress.objects.get().email == "new@example.org"
    client.post("/password/forgotten/", {"email": "mina@example.org"})
    assert "no account" in mail.outbox[0].body
    mina.email = ""
    mina.save()
    assert not EmailAddress.objects.exists()


def test_a_deactivated_account_is_told_so_only_with_its_password(mina: User, client: Client) -> None:
    User.objects.update(is_active=False)
    assert attempt(client, password=PASSWORD)["Location"] == "/sign-in/inactive/"
    assert "deactivated" in text(client.get("/sign-in/inactive/"))
    assert "not right" in text(attempt(client))


def test_the_checks_of_the_libraries_find_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("check")
    assert "no issues" in capsys.readouterr().out


def test_your_account_shows_how_one_signs_in(mina: User, client: Client) -> None:
    client.force_login(mina)
    page = text(client.get("/account/"))
    for part in ("Change password", "Add an app", "Add a passkey"):
        assert part in page
    assert "Your account: mina" in text(client.get("/courses/"))
