"""Inviting users and the links with which they choose a password."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core import mail
from django.test import Client
from django.urls import reverse

from badging.models import CourseManager
from badging.setup import DATA_PROTECTION_OFFICERS, SITE_ADMINS
from people import invitations
from tests.badging.admin.browsing import confirm, run, said
from tests.builders import make_course

from .users import USERS, browser_of, can_sign_in, invite, make_user, recorded, signed_in_by_form

pytestmark = pytest.mark.django_db

PASSWORD = "plausible-lantern-42"


def link_in(text: str) -> str:
    found = re.search(r"http://testserver(/password/choose/[^\s\"<]+)", text)
    assert found, text
    return found[1]


def choose_password(link: str, password: str = PASSWORD) -> Any:
    """Open the link in a browser of nobody and choose a password."""
    client = Client()
    page = client.get(link, follow=True)
    return client.post(page.request["PATH_INFO"], {"password1": password, "password2": password}, follow=True)


def test_an_invited_site_admin_chooses_a_password_and_signs_in(site_admin: Client) -> None:
    group = Group.objects.get(name=SITE_ADMINS)
    page = invite(site_admin, roles=[group.pk])
    user = User.objects.get(username="mina")
    assert (user.email, user.get_full_name(), user.is_staff) == ("mina@example.org", "Mina Okafor", True)
    assert list(user.groups.all()) == [group]
    assert not user.has_usable_password()
    assert "Password saved" in said(choose_password(link_in(page.content.decode())))
    client = signed_in_by_form("mina", PASSWORD)
    assert client.get(reverse("admin:badging_issuance_changelist")).status_code == 200
    assert recorded("user_invited") == [("sara", "mina", {"how": "shown"})]
    assert recorded("user_created") == [("sara", "mina", {"staff": False, "superuser": False})]
    assert recorded("roles_changed") == [("sara", "mina", {"from": [], "to": [SITE_ADMINS]})]
    assert [who for who, _whom, _details in recorded("password_reset")] == ["mina"]


def test_somebody_is_several_things_at_once(site_admin: Client) -> None:
    courses = [make_course(), make_course()]
    groups = Group.objects.filter(name__in=[SITE_ADMINS, DATA_PROTECTION_OFFICERS])
    invite(site_admin, roles=[group.pk for group in groups], courses=[course.pk for course in courses])
    user = User.objects.get(username="mina")
    assert user.groups.count() == 2
    assert set(CourseManager.objects.filter(user=user).values_list("course", flat=True)) == {row.pk for row in courses}
    granted = [(who, whom, details["course"]) for who, whom, details in recorded("manager_granted")]
    assert sorted(granted) == sorted(("sara", "mina", course.full_label) for course in courses)


def test_a_course_manager_gets_no_staff_status(site_admin: Client) -> None:
    invite(site_admin, courses=[make_course().pk])
    assert not User.objects.get(username="mina").is_staff


def test_without_mail_the_link_is_shown_once_and_kept_nowhere(
    site_admin: Client, caplog: pytest.LogCaptureFixture
) -> None:
    page = invite(site_admin)
    link = link_in(page.content.decode())
    token = link.rstrip("/").rpartition("/")[2]
    assert "no-store" in page["Cache-Control"]
    # The page is the answer to the POST: no address leads to it again.
    assert page.redirect_chain == []
    assert mail.outbox == []
    for address in ("changelist", "add"):
        assert token not in site_admin.get(reverse(f"admin:auth_user_{address}")).content.decode()
    user = User.objects.get(username="mina")
    for address in ("change", "history"):
        assert token not in site_admin.get(reverse(f"admin:auth_user_{address}", args=[user.pk])).content.decode()
    assert token not in caplog.text


def test_with_mail_the_link_is_sent_and_not_shown(site_admin: Client, settings: Any) -> None:
    settings.SENDS_MAIL = True
    page = invite(site_admin)
    (message,) = mail.outbox
    assert message.to == ["mina@example.org"]
    assert "user name is mina" in message.body
    link = link_in(str(message.body))
    assert link not in page.content.decode()
    assert "was sent to mina@example.org" in said(page)
    choose_password(link)
    assert can_sign_in("mina", PASSWORD)
    assert recorded("user_invited") == [("sara", "mina", {"how": "mail"})]


def test_links_begin_with_the_address_that_people_open(site_admin: Client, settings: Any) -> None:
    settings.PUBLIC_URL = "https://badges.example.org"
    beginning = "https://badges.example.org/password/choose/"
    assert beginning in invite(site_admin).content.decode()
    settings.SENDS_MAIL = True
    invite(site_admin, email="nia@example.org")
    Client().post(reverse("account_reset_password"), {"email": "sara@example.org"})
    for message in mail.outbox:
        assert beginning in message.body
        assert "testserver" not in message.body
    assert [message.to for message in mail.outbox] == [["nia@example.org"], ["sara@example.org"]]


def test_a_mail_server_that_does_not_answer_leaves_the_link_to_pass_on(site_admin: Client, settings: Any) -> None:
    settings.SENDS_MAIL = True
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    page = invite(site_admin)
    assert "could not be sent" in page.content.decode()
    assert "Password saved" in said(choose_password(link_in(page.content.decode())))
    assert recorded("user_invited") == [("sara", "mina", {"how": "shown"})]


def test_a_link_is_good_once(site_admin: Client) -> None:
    link = link_in(invite(site_admin).content.decode())
    choose_password(link)
    assert "no longer valid" in choose_password(link, "another-lantern-43").content.decode()
    assert can_sign_in("mina", PASSWORD)


def test_a_link_ends_after_its_time(site_admin: Client, settings: Any) -> None:
    link = link_in(invite(site_admin).content.decode())
    settings.PASSWORD_RESET_TIMEOUT = -1
    assert "no longer valid" in Client().get(link, follow=True).content.decode()


def test_an_address_is_invited_once_whatever_its_case(site_admin: Client) -> None:
    invite(site_admin)
    assert "Somebody has this" in invite(site_admin, "MINA@example.org").content.decode()
    assert "This field is required" in invite(site_admin, "").content.decode()
    assert User.objects.filter(username__startswith="mina").count() == 1


def test_two_people_of_one_name_get_user_names_of_their_own(site_admin: Client) -> None:
    make_user("Mina")
    invite(site_admin, "mina@example.net")
    invite(site_admin, "mina@example.com")
    invite(site_admin, "(!)@example.com")
    assert set(User.objects.exclude(username="sara").values_list("username", flat=True)) >= {"Mina", "mina2", "mina3"}
    assert User.objects.filter(email="(!)@example.com").count() <= 1


def test_a_password_link_is_made_after_asking(site_admin: Client) -> None:
    user = make_user("otto")
    asked = run(site_admin, USERS, "send_link", user.pk)
    assert "It works once" in asked.content.decode()
    assert recorded("password_link") == []
    there = browser_of(user)
    shown = confirm(site_admin, USERS, "send_link", user.pk)
    choose_password(link_in(shown.content.decode()))
    assert can_sign_in("otto", PASSWORD)
    # Whoever was signed in with the old password is so no longer.
    assert there.get(reverse("courses")).status_code == 302
    assert recorded("password_link") == [("sara", "otto", {"how": "shown"})]


def test_a_deactivated_user_gets_no_link(site_admin: Client) -> None:
    user = make_user("otto", is_active=False)
    assert "Reactivate the user first" in said(confirm(site_admin, USERS, "send_link", user.pk))
    assert recorded("password_link") == []


def test_a_user_name_is_made_of_what_a_user_name_may_hold() -> None:
    user = User(email="Zoë O'Neil@example.org")
    invitations.prepare(user)
    user.full_clean(exclude=["email"])
    assert user.username == "zoëoneil"
