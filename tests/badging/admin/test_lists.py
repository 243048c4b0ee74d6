"""Every list and every page of the admin: they open, stay quick, and show no more than they may."""

import re

import pytest
from django.contrib.auth.models import User
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from badging import bulk
from badging.admin.display import MOST_SHOWN
from badging.meanings import Outcome
from badging.models import AuditEntry, BulkRun, CourseBadgeMapping, CourseManager, Issuance, NavigatrConnection
from badging.setup import DATA_PROTECTION_OFFICERS, SITE_ADMINS
from config import celery_app
from moodle_sync.models import MoodleSite
from sandbox import Sandbox
from tests.builders import (
    NOW,
    make_attempt,
    make_completion,
    make_connection,
    make_course,
    make_issuance,
    make_mapping,
    make_site,
)

from .browsing import (
    MODELS,
    READ_ONLY,
    confirm,
    entered,
    listed,
    many_issuances,
    one_of_each,
    page_of,
    rows_shown,
    run,
    said,
    search,
    signed_in,
)

State = Issuance.State
pytestmark = pytest.mark.django_db


# Each list: session, user, the user's and the groups' permissions, the bounded count, the rows with what they show.
# What stands behind the filters comes on top, and is named.
LISTS = {
    "badging_issuance": 10,  # sites, connections, mapped courses, mappings
    "badging_issuanceattempt": 6,
    "badging_auditentry": 7,  # people
    "moodle_sync_learner": 7,  # sites
    "moodle_sync_completion": 7,  # mapped courses
}


@pytest.mark.postgres
@pytest.mark.parametrize("group", [SITE_ADMINS, DATA_PROTECTION_OFFICERS])
def test_every_list_and_page_opens_and_changes_nothing(group: str) -> None:
    ids, client = one_of_each(), signed_in(group)
    with CaptureQueriesContext(database) as seen:
        for name, pk in ids.items():
            assert client.get(listed(name)).status_code == 200, name
            assert client.get(page_of(name, pk)).status_code == 200, name
            # An address is no button.
            client.get(listed(name, action="send_again", confirmed="yes", _selected_action=pk))
    assert not [row["sql"] for row in seen if re.match(r"INSERT|UPDATE|DELETE", row["sql"])]


@pytest.mark.postgres
def test_every_list_can_be_searched(site_admin: Client) -> None:
    for name in one_of_each():
        for term in ("learner101@example.org", "Ana Lee", "101", "Zoë’s", "99999999999999999999999"):
            assert search(site_admin, name, term).status_code == 200, (name, term)


@pytest.mark.parametrize("name", READ_ONLY)
def test_what_the_portal_writes_cannot_be_written_by_hand(name: str, site_admin: Client) -> None:
    pk = one_of_each()[name]
    assert site_admin.post(page_of(name, pk), {"state": "issued", "subject": "x", "email": "x"}).status_code == 403
    assert site_admin.post(reverse(f"admin:{name}_delete", args=[pk]), {"post": "yes"}).status_code == 403
    # Adding a mapping leads to the courses.
    assert site_admin.get(reverse(f"admin:{name}_add")).status_code == (302 if "mapping" in name else 403)
    confirm(site_admin, name, "delete_selected", pk)
    assert site_admin.get(page_of(name, pk)).status_code == 200


def test_course_managers_and_strangers_do_not_come_in() -> None:
    course_manager = Client()
    manager = User.objects.create_user("manager")
    CourseManager.objects.create(user=manager, course=make_course())
    course_manager.force_login(manager)
    for client in (course_manager, Client()):
        for name in MODELS:
            assert client.get(listed(name)).status_code == 302
        assert client.post(listed("badging_issuance"), {"action": "cancel", "_selected_action": "1"}).status_code == 302


def test_the_pages_carry_the_portals_name_and_the_schedule_but_not_its_raw_rows(site_admin: Client) -> None:
    page = site_admin.get(reverse("admin:index")).content.decode()
    assert "Navigatr badge portal" in page
    assert reverse("admin:badging_scheduledtask_changelist") in page
    assert "django_celery_beat" not in page


@pytest.mark.postgres
def test_long_lists_take_few_queries_and_count_no_further_than_some_pages(site_admin: Client) -> None:
    many_issuances(300)
    for name, queries in LISTS.items():
        with CaptureQueriesContext(database) as seen:
            response = site_admin.get(listed(name))
        assert len(seen) == queries, (name, [row["sql"] for row in seen])
        counts = [row["sql"] for row in seen if "COUNT(" in row["sql"]]
        assert counts
        assert all("LIMIT" in sql for sql in counts)
        assert len(rows_shown(response)) == 25
        assert "More than 275" in response.content.decode()


@pytest.mark.postgres
def test_lists_of_mappings_and_background_actions_take_few_queries(site_admin: Client) -> None:
    connection = make_connection()
    for number in range(3):
        mapping = make_mapping(make_course(fullname=f"Course {number}"), connection)
        for state in (State.FAILED, State.QUEUED, State.HELD):
            make_issuance(mapping, state=state)
        bulk.start_failed(kind=BulkRun.Kind.CANCEL, course=mapping.course, actor=None, now=NOW)
    # Session, user, permissions of user and groups, the filter's connections, the bounded count, and the rows with
    # their counts.
    with CaptureQueriesContext(database) as seen:
        page = site_admin.get(listed("badging_coursebadgemapping")).content.decode()
    assert len(seen) == 7, [row["sql"] for row in seen]
    assert (
        f'{listed("badging_issuance", course=mapping.course_id, state__exact="failed,not_met")}">1</a>'.replace(
            "&", "&amp;"
        )
        in page
    )
    # The same without the filter.
    with CaptureQueriesContext(database) as seen:
        page = site_admin.get(listed("badging_bulkrun")).content.decode()
    assert len(seen) == 6, [row["sql"] for row in seen]
    assert "all failed issuances of Course 2" in page


def test_a_short_list_is_counted_and_a_far_page_is_reached(site_admin: Client) -> None:
    many_issuances(350)
    assert len(rows_shown(site_admin.get(listed("badging_issuance", p=14)))) == 25
    last = site_admin.get(listed("badging_issuance", p=14)).content.decode()
    assert "350 issuances" in last
    assert "More than" not in last
    assert site_admin.get(listed("badging_issuance", p="x")).status_code in (200, 302)


def test_a_page_about_one_thing_shows_a_bounded_number_of_rows(site_admin: Client) -> None:
    issuance = make_issuance(state=State.FAILED, reason=Outcome.UNAVAILABLE)
    for number in range(MOST_SHOWN + 10):
        make_attempt(issuance, detail=f"words number {number}.")
    page = site_admin.get(page_of("badging_issuance", issuance.pk)).content.decode()
    assert page.count("words number") == MOST_SHOWN
    # Oldest first, as a story is told.
    assert page.index("number 58.") < page.index("number 59.")
    assert "number 9." not in page
    assert "10 earlier attempts are not shown here." in page
    everything = re.search(r'href="([^"]*issuanceattempt/\?[^"]*)"', page)
    assert everything
    assert len(rows_shown(site_admin.get(everything[1]))) == 25


def test_rows_of_one_name_are_told_apart_on_every_list(site_admin: Client) -> None:
    site, connection = make_site(), make_connection()
    courses = [make_course(site, moodle_id=n, shortname="GDPR", fullname="Data Protection") for n in (8, 9)]
    rows = [make_issuance(make_mapping(course, connection)) for course in courses]
    for row in rows:
        make_attempt(row)
        CourseManager.objects.create(user=User.objects.create_user(f"mo{row.pk}"), course=row.course)
    labels = [f"Data Protection (GDPR · id {n} · {site})" for n in (8, 9)]
    for name in ("issuance", "issuanceattempt", "coursebadgemapping", "coursemanager"):
        page = site_admin.get(listed(f"badging_{name}")).content.decode()
        assert all(label in page for label in labels), name
    for address in (
        listed("moodle_sync_completion"),
        page_of("badging_navigatrconnection", connection.pk),
        page_of("badging_coursebadgemapping", rows[0].course.mapping.pk or 0),
        page_of("moodle_sync_learner", rows[0].learner_id),
    ):
        assert labels[0] in site_admin.get(address).content.decode(), address
    for name in ("badging_issuance", "badging_issuanceattempt", "moodle_sync_completion"):
        page = site_admin.get(listed(name)).content.decode()
        assert all(f"Ana Lee (id {row.learner.moodle_id})" in page for row in rows), name
    asked = run(site_admin, "badging_issuance", "cancel", *[row.pk for row in rows]).content.decode()
    assert all(label in asked for label in labels)
    asked = run(site_admin, "badging_coursebadgemapping", "disable", *[row.course.mapping.pk or 0 for row in rows])
    assert all(label in asked.content.decode() for label in labels)


@pytest.mark.slow
# Databases refuse the first; the second is refused before a database is asked.
@pytest.mark.parametrize("number", [pytest.param("9" * 23, marks=pytest.mark.postgres), "9" * 5000])
@pytest.mark.parametrize("model", MODELS)
def test_a_number_that_no_column_holds_is_a_made_up_filter_and_no_server_error(
    site_admin: Client, model: str, number: str
) -> None:
    make_issuance(make_mapping(), make_completion())
    for name in (
        *("id", "course", "connection", "site", "learner", "issuance__exact", "completion__in", "user", "actor"),
        *("connection__id__exact", "site__id__exact", "course__site__id__exact", "at__gte", "p", "q", "reason"),
    ):
        done = site_admin.get(listed(model, **{name: number}))
        # A search that this session does not know is dropped.
        assert done.status_code in ((303,) if name == "q" else (200, 302, 400)), name
        if done.status_code == 302:
            assert done["Location"].endswith("?e=1")
    # The page of the redirect, with the filter still in its address.
    assert site_admin.get(listed(model, id=number, e="1")).status_code in (200, 400)


def test_no_page_ever_holds_a_token(site_admin: Client, sandbox: Sandbox) -> None:
    ids = one_of_each()
    pat, moodle_token = "navigatr-secret-5f2c9a", "moodle-secret-77d1e0"
    NavigatrConnection.objects.update(pat="placeholder")
    connection, site = NavigatrConnection.objects.get(), MoodleSite.objects.get()
    connection.pat, site.token = pat, moodle_token
    connection.save()
    site.save()
    pages = [site_admin.get(reverse("admin:index"))]
    for name, pk in ids.items():
        pages += [site_admin.get(listed(name)), site_admin.get(page_of(name, pk))]
        pages.append(site_admin.get(reverse(f"admin:{name}_history", args=[pk])))
    pages.append(site_admin.post(page_of("badging_navigatrconnection", connection.pk), entered(pat, timeout="999")))
    pages.append(site_admin.post(page_of("moodle_sync_moodlesite", site.pk), {"new_token": moodle_token}))
    pages.append(run(site_admin, "badging_navigatrconnection", "test_connection", connection.pk))
    pages.append(run(site_admin, "badging_navigatrconnection", "remove_connection", connection.pk))
    pages.append(confirm(site_admin, "moodle_sync_learner", "export", ids["moodle_sync_learner"]))
    for page in pages:
        assert page.status_code == 200
        assert pat not in page.content.decode()
        assert moodle_token not in page.content.decode()


def test_who_may_only_look_has_no_buttons_and_no_actions(officer: Client) -> None:
    issuance = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    mapping_id, connection_id = issuance.course.mapping.pk, issuance.connection_id
    for name, action, pk in (
        ("badging_issuance", "send_again", issuance.pk),
        ("badging_issuance", "cancel", issuance.pk),
        ("badging_coursebadgemapping", "disable", mapping_id),
        ("badging_coursebadgemapping", "remove", mapping_id),
        ("badging_navigatrconnection", "test_connection", connection_id),
        ("badging_navigatrconnection", "remove_connection", connection_id),
        ("moodle_sync_moodlesite", "check_now", issuance.course.site_id),
        ("moodle_sync_moodlesite", "poll_now", issuance.course.site_id),
    ):
        assert f'value="{action}"' not in officer.get(page_of(name, pk)).content.decode()
        confirm(officer, name, action, pk)
    assert officer.post(page_of("badging_navigatrconnection", connection_id), {"name": "x"}).status_code == 403
    issuance.refresh_from_db()
    assert issuance.state == State.FAILED
    assert CourseBadgeMapping.objects.get().active
    assert NavigatrConnection.objects.get().state == "active"
    assert not AuditEntry.objects.exists()


def test_without_a_broker_the_page_says_when_it_will_be_sent(
    site_admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuance = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    # Celery takes the address from the environment first; nothing listens on port 1.
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setattr(celery_app.amqp, "_producer_pool", None)
    done = confirm(site_admin, "badging_issuance", "send_again", issuance.pk)
    assert "will be sent when the worker is back" in said(done)
    issuance.refresh_from_db()
    assert issuance.state == State.QUEUED
    asked = run(site_admin, "moodle_sync_moodlesite", "poll_now", issuance.course.site_id)
    assert "the worker cannot be reached" in said(asked)
