"""Navigatr connections in a real browser: tested, removed, reconnected; and a trial that goes live.

With PORTAL_SCREENSHOTS=folder, every step is kept there as a picture to look at.
"""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from badging.models import CourseBadgeMapping, Issuance, NavigatrConnection
from badging.setup import SITE_ADMINS
from sandbox import DEMO_BADGE_ID, Sandbox
from tests.builders import connect, make_completion, make_course, make_learner, make_site, map_course

from . import test_pages
from .looks import look_at
from .test_pages import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# The fixtures of the other pages.
browser, complaints, page = test_pages.browser, test_pages.complaints, test_pages.page


@pytest.fixture
def admin(page: Page, live_server: Any) -> Page:
    """The window with a site admin signed in."""
    user = User.objects.create_user("ada", "ada@example.org", "correct horse", is_staff=True)
    user.groups.add(Group.objects.get(name=SITE_ADMINS))
    sign_in(page, live_server.url, user)
    return page


def test_a_connection_is_tested_saved_removed_and_reconnected(admin: Page, sandbox: Sandbox) -> None:
    admin.goto(reverse("admin:badging_navigatrconnection_add"))
    production, staging = (admin.get_by_role("link", name=f"in Navigatr: {name}") for name in ("Production", "Staging"))
    expect(production).to_be_visible()
    admin.get_by_label("Environment").select_option("staging")
    expect(production).not_to_be_visible()
    expect(staging).to_be_visible()
    expect(admin.get_by_label("Time-out in seconds")).not_to_be_visible()
    # A token with blanks around it is tested before the connection has a name, and kept for the save.
    token = admin.get_by_label("Personal Access Token")
    token.fill(f"  {sandbox.pat} ")
    admin.get_by_role("button", name="Test Connection").click()
    expect(admin.get_by_role("status")).to_contain_text("Northgate College, Südstadt Academy")
    expect(token).to_have_value("")
    look_at(admin, "connection-tested")
    admin.get_by_label("Name").fill("Trial")
    admin.get_by_role("button", name="Save", exact=True).click()
    expect(admin.get_by_text("Trial (Staging) is open to nobody yet.")).to_be_visible()
    connection = NavigatrConnection.objects.get()
    assert (connection.pat, connection.state) == (sandbox.pat, "active")
    look_at(admin, "connection-page")
    admin.get_by_role("button", name="Remove Connection").click()
    expect(admin.get_by_text("The token is forgotten. Reconnecting needs a new one.")).to_be_visible()
    look_at(admin, "connection-remove")
    admin.get_by_role("button", name="Yes, remove it").click()
    expect(admin.get_by_role("heading", name="Removed on")).to_be_visible()
    look_at(admin, "connection-removed")
    # The wrong token is refused, unless she insists; then the right one reconnects it.
    token.fill("another-token")
    admin.get_by_role("button", name="Reconnect").click()
    expect(admin.get_by_role("heading", name="Nothing was saved")).to_be_visible()
    look_at(admin, "connection-refused")
    admin.get_by_role("button", name="Save anyway").click()
    expect(admin.get_by_role("heading", name="Paused since")).to_contain_text("Navigatr refused the token.")
    look_at(admin, "connection-paused")
    token.fill(sandbox.pat)
    admin.get_by_role("button", name="Reconnect").click()
    expect(admin.get_by_text("The token belongs to").first).to_be_visible()
    connection.refresh_from_db()
    assert (connection.pat, connection.state) == (sandbox.pat, "active")
    open_and_close(admin)


def open_and_close(admin: Page) -> None:
    """Open the connection of the page to everybody, and take that back."""
    # Opening it asks only for what the choice needs.
    admin.get_by_role("link", name="Open it to courses or to a course manager").click()
    admin.get_by_label("Everybody: all courses of all Moodle sites").check()
    expect(admin.get_by_label("Category id")).not_to_be_visible()
    admin.get_by_label("The courses of a Moodle category").check()
    expect(admin.get_by_label("Category id")).to_be_visible()
    look_at(admin, "connection-open")
    admin.get_by_label("Everybody: all courses of all Moodle sites").check()
    admin.get_by_role("button", name="Save", exact=True).click()
    look_at(admin, "connection-opened")
    admin.get_by_role("button", name=re.compile("Take back.*everybody")).click()
    expect(admin.get_by_text("No course awards badges only because of this")).to_be_visible()
    look_at(admin, "connection-close")
    admin.get_by_role("button", name="Yes, take it back").click()
    expect(admin.get_by_text("Nobody but site admins.")).to_be_visible()


def test_a_trial_goes_live(admin: Page, sandbox: Sandbox) -> None:
    trial = connect(sandbox, name="Trial")
    connect(sandbox, name="Live", environment="production", pat=sandbox.production_pat)
    site = make_site(name="Learning Hub")
    for number, name in enumerate(("First Aid at Work", "Safeguarding for everybody who works with children")):
        badge = sandbox.navigatr.badges[DEMO_BADGE_ID + number]
        since = timezone.now() - timedelta(hours=1)
        map_course(
            sandbox, trial, make_course(site, fullname=name), badge_id=badge.id, badge_name=badge.name, since=since
        )
    first = CourseBadgeMapping.objects.order_by("pk")[0]
    for name in ("Williams", "Lindström", "O’Brien"):
        make_completion(first.course, make_learner(site, lastname=name), completed_at=timezone.now())
    admin.goto(reverse("admin:badging_navigatrconnection_change", args=[trial.pk]))
    admin.get_by_role("link", name="Go live").click()
    expect(admin.get_by_role("combobox", name="First Aid at Work")).to_have_value("7011-7111")
    look_at(admin, "live-choose")
    admin.get_by_role("checkbox", name="First Aid at Work").check()
    admin.get_by_role("button", name="Show what will happen").click()
    expect(admin.get_by_text("Up to 3 real badges are mailed now.")).to_be_visible()
    admin.get_by_text("To whom").click()
    expect(admin.get_by_text("Ana Lindström")).to_be_visible()
    look_at(admin, "live-confirm")
    assert not Issuance.objects.exists()
    admin.get_by_role("button", name="Yes, go live and mail 3 real badges").click()
    expect(admin.get_by_text("2 courses award real badges of Live now.")).to_be_visible()
    assert set(Issuance.objects.values_list("environment", flat=True)) == {"production"}
    assert not trial.mappings.exists()
