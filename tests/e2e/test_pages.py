"""The pages in a real browser: usable by keyboard, for everybody, and on a phone.

With PORTAL_SCREENSHOTS=folder, every page is kept there as a picture to look at.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Browser, Page, expect, sync_playwright

from badging import waiting
from badging.meanings import Outcome
from badging.models import (
    CourseBadgeMapping,
    CourseManager,
    Environment,
    Issuance,
    NavigatrConnection,
    ScheduledTask,
)
from badging.setup import SITE_ADMINS
from moodle_sync.models import Course, MoodleSiteState
from sandbox import DEMO_BADGE_ID, DEMO_PROVIDER_ID, NAVIGATR, Sandbox
from tests.builders import (
    NOW,
    let_everything_run,
    make_attempt,
    make_completion,
    make_connection,
    make_course,
    make_issuance,
    make_learner,
    make_mapping,
    make_site,
)

from .looks import look_at

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

State = Issuance.State


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """Debian's Chromium without a window, gone before another module's tests start loops of their own."""
    # Playwright's loop makes Django think that the tests themselves run asynchronously. They do not.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def staging(transactional_db: None, sandbox: Sandbox) -> NavigatrConnection:
    """A connection to the pretend staging environment."""
    return make_connection(name="Trial", pat=sandbox.pat)


@pytest.fixture
def course(transactional_db: None) -> Course:
    """A course with a manager called mina."""
    course = make_course(make_site(name="Learning Hub"), shortname="FA1", fullname="First Aid at Work")
    user = User.objects.create_user("mina", password="correct horse", first_name="Mina", last_name="Okafor")
    CourseManager.objects.create(user=user, course=course)
    return course


@pytest.fixture
def complaints() -> list[str]:
    """What the browser's console complained about, such as a breach of the content security policy."""
    return []


@pytest.fixture
def page(browser: Browser, live_server: Any, sandbox: Sandbox, complaints: list[str]) -> Iterator[Page]:
    """A fresh window on the portal; at its end nothing may stand in the console.

    The sandbox outlives it: pictures of badges may still be on their way when a test ends.
    """
    context = browser.new_context(base_url=live_server.url, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(15_000)
    page = context.new_page()
    page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    yield page
    context.close()
    assert complaints == []


@pytest.fixture
def signed_in(page: Page, live_server: Any, course: Course) -> Page:
    """The same window with mina signed in."""
    sign_in(page, live_server.url, User.objects.get(username="mina"))
    return page


def sign_in(page: Page, address: str, user: User) -> None:
    """Give the window the user's session, as signing in does."""
    client = Client()
    client.force_login(user)
    page.context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": address}])


def fill(course: Course, connection: NavigatrConnection, sandbox: Sandbox) -> Issuance:
    """A mapped course with an issuance in every state, and a second course; returns the one with the most to tell."""
    mapping = make_mapping(
        course,
        connection,
        badge_id=DEMO_BADGE_ID,
        badge_name="Safeguarding Essentials",
        badge_image_url=f"{sandbox.url}/navigatr/images/{DEMO_BADGE_ID}.svg",
        badge_url=f"{sandbox.url}/navigatr/badge/{DEMO_BADGE_ID}",
        badge_problem="The badge is Draft in Navigatr and cannot be issued. Publish it again, or choose another one.",
        created_by=User.objects.get(username="mina"),
    )
    reasons = {
        State.SENDING: {"claim": "7b2c8d4e-0000-4000-8000-000000000001", "leased_until": NOW},
        State.ISSUED: {
            "reason": Outcome.ISSUED,
            "assertion_id": "911",
            "assertion_url": f"{sandbox.url}/navigatr/assertion/911",
            "issued_at": NOW,
        },
        State.NOT_MET: {"reason": Outcome.NOT_MET},
        State.HELD: {"reason": Outcome.CONNECTION_PAUSED},
        State.CANCELLED: {"reason": Outcome.BY_HAND},
        State.FAILED: {"reason": Outcome.LOOKUP_REFUSED},
    }
    names = ["Aisha", "Ümit", "Ольга", "Nguyễn", "陈", "Björn-Alexander-Maximilian", "Zoë"]
    for name, state in zip(names, State, strict=True):
        learner = make_learner(course.site, firstname=name, lastname="Fernández-López")
        row = make_issuance(mapping, make_completion(course, learner), state=state, **reasons.get(state, {}))
    row = Issuance.objects.get(state=State.FAILED)
    make_attempt(row, outcome=Outcome.UNCLEAR, status=None, next_attempt_at=NOW)
    refused = {"status": 403, "fields": "recipient_email, provider_id", "detail": "You do not have permission"}
    make_attempt(row, kind="lookup", outcome=Outcome.LOOKUP_REFUSED, **refused)
    other = make_course(course.site, shortname="ÉTH-1", fullname="Café & “Éthique” niveau 1 — Donaudampfschifffahrt")
    CourseManager.objects.create(user=User.objects.get(username="mina"), course=other)
    return row


@pytest.fixture
def addresses(course: Course, staging: NavigatrConnection, sandbox: Sandbox) -> dict[str, str]:
    """Every page, by name."""
    row = fill(course, staging, sandbox)
    make_connection(name="Live", environment=Environment.PRODUCTION, pat=sandbox.production_pat)
    chosen = {"connection": staging.pk, "provider": DEMO_PROVIDER_ID}
    unmapped = Course.objects.exclude(pk=course.pk).get()
    mina = User.objects.get(username="mina")
    gone = make_course(course.site, shortname="GDPR26", fullname="Data Protection", gone_at=NOW)
    doubles = [make_issuance(make_mapping(gone, staging))]
    doubles.append(make_issuance(doubles[0].mapping))
    again = make_issuance(row.mapping, state=State.FAILED, reason=Outcome.UNPUBLISHED)
    for managed in (gone, make_course(course.site, shortname="GDPR26", fullname="Data Protection")):
        CourseManager.objects.create(user=mina, course=managed)
    return {
        "list": reverse("courses"),
        "list-nothing": reverse("courses", query={"q": "nothing"}),
        "course": reverse("course", args=[course.pk]),
        "course-unmapped": reverse("course", args=[unmapped.pk]),
        "course-gone": reverse("course", args=[gone.pk]),
        "issuance-double": reverse("issuance", args=[gone.pk, doubles[0].pk]),
        "issuance": reverse("issuance", args=[course.pk, row.pk]),
        "provider": reverse("choose-provider", args=[course.pk]),
        "provider-error": reverse("choose-provider", args=[course.pk], query={"go": "1"}),
        "badge": reverse("choose-badge", args=[course.pk], query=chosen | {"page": 2}),
        "review": reverse("review-badge", args=[course.pk], query=chosen | {"badge": DEMO_BADGE_ID + 1}),
        "remove": reverse("remove-badge", args=[course.pk]),
        "help": reverse("help"),
        "send-again": reverse("send-again", args=[course.pk, again.pk]),
        "badge-organisations": reverse("choose-badge", args=[course.pk], query=chosen | {"q": "partner of"}),
        "trouble": reverse("review-badge", args=[course.pk], query=chosen | {"badge": 1}),
        "password": reverse("account_change_password"),
        "password-chosen": reverse("account_reset_password_from_key_done"),
    }


def test_every_page_is_accessible_and_fits_a_phone(signed_in: Page, addresses: dict[str, str]) -> None:
    for name, address in addresses.items():
        answer = signed_in.goto(address)
        assert answer is not None
        assert answer.status == 200, name
        look_at(signed_in, name)


def test_sign_in_and_error_pages_are_accessible(page: Page, course: Course, complaints: list[str]) -> None:
    page.goto("/sign-in/")
    look_at(page, "sign-in")
    page.get_by_label("User name or e-mail address").fill("mina")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("password is not right")
    look_at(page, "sign-in-refused")
    page.goto("/no-such-page/")
    look_at(page, "not-found")
    # The one complaint that belongs here: that the page was not found.
    assert all("404" in line for line in complaints)
    complaints.clear()


def test_a_badge_is_mapped_by_keyboard_alone(page: Page, course: Course, staging: NavigatrConnection) -> None:
    page.goto("/")
    press_to(page, "User name or e-mail address")
    page.keyboard.type("mina")
    page.keyboard.press("Tab")
    page.keyboard.type("correct horse")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Courses")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    press_to(page, "First Aid at Work")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="First Aid at Work")).to_be_visible()
    press_to(page, "Choose a badge")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Choose a provider")).to_be_visible()
    press_to(page, "Northgate College")
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Choose a badge")).to_be_visible()
    press_to(page, "Search by name")
    page.keyboard.type("safeguarding ess")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 published badge")).to_be_visible()
    press_to(page, "Safeguarding Essentials")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Review")).to_be_visible()
    press_to(page, "Only from now on")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("The course now awards the badge “Safeguarding Essentials”.")
    mapping = CourseBadgeMapping.objects.get()
    assert mapping.badge_id == DEMO_BADGE_ID
    assert mapping.include_past


def press_to(page: Page, name: str) -> None:
    """Press Tab until what has this name has the focus, as a person without a mouse would."""
    told = "document.activeElement.labels?.[0]?.innerText || document.activeElement.innerText || ''"
    for _press in range(60):
        page.keyboard.press("Tab")
        if page.evaluate(told).strip().startswith(name):
            return
    raise AssertionError(f"{name} is not reached by keyboard")


def test_pictures_of_badges_come_from_the_portal_itself(
    signed_in: Page, course: Course, staging: NavigatrConnection, live_server: Any
) -> None:
    asked: list[str] = []
    signed_in.on("request", lambda request: asked.append(request.url))
    chosen = {"connection": staging.pk, "provider": DEMO_PROVIDER_ID}
    signed_in.goto(reverse("choose-badge", args=[course.pk], query=chosen))
    picture = signed_in.locator(".tile img").first
    expect(picture).to_be_visible()
    expect(signed_in.locator(".tile img").first).not_to_have_js_property("naturalWidth", 0)
    assert any("/pictures/" in url for url in asked)
    assert not [url for url in asked if not url.startswith(live_server.url)]


def test_a_picture_that_cannot_be_had_is_the_placeholder(
    signed_in: Page, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    make_mapping(course, staging, badge_image_url=f"{sandbox.url}/navigatr/images/no-such-picture.svg")
    signed_in.goto(reverse("course", args=[course.pk]))
    with signed_in.expect_response("**/no-picture.svg"):
        signed_in.reload()
    # A function in a string would be evaluated in the page again and again, which its security policy refuses.
    expect(signed_in.locator("img.picture")).not_to_have_js_property("naturalWidth", 0)


def test_nothing_inline_runs_outside_the_admin(signed_in: Page, course: Course, complaints: list[str]) -> None:
    """What somebody managed to write into a page is blocked, and the console says by which directive."""
    signed_in.goto("/courses/")
    signed_in.evaluate(
        """() => {
            const marked = "<b id=marked style='color: red' onclick='window.ran = 1'>x</b>"
            document.body.insertAdjacentHTML("beforeend", marked)
            const script = document.createElement("script")
            script.setAttribute("src", "/static/admin/js/core.js")
            document.body.append(script)
            document.getElementById("marked").click()
        }"""
    )
    expect(signed_in.locator("script")).to_have_count(1)
    assert signed_in.evaluate("window.ran === undefined")
    assert any("style-src" in line for line in complaints)
    assert any("script-src" in line for line in complaints)
    complaints.clear()


def test_back_after_signing_out_shows_nothing(signed_in: Page, course: Course) -> None:
    signed_in.goto("/courses/")
    signed_in.get_by_role("link", name="First Aid at Work").click()
    expect(signed_in.get_by_role("heading", name="First Aid at Work")).to_be_visible()
    signed_in.get_by_role("button", name="Sign out").click()
    expect(signed_in.get_by_role("heading", name="Sign in")).to_be_visible()
    for _step in range(2):
        signed_in.go_back()
        expect(signed_in.get_by_role("heading", name="Sign in")).to_be_visible()
        assert "First Aid" not in signed_in.content()


def test_a_person_is_searched_for_in_the_admin_without_a_trace_in_addresses(
    page: Page, live_server: Any, course: Course
) -> None:
    learner = make_learner(course.site, firstname="Zoë", lastname="Okafor", email="zoe@example.org")
    make_learner(make_site(name="Another Moodle"), firstname="Ana", lastname="Lee")
    root = User.objects.create_superuser("root")
    sign_in(page, live_server.url, root)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/admin/moodle_sync/learner/")
    page.locator("#searchbar").fill("zoe@example.org")
    page.locator("#searchbar").press("Enter")
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    assert page.locator("#searchbar").input_value() == "zoe@example.org"
    if folder := os.environ.get("PORTAL_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / "admin-search.png")
    # A filter, a row and the way back keep the search.
    page.locator(".portal-filter summary").filter(has_text="site").click()
    page.get_by_role("link", name="Learning Hub").click()
    page.get_by_role("link", name="Zoë Okafor").click()
    page.get_by_role("navigation", name="Breadcrumbs").get_by_role("link", name="Learners").click()
    page.go_back()
    page.go_back()
    expect(page.locator("#result_list tbody tr")).to_have_count(1)
    page.get_by_role("link", name="Show all").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(2)
    # A search field: the manager of a course.
    page.goto("/admin/badging/coursemanager/add/")
    page.locator(".field-users .select2-search__field").fill("min")
    page.locator(".select2-results__option", has_text="mina").click()
    expect(page.locator(".field-users .select2-selection")).to_contain_text("mina")
    assert learner.email not in " ".join(asked)
    for trace in ("zoe", "Okafor", "term=", "=min"):
        assert not [url for url in asked if trace in url]


def test_trouble_with_navigatr_has_a_way_on_that_works(
    signed_in: Page, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    sandbox.faults.on("503", side=NAVIGATR, call="badges", count=1)
    chosen = {"connection": staging.pk, "provider": DEMO_PROVIDER_ID}
    signed_in.goto(reverse("choose-badge", args=[course.pk], query=chosen))
    expect(signed_in.get_by_role("alert")).to_contain_text("Navigatr could not be reached")
    signed_in.get_by_role("link", name="Retry").click()
    expect(signed_in.get_by_role("heading", name="Choose a badge")).to_be_visible()


def test_djangos_admin_works_under_the_content_security_policy(page: Page, live_server: Any, course: Course) -> None:
    sign_in(page, live_server.url, User.objects.create_superuser("root"))
    for address in (
        "/admin/",
        "/admin/auth/user/add/",
        "/admin/auth/group/add/",
    ):
        answer = page.goto(address)
        assert answer is not None
        assert answer.status == 200, address
    # Its scripts ran: the two-box chooser of permissions exists only through them.
    page.goto("/admin/auth/group/add/")
    expect(page.locator(".selector-chosen").first).to_be_visible()


def test_the_schedule_is_changed_and_put_right_in_the_admin(page: Page, live_server: Any, course: Course) -> None:
    let_everything_run()
    task = ScheduledTask._default_manager.get(task="badging.tasks.send_sweep")
    admin = User.objects.create_user("ada", is_staff=True)
    admin.groups.add(Group.objects.get(name=SITE_ADMINS))
    sign_in(page, live_server.url, admin)
    page.goto("/admin/")
    page.locator("#nav-sidebar").get_by_role("link", name="Scheduled tasks").click()
    expect(page.locator("#result_list tbody tr")).to_have_count(4)
    keep(page, "schedule-list")
    page.get_by_role("link", name="Send what is due").click()
    expect(page.get_by_text("1 to 60; usually 5.")).to_be_visible()
    expect(page.get_by_role("button", name="Put right")).to_have_count(0)
    page.get_by_label("Interval in seconds").fill("20")
    keep(page, "schedule-task")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("row", name="Send what is due")).to_contain_text("20 s")
    ScheduledTask._default_manager.filter(pk=task.pk).update(enabled=False)
    # The start page is up to five seconds old.
    cache.clear()
    page.goto("/admin/")
    keep(page, "schedule-first-page")
    page.get_by_role("link", name="Send what is due: it is switched off, so it never runs", exact=True).click()
    keep(page, "schedule-switched-off")
    page.get_by_role("button", name="Put right").click()
    expect(page.get_by_text("Send what is due was put right.")).to_be_visible()
    cache.clear()
    page.goto("/admin/")
    expect(page.get_by_text("it is switched off")).to_have_count(0)


def keep(page: Page, name: str) -> None:
    """A picture of a page of the admin in both widths, where pictures are wanted; it never scrolls to the side."""
    for size in ({"width": 390, "height": 800}, {"width": 1280, "height": 800}):
        page.set_viewport_size(size)
        if folder := os.environ.get("PORTAL_SCREENSHOTS"):
            page.screenshot(path=Path(folder) / f"{name}-{size['width']}.png", full_page=True)
        wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert not wide, f"{name} scrolls sideways at {size['width']}"


def test_a_busy_navigatr_is_said_at_once_and_retry_saves_what_was_typed(
    signed_in: Page, course: Course, staging: NavigatrConnection, complaints: list[str]
) -> None:
    chosen = {"connection": staging.pk, "provider": DEMO_PROVIDER_ID, "badge": DEMO_BADGE_ID}
    signed_in.goto(reverse("review-badge", args=[course.pk], query=chosen))
    look_at(signed_in, "review-ask-again")
    signed_in.get_by_label("Minimum score in percent").fill("42")
    signed_in.get_by_label("Also those who have already completed").check()
    with ExitStack() as others:
        for person in range(waiting.MOST_IN_ALL):
            others.enter_context(waiting.place(f"somebody {person}"))
        signed_in.get_by_role("button", name="Save").click()
        expect(signed_in.get_by_role("alert")).to_contain_text("slow just now")
        look_at(signed_in, "busy")
    # The one complaint that belongs here: that the page came with status 503.
    assert all("503" in line for line in complaints)
    complaints.clear()
    signed_in.get_by_role("button", name="Retry").click()
    expect(signed_in.get_by_role("status")).to_contain_text("The course now awards")
    mapping = CourseBadgeMapping.objects.get()
    assert (mapping.min_score, mapping.include_past) == (42, True)


def test_ask_navigatr_again_shows_what_was_changed_there(
    signed_in: Page, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    chosen = {"connection": staging.pk, "provider": DEMO_PROVIDER_ID}
    signed_in.goto(reverse("choose-badge", args=[course.pk], query=chosen | {"q": "safeguarding ess"}))
    sandbox.navigatr.set_badge(DEMO_BADGE_ID, name="Safeguarding Essentials 2027")
    signed_in.reload()
    expect(signed_in.get_by_text("Safeguarding Essentials 2027")).to_have_count(0)
    signed_in.get_by_role("button", name="Ask Navigatr again").click()
    expect(signed_in.get_by_text("Safeguarding Essentials 2027")).to_be_visible()


def test_a_site_admin_invites_somebody_who_chooses_a_password_and_signs_in(
    page: Page, live_server: Any, course: Course
) -> None:
    sara = User.objects.create_user("sara", is_staff=True)
    sara.groups.add(Group.objects.get(name=SITE_ADMINS))
    sign_in(page, live_server.url, sara)
    page.goto("/admin/auth/user/add/")
    page.get_by_label("E-mail address").fill("ada.very-long-name@example.org")
    page.get_by_label("First name").fill("Ada")
    page.get_by_label("Site admins").check()
    page.get_by_label("Course manager of").locator("xpath=..").get_by_role("searchbox").fill("First")
    page.get_by_role("option", name="First Aid at Work").click()
    look_at(page, "admin-user-invite")
    page.get_by_role("button", name="Save", exact=True).click()
    link = page.get_by_role("textbox", name="ada.very-long-name").input_value()
    look_at(page, "admin-user-link")
    ada = User.objects.get(username="ada.very-long-name")
    for name, address in (
        ("users", "/admin/auth/user/"),
        ("user", f"/admin/auth/user/{ada.pk}/change/"),
        ("user-self", f"/admin/auth/user/{sara.pk}/change/"),
        ("audit", "/admin/badging/auditentry/"),
    ):
        page.goto(address)
        look_at(page, f"admin-{name}")
    page.goto(f"/admin/auth/user/{ada.pk}/change/")
    page.get_by_role("button", name="Deactivate").click()
    look_at(page, "admin-user-deactivate")

    page.context.clear_cookies()
    page.goto(link)
    look_at(page, "choose-password")
    page.locator("#id_password1").fill("plausible-lantern-42")
    page.locator("#id_password2").fill("plausible-lantern-42")
    page.get_by_role("button", name="Save password").click()
    look_at(page, "password-was-set")
    page.goto(link)
    look_at(page, "link-used")
    page.goto("/sign-in/")
    page.get_by_label("User name or e-mail address").fill(ada.username)
    page.get_by_label("Password").fill("plausible-lantern-42")
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.goto("/sign-out/everywhere/")
    look_at(page, "sign-out-everywhere")
    page.get_by_role("button", name="Sign out everywhere").click()
    expect(page.get_by_role("status")).to_contain_text("signed out in all browsers")


def test_a_manager_follows_her_learners_and_a_colleague_in_another_window(
    signed_in: Page, course: Course, staging: NavigatrConnection, live_server: Any
) -> None:
    """Two windows, “Look now”, a page that brings itself up to date, finding a learner, and sending again."""
    page, mapping = signed_in, make_mapping(course, staging, badge_id=DEMO_BADGE_ID, badge_name="Safeguarding")
    MoodleSiteState.objects.update(next_poll_at=timezone.now() + timedelta(minutes=5))
    chosen = {"connection": staging.pk, "provider": DEMO_PROVIDER_ID, "badge": DEMO_BADGE_ID + 1}
    page.goto(reverse("review-badge", args=[course.pk], query=chosen))
    page.get_by_label("Minimum score in percent").fill("42")
    other = page.context.new_page()
    other.goto(reverse("review-badge", args=[course.pk], query=chosen | {"badge": DEMO_BADGE_ID + 2}))
    other.get_by_role("button", name="Save the change").click()
    expect(other.get_by_role("status").first).to_contain_text("The course now awards")
    page.get_by_role("button", name="Save the change").click()
    expect(page.get_by_role("alert")).to_contain_text("in another window meanwhile")
    expect(page.get_by_label("Minimum score in percent")).to_have_value("42")
    look_at(page, "review-changed-meanwhile")
    mapping.refresh_from_db()
    assert mapping.badge_id == DEMO_BADGE_ID + 2

    # Saving has had Moodle read; a moment later it is possible again.
    MoodleSiteState.objects.update(next_poll_at=timezone.now() + timedelta(minutes=5))
    page.goto(reverse("course", args=[course.pk]))
    page.get_by_role("button", name="Look now").click()
    # The tests have no worker, and the page says so; with one it says that Moodle is read now.
    expect(page.get_by_text("It is read in a moment.")).to_be_visible()
    zoe = make_learner(course.site, firstname="Zoë", lastname="Fernández")
    failed = make_issuance(mapping, make_completion(course, zoe), state=State.FAILED, reason=Outcome.GAVE_UP)
    expect(page.get_by_role("link", name=zoe.full_label, exact=True)).to_be_visible(timeout=20_000)
    expect(page.locator("#course-news-status")).to_have_text("The list of learners has been updated.")
    look_at(page, "course-news")

    make_completion(course, make_learner(course.site, firstname="Éric"), completed_at=NOW - timedelta(days=900))
    for words, told in (("fernandez zoe", "1 failed"), ("eric", "before it awarded a badge"), ("mia", "not completed")):
        page.get_by_label("Find a learner").fill(words)
        page.get_by_role("button", name="Find").click()
        expect(page.locator("#course-news")).to_contain_text(told)
        assert words.split()[0] not in page.url
        look_at(page, f"find-{words.split()[0]}")
    page.get_by_role("link", name="Show all learners").click()
    page.get_by_role("link", name="Send again").click()
    look_at(page, "send-again-now")
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_role("status").first).to_contain_text("It is queued, and sent again in a moment.")
    failed.refresh_from_db()
    assert failed.state == State.QUEUED
