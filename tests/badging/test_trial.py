"""What people who tried the portal stumbled over."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from badging.meanings import Outcome
from badging.models import CourseManager, Issuance, NavigatrConnection
from moodle_sync.models import Course
from sandbox import DEMO_PROVIDER_ID, Sandbox

from ..builders import (
    make_completion,
    make_connection,
    make_course,
    make_issuance,
    make_learner,
    make_mapping,
    make_site,
)

pytestmark = pytest.mark.django_db
State = Issuance.State


def listing(model: str) -> str:
    return reverse(f"admin:{model}_changelist")


def page_of(client: Client, row: Any) -> str:
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return client.get(url).content.decode()


def issuance(**fields: Any) -> Issuance:
    mapping = make_mapping()
    return make_issuance(mapping, make_completion(mapping.course, make_learner(mapping.course.site)), **fields)


def manager_of(course: Course, client: Client) -> Client:
    user = User.objects.create_user("mina", password="x")
    CourseManager.objects.create(user=user, course=course)
    client.force_login(user)
    return client


@pytest.mark.parametrize("key", ["abc", "12345678901234567890", "1\0", "²"])
def test_an_action_on_a_made_up_row_does_nothing(admin_client: Client, key: str) -> None:
    row = make_connection()
    data = {"action": "remove_connection", "_selected_action": key, "back": key, "confirmed": "yes"}
    reply = admin_client.post(listing("badging_navigatrconnection"), data, follow=True)
    assert reply.status_code == 200
    row.refresh_from_db()
    assert row.state == NavigatrConnection.State.ACTIVE


def test_a_filter_with_a_zero_byte_is_answered_as_any_made_up_filter(admin_client: Client) -> None:
    reply = admin_client.get(listing("badging_issuance") + "?state__exact=%00")
    assert (reply.status_code, reply["Location"]) == (302, listing("badging_issuance") + "?e=1")


def test_courses_of_the_same_name_are_told_apart_wherever_a_manager_is_given_one(admin_client: Client) -> None:
    site = make_site(name="Sandbox Moodle")
    course = make_course(site, fullname="Data Protection 2026", shortname="GDPR26")
    label = f"Data Protection 2026 (GDPR26 · id {course.moodle_id} · Sandbox Moodle)"
    query = {"app_label": "badging", "model_name": "coursemanager", "field_name": "course", "term": "Data"}
    found = admin_client.post(reverse("admin:autocomplete"), query).json()
    assert [row["text"] for row in found["results"]] == [label]
    data = {"users": User.objects.create_user("mina").pk, "courses": course.pk}
    reply = admin_client.post(reverse("admin:badging_coursemanager_add"), data, follow=True)
    # The message and the list.
    assert reply.content.decode().count(label) >= 2
    assert label in page_of(admin_client, CourseManager.objects.get())


def test_the_first_page_lists_nothing_that_nobody_can_do_anything_about(admin_client: Client) -> None:
    issuance(state=State.FAILED, reason=Outcome.LEARNER_DELETED)
    issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    page = admin_client.get(reverse("admin:index")).content.decode()
    assert str(Outcome.FORBIDDEN.label) in page
    assert str(Outcome.LEARNER_DELETED.label) not in page


def test_a_removed_connection_offers_no_test_and_no_removal(admin_client: Client) -> None:
    row = make_connection(state=NavigatrConnection.State.REMOVED, pat="")
    page = page_of(admin_client, row)
    assert 'value="test_connection"' not in page
    assert 'value="remove_connection"' not in page
    data = {"action": "remove_connection", "_selected_action": row.pk, "confirmed": "yes"}
    reply = admin_client.post(listing("badging_navigatrconnection"), data, follow=True)
    assert "has been removed. To use it again" in reply.content.decode()


@pytest.mark.parametrize(("state", "shown"), [(State.QUEUED, True), (State.HELD, False), (State.FAILED, False)])
def test_only_a_queued_issuance_shows_a_next_try(admin_client: Client, state: State, shown: bool) -> None:
    row = issuance(state=state, next_attempt_at=timezone.now().replace(year=2031))
    for page in (page_of(admin_client, row), admin_client.get(listing("badging_issuance")).content.decode()):
        assert ("2031" in page) == shown


def test_a_course_manager_is_told_that_a_site_admin_reconnects(client: Client) -> None:
    row = issuance(state=State.HELD, reason=Outcome.CONNECTION_PAUSED)
    NavigatrConnection.objects.update(state=NavigatrConnection.State.PAUSED)
    web = manager_of(row.course, client)
    for url in (
        reverse("course", args=[row.course_id]),
        reverse("issuance", args=[row.course_id, row.pk]),
    ):
        page = web.get(url).content.decode()
        assert "A site admin must reconnect it with a new token" in page
        assert "Reconnect it" not in page


def test_erasing_asks_with_site_and_number_beside_each_name(admin_client: Client) -> None:
    learner = make_learner(make_site(name="Sandbox Moodle"), moodle_id=4711)
    data = {"action": "erase", "_selected_action": learner.pk}
    page = admin_client.post(listing("moodle_sync_learner"), data).content.decode()
    assert escape(f"{learner} (Sandbox Moodle, Moodle id 4711)") in page


def test_a_page_of_badges_beyond_the_end_leads_to_the_last_one(client: Client, sandbox: Sandbox) -> None:
    connection = make_connection(pat=sandbox.pat)
    course = make_course()
    web = manager_of(course, client)
    query = {"connection": connection.pk, "provider": DEMO_PROVIDER_ID, "page": 999}
    reply = web.get(reverse("choose-badge", args=[course.pk]), query)
    assert reply.status_code == 302
    assert web.get(reply["Location"]).status_code == 200


def test_a_page_of_courses_beyond_the_end_leads_to_the_first_one(client: Client) -> None:
    page = manager_of(make_course(), client).get(reverse("courses"), {"page": 999}).content.decode()
    assert "First page" in page
    assert 'rel="prev"' not in page


def test_all_connections_are_asked_and_one_that_fails_hides_no_other(client: Client, sandbox: Sandbox) -> None:
    for number in range(3):
        make_connection(name=f"College {number}", pat=sandbox.pat)
    make_connection(name="Wrong", pat="navigatr_pat_wrong")
    course = make_course()
    page = manager_of(course, client).get(reverse("choose-provider", args=[course.pk])).content.decode()
    assert [page.count(f"College {number}") for number in range(3)] == [1, 1, 1]
    assert page.count(f'-{DEMO_PROVIDER_ID}"') == 3
    assert "Wrong" in page
