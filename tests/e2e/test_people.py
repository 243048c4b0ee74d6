"""People, learners, audit and history in a real browser, as a site admin uses them."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from playwright.sync_api import Page, expect

from badging import mapping as mappings
from badging.models import CourseManager, Issuance
from badging.setup import DATA_PROTECTION_OFFICERS, SITE_ADMINS
from moodle_sync.models import Course
from tests.builders import make_completion, make_issuance, make_learner, make_mapping

from . import test_pages
from .looks import look_at
from .test_pages import sign_in

# Fixtures.
browser, complaints, course, page = test_pages.browser, test_pages.complaints, test_pages.course, test_pages.page

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_site_admin_invites_looks_for_a_badge_and_reads_what_was_done(
    page: Page,
    live_server: Any,
    course: Course,
) -> None:
    admin = User.objects.create_superuser("ada")
    sign_in(page, live_server.url, admin)
    page.goto(reverse("admin:auth_user_changelist"))
    look_at(page, "list")
    # One person with two roles, who manages a course as well.
    page.get_by_role("link", name="Invite a person").click()
    page.get_by_label("E-mail address").fill("nia@example.org")
    page.get_by_label("First name").fill("Nia")
    page.get_by_label("Last name").fill("Rowe")
    page.get_by_label(SITE_ADMINS).check()
    page.get_by_label(DATA_PROTECTION_OFFICERS).check()
    page.locator(".field-courses .select2-search__field").fill("first")
    page.locator(".select2-results__option", has_text="First Aid at Work").click()
    look_at(page, "invite")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("heading", name="Links to pass on")).to_be_visible()
    look_at(page, "link")
    page.get_by_role("button", name="Copy the link").click()
    expect(page.get_by_role("status").filter(has_text="Copied.")).to_be_visible()
    nia = User.objects.get(email="nia@example.org")
    assert {group.name for group in nia.groups.all()} == {SITE_ADMINS, DATA_PROTECTION_OFFICERS}
    assert CourseManager.objects.filter(user=nia, course=course).exists()
    page.goto(reverse("admin:auth_user_change", args=[nia.pk]))
    look_at(page, "person")
    page.goto(reverse("admin:badging_coursemanager_add"))
    look_at(page, "managers")
    # A learner asks where the badge is.
    mapping = make_mapping(course, badge_name="Safeguarding")
    learner = make_learner(course.site, firstname="Zoë", lastname="Okafor")
    make_issuance(mapping, make_completion(course, learner), state=Issuance.State.FAILED, reason="profile_incomplete")
    page.goto(reverse("admin:learner_badge"))
    page.get_by_label("The learner's name").fill("okafor zoë")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("Please complete your first name, last name and e-mail address")).to_be_visible()
    assert "okafor" not in page.url
    look_at(page, "learner-badge")
    # What was done, in sentences.
    mappings.disable_mapping(mapping, actor=admin)
    page.goto(reverse("admin:badging_auditentry_changelist"))
    page.get_by_label("Words: who did it").fill("first aid nia")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("ada made nia a course manager. Course: First Aid at Work")).to_be_visible()
    look_at(page, "audit")
    page.goto(reverse("admin:badging_coursebadgemapping_change", args=[mapping.pk]))
    page.locator("a[href$='/history/']").click()
    expect(page.get_by_text("ada changed active from yes to no.")).to_be_visible()
    look_at(page, "history")
    page.goto(reverse("admin:privacy"))
    look_at(page, "privacy")
    page.goto(reverse("admin:people_signinlock_changelist", query={"waiting": "yes"}))
    look_at(page, "locks")
    page.goto(reverse("admin:auth_group_changelist"))
    look_at(page, "roles")
