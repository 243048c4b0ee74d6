"""Every action on issuances and mappings in a real browser: one at a time, many in the background, and a back-fill.

The test plays the worker, so that the pages can be looked at between two batches.
"""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from badging import bulk
from badging.meanings import Outcome
from badging.models import BulkRun, CourseBadgeMapping, Issuance
from badging.setup import SITE_ADMINS
from moodle_sync.models import Course
from sandbox import DEMO_BADGE_ID, Sandbox
from tests.badging.admin.browsing import many_issuances
from tests.builders import let_everything_run, make_attempt, make_completion, make_issuance, mapping_of

from . import test_pages
from .looks import look_at
from .test_pages import sign_in

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# The fixtures of the other pages.
browser, complaints, page = test_pages.browser, test_pages.complaints, test_pages.page

MANY = bulk.BATCH + 20
State = Issuance.State


@pytest.fixture
def kim(page: Page, live_server: Any) -> Page:
    """The window of a site admin called kim."""
    user = User.objects.create_user("kim", is_staff=True)
    user.groups.add(Group.objects.get(name=SITE_ADMINS))
    sign_in(page, live_server.url, user)
    let_everything_run()
    return page


def press(page: Page, *names: str) -> None:
    """Press these buttons, one after the other."""
    for name in names:
        page.get_by_role("button", name=name).first.click()


def test_every_action_on_issuances(kim: Page) -> None:
    mapping = many_issuances(MANY)
    row = Issuance.objects.earliest("pk")
    make_attempt(row, outcome=Outcome.FORBIDDEN, status=403, detail="Not allowed for this provider")
    kim.goto(reverse("admin:badging_issuance_changelist"))
    expect(kim.get_by_role("cell", name="Account may not issue this badge").first).to_be_visible()
    kim.goto(reverse("admin:badging_issuance_changelist", query={"learner__id__exact": row.learner_id}))
    look_at(kim, "actions-issuances")
    # One: cancelled, sent again; its timeline tells it.
    kim.goto(reverse("admin:badging_issuance_change", args=[row.pk]))
    press(kim, "Cancel", "Yes, cancel them")
    expect(kim.get_by_text("kim cancelled it.")).to_be_visible()
    press(kim, "Send again", "Yes, send again")
    story = kim.locator(".timeline li")
    expect(story.filter(has_text="kim had it sent again.")).to_be_visible()
    expect(story.first).to_contain_text("The learner completed the course in Moodle.")
    expect(story.last).to_contain_text("Next try:")
    look_at(kim, "actions-issuance")
    # One whose answer is missing: looked up again.
    Issuance.objects.filter(pk=row.pk).update(
        state=State.FAILED, reason=Outcome.LOOKUP_REFUSED, unanswered="unknown", next_attempt_at=None
    )
    kim.reload()
    press(kim, "Look up again in Navigatr", "Yes, look up again")
    expect(kim.get_by_text("kim had it looked up again.")).to_be_visible()
    # All that failed under the mapping: in the background, with progress, stopped, and begun anew.
    kim.goto(reverse("admin:badging_coursebadgemapping_change", args=[mapping.pk]))
    look_at(kim, "actions-mapping")
    kim.get_by_role("link", name="What failed, why, and all of it sent again").click()
    look_at(kim, "actions-failed")
    press(kim, "Send again")
    expect(kim.get_by_text("a worker does it in the background")).to_be_visible()
    look_at(kim, "actions-failed-asked")
    press(kim, "Yes, send again")
    expect(kim.get_by_role("status")).to_contain_text(f"0 of {MANY - 1} done")
    run = BulkRun.objects.get()
    claim = bulk.take(run.pk, now=timezone.now())
    assert claim
    bulk.do_batch(run.pk, claim, now=timezone.now())
    # By itself.
    expect(kim.get_by_role("status")).to_contain_text(f"{bulk.BATCH} of {MANY - 1} done")
    expect(kim.get_by_role("progressbar")).to_have_attribute("value", str(bulk.BATCH))
    look_at(kim, "actions-bulk-run")
    press(kim, "Stop", "Yes, stop")
    expect(kim.get_by_role("heading", name="Stopped")).to_be_visible()
    assert not bulk.do_batch(run.pk, claim, now=timezone.now())
    left = MANY - 1 - bulk.BATCH
    assert Issuance.objects.filter(state=State.FAILED).count() == left
    kim.goto(reverse("admin:failed_together", args=[mapping.pk]))
    press(kim, "Send again", "Yes, send again")
    expect(kim.get_by_role("status")).to_contain_text(f"{left} of {left} done: {left} changed, 0 left alone.")
    kim.goto(reverse("admin:badging_bulkrun_changelist"))
    look_at(kim, "actions-bulk-runs")


def test_a_back_fill_with_preview(kim: Page, sandbox: Sandbox) -> None:
    row = make_issuance(state=State.ISSUED, assertion_id="1", issued_at=timezone.now(), next_attempt_at=None)
    mapping = mapping_of(row)
    picture = f"{sandbox.url}/navigatr/images/{DEMO_BADGE_ID}.svg"
    CourseBadgeMapping.objects.update(badge_image_url=picture)
    kim.goto(reverse("admin:badging_coursebadgemapping_changelist"))
    look_at(kim, "actions-mappings")
    kim.goto(reverse("admin:who_gets_badge", args=[mapping.pk]))
    press(kim, "Find out who they are", "Yes, find them")
    expect(kim.get_by_text("The course is being read from Moodle.")).to_be_visible()
    rows = [make_issuance(mapping, make_completion(mapping.course), past=True) for _number in range(3)]
    Course.objects.update(past_read_at=timezone.now())
    expect(kim.get_by_role("button", name="Release 3 learners")).to_be_visible()
    kim.reload()
    expect(kim.get_by_role("link", name="Ana Lee")).to_have_count(3)
    look_at(kim, "actions-who-gets")
    press(kim, "Release 3 learners")
    expect(kim.get_by_text("Past completions to be released: 3.")).to_be_visible()
    press(kim, "Yes, release them")
    expect(kim.get_by_text("They are being sent.")).to_be_visible()
    Issuance.objects.filter(pk=rows[0].pk).update(state=State.ISSUED, assertion_id="2", issued_at=timezone.now())
    expect(kim.get_by_text("Issued: 1. Waiting: 2.")).to_be_visible()
    press(kim, "Stop", "Yes, hold them")
    expect(kim.get_by_text("They wait:")).to_be_visible()
    assert Issuance.objects.standing_as(State.HELD).count() == 2
    # Disabled, enabled and removed.
    kim.goto(reverse("admin:badging_coursebadgemapping_change", args=[mapping.pk]))
    press(kim, "Disable", "Yes, disable")
    expect(kim.get_by_text("The course's mapping is disabled.")).to_be_visible()
    press(kim, "Enable", "Yes, enable")
    press(kim, "Remove")
    look_at(kim, "actions-remove")
    press(kim, "Yes, remove")
    assert not CourseBadgeMapping.objects.exists()
