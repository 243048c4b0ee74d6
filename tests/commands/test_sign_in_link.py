"""`manage.py sign_in_link`: a way in when nobody can sign in."""

from typing import Any
from urllib.parse import urlsplit

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.test import Client

from badging.models import AuditEntry

from .calling import manage, succeed

pytestmark = pytest.mark.django_db

PASSWORD = "plausible-lantern-42"


@pytest.fixture
def ada() -> User:
    return User.objects.create_superuser("ada", "ada@example.org", "forgotten words")


def test_the_link_lets_somebody_in(ada: User) -> None:
    told = succeed("sign_in_link", "ada")
    assert told["username"] == "ada"
    client = Client()
    page: Any = client.get(urlsplit(told["link"]).path, follow=True)
    client.post(page.request["PATH_INFO"], {"password1": PASSWORD, "password2": PASSWORD})
    client.post("/sign-in/", {"login": "ada", "password": PASSWORD})
    assert client.get("/admin/").status_code == 200
    entry = AuditEntry.objects.get(action="password_link")
    assert (entry.subject, entry.actor_name, entry.details) == ("ada", "", {"how": "shell"})


def test_a_person_reads_the_link_on_a_line_of_its_own(ada: User, settings: Any) -> None:
    assert manage("sign_in_link", "ada").out.splitlines()[-1].startswith("http://127.0.0.1:8000/password/choose/")
    settings.PORT = 8300
    assert "http://127.0.0.1:8300/" in manage("sign_in_link", "ada").out
    settings.PUBLIC_URL = "https://badges.example.org"
    assert succeed("sign_in_link", "ada")["link"].startswith("https://badges.example.org/password/choose/")
    link = succeed("sign_in_link", "ada", "--address", "http://localhost:8300")["link"]
    assert link.startswith("http://localhost:8300/password/choose/")


def test_an_address_names_nobody(ada: User) -> None:
    done = manage("sign_in_link", "ada@example.org")
    assert (done.code, done.out) == (1, "")
    assert "Give the user name" in done.err


def test_a_deactivated_user_is_let_in_only_if_asked(ada: User) -> None:
    ada.is_active = False
    ada.save()
    done = manage("sign_in_link", "ada")
    assert (done.code, done.out) == (1, "")
    assert "--activate" in done.err
    succeed("sign_in_link", "ada", "--activate")
    ada.refresh_from_db()
    assert ada.is_active


def test_lost_second_factors_are_removed_only_if_asked(ada: User) -> None:
    Authenticator.objects.create(user=ada, type="totp", data={})
    succeed("sign_in_link", "ada")
    assert Authenticator.objects.exists()
    succeed("sign_in_link", "ada", "--remove-second-factors")
    assert not Authenticator.objects.exists()
