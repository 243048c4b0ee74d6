"""The help page, times in one format, and what is said of passkeys where they cannot work."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from badging.moments import moment

from .reading import links, text

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("contact", "link"),
    [
        ("badges@example.org", "mailto:badges@example.org"),
        ("https://help.example.org/badges", "https://help.example.org/badges"),
        ("Room 12, ask for Mina", ""),
        ("javascript:alert(1)", ""),
    ],
)
def test_the_help_page_says_whom_to_ask(web: Client, settings: Any, contact: str, link: str) -> None:
    settings.SUPPORT_CONTACT = contact
    page = web.get("/help/")
    assert f"Questions about this portal: {contact}" in text(page)
    assert [found for found in links(page) if found == link] == [link] * bool(link)
    assert not links(page, "javascript")


def test_the_help_page_has_the_steps_of_who_reads_it(web: Client, settings: Any) -> None:
    settings.SUPPORT_CONTACT = ""
    page = text(web.get("/help/"))
    assert "Ask a site admin of this portal" in page
    for words in ("View badge opens", "Change badge chooses", "Remove badge ends it", "A learner has no badge"):
        assert words in page
    assert "For site admins" not in page
    admin = Client()
    admin.force_login(User.objects.create_superuser("root"))
    assert "For site admins: from nothing to the first badge" in text(admin.get("/help/"))


def test_passkeys_are_not_offered_where_no_browser_takes_them(web: Client) -> None:
    anonymous = Client()
    for host in ("127.0.0.1:8000", "[::1]:8000"):
        for browser, address in ((web, "/account/"), (web, "/account/passkeys/"), (anonymous, "/sign-in/")):
            page = browser.get(address, headers={"host": host})
            assert "Passkeys do not work here" in text(page)
            assert "http://localhost:8000/" in links(page)
            assert "Add a passkey" not in text(page)
            assert "Sign in with a passkey" not in text(page)
    assert "Sign in with a passkey" in text(anonymous.get("/sign-in/", headers={"host": "localhost:8000"}))
    assert "Add a passkey" in text(web.get("/account/"))


def test_your_account_shows_times_as_all_pages_do(web: Client, manager: User) -> None:
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    app = TOTP.activate(manager, generate_totp_secret())
    assert f"Added on {moment(app.instance.created_at)}." in text(web.get("/account/"))
