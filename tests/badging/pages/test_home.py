"""The first page, signing in, and what holds for every page: errors, security, escaping."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from moodle_sync.models import Course
from tests.builders import (
    make_mapping,
)

from .reading import text

pytestmark = pytest.mark.django_db


def test_the_start_leads_managers_to_their_courses_and_staff_without_courses_to_the_admin(
    web: Client, manager: User, admin_client: Client
) -> None:
    assert web.get("/")["Location"] == "/courses/"
    assert admin_client.get("/")["Location"] == "/admin/"
    manager.is_staff = True
    manager.save()
    assert web.get("/")["Location"] == "/courses/"


def test_signing_in_and_out_and_changing_the_password(client: Client, manager: User) -> None:
    refused = client.post("/sign-in/", {"login": "mina", "password": "wrong"})
    assert refused.status_code == 200
    assert "password is not right" in text(refused)
    assert client.post("/sign-in/", {"login": "mina", "password": "correct horse"})["Location"] == "/"
    new = {"oldpassword": "correct horse", "password1": "battery staple", "password2": "battery staple"}
    assert "Password changed" in text(client.post("/password/", new, follow=True))
    assert client.post("/sign-out/")["Location"] == "/sign-in/"
    assert client.post("/sign-in/", {"login": "mina", "password": "battery staple"})["Location"] == "/"


def test_error_pages_are_plain_and_lead_back(client: Client, web: Client, rf: Any) -> None:
    from django.views import defaults

    for view, status in ((defaults.bad_request, 400), (defaults.permission_denied, 403)):
        answer = view(rf.get("/"), Exception("secret"))
        assert answer.status_code == status
        assert "Home" in text(answer)
        assert "secret" not in text(answer)
    broken = defaults.server_error(rf.get("/"))
    assert broken.status_code == 500
    assert "the error was logged" in text(broken)
    assert "Page not found" in text(web.get("/no-such-page/"))


def test_an_expired_form_is_explained(course: Course, manager: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(manager)
    answer = strict.post(reverse("remove-badge", args=[course.pk]))
    assert answer.status_code == 403
    assert "The page was open for too long" in text(answer)


def test_names_from_outside_are_shown_as_text(web: Client, course: Course) -> None:
    course.fullname = "<script>alert(1)</script>"
    course.save()
    make_mapping(course, badge_name="<b>bold</b>")
    page = web.get(reverse("course", args=[course.pk])).content.decode()
    assert "<script>" not in page
    assert "<b>bold" not in page
