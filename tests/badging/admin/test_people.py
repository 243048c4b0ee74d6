"""Learners, completions, course managers and users in the admin."""

import json
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from badging.admin import course_managers
from badging.meanings import Outcome
from badging.models import AuditEntry, CourseManager, Issuance
from badging.setup import DATA_PROTECTION_OFFICERS
from moodle_sync.models import Learner
from tests.builders import NOW, make_completion, make_course, make_issuance, make_learner, make_site

from .browsing import listed, page_of, rows_shown, run, said, search, signed_in

State = Issuance.State
pytestmark = pytest.mark.django_db


def test_a_score_is_shown_without_zeros_at_its_end(site_admin: Client) -> None:
    completion = make_completion(score=Decimal("59.5"))
    for address in (
        listed("moodle_sync_completion"),
        page_of("moodle_sync_completion", completion.pk),
        page_of("moodle_sync_learner", completion.learner_id),
    ):
        page = site_admin.get(address).content.decode()
        assert "59.5 %" in page
        assert "59.500000" not in page


def test_odd_completions_are_shown_and_filtered(site_admin: Client) -> None:
    course = make_course()
    make_completion(course)
    implausible = make_completion(course, implausible=True)
    undone = make_completion(course, undone_at=NOW)
    name = "moodle_sync_completion"
    assert rows_shown(site_admin.get(listed(name, odd="implausible"))) == [implausible.pk]
    assert rows_shown(site_admin.get(listed(name, odd="undone"))) == [undone.pk]
    assert len(rows_shown(site_admin.get(listed(name, odd="other")))) == 3
    with CaptureQueriesContext(database) as seen:
        site_admin.get(listed(name, odd="undone"))
    # As without the filter: nothing is counted to its end.
    assert len(seen) == 7
    assert all("LIMIT" in row["sql"] for row in seen if "COUNT(" in row["sql"])


def test_a_course_manager_is_chosen_from_searched_users_and_courses(site_admin: Client) -> None:
    course, user = make_course(fullname="Fire Safety"), User.objects.create_user("mo")
    for field, term, row, name in (("course", "fire", course, "Fire Safety"), ("user", "mo", user, "mo")):
        query = {"app_label": "badging", "model_name": "coursemanager", "field_name": field, "term": term}
        (found,) = site_admin.post(reverse("admin:autocomplete"), query).json()["results"]
        assert found["id"] == str(row.pk)
        assert found["text"].startswith(name)
    site_admin.post(reverse("admin:badging_coursemanager_add"), {"users": [user.pk], "courses": [course.pk]})
    assert CourseManager.objects.get().course == course
    assert "mo" in site_admin.get(listed("moodle_sync_course")).content.decode()


def test_several_people_and_courses_are_added_at_once(site_admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    users = [User.objects.create_user(name) for name in ("mo", "mina")]
    courses = [make_course(), make_course()]
    CourseManager.objects.create(user=users[0], course=courses[0])
    add, form = reverse("admin:badging_coursemanager_add"), {"users": pks(users), "courses": pks(courses)}
    assert "3 course managers were added." in said(site_admin.post(add, form, follow=True))
    assert CourseManager.objects.count() == 4
    assert "0 course managers were added." in said(site_admin.post(add, form, follow=True))
    monkeypatch.setattr(course_managers, "MOST_ADDED", 3)
    assert "more than 3 at once" in said(site_admin.post(add, form, follow=True))


def pks(rows: list[Any]) -> list[int]:
    return [row.pk for row in rows]


def test_a_course_manager_is_added_or_removed_and_never_changed(site_admin: Client) -> None:
    first, second = make_course(), make_course()
    row = CourseManager.objects.create(user=User.objects.create_user("mo"), course=first)
    data = {"user": row.user_id, "course": second.pk}
    assert site_admin.post(page_of("badging_coursemanager", row.pk), data).status_code == 403
    assert CourseManager.objects.get().course == first


def test_the_officer_exports_what_is_held_as_a_file(officer: Client) -> None:
    issuance = make_issuance()
    answer = run(officer, "moodle_sync_learner", "export", issuance.learner_id)
    assert answer["Content-Disposition"] == 'attachment; filename="learners.json"'
    assert "no-store" in answer["Cache-Control"]
    person = json.loads(answer.content)["learners"][0]
    assert person["email"] == issuance.learner.email
    assert person["issuances"][0]["badge_id"] == 111
    assert AuditEntry.objects.get().action == "learner_exported"


def test_the_officer_erases_after_reading_what_will_happen(officer: Client) -> None:
    issuance = make_issuance()
    asked = run(officer, "moodle_sync_learner", "erase", issuance.learner_id, back=str(issuance.learner_id))
    assert "This cannot be undone." in asked.content.decode()
    assert Learner.objects.get().email
    done = run(
        officer, "moodle_sync_learner", "erase", issuance.learner_id, back=str(issuance.learner_id), confirmed="yes"
    )
    assert done.redirect_chain == [(page_of("moodle_sync_learner", issuance.learner_id), 302)]
    learner = Learner.objects.get()
    assert (learner.firstname, learner.lastname, learner.email) == ("", "", "")
    issuance.refresh_from_db()
    assert (issuance.state, issuance.reason) == (State.CANCELLED, Outcome.ERASED)
    assert "Ana" not in said(done)
    assert "Erased: 1. Badges cancelled: 1." in said(done)
    assert AuditEntry.objects.get().action == "learner_erased"


def test_without_the_rights_nobody_exports_or_erases() -> None:
    client = signed_in(DATA_PROTECTION_OFFICERS)
    issuance = make_issuance()
    group = Group.objects.get(name=DATA_PROTECTION_OFFICERS)
    group.permissions.remove(*group.permissions.filter(codename__in=["export_learner", "erase_learner"]))
    for action in ("export", "erase"):
        answer = run(client, "moodle_sync_learner", action, issuance.learner_id, confirmed="yes")
        assert not answer.has_header("Content-Disposition")
    assert Learner.objects.get().email
    assert 'value="erase"' not in client.get(page_of("moodle_sync_learner", issuance.learner_id)).content.decode()
    assert not AuditEntry.objects.exists()


def test_too_many_learners_are_neither_exported_nor_erased(officer: Client) -> None:
    site = make_site()
    Learner.objects.bulk_create(
        Learner(site=site, moodle_id=n, firstname="Ana", lastname="Lee", email=f"l{n}@example.org") for n in range(501)
    )
    first = str(Learner.objects.values_list("pk", flat=True)[0])
    for action in ("export", "erase"):
        data = {"action": action, "_selected_action": first, "select_across": "1", "index": "0", "confirmed": "yes"}
        assert "at most 500" in said(officer.post(listed("moodle_sync_learner"), data, follow=True))
    assert not Learner.objects.exclude(erased_at=None).exists()


def test_learners_are_found_by_address_whatever_its_case(officer: Client) -> None:
    site = make_site()
    wanted = make_learner(site, email="Zoe.Smith@Example.org", firstname="Zoe", lastname="Smith")
    make_learner(site)
    for term in ("ZOE.smith@example.ORG", "zoe.smith@", "smith zoe", str(wanted.moodle_id)):
        rows = search(officer, "moodle_sync_learner", term).context["cl"].result_list
        assert [row.pk for row in rows] == [wanted.pk], term


@pytest.mark.parametrize("made_up", ["abc", "9" * 24])
@pytest.mark.parametrize("field", ["users", "courses"])
def test_a_made_up_user_or_course_is_told_and_grants_nothing(site_admin: Client, field: str, made_up: str) -> None:
    form = {"users": User.objects.create_user("mina").pk, "courses": make_course().pk, field: made_up}
    answer = site_admin.post(reverse("admin:badging_coursemanager_add"), form)
    assert answer.status_code == 200
    assert "Select a valid choice" in answer.content.decode()
    assert not CourseManager.objects.exists()
