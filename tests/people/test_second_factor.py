"""Second factors: sealed at rest, counted, and required of staff by a setting."""

import json
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, hotp_value, yield_hotp_counters_from_time
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from badging.models import AuditEntry
from people import guessing
from people.models import SignInLock
from tests.builders import NOW
from vault import secrets

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"
SECRET = "JBSWY3DPEHPK3PXP"


@pytest.fixture
def mina() -> User:
    user = User.objects.create_user("mina", "mina@example.org", PASSWORD)
    TOTP.activate(user, SECRET)
    RecoveryCodes.activate(user)
    return user


def code() -> str:
    """What the authenticator app shows now."""
    return format_hotp_value(hotp_value(SECRET, next(iter(yield_hotp_counters_from_time()))))


def with_password(client: Client) -> Client:
    answer = client.post("/sign-in/", {"login": "mina", "password": PASSWORD})
    assert answer["Location"] == "/sign-in/code/"
    return client


def test_the_password_alone_opens_nothing(mina: User, client: Client) -> None:
    with_password(client)
    assert client.get("/courses/").status_code == 302
    assert client.post("/sign-in/code/", {"code": code()})["Location"] == "/"
    assert client.get("/courses/").status_code == 200
    assert AuditEntry.objects.get(action="signed_in").details == {"by": "password, totp"}


def test_a_code_works_once_and_so_does_a_recovery_code(mina: User) -> None:
    spare = Authenticator.objects.get(type="recovery_codes").wrap().get_unused_codes()[0]
    for used in (code(), spare):
        assert with_password(Client()).post("/sign-in/code/", {"code": used}).status_code == 302
        assert with_password(Client()).post("/sign-in/code/", {"code": used}).status_code == 200


def test_wrong_codes_wait_with_growing_pauses_and_the_right_one_waits_too(mina: User) -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        client = with_password(Client())
        statuses = [client.post("/sign-in/code/", {"code": "000000"}).status_code for _number in range(6)]
        assert statuses == [200, 200, 200, 200, 429, 429]
        # A new session and a new address make no difference.
        again = with_password(Client())
        assert again.post("/sign-in/code/", {"code": code()}, REMOTE_ADDR="198.51.100.9").status_code == 429
        clock.move_to(NOW + timedelta(seconds=61))
        assert again.post("/sign-in/code/", {"code": "000000"}).status_code == 429
        lock = SignInLock.objects.get(place=guessing.SECOND_FACTOR)
        assert lock.locked_until == NOW + timedelta(seconds=61 + 120)
        assert AuditEntry.objects.filter(action="factor_failed", subject="mina").count() == 6


def test_the_limits_that_guard_the_second_factor_are_set(settings: Any) -> None:
    assert settings.ACCOUNT_RATE_LIMITS["login_failed"]


def test_secrets_are_sealed_and_rotated_with_the_keys(mina: User, settings: Any) -> None:
    stored = json.dumps(list(Authenticator.objects.values_list("data", flat=True)))
    assert SECRET not in stored
    new = Fernet.generate_key().decode()
    settings.FIELD_ENCRYPTION_KEYS = [new, *settings.FIELD_ENCRYPTION_KEYS]
    call_command("rotate_keys")
    settings.FIELD_ENCRYPTION_KEYS = [new]
    assert secrets.problem() == ""
    assert with_password(Client()).post("/sign-in/code/", {"code": code()}).status_code == 302
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    assert secrets.problem() != ""


@pytest.mark.parametrize("address", ["/admin/", "/courses/", "/"])
def test_required_of_staff_it_is_the_only_thing_they_can_do(settings: Any, client: Client, address: str) -> None:
    settings.REQUIRE_SECOND_FACTOR = True
    staff = User.objects.create_user("ada", password=PASSWORD, is_staff=True)
    client.force_login(staff)
    assert client.get(address)["Location"] == "/account/"
    assert client.post(address)["Location"] == "/account/"
    page = client.get("/account/").content.decode()
    assert "This portal requires one of you" in page
    # The way there asks for the password, and is open.
    assert client.get("/account/app/")["Location"].startswith("/confirm/")
    assert client.get("/confirm/").status_code == 200
    # Recovery codes alone are no second factor.
    RecoveryCodes.activate(staff)
    assert client.get(address)["Location"] == "/account/"
    TOTP.activate(staff, SECRET)
    assert client.get("/admin/").status_code == 200


def test_it_is_not_required_of_others_nor_without_the_setting(settings: Any, client: Client) -> None:
    client.force_login(User.objects.create_user("tom"))
    settings.REQUIRE_SECOND_FACTOR = True
    assert client.get("/courses/").status_code == 200
    settings.REQUIRE_SECOND_FACTOR = False
    client.force_login(User.objects.create_user("ada", is_staff=True))
    assert client.get("/admin/").status_code == 200


def test_changes_of_the_second_factor_ask_who_it_is_and_are_audited(mina: User) -> None:
    client = with_password(Client())
    client.post("/sign-in/code/", {"code": code()})
    with time_machine.travel(timezone.now() + timedelta(minutes=10)):
        assert client.post("/account/app/remove/")["Location"].startswith("/confirm/")
        client.post("/confirm/", {"password": PASSWORD})
        client.post("/account/app/remove/")
    assert not Authenticator.objects.exists()
    removed = AuditEntry.objects.filter(action="factor_removed").values_list("details", flat=True)
    assert {row["kind"] for row in removed} == {"totp", "recovery_codes"}


def test_the_deployment_check_and_the_first_page_advise_it_until_it_is_on(
    settings: Any, admin_client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    advice = "Staff can sign in with a password alone"
    call_command("check", "--deploy", "--tag", "security")
    assert advice in capsys.readouterr().err
    assert advice in admin_client.get("/admin/").content.decode()
    settings.SANDBOX_URL = "http://127.0.0.1:8001"
    assert advice not in admin_client.get("/admin/").content.decode()
    settings.REQUIRE_SECOND_FACTOR = True
    call_command("check", "--deploy", "--tag", "security")
    assert advice not in capsys.readouterr().err
