"""Choosing a badge in three steps, against a pretend Navigatr over HTTP."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from html import unescape
from typing import Any

import kombu.pools
import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from badging import catalogue, waiting
from badging.catalogue import Catalogue
from badging.models import (
    AuditEntry,
    ConnectionGrant,
    CourseBadgeMapping,
    Environment,
    Issuance,
    NavigatrConnection,
)
from config.celery import app as celery_app
from moodle_sync.models import Course
from sandbox import DEMO_BADGE_ID, DEMO_PROVIDER_ID, NAVIGATR, Sandbox
from tests.builders import (
    NOW,
    make_completion,
    make_connection,
    make_issuance,
    make_mapping,
)

from .reading import choose_url, links, make_rows, review_url, text

pytestmark = pytest.mark.django_db


State = Issuance.State


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
        if badge.provider_id == DEMO_PROVIDER_ID
        and (badge.status, badge.source, badge.recipient_type) == ("Published", "Internal", "User")
    }
    assert len(offered) > 120
    assert reached == offered


def test_only_badges_that_fit_the_search_are_offered(web: Client, course: Course, staging: NavigatrConnection) -> None:
    found = web.get(choose_url(course, staging, q="hygiène"))
    assert len(links(found, "/badge/review/")) == 5
    nothing = text(web.get(choose_url(course, staging, q="no such badge")))
    assert "No published badge of this provider is called “no such badge”." in nothing
    assert "try one word" in nothing
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
    page = text(web.get(reverse("choose-provider", args=[course.pk])))
    assert "A site admin can connect Navigatr, and open a connection to this course." in page


def test_an_account_without_providers_is_told_apart_from_trouble(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    for provider in list(sandbox.navigatr.providers):
        sandbox.navigatr.set_provider(provider, admin=False)
    page = text(web.get(reverse("choose-provider", args=[course.pk])))
    assert "not a provider administrator" in page
    assert "Retry" in page


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
        assert re.search("Navigatr (refused|could not be reached|has no badge|has asked for a pause)", text(page))
        assert reverse("course", args=[course.pk]) in links(page)
        assert "Retry" in text(page)
        assert sandbox.pat not in page.content.decode()
    assert "Nothing was changed." in text(saved)
    assert not CourseBadgeMapping.objects.exists()
    staging.refresh_from_db()
    assert staging.state == NavigatrConnection.State.ACTIVE


def test_no_page_waits_longer_than_a_person_does_whatever_the_connections_time_out(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (catalogue.LONGEST_WAIT, staging.timeout) == (10, 30)
    monkeypatch.setattr(catalogue, "LONGEST_WAIT", 1)
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
    assert "“Trial” is not active: Paused. A site admin must reconnect it." in page
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


def test_a_change_shows_what_it_does_and_does_it(web: Client, course: Course, staging: NavigatrConnection) -> None:
    mapping = make_mapping(course, staging, badge_id=DEMO_BADGE_ID + 1, badge_name="Old badge", min_score=50)
    make_rows(mapping, {State.ISSUED: 3, State.QUEUED: 2, State.FAILED: 1, State.NOT_MET: 1})
    unclear = make_issuance(mapping, make_completion(course), unanswered="unknown")
    page = web.get(review_url(course, staging))
    for words in ("now awards “Old badge”", "Issued already: 3.", "Waiting: 2.", "not met: 2.", "unknown: 1."):
        assert words in text(page)
    assert "Only completions since" in text(page)
    assert 'value="50"' in page.content.decode()
    web.post(review_url(course, staging), {"who": "now", "min_score": "50"})
    mapping.refresh_from_db()
    assert mapping.badge_id == DEMO_BADGE_ID
    moved = Issuance.objects.filter(state=State.QUEUED, unanswered="")
    assert [row.award == mapping for row in moved] == [True] * 4
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


@pytest.mark.parametrize("included", [False, True])
def test_going_live_mails_nobody_for_the_trial_unless_that_is_chosen(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox, included: bool
) -> None:
    live = make_connection(name="Live", environment=Environment.PRODUCTION, pat=sandbox.production_pat)
    wanted = {"past_wanted_at": NOW} if included else {}
    mapping = make_mapping(course, staging, badge_id=DEMO_BADGE_ID, since=NOW - timedelta(days=30), **wanted)
    states = (State.ISSUED, State.QUEUED, State.FAILED)
    rows = [
        make_issuance(mapping, make_completion(course), state=state, assertion_id="911" if state == "issued" else "")
        for state in states
    ]
    address = review_url(course, live, provider=7011, badge=7111)
    page = text(web.get(address))
    assert "Badges that go out now: 0." in page
    assert "Only from now on" in page
    web.post(address, {"who": "now"})
    mapping.refresh_from_db()
    assert (mapping.connection, mapping.include_past) == (live, False)
    assert mapping.since > NOW
    for row in rows:
        row.refresh_from_db()
    assert [row.state for row in rows] == [State.ISSUED, State.CANCELLED, State.CANCELLED]


def test_going_live_counts_whom_it_would_mail(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    live = make_connection(name="Live", environment=Environment.PRODUCTION, pat=sandbox.production_pat)
    mapping = make_mapping(course, staging, badge_id=DEMO_BADGE_ID, min_score=50)
    poor = make_completion(course, score=40)
    make_issuance(mapping, poor, state=State.NOT_MET)
    make_issuance(mapping, make_completion(course, score=80), state=State.CANCELLED, reason="by_hand")
    make_completion(course, score=90, completed_at=NOW - timedelta(days=30))
    address = review_url(course, live, provider=7011, badge=7111)
    page = text(web.get(address))
    assert "Badges that go out now: 0." in page
    assert "in addition: 1 that the portal knows of so far." in page
    assert "Only those who have 50 % are counted" in page
    assert "in addition: 2 that" in text(web.get(f"{address}&min_score="))


def test_past_completions_once_included_stay_included(web: Client, course: Course, staging: NavigatrConnection) -> None:
    mapping = make_mapping(course, staging, badge_id=DEMO_BADGE_ID, past_wanted_at=NOW)
    assert "Past completions are included already" in text(web.get(review_url(course, staging)))
    web.post(review_url(course, staging), {"who": "now"})
    mapping.refresh_from_db()
    assert mapping.include_past


def test_counts_stop_where_nobody_reads_on(
    web: Client, course: Course, staging: NavigatrConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("badging.counting.COUNTED_UP_TO", 2)
    make_rows(make_mapping(course, staging), {State.QUEUED: 4})
    assert "Waiting: more than 2." in text(web.get(review_url(course, staging)))


# When many pages wait for Navigatr


@pytest.fixture
def no_place() -> Iterator[None]:
    """So many other pages wait for Navigatr that no place is left."""
    with ExitStack() as others:
        for person in range(waiting.MOST_IN_ALL):
            others.enter_context(waiting.place(f"somebody {person}"))
        yield


def test_without_a_place_each_step_says_so_at_once_and_asks_nothing(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox, no_place: None
) -> None:
    for address in (
        reverse("choose-provider", args=[course.pk]),
        choose_url(course, staging, q="first aid"),
        review_url(course, staging),
    ):
        page = web.get(address)
        assert (page.status_code, page["Retry-After"]) == (503, "5")
        assert "slow just now" in text(page)
        # What was typed stands in the address.
        assert address in links(page)
    assert not sandbox.navigatr.ledger


def test_a_choice_that_could_not_be_saved_is_saved_by_the_button_with_what_was_typed(
    web: Client, course: Course, staging: NavigatrConnection
) -> None:
    address = review_url(course, staging)
    with ExitStack() as others:
        for person in range(waiting.MOST_IN_ALL):
            others.enter_context(waiting.place(f"somebody {person}"))
        page = web.post(address, {"who": "past", "min_score": "42", "csrfmiddlewaretoken": "kept out"})
    assert page.status_code == 503
    html = page.content.decode()
    fields = dict(re.findall(r'<input type="hidden" name="(min_score|who)" value="([^"]*)">', html))
    assert fields == {"min_score": "42", "who": "past"}
    assert "kept out" not in html
    assert unescape(re.findall(r'<form id="retry" method="post" action="([^"]*)"', html)[0]) == address
    assert not CourseBadgeMapping.objects.exists()
    web.post(address, fields)
    mapping = CourseBadgeMapping.objects.get()
    assert (mapping.min_score, mapping.include_past) == (42, True)


def test_the_same_pages_again_ask_nothing_and_the_button_asks_again(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    pages = [reverse("choose-provider", args=[course.pk]), choose_url(course, staging), review_url(course, staging)]
    for _time in range(3):
        for address in pages:
            assert web.get(address).status_code == 200
    assert len(sandbox.navigatr.ledger) == 3
    for address in pages:
        sandbox.navigatr.set_badge(DEMO_BADGE_ID, name=f"Renamed {pages.index(address)}")
        assert "Ask Navigatr again" in text(web.get(address))
        before = len(sandbox.navigatr.ledger)
        assert web.post(address, {"again": "1"})["Location"] == address
        assert len(sandbox.navigatr.ledger) == before
        web.get(address)
        assert len(sandbox.navigatr.ledger) > before
    assert "Renamed 2" in text(web.get(pages[2]))


def test_a_wrong_entry_costs_no_call(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    web.get(review_url(course, staging))
    before = len(sandbox.navigatr.ledger)
    web.post(review_url(course, staging), {"min_score": "101", "who": "now"})
    assert len(sandbox.navigatr.ledger) == before


def test_who_may_not_see_the_course_cannot_make_the_portal_forget(
    client: Client, course: Course, staging: NavigatrConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "forget", None)
    client.force_login(User.objects.create_user("stranger"))
    assert client.post(choose_url(course, staging), {"again": "1"}).status_code == 404


# What is open to the course


@pytest.fixture
def closed(sandbox: Sandbox) -> NavigatrConnection:
    """Another organisation's connection, which works and is open to nobody."""
    return make_connection(name="Elsewhere", pat=sandbox.pat, open_to_all=False)


def test_a_connection_that_is_not_open_is_neither_offered_nor_asked(
    web: Client, course: Course, staging: NavigatrConnection, closed: NavigatrConnection, sandbox: Sandbox
) -> None:
    page = web.get(reverse("choose-provider", args=[course.pk]))
    assert "Trial" in text(page)
    assert "Elsewhere" not in text(page)
    before = len(sandbox.navigatr.ledger)
    for answer in (
        web.get(choose_url(course, closed)),
        web.get(review_url(course, closed)),
        web.post(review_url(course, closed), {"who": "now"}),
    ):
        assert answer.status_code == 200
        assert "This Navigatr connection is not open to this course." in text(answer)
        assert "Elsewhere" not in text(answer)
    assert len(sandbox.navigatr.ledger) == before
    assert not CourseBadgeMapping.objects.exists()


def test_a_closed_connection_that_is_paused_tells_nothing_about_itself(
    web: Client, course: Course, closed: NavigatrConnection
) -> None:
    NavigatrConnection.objects.update(state=NavigatrConnection.State.PAUSED)
    page = text(web.get(choose_url(course, closed)))
    assert "not open to this course" in page
    assert "aused" not in page


def test_single_providers_are_offered_and_saved_alone(web: Client, course: Course, closed: NavigatrConnection) -> None:
    ConnectionGrant.objects.create(
        connection=closed, kind=ConnectionGrant.Kind.SITE, site=course.site, provider_id=DEMO_PROVIDER_ID
    )
    page = text(web.get(reverse("choose-provider", args=[course.pk])))
    assert "Northgate College" in page
    assert "Südstadt Academy" not in page
    other = DEMO_PROVIDER_ID + 1
    for answer in (
        web.get(choose_url(course, closed, provider=other)),
        web.post(review_url(course, closed, provider=other), {"who": "now"}),
    ):
        assert "This provider is not open to this course." in text(answer)
    web.post(review_url(course, closed), {"who": "now"})
    assert CourseBadgeMapping.objects.get().provider_id == DEMO_PROVIDER_ID


def test_a_connection_without_an_open_provider_says_so(web: Client, course: Course, closed: NavigatrConnection) -> None:
    ConnectionGrant.objects.create(connection=closed, kind=ConnectionGrant.Kind.ALL, provider_id=999)
    page = text(web.get(reverse("choose-provider", args=[course.pk])))
    assert "It has no provider that is open to this course." in page
    assert "Northgate College" not in page


def test_a_connection_closed_between_review_and_save_is_not_saved(
    web: Client, course: Course, staging: NavigatrConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = Catalogue.find_badge

    def find_badge(*arguments: Any, **options: Any) -> Any:
        found = really(*arguments, **options)
        ConnectionGrant.objects.all().delete()
        return found

    monkeypatch.setattr(Catalogue, "find_badge", find_badge)
    assert "not open to this course" in text(web.post(review_url(course, staging), {"who": "now"}))
    assert not CourseBadgeMapping.objects.exists()


def test_site_admins_may_choose_what_is_open_to_nobody(
    client: Client, course: Course, closed: NavigatrConnection
) -> None:
    client.force_login(User.objects.create_superuser("root"))
    assert "Elsewhere" in text(client.get(reverse("choose-provider", args=[course.pk])))
    assert "releases them" not in text(client.get(review_url(course, closed)))
    client.post(review_url(course, closed), {"who": "past"})
    mapping = CourseBadgeMapping.objects.get()
    assert (mapping.by_admin, mapping.past_release) == (True, "free")


def test_past_completions_over_the_limit_are_told_before_and_after(
    web: Client, course: Course, staging: NavigatrConnection
) -> None:
    assert "If more than 200 learners have already completed the course" in text(web.get(review_url(course, staging)))
    page = text(web.post(review_url(course, staging), {"who": "past"}, follow=True))
    assert "wait until the portal has counted them" in page
    CourseBadgeMapping.objects.update(past_release="over")
    page = text(web.get(reverse("course", args=[course.pk])))
    assert "More than 200 learners have already completed this course" in page
    assert "A site admin must release them." in page
    assert "Needs attention" in text(web.get(reverse("courses")))


def test_a_course_whose_connection_was_closed_says_so_with_each_learner(
    web: Client, course: Course, closed: NavigatrConnection, manager: User
) -> None:
    row = make_issuance(make_mapping(course, closed, chosen_by=manager))
    for address in (reverse("course", args=[course.pk]), reverse("issuance", args=[course.pk, row.pk])):
        assert "A site admin can open the connection to this course" in text(web.get(address))
    assert "Needs attention" in text(web.get(reverse("courses")))
    assert row.learner.full_label in text(web.get(reverse("course", args=[course.pk]), {"state": "held"}))


# What somebody else did meanwhile, what saving does, and what was typed


def seen_on(page: HttpResponse) -> str:
    """What the page's form says that its person saw."""
    return re.findall(r'name="seen" value="([^"]*)"', page.content.decode())[0]


def test_the_second_of_two_is_told_what_changed_and_saves_nothing(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    address, remove = review_url(course, staging), reverse("remove-badge", args=[course.pk])
    first = seen_on(web.get(address))
    other = DEMO_BADGE_ID + 1
    root = User.objects.create_superuser("root", first_name="Ada", last_name="Byron")
    admin = Client()
    admin.force_login(root)
    admin.post(review_url(course, staging, badge=other), {"who": "now", "min_score": "70", "seen": first})
    page = web.post(address, {"who": "past", "min_score": "42", "seen": first})
    name = sandbox.navigatr.badges[other].name
    told = f"Ada Byron has saved the badge “{name}” meanwhile (minimum score 70 %, without past completions)."
    assert told in text(page)
    assert "Nothing was saved." in text(page)
    mapping = CourseBadgeMapping.objects.get()
    assert (mapping.badge_id, mapping.min_score) == (other, 70)
    # What was typed is kept, and now that it was seen it can be saved.
    html = page.content.decode()
    assert 'value="42"' in html
    assert re.search(r'value="past"[^>]* checked', html)
    removal = seen_on(web.get(remove))
    web.post(address, {"who": "past", "min_score": "42", "seen": seen_on(page)})
    mapping.refresh_from_db()
    assert (mapping.badge_id, mapping.min_score, mapping.include_past) == (DEMO_BADGE_ID, 42, True)
    # So it is with removing, and with another window of one's own.
    page = web.post(remove, {"seen": removal})
    assert "You have saved the badge “Safeguarding Essentials” in another window meanwhile" in text(page)
    assert CourseBadgeMapping.objects.exists()
    web.post(remove, {"seen": seen_on(page)})
    assert not CourseBadgeMapping.objects.exists()
    page = text(admin.post(address, {"who": "now", "seen": removal}))
    assert "Mina Okafor has removed the badge of this course meanwhile." in page
    assert not CourseBadgeMapping.objects.exists()


def test_the_review_says_how_many_badges_go_out_now(web: Client, course: Course, staging: NavigatrConnection) -> None:
    address = review_url(course, staging)
    page = text(web.get(address))
    assert "What saving does Badges that go out now: 0." in page
    assert "in addition: 0 that the portal knows of so far." in page
    for days in range(3):
        make_completion(course, completed_at=NOW - timedelta(days=days + 1))
    make_completion(course, undone_at=NOW)
    Course.objects.filter(pk=course.pk).update(past_read_at=NOW)
    assert "“Also those who have already completed”, in addition: 3." in text(web.get(address))
    mapping = make_mapping(course, staging, badge_id=DEMO_BADGE_ID + 1, badge_name="Old badge")
    make_rows(mapping, {State.ISSUED: 3, State.QUEUED: 2, State.FAILED: 1, State.NOT_MET: 1, State.HELD: 1})
    page = text(web.get(address))
    assert "What the change does Badges that go out now: 4." in page
    assert "in addition: 3." in page
    # Those who wait for a score wait on under the same badge.
    assert "Badges that go out now: 3." in text(web.get(review_url(course, staging, badge=DEMO_BADGE_ID + 1)))
    CourseBadgeMapping.objects.update(active=False, past_wanted_at=NOW)
    page = text(web.get(address))
    assert "Nothing is sent for now. The course's mapping is disabled." in page
    assert "in addition" not in page


def test_a_course_without_scores_warns_of_a_minimum_score(
    web: Client, course: Course, staging: NavigatrConnection
) -> None:
    warning = "With a minimum score nobody would get the badge"
    assert warning not in text(web.get(review_url(course, staging)))
    make_completion(course)
    assert warning in text(web.get(review_url(course, staging)))
    address = reverse("course", args=[course.pk])
    mapping = make_mapping(course, staging, min_score=60)
    assert "No learner who has completed this course has a score" in text(web.get(address))
    make_completion(course, score=80)
    assert warning not in text(web.get(review_url(course, staging)))
    assert "has a score" not in text(web.get(address))
    assert mapping.min_score == 60


def test_badges_for_organisations_are_shown_and_cannot_be_chosen(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    page = web.get(choose_url(course, staging, q="Partner of the College"))
    assert "Not for learners This badge is for organisations in Navigatr" in text(page)
    assert links(page, "/badge/review/") == []
    sandbox.navigatr.set_badge(DEMO_BADGE_ID, recipient_type="Organisation")
    told = "is for organisations, so no learner can get it. Choose another one."
    assert told in text(web.post(review_url(course, staging), {"who": "now"}))
    assert not CourseBadgeMapping.objects.exists()


def test_what_was_typed_stays_from_step_to_step_and_when_navigatr_is_asked_again(
    web: Client, course: Course, staging: NavigatrConnection, sandbox: Sandbox
) -> None:
    typed = {"min_score": "42", "who": "past"}
    answer = web.post(review_url(course, staging), typed | {"again": "1"})
    for address in (answer["Location"], review_url(course, staging, **typed)):
        html = web.get(address).content.decode()
        assert 'value="42"' in html
        assert re.search(r'value="past"[^>]* checked', html)
    back = next(link for link in links(web.get(answer["Location"]), "/badge/choose/"))
    tile = links(web.get(back), "/badge/review/")[0]
    assert "min_score=42&who=past" in tile
    sandbox.faults.on("503", side=NAVIGATR, call="badge", count=1)
    trouble = web.post(review_url(course, staging), typed)
    fields = dict(re.findall(r'<input type="hidden" name="(min_score|who)" value="([^"]*)">', trouble.content.decode()))
    assert fields == typed
    elsewhere = web.get(links(trouble, "min_score=42")[0])
    assert '<input type="hidden" name="min_score" value="42">' in elsewhere.content.decode()
