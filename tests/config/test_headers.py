"""What pages leave behind in browsers, and what browsers may load for them."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from badging.models import CourseManager
from config.headers import PERMISSIONS_POLICY
from tests.builders import make_issuance

pytestmark = pytest.mark.django_db


def policy(answer: Any) -> dict[str, list[str]]:
    """The content security policy by directive."""
    parts = [part.split() for part in answer["Content-Security-Policy"].split(";")]
    return {name: sources for name, *sources in parts}


def client_of(user: User | None) -> Client:
    client = Client(raise_request_exception=False)
    if user is not None:
        client.force_login(user)
    return client


def everywhere() -> list[tuple[Client, str]]:
    """Pages of all kinds, also redirects and errors, with the browser of somebody who sees them."""
    row = make_issuance()
    manager = User.objects.create_user("mina")
    CourseManager.objects.create(user=manager, course=row.course)
    managers, admins, nobody = client_of(manager), client_of(User.objects.create_superuser("root")), client_of(None)
    issuance = reverse("issuance", args=[row.course_id, row.pk])
    pages = [reverse("course", args=[row.course_id]), issuance, reverse("remove-badge", args=[row.course_id])]
    pages += ["/", "/courses/", "/password/", "/password/changed/", "/courses", "/courses/999/", "/nothing/"]
    admin = [
        "/admin/",
        "/admin",
        "/admin/jsi18n/",
        "/admin/nothing/",
        "/admin/badging/issuance/",
        "/admin/autocomplete/",
    ]
    admin += [f"/admin/badging/issuance/{row.pk}/change/", f"/admin/badging/issuance/{row.pk}/history/"]
    return [
        *((managers, page) for page in pages),
        *((admins, page) for page in admin),
        *((nobody, page) for page in ["/", "/sign-in/", "/admin/login/", "/admin/", "/nothing/", issuance]),
    ]


def test_no_page_is_kept_by_browsers_or_on_the_way() -> None:
    statuses = set()
    for client, page in everywhere():
        answer = client.get(page)
        statuses.add(answer.status_code)
        assert "no-store" in answer["Cache-Control"], page
        assert answer["Referrer-Policy"] == "same-origin", page
        assert answer["X-Content-Type-Options"] == "nosniff", page
        assert answer["Permissions-Policy"] == PERMISSIONS_POLICY, page
    assert statuses == {200, 301, 302, 404, 405}


def test_forms_and_refusals_are_not_kept_either() -> None:
    checked = Client(enforce_csrf_checks=True)
    assert "no-store" in checked.post("/sign-in/", {})["Cache-Control"]
    wrong = client_of(None).post("/sign-in/", {"username": "mina", "password": "wrong"})
    assert "no-store" in wrong["Cache-Control"]
    assert "no-store" in client_of(User.objects.create_user("mina")).post("/sign-out/")["Cache-Control"]
    assert "no-store" in Client(headers={"host": "evil.example"}).get("/")["Cache-Control"]


def test_pages_load_nothing_from_elsewhere_and_run_nothing_without_a_nonce() -> None:
    for client, page in everywhere():
        answer = client.get(page)
        directives = policy(answer)
        for name in ("default-src", "object-src", "base-uri", "frame-ancestors"):
            assert directives[name] == ["'none'"], page
        assert directives["form-action"] == ["'self'"], page
        sources = [source for name in directives for source in directives[name]]
        assert not [source for source in sources if ":" in source.removeprefix("data:")], page
        if page.startswith("/admin/"):
            # What unfold needs; no inline script runs here either.
            assert directives["script-src"] == ["'self'", "'unsafe-eval'"], page
            assert directives["style-src"] == ["'self'", "'unsafe-inline'"], page
            assert directives["img-src"] == ["'self'", "data:"], page
        else:
            assert not [source for source in sources if "unsafe" in source], page
            assert directives["script-src"][-1] == "'strict-dynamic'", page
            assert "'self'" not in directives["script-src"], page
            assert directives["img-src"] == ["'self'"], page


def test_a_nonce_is_new_on_each_page_and_stands_in_its_header() -> None:
    client = client_of(None)
    answers = [client.get("/sign-in/") for _time in range(2)]
    nonces = [set(re.findall(r'nonce="([^"]+)"', answer.content.decode())) for answer in answers]
    assert nonces[0] != nonces[1]
    for answer, (nonce,) in zip(answers, nonces, strict=True):
        assert f"'nonce-{nonce}'" in policy(answer)["style-src"]
        assert f"'nonce-{nonce}'" in policy(answer)["script-src"]


def test_no_page_outside_the_admin_has_anything_inline() -> None:
    for client, page in everywhere():
        text = client.get(page).content.decode()
        if "</html>" in text:
            assert not re.search(
                r"<style|\sstyle=|\son\w+=|<script(?![^>]*\snonce=)|javascript:", text
            ) or page.startswith("/admin/"), page


def test_what_is_asked_for_in_an_address_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """An address that somebody typed by hand: the portal itself never makes one."""
    caplog.set_level("INFO")
    client = client_of(User.objects.create_superuser("root"))
    for page in (
        "/nothing/",
        "/courses/999/",
        "/admin/moodle_sync/learner/",
        "/admin/autocomplete/",
        "/admin/nothing/",
    ):
        client.get(page, {"q": "ana@example.org", "term": "ana@example.org", "email__startswith": "ana@example.org"})
    client_of(None).get("/courses/", {"q": "ana@example.org"})
    assert any("/courses/999/" in line for line in caplog.messages)
    assert not [line for line in caplog.messages if "ana@" in line]
