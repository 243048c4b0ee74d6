"""Signing in, in a real browser: reset by mail, second factors, passkeys, locks, and single sign-on.

With PORTAL_SCREENSHOTS=folder, every step is kept there as a picture to look at.
"""

import re
import time
from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message as MailHandler
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from playwright.sync_api import Page, expect

from badging.models import AuditEntry
from badging.setup import SITE_ADMINS
from tests.people import providing
from tests.services import free_port

from . import test_pages
from .looks import keep_picture, look_at

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# The fixtures of the other pages.
browser, complaints, page = test_pages.browser, test_pages.complaints, test_pages.page

PASSWORD = "correct horse battery"
NEW = "battery staple horse"
LOGIN = "User name or e-mail address"


@pytest.fixture
def mina(transactional_db: None) -> User:
    # The counts of failed sign-ins are in no model's table, so that the end of a test does not empty it.
    cache.clear()
    return User.objects.create_user("mina", "mina@example.org", PASSWORD)


class Postbox(MailHandler):
    """Keeps the mails."""

    def __init__(self) -> None:
        super().__init__(EmailMessage)
        self.mails: list[Any] = []

    def handle_message(self, message: Any) -> None:
        """Keep one."""
        self.mails.append(message)


@pytest.fixture
def postbox(settings: Any) -> Iterator[Postbox]:
    """A mail server that the portal sends to."""
    postbox = Postbox()
    controller = Controller(postbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    settings.SENDS_MAIL = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", controller.port
    yield postbox
    controller.stop()


def enter(page: Page, password: str = PASSWORD, name: str = "mina") -> None:
    """Sign in with name and password."""
    page.goto("/sign-in/")
    page.get_by_label(LOGIN).fill(name)
    page.get_by_label("Password:", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in", exact=True)).to_be_visible()


def code_of(secret: str) -> str:
    """The code after the one that the authenticator app shows now: each is taken once."""
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 + 1))


def confirm(page: Page) -> None:
    """Say that it is still you."""
    expect(page.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    look_at(page, "confirm")
    page.get_by_label("Password:", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()


def add_app(page: Page) -> str:
    """Add an authenticator app to the account of who is signed in; returns its key."""
    page.get_by_role("link", name="Your account").click()
    page.get_by_role("link", name="Add an app").click()
    confirm(page)
    expect(page.get_by_role("heading", name="Add an authenticator app")).to_be_visible()
    secret = page.locator("code").inner_text()
    look_at(page, "app-add")
    page.get_by_label("Authenticator code").fill(format_hotp_value(hotp_value(secret, int(time.time()) // 30)))
    page.get_by_role("button", name="Add the app").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    return secret


def test_a_forgotten_password_is_replaced_by_mail(page: Page, mina: User, postbox: Postbox) -> None:
    page.goto("/sign-in/")
    page.get_by_role("link", name="Forgot your password?").click()
    look_at(page, "reset-ask")
    page.get_by_label("E-mail address").fill("mina@example.org")
    page.get_by_role("button", name="Send the link").click()
    expect(page.get_by_role("heading", name="Check your e-mail")).to_be_visible()
    look_at(page, "reset-sent")
    [message] = postbox.mails
    assert message["To"] == "mina@example.org"
    [link] = re.findall(r"http://\S+", message.get_payload(decode=True).decode())
    page.goto(link)
    look_at(page, "reset-choose")
    page.get_by_label("New Password:", exact=True).fill("password1234")
    page.get_by_label("New Password (again)").fill("password1234")
    page.get_by_role("button", name="Save password").click()
    expect(page.get_by_text("This password is too common.")).to_be_visible()
    look_at(page, "reset-too-common")
    page.get_by_label("New Password:", exact=True).fill(NEW)
    page.get_by_label("New Password (again)").fill(NEW)
    page.get_by_role("button", name="Save password").click()
    look_at(page, "reset-done")
    page.get_by_role("main").get_by_role("link", name="Sign in").click()
    enter(page, NEW)
    expect(page.get_by_role("heading", name="Courses")).to_be_visible()
    page.goto("/sign-out/")
    page.get_by_role("main").get_by_role("button", name="Sign out").click()
    page.goto(link)
    expect(page.get_by_role("heading", name="This link is no longer valid")).to_be_visible()
    look_at(page, "reset-used")


def test_without_mail_the_page_says_whom_to_ask(page: Page, mina: User) -> None:
    page.goto("/password/forgotten/")
    expect(page.get_by_text("Ask a site admin")).to_be_visible()
    look_at(page, "reset-no-mail")


def test_an_authenticator_app_and_its_recovery_codes(page: Page, mina: User) -> None:
    enter(page)
    secret = add_app(page)
    look_at(page, "recovery-codes")
    spare = page.locator("code").first.inner_text()
    page.get_by_role("link", name="Your account").last.click()
    look_at(page, "account")
    sign_out(page)
    enter(page)
    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    look_at(page, "second-factor")
    page.get_by_label("Code").fill("000000")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_text("Incorrect code.")).to_be_visible()
    look_at(page, "second-factor-wrong")
    page.get_by_label("Code").fill(code_of(secret))
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="Courses")).to_be_visible()
    sign_out(page)
    enter(page)
    page.get_by_label("Code").fill(spare)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="Courses")).to_be_visible()
    page.get_by_role("link", name="Your account").click()
    expect(page.get_by_text("Unused: 9.")).to_be_visible()
    page.get_by_role("link", name="See recovery codes").click()
    confirm(page)
    page.get_by_role("link", name="Make new codes").click()
    look_at(page, "recovery-codes-new")
    page.get_by_role("button", name="Make new codes").click()
    assert spare not in page.locator("main").inner_text()
    page.get_by_role("link", name="Your account").last.click()
    page.get_by_role("link", name="Remove the app").click()
    look_at(page, "app-remove")
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("link", name="Add an app")).to_be_visible()


def test_a_passkey_signs_in_alone_and_as_a_second_factor(page: Page, mina: User) -> None:
    devices = page.context.new_cdp_session(page)
    devices.send("WebAuthn.enable")
    device = {"protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True}
    device |= {"isUserVerified": True, "automaticPresenceSimulation": True}
    devices.send("WebAuthn.addVirtualAuthenticator", {"options": device})
    enter(page)
    page.goto("/account/passkeys/")
    look_at(page, "passkeys-none")
    page.get_by_role("link", name="Add a passkey").click()
    confirm(page)
    page.get_by_label("Name, to tell it from others").fill("My laptop")
    page.get_by_label("Sign in with this passkey alone").check()
    look_at(page, "passkey-add")
    page.get_by_role("button", name="Add the passkey").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    page.goto("/account/passkeys/")
    expect(page.get_by_role("heading", name="My laptop")).to_be_visible()
    look_at(page, "passkeys")
    sign_out(page)
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_role("heading", name="Courses")).to_be_visible()
    sign_out(page)
    enter(page)
    page.get_by_role("button", name="Use a passkey instead").click()
    expect(page.get_by_role("heading", name="Courses")).to_be_visible()
    assert AuditEntry.objects.filter(action="signed_in").first().details == {"by": "password, webauthn"}
    page.goto("/account/passkeys/")
    page.get_by_role("link", name="Rename").click()
    confirm(page)
    page.get_by_label("Name").fill("Old laptop")
    look_at(page, "passkey-rename")
    page.get_by_role("button", name="Save").click()
    page.goto("/account/passkeys/")
    page.get_by_role("link", name="Remove Old laptop").click()
    look_at(page, "passkey-remove")
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("You have no passkey yet.")).to_be_visible()


def test_a_passkey_that_cannot_be_used_is_told(page: Page, mina: User) -> None:
    page.goto("/sign-in/")
    page.evaluate("() => { navigator.credentials.get = () => Promise.reject(new Error('cancelled')) }")
    page.get_by_role("button", name="Sign in with a passkey").click()
    expect(page.get_by_text("The passkey could not be used.")).to_be_visible()
    look_at(page, "passkey-problem")


def test_who_guesses_must_wait_until_a_site_admin_releases_them(
    page: Page, mina: User, live_server: Any, complaints: list[str]
) -> None:
    for _number in range(5):
        enter(page, "wrong")
    expect(page.get_by_role("heading", name="Too many attempts")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_text(
        "There were too many wrong attempts. Try again in 1 minute.", use_inner_text=True
    )
    look_at(page, "locked")
    enter(page)
    expect(page.get_by_role("heading", name="Too many attempts")).to_be_visible()
    ada = User.objects.create_user("ada", is_staff=True)
    ada.groups.add(Group.objects.get(name=SITE_ADMINS))
    test_pages.sign_in(page, live_server.url, ada)
    page.goto("/admin/people/signinlock/")
    keep_picture(page, "locks")
    page.get_by_role("link", name="mina").first.click()
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_text("can sign in again at once")).to_be_visible()
    page.get_by_role("button", name="Release").click()
    expect(page.get_by_text("1 account released.")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    enter(page)
    expect(page.get_by_role("heading", name="Courses")).to_be_visible()
    # The browser tells of the two refusals.
    assert all("429" in line for line in complaints)
    complaints.clear()


def test_single_sign_on_with_a_provider(page: Page, mina: User, settings: Any, complaints: list[str]) -> None:
    with providing.provider() as url:
        providing.use(settings, url)
        providing.add_person(url, "m1", email="mina@example.org", email_verified=True)
        providing.add_person(url, "x1", email="stranger@example.org", email_verified=True)
        page.goto("/courses/")
        look_at(page, "single-sign-on")
        page.get_by_role("button", name="Sign in with Northgate").click()
        page.locator("input[name=sub]").fill("x1")
        page.locator("button[type=submit]").first.click()
        expect(page.get_by_role("heading", name="No account here")).to_be_visible()
        look_at(page, "single-sign-on-unknown")
        page.goto("/courses/")
        page.get_by_role("button", name="Sign in with Northgate").click()
        page.locator("input[name=sub]").fill("m1")
        page.locator("button[type=submit]").first.click()
        expect(page.get_by_role("heading", name="Courses")).to_be_visible()
        page.goto("/account/")
        expect(page.get_by_role("heading", name="Northgate")).to_be_visible()
        look_at(page, "account-single-sign-on")
    # The provider's own page wants a style sheet from the internet, and has no icon.
    assert all("ERR_NAME_NOT_RESOLVED" in line or "404" in line for line in complaints), complaints
    complaints.clear()


def test_staff_add_the_required_second_factor_before_anything_else(page: Page, mina: User, settings: Any) -> None:
    settings.REQUIRE_SECOND_FACTOR = True
    User.objects.update(is_staff=True)
    enter(page)
    expect(page.get_by_role("status")).to_contain_text("Your account needs a second factor before you go on.")
    look_at(page, "second-factor-required")
    add_app(page)
    page.goto("/admin/")
    expect(page.get_by_role("link", name="Your account").first).to_be_visible()
