"""To whom connections are open, and the release of past completions, in the admin."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from badging.models import (
    AuditEntry,
    ConnectionGrant,
    CourseBadgeMapping,
    CourseManager,
    Issuance,
    NavigatrConnection,
    Past,
)
from moodle_sync.models import Course
from tests.builders import make_completion, make_connection, make_course, make_issuance, make_mapping, make_site

from .browsing import confirm, entered, listed, page_of, run, said

pytestmark = pytest.mark.django_db
State = Issuance.State

ADD = "admin:badging_connectiongrant_add"
GRANT, CONNECTION, MAPPING = "badging_connectiongrant", "badging_navigatrconnection", "badging_coursebadgemapping"


@pytest.fixture
def connection() -> NavigatrConnection:
    """A connection that is open to nobody, with the provider 11."""
    return make_connection(name="Northgate", open_to_all=False, providers=[[11, "Northgate College"]])


@pytest.fixture
def course() -> Course:
    """A course in category 5."""
    return make_course(make_site(name="North"), fullname="First Aid", category_id=5, category_name="Health")


def add(client: Client, connection: NavigatrConnection, provider: int | str = "", **fields: Any) -> Any:
    return client.post(reverse(ADD), {"what": f"{connection.pk}-{provider}", **fields}, follow=True)


def test_the_connections_page_leads_to_opening_it(site_admin: Client, connection: NavigatrConnection) -> None:
    page = site_admin.get(page_of(CONNECTION, connection.pk)).content.decode()
    assert "Nobody but site admins." in page
    assert reverse(ADD, query={"connection": connection.pk}) in page
    form = site_admin.get(reverse(ADD, query={"connection": connection.pk})).content.decode()
    assert f'<option value="{connection.pk}-" selected>Northgate (Staging): all providers</option>' in form
    assert f'<option value="{connection.pk}-11">Northgate (Staging): only Northgate College (11)</option>' in form
    assert site_admin.get(reverse(ADD, query={"connection": "x"})).status_code == 200


@pytest.mark.parametrize(
    ("kind", "fields", "provider", "shown"),
    [
        ("all", (), "", "everybody"),
        ("all", (), 11, "everybody, only for provider Northgate College (11)"),
        ("site", ("site",), "", "Moodle site North"),
        ("category", ("site", "category_id"), "", "category 5 of North"),
        ("manager", ("user",), "", "course manager mina"),
    ],
)
def test_each_kind_is_opened_shown_kept_and_closed(
    site_admin: Client,
    connection: NavigatrConnection,
    course: Course,
    kind: str,
    fields: tuple[str, ...],
    provider: int | str,
    shown: str,
) -> None:
    user = User.objects.create_user("mina")
    known = {"site": course.site_id, "category_id": 5, "user": user.pk}
    done = add(site_admin, connection, provider, kind=kind, **{name: known[name] for name in fields})
    grant = ConnectionGrant.objects.get()
    assert (grant.connection, grant.kind, grant.label) == (connection, kind, shown)
    assert done.redirect_chain[-1][0] == page_of(CONNECTION, connection.pk)
    assert shown in site_admin.get(listed(CONNECTION)).content.decode()
    assert grant.target in site_admin.get(page_of(CONNECTION, connection.pk)).content.decode()
    assert grant.target in site_admin.get(page_of(GRANT, grant.pk)).content.decode()
    confirm(site_admin, GRANT, "take_back", grant.pk)
    assert not ConnectionGrant.objects.exists()
    entries = AuditEntry.objects.order_by("pk").values_list("action", "actor__username")
    assert list(entries) == [("connection_opened", "site-admin"), ("connection_closed", "site-admin")]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "kind"),
        ({"kind": "everybody"}, "kind"),
        ({"kind": "site"}, "site"),
        ({"kind": "category", "site": "own"}, "category_id"),
        ({"kind": "category", "site": "own", "category_id": "6"}, "category_id"),
        ({"kind": "category", "site": "own", "category_id": "-1"}, "category_id"),
        ({"kind": "manager"}, "user"),
        ({"kind": "all", "site": "own"}, "site"),
        ({"kind": "all", "what": "99999-"}, "what"),
        ({"kind": "all", "what": "x"}, "what"),
        ({"kind": "all", "what": ""}, "what"),
    ],
)
def test_a_wrong_entry_is_said_and_opens_nothing(
    site_admin: Client, connection: NavigatrConnection, course: Course, fields: dict[str, Any], field: str
) -> None:
    if fields.get("site") == "own":
        fields = {**fields, "site": course.site_id}
    answer = site_admin.post(reverse(ADD), {"what": f"{connection.pk}-", **fields})
    assert answer.status_code == 200
    assert list(answer.context["adminform"].form.errors) == [field]
    assert not ConnectionGrant.objects.exists()


def test_closing_says_which_courses_it_stops_and_the_first_page_shows_them(
    site_admin: Client, connection: NavigatrConnection, course: Course
) -> None:
    add(site_admin, connection, kind="all")
    mapping = make_mapping(course, connection)
    make_issuance(mapping)
    grant = ConnectionGrant.objects.get()
    asked = run(site_admin, GRANT, "take_back", grant.pk).content.decode()
    assert f"1 course may not use it any more. Its badges that were not sent are held, not lost: {course}" in asked
    assert ConnectionGrant.objects.get() == grant
    done = confirm(site_admin, GRANT, "take_back", grant.pk)
    assert done.redirect_chain[-1][0] == page_of(CONNECTION, connection.pk)
    assert "Taken back: 1 opening." in said(done)
    page = site_admin.get(reverse("admin:index")).content.decode()
    assert f"Badges of {course.full_label} wait: Northgate (Staging) is not open to it" in page
    assert "held: not open to this course" in site_admin.get(page_of(CONNECTION, connection.pk)).content.decode()
    held = site_admin.get(listed("badging_issuance", reason="not_open"))
    assert [row.pk for row in held.context["cl"].result_list] == [Issuance.objects.get().pk]
    assert "Connection not open to the course" in held.content.decode()


def test_officers_see_and_change_nothing_and_others_do_not_see(
    officer: Client, connection: NavigatrConnection, django_user_model: Any
) -> None:
    grant = ConnectionGrant.objects.create(connection=connection, kind="all")
    assert officer.get(listed(GRANT)).status_code == 200
    assert officer.get(page_of(GRANT, grant.pk)).status_code == 200
    assert add(officer, connection, kind="all").status_code == 403
    confirm(officer, GRANT, "take_back", grant.pk)
    clerk = Client()
    clerk.force_login(django_user_model.objects.create_user("clerk", is_staff=True))
    assert clerk.get(listed(GRANT)).status_code == 403
    assert ConnectionGrant.objects.get() == grant


# Past completions


def with_past(course: Course, connection: NavigatrConnection, count: int, release: Past) -> CourseBadgeMapping:
    mapping = make_mapping(course, connection, past_release=release, past_wanted_at=timezone.now(), by_admin=True)
    for _number in range(count):
        make_issuance(mapping, make_completion(course), past=True)
    return mapping


def test_the_release_asks_first_says_how_many_and_is_kept(
    site_admin: Client, connection: NavigatrConnection, course: Course
) -> None:
    mapping = with_past(course, connection, 3, Past.OVER)
    page = site_admin.get(reverse("admin:index")).content.decode()
    assert f"{course.full_label}: more than 200 past completions wait for a site admin" in page
    assert "Release past completions" in site_admin.get(page_of(MAPPING, mapping.pk)).content.decode()
    asked = run(site_admin, MAPPING, "release_past", mapping.pk).content.decode()
    assert "Past completions to be released: 3." in asked
    assert "(learners who have already completed the course: 3; the limit: 200)" in asked
    assert CourseBadgeMapping.objects.get().past_release == Past.OVER
    done = confirm(site_admin, MAPPING, "release_past", mapping.pk)
    assert "Past completions released: 3." in said(done)
    assert CourseBadgeMapping.objects.get().past_release == Past.FREE
    assert AuditEntry.objects.get(action="past_released").actor == User.objects.get(username="site-admin")
    assert "Nothing: all is well." not in page
    again = confirm(site_admin, MAPPING, "release_past", mapping.pk)
    assert "No past completions wait there." in said(again)


def test_the_release_of_many_counts_all_of_them_in_one_query(
    site_admin: Client, connection: NavigatrConnection, course: Course
) -> None:
    courses = [course, *(make_course(course.site, moodle_id=900 + number) for number in range(3))]
    mappings = [with_past(row, connection, number, Past.OVER) for number, row in enumerate(courses)]
    # Found, and waits for nothing; cancelled; and in another environment, which makes nobody count twice.
    failed, cancelled, twice = Issuance.objects.filter(course=courses[3]).order_by("pk")
    Issuance.objects.filter(pk=failed.pk).update(state=State.FAILED, reason="forbidden")
    Issuance.objects.filter(pk=cancelled.pk).update(state=State.CANCELLED)
    twice.pk, twice.environment = None, "production"
    twice.connection = make_connection(name="Live", environment="production")
    twice.save(force_insert=True)
    with CaptureQueriesContext(database) as seen:
        asked = run(site_admin, MAPPING, "release_past", *(row.pk for row in mappings)).content.decode()
    # Besides the counts of the list's own columns, which are capped.
    counting = [row["sql"] for row in seen if "COUNT(" in row["sql"] and ") AS counted)" not in row["sql"]]
    assert len([sql for sql in counting if "badging_issuance" in sql]) == 1
    # None, one, two, and twice the same learner.
    assert "Past completions to be released: 5." in asked
    for row, learners in zip(courses, (0, 1, 2, 2), strict=True):
        told = rf"{re.escape(row.full_label)} → .* \(learners who have already completed the course: {learners};"
        assert re.search(told, asked)


def test_a_release_before_the_course_was_read_says_that_there_may_be_more(
    site_admin: Client, connection: NavigatrConnection, course: Course
) -> None:
    mapping = with_past(course, connection, 1, Past.COUNTING)
    assert "there may be many more" in run(site_admin, MAPPING, "release_past", mapping.pk).content.decode()


def test_only_who_may_switch_mappings_may_release(
    officer: Client, connection: NavigatrConnection, course: Course
) -> None:
    mapping = with_past(course, connection, 1, Past.OVER)
    confirm(officer, MAPPING, "release_past", mapping.pk)
    assert CourseBadgeMapping.objects.get().past_release == Past.OVER
    manager = Client()
    user = User.objects.create_user("mina")
    CourseManager.objects.create(user=user, course=course)
    manager.force_login(user)
    manager.post(listed(MAPPING), {"action": "release_past", "_selected_action": [mapping.pk], "confirmed": "yes"})
    assert CourseBadgeMapping.objects.get().past_release == Past.OVER


def test_a_changed_limit_is_kept_and_counts_at_once(
    site_admin: Client, connection: NavigatrConnection, course: Course
) -> None:
    mapping = with_past(course, connection, 3, Past.OVER)
    NavigatrConnection.objects.update(past_limit=2)
    fields = entered("", name="Northgate", past_limit="3", send_evidence="on")
    site_admin.post(page_of(CONNECTION, connection.pk), fields)
    mapping.refresh_from_db()
    assert mapping.past_release == Past.WITHIN
    assert AuditEntry.objects.get(action="connection_saved").details == {"changed": {"past_limit": 3}}


@pytest.mark.parametrize("made_up", ["abc", "9" * 24])
def test_made_up_values_are_told_and_open_nothing(site_admin: Client, made_up: str) -> None:
    form = {"what": "x", "kind": "evil", "user": made_up, "site": made_up}
    answer = site_admin.post(reverse("admin:badging_connectiongrant_add"), form)
    assert answer.status_code == 200
    assert "Select a valid choice" in answer.content.decode()
    assert not ConnectionGrant.objects.exists()
