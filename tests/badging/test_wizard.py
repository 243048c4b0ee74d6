"""The course managers' pages, against a pretend Navigatr over HTTP."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Any
from uuid import uuid4

import kombu.pools
import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format

from badging.meanings import Outcome
from badging.models import (
    AuditEntry,
    CourseBadgeMapping,
    CourseManager,
    Environment,
    Issuance,
    IssuanceAttempt,
    NavigatrConnection,
)
from badging.pages import wizard
from badging.pages.notes import issuance_for_managers
from config.celery import app as celery_app
from moodle_sync.models import Course, MoodleSiteState
from sandbox import DEMO_BADGE_ID, DEMO_PROVIDER_ID, NAVIGATR, Sandbox
from tests.builders import (
    NOW,
    make_completion,
    make_connection,
    make_course,
    make_issuance,
    make_learner,
    make_mapping,
    make_site,
)

pytestmark = pytest.mark.django_db

State = Issuance.State
IN_2028 = datetime(2028, 2, 1, 9, 0, tzinfo=UTC)


@pytest.fixture
def staging(sandbox: Sandbox) -> NavigatrConnection:
    """A connection to the pretend staging environment."""
    return make_connection(name="Trial", pat=sandbox.pat)


@pytest.fixture
def course() -> Course:
    """A course that the manager looks after."""
    return make_course(fullname="First Aid at Work")


@pytest.fixture
def manager(course: Course) -> User:
    """The manager of the course, and of no other."""
    user = User.objects.create_user("mina", password="correct horse", first_name="Mina", last_name="Okafor")
    CourseManager.objects.create(user=user, course=course)
    return user


@pytest.fixture
def web(client: Client, manager: User) -> Client:
    """The manager's browser."""
    client.force_login(manager)
    return client


def text(response: HttpResponse) -> str:
    """What a person reads on the page: no markup, single blanks."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.content.decode())).split())


def links(response: HttpResponse, part: str = "") -> list[str]:
    """The addresses that the page links to and that hold a part."""
    return [unescape(link) for link in re.findall(r'href="([^"]*)"', response.content.decode()) if part in link]


def choose_url(course: Course, via: NavigatrConnection, **more: Any) -> str:
    chosen = {"connection": via.pk, "provider": DEMO_PROVIDER_ID} | more
    return reverse("choose-badge", args=[course.pk], query=chosen)


def review_url(course: Course, via: NavigatrConnection, **more: Any) -> str:
    chosen = {"connection": via.pk, "provider": DEMO_PROVIDER_ID, "badge": DEMO_BADGE_ID} | more
    return reverse("review-badge", args=[course.pk], query=chosen)


def pages_of(course: Course, via: NavigatrConnection, issuance_pk: int = 1) -> list[str]:
    """Every address below a course."""
    return [
        reverse("course", args=[course.pk]),
        reverse("choose-provider", args=[course.pk]),
        choose_url(course, via),
        review_url(course, via),
        reverse("remove-badge", args=[course.pk]),
        reverse("issuance", args=[course.pk, issuance_pk]),
    ]


# Who may


def test_nobody_signed_in_is_sent_to_sign_in_by_every_address(client: Client, course: Course) -> None:
    there = [reverse("home"), reverse("courses"), *pages_of(course, make_connection()), reverse("password")]
    for address in there:
        for answer in (client.get(address), client.post(address)):
            # A wrong method is refused before anybody is asked who they are.
            assert answer.status_code in (302, 405), address
            if answer.status_code == 302:
                assert answer["Location"].startswith(reverse("login"))


def test_a_foreign_course_looks_like_an_unknown_one_on_every_address(web: Client) -> None:
    foreign = make_mapping()
    row = make_issuance(foreign)
    for address in pages_of(foreign.course, foreign.connection, row.pk):
        answers = [web.get(address)]
        if "review" in address or "remove" in address:
            answers.append(web.post(address, {"who": "now"}))
        unknown = web.get(address.replace(f"/courses/{foreign.course_id}/", "/courses/999999/"))
        for answer in answers:
            assert answer.status_code == unknown.status_code == 404
            assert text(answer) == text(unknown)
    assert CourseBadgeMapping.objects.filter(pk=foreign.pk).exists()


def test_an_issuance_of_another_course_is_not_shown_under_ones_own(web: Client, course: Course) -> None:
    row = make_issuance()
    assert web.get(reverse("issuance", args=[course.pk, row.pk])).status_code == 404


def test_a_superuser_may_map_any_course(admin_client: Client, staging: NavigatrConnection) -> None:
    course = make_course()
    admin_client.post(review_url(course, staging), {"who": "now"})
    assert CourseBadgeMapping.objects.get().course == course


def test_the_start_leads_managers_to_their_courses_and_staff_without_courses_to_the_admin(
    web: Client, manager: User, admin_client: Client
) -> None:
    assert web.get("/")["Location"] == "/courses/"
    assert admin_client.get("/")["Location"] == "/admin/"
    manager.is_staff = True
    manager.save()
    assert web.get("/")["Location"] == "/courses/"


def test_signing_in_and_out_and_changing_the_password(client: Client, manager: User) -> None:
    refused = client.post("/sign-in/", {"username": "mina", "password": "wrong"})
    assert refused.status_code == 200
    assert "correct username and password" in text(refused)
    assert client.post("/sign-in/", {"username": "mina", "password": "correct horse"})["Location"] == "/"
    new = {"old_password": "correct horse", "new_password1": "battery staple", "new_password2": "battery staple"}
    assert "Password changed" in text(client.post("/password/", new, follow=True))
    assert client.post("/sign-out/")["Location"] == "/sign-in/"
    assert client.login(username="mina", password="battery staple")


# The list


def test_the_list_shows_each_course_with_its_badge_and_what_needs_attention(web: Client, course: Course) -> None:
    assert "No badge yet" in text(web.get("/courses/"))
    make_mapping(course, badge_image_url="https://img.example/1.png", badge_problem="Unpublished.")
    page = web.get("/courses/")
    assert "First Aid at Work" in text(page)
    assert "Safeguarding Staging Needs attention" in text(page)
    assert 'src="https://img.example/1.png"' in page.content.decode()


def test_the_list_is_searched_filtered_and_paged(client: Client, admin_user: User) -> None:
    client.force_login(admin_user)
    site = make_site()
    Course.objects.bulk_create(Course(site=site, moodle_id=n, fullname=f"Course {n:03}") for n in range(60))
    mapped = Course.objects.get(fullname="Course 007")
    make_mapping(mapped)
    seen: list[str] = []
    address = "/courses/"
    while address:
        page = client.get(address)
        seen += re.findall(r"Course \d{3}", text(page))
        following = re.search(r'rel="next"\s+href="([^"]*)"', page.content.decode())
        address = f"/courses/{unescape(following[1])}" if following else ""
    assert seen == [f"Course {n:03}" for n in range(60)]
    assert re.findall(r"Course \d{3}", text(client.get("/courses/?q=course+04"))) == [
        f"Course 04{n}" for n in range(10)
    ]
    assert re.findall(r"Course \d{3}", text(client.get("/courses/?badge=yes"))) == ["Course 007"]
    assert "Course 007" not in text(client.get("/courses/?badge=no"))
    assert "No courses found." in text(client.get("/courses/?q=nothing"))
    # What a person may type into the address.
    for odd in ("?page=0", "?page=-1", "?page=x", "?page=99999999999999999999", "?badge=maybe", "?q=%00"):
        assert client.get(f"/courses/{odd}").status_code == 200, odd


def test_who_manages_nothing_is_told_whom_to_ask(client: Client) -> None:
    client.force_login(User.objects.create_user("new"))
    assert "A site admin can assign them to you." in text(client.get("/courses/"))


def test_the_list_makes_four_queries_however_long_it_is(web: Client, manager: User) -> None:
    site, trial = make_site(), make_connection()
    for number in range(30):
        course = make_course(site, fullname=f"Course {number}")
        CourseManager.objects.create(user=manager, course=course)
        make_mapping(course, trial)
    # The session, the user, whether she is a site admin, and the courses with site, mapping and connection.
    with CaptureQueriesContext(connection) as queries:
        assert web.get("/courses/").status_code == 200
    assert len(queries) == 4


# The wizard


def test_the_wizard_by_its_links_from_the_course_to_a_saved_mapping(
    web: Client, course: Course, staging: NavigatrConnection, manager: User
) -> None:
    page = web.get(reverse("course", args=[course.pk]))
    page = web.get(links(page, "/badge/")[0])
    assert "Trial Staging" in text(page)
    assert "Northgate College" in text(page)
    assert "Somebody Else" not in text(page)
    page = web.get(page.request["PATH_INFO"], {"choice": f"{staging.pk}-{DEMO_PROVIDER_ID}", "go": "1"}, follow=True)
    assert "Step 2 of 3" in text(page)
    page = web.get(
        page.request["PATH_INFO"] + f"?connection={staging.pk}&provider={DEMO_PROVIDER_ID}&q=safeguarding+ess"
    )
    (chosen,) = links(page, "/badge/review/")
    page = web.get(chosen)
    assert "Course First Aid at Work" in text(page)
    assert "Badge Safeguarding Essentials" in text(page)
    page = web.post(chosen, {"min_score": "60", "who": "past"}, follow=True)
    assert page.redirect_chain[-1][0] == reverse("course", args=[course.pk])
    assert "now awards the badge “Safeguarding Essentials”" in text(page)
    assert "60 %" in text(page)
    assert "Mina Okafor" in text(page)
    mapping = CourseBadgeMapping.objects.get()
    assert (mapping.course, mapping.connection, mapping.created_by) == (course, staging, manager)
    assert (mapping.provider_id, mapping.badge_id) == (DEMO_PROVIDER_ID, DEMO_BADGE_ID)
    assert (mapping.min_score, mapping.include_past) == (60, True)


def test_every_badge_that_can_be_issued_is_reached_by_pages(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    reached: set[int] = set()
    address = choose_url(course, staging)
    while address:
        page = web.get(address)
        reached |= {int(link.rpartition("badge=")[2]) for link in links(page, "/badge/review/")}
        following = re.search(r'rel="next"\s+href="([^"]*)"', page.content.decode())
        address = reverse("choose-badge", args=[course.pk]) + unescape(following[1]) if following else ""
    offered = {
        badge.id
        for badge in sandbox.navigatr.badges.values()
        if badge.provider_id == DEMO_PROVIDER_ID and (badge.status, badge.source) == ("Published", "Internal")
    }
    assert len(offered) > 120
    assert reached == offered


def test_only_badges_that_fit_the_search_are_offered(web: Client, course: Course, staging: NavigatrConnection) -> None:
    found = web.get(choose_url(course, staging, q="hygiène"))
    assert len(links(found, "/badge/review/")) == 5
    assert "No badges found." in text(web.get(choose_url(course, staging, q="no such badge")))
    # Not issuable through the API: neither offered nor saved.
    assert links(web.get(choose_url(course, staging, q="Cloud Basics")), "/badge/review/") == []


def test_connections_of_both_environments_are_offered_side_by_side_and_never_mixed(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    production = make_connection(name="Live", environment=Environment.PRODUCTION, pat=sandbox.production_pat)
    page = text(web.get(reverse("choose-provider", args=[course.pk])))
    assert "Trial Staging" in page
    assert "Live Production" in page
    refused = web.post(review_url(course, production), {"who": "now"})
    assert "may not issue for provider" in text(refused)
    assert not CourseBadgeMapping.objects.exists()


def test_the_button_without_a_choice_says_so(web: Client, course: Course, staging: NavigatrConnection) -> None:
    address = reverse("choose-provider", args=[course.pk])
    assert "Choose one of the providers." in text(web.get(address, {"go": "1"}))
    assert "Choose one of the providers." in text(web.get(address, {"go": "1", "choice": "x-1"}))


def test_steps_without_their_choice_start_at_the_first(web: Client, course: Course) -> None:
    first = reverse("choose-provider", args=[course.pk])
    for name, query in [
        ("choose-badge", ""),
        ("choose-badge", "?connection=1"),
        ("choose-badge", "?connection=1&provider=99999999999999999999"),
        ("review-badge", "?connection=1&provider=1"),
        ("review-badge", "?connection=one&provider=1&badge=²"),
    ]:
        assert web.get(reverse(name, args=[course.pk]) + query)["Location"] == first


def test_without_an_active_connection_the_page_says_who_must_act(web: Client, course: Course) -> None:
    make_connection(state=NavigatrConnection.State.REMOVED)
    assert "A site admin must connect Navigatr first." in text(web.get(reverse("choose-provider", args=[course.pk])))


def test_an_account_without_providers_is_told_apart_from_trouble(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    for provider in list(sandbox.navigatr.providers):
        sandbox.navigatr.set_provider(provider, admin=False)
    page = text(web.get(reverse("choose-provider", args=[course.pk])))
    assert "no provider administrator" in page
    assert "Try again" in page


def test_a_provider_without_issuable_badges_says_what_to_do(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    empty = sandbox.navigatr.add_provider("Newcomers")
    assert "Publish one in Navigatr" in text(web.get(choose_url(course, staging, provider=empty)))


@pytest.mark.parametrize(
    "kind", ["down", "refuse", "401", "429", "500_before", "502", "503", "html_before", "403", "404"]
)
def test_whatever_navigatr_answers_each_step_says_what_to_do_and_changes_nothing(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox, kind: str
) -> None:
    sandbox.faults.on(kind, side=NAVIGATR, call="all")
    first = web.get(reverse("choose-provider", args=[course.pk]))
    second = web.get(choose_url(course, staging))
    third = web.get(review_url(course, staging))
    saved = web.post(review_url(course, staging), {"who": "now"})
    for page in (first, second, third, saved):
        assert page.status_code == 200
        assert re.search("Navigatr (refused|could not be reached|has no badge)", text(page))
        assert reverse("course", args=[course.pk]) in links(page)
        assert "Try again" in text(page)
        assert sandbox.pat not in page.content.decode()
    assert "Nothing was changed." in text(saved)
    assert not CourseBadgeMapping.objects.exists()
    staging.refresh_from_db()
    assert staging.state == NavigatrConnection.State.ACTIVE


def test_no_page_waits_longer_than_a_person_does_whatever_the_connections_time_out(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (wizard.LONGEST_WAIT, staging.timeout) == (10, 30)
    monkeypatch.setattr(wizard, "LONGEST_WAIT", 1)
    sandbox.faults.on("slow", side=NAVIGATR, call="all", seconds=1.4)
    for address in (
        reverse("choose-provider", args=[course.pk]),
        choose_url(course, staging),
        review_url(course, staging),
    ):
        assert "could not be reached" in text(web.get(address))


def test_one_silent_connection_hides_no_other(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    make_connection(name="Live", environment=Environment.PRODUCTION, pat=sandbox.production_pat)
    sandbox.faults.on("down", side=NAVIGATR, call="all")
    page = web.get(reverse("choose-provider", args=[course.pk]))
    assert "could not be reached" in text(page)
    assert len(re.findall('type="radio"', page.content.decode())) == 2


def test_a_token_that_no_key_reads_is_told_and_not_a_server_error(
    web: Client, course: Course, staging: NavigatrConnection, settings: Any
) -> None:
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    for address in (reverse("choose-provider", args=[course.pk]), choose_url(course, staging)):
        page = web.get(address)
        assert page.status_code == 200
        assert "A stored token cannot be read" in text(page)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "Draft"}, "its status is Draft"),
        ({"source": "Credly"}, "its source Credly"),
        ({"provider_id": DEMO_PROVIDER_ID + 1}, "does not belong to this provider"),
    ],
)
def test_a_badge_that_became_unissuable_between_choice_and_save_is_not_saved(
    web: Client,
    course: Course,
    staging: NavigatrConnection,
    sandbox: Sandbox,
    change: dict[str, Any],
    words: str,
) -> None:
    assert "Your choice" in text(web.get(review_url(course, staging)))
    sandbox.navigatr.set_badge(DEMO_BADGE_ID, **change)
    assert words in text(web.post(review_url(course, staging), {"who": "now"}))
    assert not CourseBadgeMapping.objects.exists()


def test_foreign_providers_and_unknown_numbers_are_not_served(
    web: Client, course: Course, staging: NavigatrConnection
) -> None:
    foreign = DEMO_PROVIDER_ID + 2
    assert "may not issue" in text(web.get(choose_url(course, staging, provider=foreign)))
    assert "may not issue" in text(web.post(review_url(course, staging, provider=foreign), {"who": "now"}))
    assert "no badge with the number" in text(web.get(review_url(course, staging, badge=99999)))
    assert web.get(choose_url(course, staging, connection=99999)).status_code == 404
    assert not CourseBadgeMapping.objects.exists()


def test_a_connection_paused_in_between_is_not_used(web: Client, course: Course, staging: NavigatrConnection) -> None:
    NavigatrConnection.objects.update(state=NavigatrConnection.State.PAUSED)
    page = text(web.post(review_url(course, staging), {"who": "now"}))
    assert "“Trial” is not active: Paused: token refused. A site admin must reconnect it." in page
    assert not CourseBadgeMapping.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [{"min_score": "101", "who": "now"}, {"min_score": "-1", "who": "now"}, {"min_score": "x", "who": "now"}, {}],
)
def test_a_wrong_entry_is_said_and_not_saved(
    web: Client, course: Course, staging: NavigatrConnection, wrong: dict[str, str]
) -> None:
    page = web.post(review_url(course, staging), wrong)
    assert 'class="errorlist"' in page.content.decode()
    assert not CourseBadgeMapping.objects.exists()


# After the save


@pytest.fixture
def without_broker() -> Iterator[None]:
    """Celery pointed at a broker that nobody runs."""
    was = celery_app.conf.broker_url
    use_broker("redis+socket:///nonexistent/broker.sock")
    yield
    use_broker(was)


def use_broker(address: str) -> None:
    celery_app.conf.broker_url = celery_app.conf.broker_write_url = celery_app.conf.broker_read_url = address
    # Celery keeps open connections for the address it had.
    kombu.pools.reset()
    celery_app._pool = celery_app.amqp._producer_pool = None


@pytest.mark.django_db(transaction=True)
def test_without_a_worker_the_mapping_is_saved_and_the_person_told_that_it_waits(
    web: Client, course: Course, staging: NavigatrConnection, without_broker: None
) -> None:
    page = web.post(review_url(course, staging), {"who": "now"}, follow=True)
    assert "badges are sent when it is back" in text(page)
    assert CourseBadgeMapping.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_with_a_broker_nothing_is_said_about_waiting(web: Client, course: Course, staging: NavigatrConnection) -> None:
    page = web.post(review_url(course, staging), {"who": "now"}, follow=True)
    assert "now awards" in text(page)
    assert "when it is back" not in text(page)


# Change and remove


def make_rows(mapping: CourseBadgeMapping, counts: dict[State, int]) -> None:
    """So many issuances of each state under the mapping."""
    for state, count in counts.items():
        for _number in range(count):
            fields: dict[str, Any] = {"assertion_id": "a1"} if state == State.ISSUED else {}
            if state == State.HELD:
                fields["reason"] = Outcome.CONNECTION_PAUSED
            make_issuance(mapping, make_completion(mapping.course), state=state, **fields)


def test_a_change_shows_what_it_does_and_does_it(web: Client, course: Course, staging: NavigatrConnection) -> None:
    mapping = make_mapping(course, staging, badge_id=DEMO_BADGE_ID + 1, badge_name="Old badge", min_score=50)
    make_rows(mapping, {State.ISSUED: 3, State.QUEUED: 2, State.FAILED: 1, State.NOT_MET: 1})
    unclear = make_issuance(mapping, make_completion(course), unanswered="unknown")
    page = web.get(review_url(course, staging))
    for words in ("“Old badge” at present", "Issued already: 3.", "Waiting: 2.", "not met: 2.", "unknown: 1."):
        assert words in text(page)
    assert "Only completions since" in text(page)
    assert 'value="50"' in page.content.decode()
    web.post(review_url(course, staging), {"who": "now", "min_score": "50"})
    mapping.refresh_from_db()
    assert mapping.badge_id == DEMO_BADGE_ID
    moved = Issuance.objects.filter(badge_id=DEMO_BADGE_ID)
    assert moved.filter(state=State.QUEUED).count() == 4
    unclear.refresh_from_db()
    assert unclear.badge_id == DEMO_BADGE_ID + 1
    assert Issuance.objects.filter(state=State.ISSUED, badge_id=DEMO_BADGE_ID + 1).count() == 3
    assert AuditEntry.objects.filter(action=AuditEntry.Action.MAPPING_CHANGED).count() == 1


def test_a_change_of_environment_is_said_clearly(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    live = make_connection(environment=Environment.PRODUCTION, pat="other")
    make_mapping(course, live, provider_id=7011, badge_id=7111)
    assert "The environment changes from Production to Staging." in text(web.get(review_url(course, staging)))


def test_past_completions_once_included_stay_included(web: Client, course: Course, staging: NavigatrConnection) -> None:
    mapping = make_mapping(course, staging, badge_id=DEMO_BADGE_ID, past_wanted_at=NOW)
    assert "Past completions are included already" in text(web.get(review_url(course, staging)))
    web.post(review_url(course, staging), {"who": "now"})
    mapping.refresh_from_db()
    assert mapping.include_past


def test_removing_asks_first_then_cancels_what_waits_and_keeps_what_is_issued(
    web: Client, course: Course, manager: User
) -> None:
    mapping = make_mapping(course)
    make_rows(mapping, {State.ISSUED: 1, State.QUEUED: 2, State.HELD: 1, State.FAILED: 1})
    make_issuance(mapping, make_completion(course), unanswered="unknown")
    address = reverse("remove-badge", args=[course.pk])
    assert links(web.get(reverse("course", args=[course.pk])), address) == [address]
    page = text(web.get(address))
    for words in ("Issued already: 1.", "Waiting to be sent: 3.", "answer unknown: 1.", "not met: 1."):
        assert words in page
    assert CourseBadgeMapping.objects.exists()
    page = text(web.post(address, follow=True))
    assert "The badge “Safeguarding” was removed. Cancelled before sending: 4." in page
    assert "This course awards no badge." in page
    assert not CourseBadgeMapping.objects.exists()
    assert Issuance.objects.filter(state=State.CANCELLED).count() == 4
    assert AuditEntry.objects.get().actor == manager
    # A second click, or a page that was left open.
    assert "awards no badge any more" in text(web.post(address, follow=True))


def test_a_removal_that_somebody_else_was_faster_with_is_told(
    web: Client, course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping = make_mapping(course)
    address = reverse("remove-badge", args=[course.pk])
    original = CourseBadgeMapping.objects.get(pk=mapping.pk)

    def read_before_it_went(_course: Course) -> CourseBadgeMapping:
        CourseBadgeMapping.objects.filter(pk=mapping.pk).delete()
        return original

    monkeypatch.setattr("badging.pages.wizard._mapping_of", read_before_it_went)
    answer = web.post(address)
    assert answer["Location"] == reverse("course", args=[course.pk])
    monkeypatch.undo()
    assert "awards no badge any more" in text(web.get(answer["Location"]))


# The course and its learners


def test_a_course_shows_its_mapping_and_every_trouble_with_what_to_do(web: Client, course: Course) -> None:
    soon = timezone.now() + timedelta(minutes=5)
    resting = make_connection(not_before=soon, last_outcome=Outcome.UNAVAILABLE)
    make_mapping(course, resting, badge_problem="The badge is Draft.", min_score=40)
    Course.objects.update(completion_enabled=False, error="Give the role the capability.")
    told = "Create a new token. (core_webservice_get_site_info: invalidtoken)"
    MoodleSiteState.objects.update(failures=3, error=told)
    page = text(web.get(reverse("course", args=[course.pk])))
    for words in (
        "The badge is Draft.",
        "Navigatr could not be reached",
        "Completion tracking is switched off",
        "Give the role the capability.",
        "Create a new token.",
        "Northgate College",
        "40 %",
    ):
        assert words in page
    assert "core_webservice" not in page
    assert "invalidtoken" not in page


def test_what_only_a_moodle_administrator_can_read_is_left_to_a_site_admin(web: Client, course: Course) -> None:
    make_mapping(course)
    Course.objects.update(error="Give its role moodle/site:accessallgroups, in the system context.")
    page = text(web.get(reverse("course", args=[course.pk])))
    assert "could not read this course from Moodle. Tell a site admin." in page
    assert "accessallgroups" not in page


def test_a_site_that_waits_for_an_answer_is_told_on_its_courses_and_issuances(web: Client, course: Course) -> None:
    row = make_issuance(make_mapping(course))
    MoodleSiteState.objects.update(doubt="Is this still the same Moodle?", error="Is this still the same Moodle?")
    assert not Issuance.objects.due(timezone.now()).exists()
    told = "looks like another one than before, so nothing is read from it and nothing is sent."
    answer = "A site admin must say whether it is still the same Moodle"
    page = text(web.get(reverse("course", args=[course.pk])))
    # Once for the course, once for the learner.
    assert (page.count(told), page.count(answer)) == (2, 2)
    page = text(web.get(reverse("issuance", args=[course.pk, row.pk])))
    assert told in page
    assert answer in page
    assert "Next try" not in page
    assert "Needs attention" in text(web.get("/courses/"))


def test_a_deleted_course_names_its_successor_with_a_link_to_map_it(web: Client, course: Course, manager: User) -> None:
    mapping = make_mapping(course)
    Course.objects.update(gone_at=NOW)
    address = reverse("course", args=[course.pk])
    alone = text(web.get(address))
    assert "This course was deleted in Moodle" in alone
    assert "If another course took its place, map that one." in alone
    assert "Deleted in Moodle" in text(web.get("/courses/"))
    new = make_course(course.site, moodle_id=77, shortname=course.shortname, fullname="First Aid at Work")
    map_it = reverse("choose-provider", args=[new.pk])
    page = web.get(address)
    assert "Ask a site admin to assign that course to you." in text(page)
    assert map_it not in links(page)
    CourseManager.objects.create(user=manager, course=new)
    page = web.get(address)
    assert f"Its successor seems to be “{new.full_label}”." in text(page)
    assert map_it in links(page)
    mapping.delete()
    page = text(web.get(address))
    assert "Choose a badge for the course that took its place." in page
    assert "whoever completes the course gets it" not in page


def test_courses_and_learners_of_one_name_are_told_apart(web: Client, course: Course, manager: User) -> None:
    twin = make_course(course.site, moodle_id=77, shortname=course.shortname, fullname=course.fullname)
    CourseManager.objects.create(user=manager, course=twin)
    other = make_course(course.site, moodle_id=78, shortname="Z9", fullname=course.fullname)
    CourseManager.objects.create(user=manager, course=other)
    page = text(web.get("/courses/"))
    for row in (course, twin):
        assert f"{row.shortname} · {row.site} · Moodle id {row.moodle_id}" in page
    assert "Moodle id 78" not in page
    mapping = make_mapping(course)
    rows = [make_issuance(mapping) for _ in range(2)]
    page = text(web.get(reverse("course", args=[course.pk])))
    for row in rows:
        assert f"Ana Lee (id {row.learner.moodle_id})" in page


def test_a_possible_double_is_told_on_both_issuances(web: Client, course: Course) -> None:
    mapping = make_mapping(course)
    one, other = (make_issuance(mapping) for _ in range(2))
    for row, double in ((one, other), (other, one)):
        page = web.get(reverse("issuance", args=[course.pk, row.pk]))
        assert f"may be the same person as “{double.learner.full_label}”" in text(page)
        assert reverse("issuance", args=[course.pk, double.pk]) in links(page)


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        (State.QUEUED, Outcome.AWAITS_MOODLE, "Moodle is asked again every few minutes"),
        (State.HELD, Outcome.COMPLETION_UNDONE, "it is sent when the learner completes the course again"),
        (State.HELD, Outcome.COURSE_GONE, "Map the course that took its place."),
        (State.HELD, Outcome.LEARNER_DELETED, "account was deleted in Moodle, so nothing is sent"),
        (State.HELD, Outcome.LEARNER_SUSPENDED, "A site admin can allow badges for suspended accounts."),
        (State.HELD, Outcome.IMPLAUSIBLE_DATE, "Or ask a site admin to issue the badge all the same."),
        (State.FAILED, Outcome.NAMES_HIDDEN, "allowed to see names and addresses"),
    ],
)
def test_what_moodle_says_reads_well_for_managers(
    web: Client, course: Course, state: State, reason: Outcome, words: str
) -> None:
    row = make_issuance(make_mapping(course), state=state, reason=reason)
    for address in (reverse("course", args=[course.pk]), reverse("issuance", args=[course.pk, row.pk])):
        assert words in text(web.get(address))


@pytest.mark.parametrize("outcome", list(Outcome))
def test_managers_are_told_no_codes(outcome: Outcome) -> None:
    told = issuance_for_managers(Issuance(state=State.FAILED, reason=outcome))
    assert told
    assert not re.search(r"\w+_\w+|\w+/\w+:\w+", f"{told.what} {told.todo}")


def test_an_implausible_date_is_shown_with_date_and_site(web: Client, course: Course) -> None:
    completion = make_completion(course, completed_at=IN_2028, implausible=True)
    row = make_issuance(make_mapping(course), completion, state=State.HELD, reason=Outcome.IMPLAUSIBLE_DATE)
    page = text(web.get(reverse("issuance", args=[course.pk, row.pk])))
    assert f"Completed {date_format(IN_2028, 'DATETIME_FORMAT')}" in page
    assert f"Moodle site {course.site.name}" in page
    assert "a site admin can do it for you" in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": NavigatrConnection.State.PAUSED}, "paused because its token was refused"),
        ({"state": NavigatrConnection.State.REMOVED}, "connection was removed"),
    ],
)
def test_a_connection_that_is_off_is_told_on_the_course(
    web: Client, course: Course, fields: dict[str, Any], words: str
) -> None:
    make_mapping(course, make_connection(**fields))
    assert words in text(web.get(reverse("course", args=[course.pk])))


def test_a_site_that_is_switched_off_is_told_and_other_courses_troubles_are_not(web: Client, course: Course) -> None:
    make_mapping(course)
    MoodleSiteState.objects.update(error="Somebody else's course: broken.")
    address = reverse("course", args=[course.pk])
    assert "Needs attention" not in text(web.get(address))
    course.site.enabled = False
    course.site.save()
    assert "does not read this Moodle site" in text(web.get(address))


def test_learners_are_listed_newest_first_with_what_to_do_and_filtered(web: Client, course: Course) -> None:
    mapping = make_mapping(course)
    failed = make_learner(course.site, firstname="Zoë", lastname="O’Brien")
    make_issuance(mapping, make_completion(course, failed), state=State.FAILED, reason=Outcome.UNPUBLISHED)
    make_issuance(
        mapping,
        make_completion(course),
        state=State.ISSUED,
        assertion_id="7",
        assertion_url="https://badges.example/7",
        issued_at=NOW,
    )
    make_issuance(mapping, make_completion(course, make_learner(course.site, firstname="New")))
    address = reverse("course", args=[course.pk])
    page = web.get(address)
    assert text(page).index("New Lee") < text(page).index("Ana Lee") < text(page).index("Zoë O’Brien")
    assert "Waits for its turn." in text(page)
    sending = {"claim": uuid4(), "leased_until": NOW}
    make_issuance(mapping, make_completion(course), state=State.SENDING, **sending)
    assert "Is being sent." in text(web.get(address))
    assert "Publish the badge again in Navigatr" in text(page)
    assert "https://badges.example/7" in links(page)
    only = text(web.get(address, {"state": "failed"}))
    assert "Zoë O’Brien" in only
    assert "Ana Lee" not in only
    assert "Nobody here." in text(web.get(address, {"state": "held"}))
    assert web.get(address, {"state": "no such state"}).status_code == 200


def test_learners_are_paged_by_key_and_the_page_makes_six_queries(web: Client, course: Course) -> None:
    mapping = make_mapping(course)
    make_rows(mapping, {State.QUEUED: 60})
    address = reverse("course", args=[course.pk])
    seen: list[str] = []
    following = ""
    while True:
        # The session, the user, whether she is a site admin, the course with its site, its mapping with connection
        # and maker, and one page of issuances with their learners. No count, whatever the number of rows.
        with CaptureQueriesContext(connection) as queries:
            page = web.get(address + following)
        assert len(queries) == 6
        assert not any("COUNT(" in query["sql"] for query in queries)
        seen += links(page, "/issuances/")
        found = re.search(r'rel="next"\s+href="([^"]*)"', page.content.decode())
        if not found:
            break
        following = unescape(found[1])
    assert len(seen) == len(set(seen)) == 60
    assert "Newest" in text(page)


def test_counts_stop_where_nobody_reads_on(
    web: Client, course: Course, staging: NavigatrConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("badging.pages.wizard.COUNTED_UP_TO", 2)
    make_rows(make_mapping(course, staging), {State.QUEUED: 4})
    assert "Waiting: more than 2." in text(web.get(review_url(course, staging)))


def test_one_issuance_shows_its_attempts_in_plain_words(web: Client, course: Course) -> None:
    row = make_issuance(make_mapping(course), state=State.NOT_MET, reason=Outcome.NOT_MET)
    Attempt: Callable[..., IssuanceAttempt] = IssuanceAttempt.objects.create  # noqa: N806 - reads as what it makes
    shared = {"issuance": row, "environment": row.environment, "provider_id": 11, "badge_id": 111, "at": NOW}
    Attempt(kind="send", outcome=Outcome.RATE_LIMITED, status=429, next_attempt_at=NOW, **shared)
    Attempt(kind="send", outcome=Outcome.NOT_MET, status=202, detail="Too low", looked_up="badge 111", **shared)
    page = web.get(reverse("issuance", args=[course.pk, row.pk]))
    told = text(page)
    assert told.index("Badge requirement not met") < told.index("Too many requests")
    for words in ("HTTP 202", "HTTP 429", "Navigatr says: “Too low”", "Looked up: badge 111", "Send again"):
        assert words in told


@pytest.mark.parametrize(
    ("score", "shown"), [("59.5", "59.5 %"), ("80", "80 %"), ("66.666666", "66.66 %"), (None, "none")]
)
def test_the_score_is_shown_without_zeros_at_its_end(
    web: Client, course: Course, score: str | None, shown: str
) -> None:
    completion = make_completion(course, score=score and Decimal(score))
    row = make_issuance(make_mapping(course), completion)
    assert f"Score {shown} " in text(web.get(reverse("issuance", args=[course.pk, row.pk])))


def test_completed_again_is_shown_and_is_no_second_badge(web: Client, course: Course) -> None:
    completion = make_completion(course, completed_again_at=NOW + timedelta(days=365))
    row = make_issuance(make_mapping(course), completion, state=State.ISSUED, assertion_id="1", issued_at=NOW)
    make_issuance(row.mapping, make_completion(course))
    listed = text(web.get(reverse("course", args=[course.pk])))
    assert listed.count("Completed again on 23 Nov 2027") == 1
    assert "Completed again 23 Nov 2027" in text(web.get(reverse("issuance", args=[course.pk, row.pk])))


def test_a_hidden_course_total_is_told_with_what_to_do(web: Client, course: Course) -> None:
    row = make_issuance(make_mapping(course, min_score=60), state=State.NOT_MET, reason=Outcome.SCORE_HIDDEN)
    for address in (reverse("course", args=[course.pk]), reverse("issuance", args=[course.pk, row.pk])):
        told = text(web.get(address))
        assert "the course total is hidden in Moodle" in told
        assert "Show the course total in Moodle's gradebook" in told


def test_an_issuance_that_was_not_tried_yet_says_so(web: Client, course: Course) -> None:
    row = make_issuance(make_mapping(course))
    assert "It has not been tried yet." in text(web.get(reverse("issuance", args=[course.pk, row.pk])))


# Every page


def test_error_pages_are_plain_and_lead_back(client: Client, web: Client, rf: Any) -> None:
    from django.views import defaults

    for view, status in ((defaults.bad_request, 400), (defaults.permission_denied, 403)):
        answer = view(rf.get("/"), Exception("secret"))
        assert answer.status_code == status
        assert "Home" in text(answer)
        assert "secret" not in text(answer)
    broken = defaults.server_error(rf.get("/"))
    assert broken.status_code == 500
    assert "It was written to the server's log." in text(broken)
    assert "Page not found" in text(web.get("/no-such-page/"))


def test_an_expired_form_is_explained(course: Course, manager: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(manager)
    answer = strict.post(reverse("remove-badge", args=[course.pk]))
    assert answer.status_code == 403
    assert "The page was open for too long" in text(answer)


def test_pages_load_nothing_from_elsewhere_but_pictures(web: Client) -> None:
    page = web.get("/courses/")
    policy = dict(part.split(" ", 1) for part in page["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["img-src"] == "'self' https: data:"
    assert "<script" not in page.content.decode()
    assert "style=" not in page.content.decode()


def test_names_from_outside_are_shown_as_text(web: Client, course: Course) -> None:
    course.fullname = "<script>alert(1)</script>"
    course.save()
    make_mapping(course, badge_name="<b>bold</b>")
    page = web.get(reverse("course", args=[course.pk])).content.decode()
    assert "<script>" not in page
    assert "<b>bold" not in page
