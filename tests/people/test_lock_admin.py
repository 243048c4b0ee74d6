"""Site admins see who must wait, and release them."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from badging.models import AuditEntry
from badging.setup import DATA_PROTECTION_OFFICERS, SITE_ADMINS
from people.models import SignInLock
from tests.badging.admin.browsing import rows_shown, run, signed_in

from .test_guessing import PASSWORD, attempt, guess

pytestmark = pytest.mark.django_db

LIST = "people_signinlock"


@pytest.fixture
def mina() -> User:
    return User.objects.create_user("mina", "mina@example.org", PASSWORD)


def test_a_site_admin_sees_the_lock_and_releases_it_after_a_question(mina: User) -> None:
    guess(5)
    admin = signed_in(SITE_ADMINS)
    page = admin.get(reverse(f"admin:{LIST}_changelist")).content.decode()
    assert "mina" in page
    assert "203.0.113.5" in page
    lock = SignInLock.objects.get(user=mina, place__startswith="address")
    asked = run(admin, LIST, "release", lock.pk)
    assert "can sign in again at once" in asked.content.decode()
    assert SignInLock.objects.exists()
    run(admin, LIST, "release", lock.pk, confirmed="yes")
    assert attempt(Client(), password=PASSWORD).status_code == 302
    entry = AuditEntry.objects.get(action="sign_in_released")
    assert entry.subject == "mina"
    assert entry.actor is not None


def test_those_who_must_wait_now_are_a_filter(mina: User) -> None:
    guess(5)
    admin, waits = signed_in(SITE_ADMINS), SignInLock.objects.filter(locked_until__isnull=False)
    others = SignInLock.objects.filter(locked_until=None)
    assert waits.exists()
    assert others.exists()
    for value, rows in (("yes", waits), ("no", others)):
        page = admin.get(reverse(f"admin:{LIST}_changelist", query={"waiting": value}))
        assert sorted(rows_shown(page)) == sorted(rows.values_list("pk", flat=True)), value


def test_a_release_ends_the_wait_however_often_somebody_has_tried_meanwhile(mina: User) -> None:
    client = Client()
    guess(5)
    for _time in range(12):
        assert attempt(client, password=PASSWORD).status_code == 429
    lock = SignInLock.objects.filter(locked_until__isnull=False).earliest("pk")
    run(signed_in(SITE_ADMINS), LIST, "release", lock.pk, confirmed="yes")
    assert attempt(client, password=PASSWORD).status_code == 302


@pytest.mark.parametrize("group", [DATA_PROTECTION_OFFICERS, None])
def test_nobody_else_sees_or_releases(mina: User, group: str | None) -> None:
    guess(5)
    client = signed_in(group) if group else Client()
    answer: Any = client.get(reverse(f"admin:{LIST}_changelist"))
    assert answer.status_code in (302, 403)
    run(client, LIST, "release", SignInLock.objects.first().pk, confirmed="yes")
    assert SignInLock.objects.exists()


def test_allauths_own_tables_are_not_in_the_admin(admin_client: Client) -> None:
    page = admin_client.get(reverse("admin:index")).content.decode()
    for part in ("socialapp", "socialtoken", "authenticator", "emailaddress", "accessattempt"):
        assert part not in page.lower()
