"""The set-up path, the page for the Moodle administrator, and the verification."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from badging.admin.moodle_guide import LONGEST_MAIL
from badging.meanings import Outcome
from badging.models import ConnectionGrant, CourseBadgeMapping, Issuance
from badging.setup import SITE_ADMINS
from moodle_sync.guide import CAPABILITIES, FUNCTIONS
from moodle_sync.models import Course, MoodleSite
from sandbox import MOODLE, Sandbox
from tests.builders import (
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

from .browsing import signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def web() -> Client:
    """A browser of a site admin."""
    return signed_in(SITE_ADMINS)


def text_of(web: Client, address: str) -> str:
    reply = web.get(address)
    assert reply.status_code == 200
    return reply.content.decode()


def polled_site(**fields: Any) -> MoodleSite:
    now = timezone.now()
    polled = {"feed": "A", "last_poll_at": now, "next_poll_at": now + timedelta(seconds=40)}
    return make_site(name="Hub", **polled | fields)


def test_each_step_of_the_path_leads_to_its_form_and_back(web: Client) -> None:
    path = reverse("admin:set_up")
    start = text_of(web, reverse("admin:index"))
    assert f'class="button" href="{path}"' in start
    assert "Next: Connect Navigatr." in start
    page = text_of(web, path)
    add = reverse("admin:badging_navigatrconnection_add", query={"setup": 1})
    assert f'class="button" href="{add}"' in page
    assert page.count('aria-current="step"') == 1
    assert "Set-up, 1 of 5." in text_of(web, add)
    assert "Set-up," not in text_of(web, reverse("admin:badging_navigatrconnection_add", query={"setup": "<b>"}))

    tested = {"tested_at": timezone.now(), "test_ok": True, "providers": [[11, "Northgate"]]}
    connection = make_connection(open_to_all=False, **tested)
    polled_site()
    opening = reverse("admin:badging_connectiongrant_add", query={"connection": connection.pk, "setup": 3})
    assert opening.replace("&", "&amp;") in text_of(web, path)
    reply = web.post(opening, {"what": f"{connection.pk}-", "kind": "all"})
    assert (reply.status_code, reply["Location"]) == (302, path)
    assert ConnectionGrant.objects.get().kind == "all"


def test_the_list_of_courses_says_why_it_is_empty(web: Client) -> None:
    let_everything_run()
    assert "Set-up: Connect Navigatr" in text_of(web, reverse("courses"))
    make_connection(providers=[[11, "Northgate"]])
    polled_site()
    page = text_of(web, reverse("courses"))
    assert "No courses have been read from Hub yet." in page
    assert "Moodle is read next" in page


def test_the_courses_lead_back_to_the_path_until_a_badge_was_issued(web: Client) -> None:
    mapping = make_mapping(make_course(polled_site()))
    address = reverse("course", args=[mapping.course_id])
    assert reverse("admin:set_up") in text_of(web, address)
    make_issuance(mapping, state=Issuance.State.ISSUED, assertion_id="911")
    assert reverse("admin:set_up") not in text_of(web, address)
    assert "Go on with the set-up" not in text_of(web, reverse("admin:index"))


def test_the_page_for_the_moodle_administrator_tells_all_or_what_is_missing(web: Client) -> None:
    everything = text_of(web, reverse("admin:moodle_guide_new"))
    for name in (*FUNCTIONS, *CAPABILITIES, "Navigatr badge feed", "Remove any duplicate rows"):
        assert name in everything
    values = {"function": FUNCTIONS[2], "lost": "the report cannot be read"}
    lacks = "The service lacks {function}: {lost}."
    findings = [
        {"check": "rest", "ok": True, "message": "On.", "values": {}},
        {"check": "version", "ok": True, "message": "Moodle {release}.", "values": {"release": "4.5.5+ (Build: 1)"}},
        {"check": f"function-{FUNCTIONS[2]}", "ok": False, "message": lacks, "values": values},
    ]
    site = polled_site(findings=findings, wwwroot="https://moodle.example")
    reply = web.get(reverse("admin:moodle_guide", args=[site.pk]))
    page = reply.content.decode()
    assert f"The service lacks {FUNCTIONS[2]}: the report cannot be read." in page
    assert "In the words of Moodle 4.5.5+ (Build: 1)." in page
    # What is done is not asked for again.
    assert CAPABILITIES[0] not in page
    assert FUNCTIONS[4] not in page
    assert site.token not in page
    mail = reply.context["mail"]
    assert mail.startswith("mailto:?subject=Navigatr%20badges")
    assert FUNCTIONS[2] in mail
    assert len(mail) < LONGEST_MAIL + 200
    # The same stands beside the form of the site.
    form = text_of(web, reverse("admin:moodle_sync_moodlesite_change", args=[site.pk]))
    assert f"The service lacks {FUNCTIONS[2]}: the report cannot be read." in form
    assert reverse("admin:moodle_guide", args=[site.pk]) in form


def test_a_check_that_saves_nothing_opens_the_steps_that_are_missing(web: Client, sandbox: Sandbox) -> None:
    sandbox.faults.on("ws_disabled", side=MOODLE)
    address = reverse("admin:moodle_sync_moodlesite_add", query={"setup": 2})
    empty = text_of(web, address)
    assert "<details open>" not in empty
    intervals = {"poll_interval": "00:01:00", "busy_interval": "00:00:05", "enabled": "on"}
    typed = {"name": "Hub", "url": sandbox.moodle_url, "new_token": sandbox.moodle_token} | intervals
    page = web.post(address, typed).content.decode()
    # Enabling web services, and REST.
    assert page.count("<details open>") == 2
    assert not MoodleSite.objects.exists()
    sandbox.faults.clear()
    assert web.post(address, typed)["Location"] == reverse("admin:set_up")


def test_a_badge_is_followed_from_the_next_completion_to_its_arrival(web: Client) -> None:
    let_everything_run()
    mapping = make_mapping(make_course(polled_site()), badge_name="Safeguarding", since=timezone.now())
    choose = reverse("admin:verification")
    assert mapping.course.full_label in text_of(web, choose)
    watch = web.get(choose, {"course": mapping.course_id})["Location"]
    page = text_of(web, watch)
    assert "Nobody has completed the course since then. Moodle is read next" in page
    assert "Look now" in page
    # What would hold the badge is told before anybody completes the course.
    CourseBadgeMapping.objects.update(active=False, min_score=60)
    held = text_of(web, watch)
    assert "mapping is disabled" in held
    assert "needs a grade in Moodle" in held
    CourseBadgeMapping.objects.update(active=True)
    assert web.post(watch, {"look": "1"})["Location"] == watch

    completion = make_completion(mapping.course, make_learner(mapping.course.site, email="zoe@example.org"),
                                 completed_at=timezone.now())  # fmt: skip
    row = make_issuance(mapping, completion, state=Issuance.State.ISSUED, reason=Outcome.ISSUED, assertion_id="911",
                        assertion_url="https://navigatr.example/911", issued_at=timezone.now())  # fmt: skip
    make_attempt(row, at=timezone.now(), outcome=Outcome.ISSUED, status=201)
    part = text_of(web, watch.replace("verification/", "verification/stages/"))
    assert "data-done" in part
    assert 'href="https://navigatr.example/911"' in part
    # Now it is this learner who is followed, and no address names them.
    lasting = reverse("admin:verification", query={"course": mapping.course_id, "learner": row.learner_id})
    assert lasting.replace("&", "&amp;") in part
    assert "Ana Lee" in text_of(web, lasting)


def test_a_learner_is_searched_for_without_a_trace_in_the_address(web: Client) -> None:
    mapping = make_mapping(make_course(polled_site()))
    learner = make_learner(mapping.course.site, firstname="Zoë", lastname="Okafor", email="zoe@example.org")
    elsewhere = make_learner(make_site(name="Another"), firstname="Zoë", lastname="Adeyemi", email="zoe@example.org")
    watch = reverse("admin:verification", query={"course": mapping.course_id, "after": 0})
    reply = web.post(watch, {"find": "1", "words": "zoe@example.org"})
    assert reply.status_code == 303
    assert "zoe" not in reply["Location"]
    page = text_of(web, reply["Location"])
    assert learner.full_label in page
    assert elsewhere.full_label not in page
    follow = f"?course={mapping.course_id}&amp;learner={learner.pk}"
    assert follow in page
    assert "has not seen a completion of this learner" in text_of(
        web, reverse("admin:verification", query={"course": mapping.course_id, "learner": learner.pk})
    )
    made_up = {"course": mapping.course_id, "learner": elsewhere.pk}
    assert web.get(reverse("admin:verification"), made_up).status_code == 404
    assert web.get(reverse("admin:verification"), {"course": "²"}).status_code == 404


def test_the_pages_take_few_queries(web: Client, django_assert_max_num_queries: Any) -> None:
    mapping = make_mapping(make_course(polled_site()))
    for _number in range(30):
        make_completion(mapping.course)
    # Session, user, two for permissions; then twelve for the steps, or ten for the stages, the mapping and the courses.
    with django_assert_max_num_queries(16):
        web.get(reverse("admin:set_up"))
    with django_assert_max_num_queries(18):
        web.get(reverse("admin:verification"), {"course": mapping.course_id, "after": 0})
    assert CourseBadgeMapping.objects.count() == Course.objects.count()
