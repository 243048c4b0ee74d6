"""The start page of the admin in a real browser: both charts, and a refresh that nobody notices."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect

from badging.meanings import Outcome
from badging.models import CourseBadgeMapping, DayCount
from badging.setup import SITE_ADMINS
from people.sessions import SessionStore
from sandbox import Sandbox
from tests.builders import (
    connect,
    let_everything_run,
    make_attempt,
    make_completion,
    make_course,
    make_issuance,
    make_learner,
    make_site,
    map_course,
)

from . import test_pages
from .looks import look_at

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

# The fixture of the other pages.
browser = test_pages.browser

DAY = timedelta(days=1)
# How many pixels of a canvas are not empty.
DRAWN = """id => {
    const canvas = document.getElementById(id)
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
    return data.filter((value, index) => index % 4 === 3 && value).length
}"""


@pytest.fixture
def mapping(transactional_db: None, sandbox: Sandbox, settings: Any) -> CourseBadgeMapping:
    """A portal with a month behind it, and a few things that need a person."""
    settings.SANDBOX_URL = sandbox.url
    cache.clear()
    let_everything_run()
    now = timezone.now()
    site = make_site(name="Learning Hub", feed="A", last_poll_at=now - timedelta(seconds=9), next_poll_at=now)
    mapping = map_course(sandbox, connect(sandbox, name="College"), make_course(site, fullname="First Aid at Work"))
    for number in range(1, 30):
        DayCount.objects.create(
            day=timezone.localdate(now - DAY * number),
            environment="staging",
            issued=20 + number * 7 % 31,
            failed=number % 4,
            timed=20,
            median_delay=timedelta(seconds=20 + number % 9),
            p95_delay=timedelta(seconds=90 + number * 11 % 70),
        )
    make_attempt(issue(mapping), at=now - 40 * DAY)
    no_tracking = make_course(site, fullname="Fire Safety", completion_enabled=False)
    map_course(sandbox, mapping.connection, no_tracking)
    fail(mapping)
    return mapping


def issue(mapping: CourseBadgeMapping) -> Any:
    now = timezone.now()
    completion = make_completion(mapping.course, make_learner(mapping.course.site), completed_at=now - timedelta(0, 30))
    fields = {"state": "issued", "reason": Outcome.ISSUED, "assertion_id": "1", "issued_at": now}
    return make_issuance(mapping, completion, **fields)


def fail(mapping: CourseBadgeMapping) -> None:
    completion = make_completion(mapping.course, make_learner(mapping.course.site))
    row = make_issuance(mapping, completion, state="failed", reason=Outcome.PROFILE_INCOMPLETE)
    make_attempt(row, at=timezone.now(), outcome=Outcome.PROFILE_INCOMPLETE)


def test_the_start_page_draws_its_charts_and_refreshes_without_a_jump(
    browser: Browser, live_server: Any, mapping: CourseBadgeMapping
) -> None:
    complaints: list[str] = []
    context = browser.new_context(base_url=live_server.url, viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    # The browser's clock is the test's, so that nothing waits.
    page.clock.install()
    sign_in(page, live_server.url)
    page.goto("/admin/")
    expect(page.locator(".start-line")).to_contain_text("1 issued today · 0 waiting · 2 problems")
    for chart in ("chart-days", "chart-delays"):
        assert page.evaluate(DRAWN, chart) > 1000
    for address, name in (("/admin/problems/", "problems"), ("/admin/", "start")):
        page.goto(address)
        look_at(page, name)

    page.locator("summary").first.click()
    page.evaluate("window.scrollTo(0, 500)")
    page.locator("summary").first.evaluate("element => element.blur()")
    before = page.evaluate("[window.scrollY, document.querySelectorAll('[aria-live], [role=status]').length]")
    issue(mapping)
    refresh(page)
    expect(page.locator(".start-line")).to_contain_text("2 issued today")
    expect(page.locator("[data-part=days] tbody tr").first).to_contain_text("2")
    assert page.evaluate("Chart.getChart('chart-days').data.datasets[0].data.at(-1)") == 2
    assert page.locator("details").first.evaluate("element => element.open")
    assert page.evaluate("[window.scrollY, document.querySelectorAll('[aria-live], [role=status]').length]") == before
    # Numbers are not read aloud; that something needs a person is.
    expect(page.locator("#start-said")).to_be_empty()
    mapping.active = False
    mapping.save()
    make_issuance(mapping, make_completion(mapping.course, make_learner(mapping.course.site)))
    refresh(page)
    expect(page.locator("#start-said")).to_contain_text("3 problems")
    # Signed out elsewhere: it stops and says so.
    SessionStore.get_model_class().objects.all().delete()
    refresh(page)
    expect(page.get_by_text("This page is not refreshed any more.")).to_be_visible()
    context.close()
    assert complaints == []


def sign_in(page: Page, address: str) -> None:
    ada = User.objects.create_user("ada", first_name="Ada", is_staff=True)
    ada.groups.add(Group.objects.get(name=SITE_ADMINS))
    client = Client()
    client.force_login(ada)
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": address}])


def refresh(page: Page) -> None:
    """Let a quarter of a minute pass on the page, and what the portal keeps run out."""
    cache.clear()
    with page.expect_response("**/admin/start/"):
        page.clock.fast_forward(16_000)
        page.clock.run_for(1_100)
