"""The audit trail in the admin."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from badging.models import AuditEntry, CourseManager
from tests.builders import make_course

from .browsing import listed, page_of, rows_shown, search

pytestmark = pytest.mark.django_db
NAME = "badging_auditentry"


def test_entries_read_as_sentences_in_the_list_and_on_their_page(site_admin: Client) -> None:
    entry = AuditEntry.objects.create(
        action="mapping_removed", subject="Fire Safety", actor_name="ann", details={"badge": 5, "cancelled": 2}
    )
    told = "ann removed the badge of the course Fire Safety. Badge: #5. Cancelled: 2."
    for page in (listed(NAME), page_of(NAME, entry.pk)):
        assert told in site_admin.get(page).content.decode()


def test_entries_are_found_by_words_person_and_action(site_admin: Client) -> None:
    signed = AuditEntry.objects.create(action="signed_in", subject="mina", actor_name="mina.okafor")
    other = AuditEntry.objects.create(action="mapping_saved", subject="Fire Safety (North)", actor_name="admin")
    assert rows_shown(search(site_admin, NAME, "safety FIRE admin")) == [other.pk]
    assert rows_shown(site_admin.get(listed(NAME), {"who": "mina.okafor"})) == [signed.pk]
    assert rows_shown(site_admin.get(listed(NAME), {"action__exact": "mapping_saved"})) == [other.pk]


def test_grants_of_course_managers_are_in_it(site_admin: Client) -> None:
    user, course = User.objects.create_user("mina"), make_course(fullname="Fire Safety")
    form = {"users": [user.pk], "courses": [course.pk]}
    assert site_admin.post("/admin/badging/coursemanager/add/", form).status_code == 302
    granted = CourseManager.objects.get()
    assert site_admin.post(f"/admin/badging/coursemanager/{granted.pk}/delete/", {"post": "yes"}).status_code == 302
    found = search(site_admin, NAME, "fire mina").content.decode()
    assert "made mina a course manager. Course: Fire Safety" in found
    assert "mina is no longer a course manager" in found
