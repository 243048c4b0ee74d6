"""Connecting a Moodle site, and its page, in a real browser.

With PORTAL_SCREENSHOTS=folder, every page is kept there as a picture to look at.
"""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from badging.setup import SITE_ADMINS
from moodle_sync import poll_records
from moodle_sync.models import Course, MoodleSite, MoodleSiteState
from sandbox import Sandbox
from tests.builders import make_mapping

from . import test_pages
from .looks import keep_picture, look_at
from .test_pages import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# The fixtures of the other pages.
browser, complaints, page = test_pages.browser, test_pages.complaints, test_pages.page


def fill_in(page: Page, *, address: str, token: str, name: str = "College Moodle") -> None:
    for label, value in (("Name", name), ("Address", address), ("Web-service token", token)):
        page.get_by_label(label, exact=False).first.fill(value)


def test_a_site_is_connected_by_the_address_of_any_page_and_looked_after(
    page: Page, live_server: Any, sandbox: Sandbox, settings: Any
) -> None:
    settings.MOODLE_HOSTS = ["127.0.0.1", "*.invalid"]
    sandbox.reset(demo=True)
    admin = User.objects.create_user("ada", is_staff=True)
    admin.groups.add(Group.objects.get(name=SITE_ADMINS))
    sign_in(page, live_server.url, admin)

    # Addresses that are wrong say how, and nothing is saved.
    page.goto(reverse("admin:moodle_sync_moodlesite_add"))
    for address, said in (
        ("moodel.invalid/my/", "There is no host named moodel.invalid"),
        ("127.0.0.1:9", "Nothing answers at 127.0.0.1:9"),
        ("https://me:word@moodle.invalid", "must not hold a user name or password"),
    ):
        fill_in(page, address=address, token=sandbox.moodle_token)
        page.get_by_role("button", name="Test", exact=True).click()
        expect(page.get_by_text(said)).to_be_visible()
    keep_picture(page, "site-wrong-address")
    assert not MoodleSite.objects.exists()

    # The address of a course's page will do.
    fill_in(page, address=f"{sandbox.moodle_url}/course/view.php?id=2#section-1", token=sandbox.moodle_token)
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_role("heading", name="This Moodle can be read. Nothing was saved yet.")).to_be_visible()
    expect(page.get_by_label("Address")).to_have_value(sandbox.moodle_url)
    look_at(page, "site-tested")
    assert not MoodleSite.objects.exists()
    # The token that was typed is kept meanwhile.
    page.get_by_role("button", name="Save and continue editing").click()
    expect(page.get_by_text("can be read. Feed A")).to_be_visible()
    site = MoodleSite.objects.get()
    assert site.url == sandbox.moodle_url

    # Its page: polled by a button, with a chart and the courses.
    make_mapping(Course.objects.filter(site=site).order_by("pk")[0])
    now = timezone.now()
    for hours, minutes in ((9, 1), (6, 2), (5, 14), (4, 1), (1, 1), (0, 1)):
        began = now - timedelta(hours=hours)
        before = began - timedelta(minutes=minutes)
        poll_records.note_poll(site, began_at=began, took=timedelta(seconds=1), read_up_to=before, new=hours)
    poll_records.note_failure(site, at=now - timedelta(hours=5))
    page.reload()
    page.get_by_role("button", name="Poll now").click()
    expect(page.get_by_text("a worker was asked to poll it now")).to_be_visible()
    expect(page.get_by_role("img", name="The longest lag of each hour")).to_be_visible()
    page.get_by_text("The numbers").click()
    expect(page.get_by_role("cell", name="14 min")).to_be_visible()
    keep_picture(page, "site-page")
    page.get_by_role("link", name="1 awards a badge").click()
    assert page.url.endswith("badge=mapped")
    keep_picture(page, "site-courses")

    # A question comes first, with its answers.
    MoodleSiteState.objects.update(doubt="Is this still the same Moodle? It was a.example, and now it is b.example.")
    page.goto(reverse("admin:moodle_sync_moodlesite_changelist"))
    look_at(page, "site-list")
    page.get_by_role("link", name="College Moodle").click()
    look_at(page, "site-question")
    page.get_by_role("button", name="It is the same Moodle").click()
    page.get_by_role("button", name="Yes, it is the same Moodle").click()
    expect(page.get_by_text("is read again, and what waits is sent")).to_be_visible()
