"""From an empty portal to the first badge with nothing but the screen, against the sandbox's Moodle and Navigatr."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from badging.models import Issuance
from badging.polling.site_poll import poll_and_queue
from badging.sending import rounds
from badging.setup import SITE_ADMINS
from moodle_sync.models import MoodleSite
from sandbox import Sandbox
from tests.builders import let_everything_run

from . import test_pages
from .looks import look_at
from .test_pages import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# The fixtures of the other pages.
browser, complaints, page = test_pages.browser, test_pages.complaints, test_pages.page

# Clicks and fields from the start page of an empty portal to the badge on the profile. Fewer are welcome.
MOST_STEPS = 26


class Hand:
    """Counts what a person clicks and types."""

    def __init__(self) -> None:
        self.clicks = 0
        self.fields = 0

    def click(self, target: Locator) -> None:
        """Click once."""
        self.clicks += 1
        target.click()

    def type(self, target: Locator, text: str) -> None:
        """Fill in one field."""
        self.fields += 1
        target.fill(text)


@pytest.fixture
def ada(transactional_db: None) -> User:
    """A site admin, and no superuser."""
    user = User.objects.create_user("ada", is_staff=True)
    user.groups.add(Group.objects.get(name=SITE_ADMINS))
    return user


def work() -> None:
    """What a worker does at the next tick."""
    let_everything_run()
    for site in MoodleSite.objects.select_related("state"):
        poll_and_queue(site, now=timezone.now())
    rounds.send_all_due()


def heading(page: Page, name: str) -> Locator:
    return page.get_by_role("heading", name=name, exact=True)


def connect_both(page: Page, hand: Hand, sandbox: Sandbox) -> None:
    """The first three steps."""
    hand.click(page.get_by_role("link", name="Connect Navigatr"))
    expect(page.get_by_text("Set-up, 1 of 5.")).to_be_visible()
    hand.type(page.get_by_label("Name", exact=False).first, "Northgate")
    hand.fields += 1
    page.get_by_label("Environment").select_option("staging")
    hand.type(page.get_by_label("Personal Access Token"), sandbox.pat)
    hand.click(page.get_by_role("button", name="Save", exact=True))
    expect(page.get_by_text("1 of 5 steps are done.")).to_be_visible()

    hand.click(page.get_by_role("link", name="Connect Moodle"))
    expect(heading(page, "In Moodle")).to_be_visible()
    hand.type(page.get_by_label("Name", exact=False).first, "Hub")
    hand.type(page.get_by_label("Address"), f"{sandbox.moodle_url}/course/view.php?id=2")
    hand.type(page.get_by_label("Web-service token"), sandbox.moodle_token)
    hand.click(page.get_by_role("button", name="Save", exact=True))
    expect(page.get_by_text("2 of 5 steps are done.")).to_be_visible()

    hand.click(page.get_by_role("link", name="Open the connection"))
    hand.click(page.get_by_label("Everybody: all courses of all Moodle sites"))
    hand.click(page.get_by_role("button", name="Save", exact=True))
    expect(page.get_by_text("3 of 5 steps are done.")).to_be_visible()


def choose_the_first_badge(page: Page, hand: Hand) -> None:
    """The fourth step, on the course managers' pages."""
    hand.click(page.get_by_role("link", name="Choose a course"))
    hand.click(page.get_by_role("link", name="Safeguarding Essentials"))
    hand.click(page.get_by_role("link", name="Choose a badge"))
    hand.click(page.get_by_label("Northgate College"))
    hand.click(page.get_by_role("button", name="Next"))
    hand.type(page.get_by_label("Search by name"), "safeguarding ess")
    hand.click(page.get_by_role("button", name="Search"))
    hand.click(page.locator("a.tile", has_text="Safeguarding Essentials"))
    hand.click(page.get_by_role("button", name="Save", exact=True))
    expect(page.get_by_role("status").first).to_contain_text("The course now awards the badge")
    hand.click(page.get_by_role("link", name="Back to set-up"))
    expect(page.get_by_text("4 of 5 steps are done.")).to_be_visible()


def test_an_empty_portal_issues_its_first_badge_with_nothing_but_the_screen(
    page: Page, live_server: Any, ada: User, sandbox: Sandbox
) -> None:
    sandbox.reset(demo=True)
    let_everything_run()
    sign_in(page, live_server.url, ada)
    hand = Hand()
    page.goto(reverse("admin:index"))
    hand.click(page.get_by_role("link", name="Go on with the set-up"))
    expect(page.get_by_text("0 of 5 steps are done.")).to_be_visible()
    connect_both(page, hand, sandbox)
    look_at(page, "set-up")
    choose_the_first_badge(page, hand)

    hand.click(page.locator(".path").get_by_role("link", name="Follow a badge"))
    expect(page.get_by_text("Nobody has completed the course since then.")).to_be_visible()
    look_at(page, "verification-waits")
    course = next(iter(sandbox.moodle.courses))
    sandbox.moodle.complete(course, sandbox.moodle.member_ids(course)[-1])
    hand.click(page.get_by_role("button", name="Look now"))
    work()
    # The page renews itself.
    expect(page.get_by_text("The badge has arrived")).to_be_visible()
    expect(page.get_by_role("link", name="Look at the badge in Navigatr")).to_be_visible()
    row = Issuance.objects.get(state=Issuance.State.ISSUED)
    expect(heading(page, row.learner.full_label)).to_be_visible()
    assert f"learner={row.learner_id}" in page.url
    look_at(page, "verification-arrived")
    page.goto(reverse("admin:set_up"))
    expect(page.get_by_text("The portal is set up")).to_be_visible()
    assert hand.clicks + hand.fields <= MOST_STEPS, (hand.clicks, hand.fields)


def test_the_page_for_the_moodle_administrator_is_copied_by_keyboard(
    page: Page, live_server: Any, ada: User, sandbox: Sandbox
) -> None:
    sign_in(page, live_server.url, ada)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(reverse("admin:moodle_guide_new"))
    look_at(page, "moodle-guide")
    button = page.get_by_role("button", name="Copy: Name of the report")
    button.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Copied.")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "Navigatr badge feed"
    page.goto(reverse("admin:moodle_sync_moodlesite_add", query={"setup": 2}))
    expect(heading(page, "In Moodle")).to_be_visible()
    look_at(page, "set-up-moodle")
