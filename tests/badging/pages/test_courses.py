"""The list of courses, the pages of a course and of its issuances, and removing a badge."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
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
    Issuance,
    NavigatrConnection,
)
from badging.pictures import picture_path
from moodle_sync.models import Course, MoodleSiteState
from tests.builders import (
    NOW,
    make_attempt,
    make_completion,
    make_connection,
    make_course,
    make_issuance,
    make_learner,
    make_mapping,
    make_site,
)

from .reading import links, make_rows, text

pytestmark = pytest.mark.django_db


State = Issuance.State
IN_2028 = datetime(2028, 2, 1, 9, 0, tzinfo=UTC)


def test_the_list_shows_each_course_with_its_badge_and_what_needs_attention(web: Client, course: Course) -> None:
    assert "No badge yet" in text(web.get("/courses/"))
    make_mapping(course, badge_image_url="https://img.example/1.png", badge_problem="Unpublished.")
    page = web.get("/courses/")
    assert "First Aid at Work" in text(page)
    assert "Safeguarding Staging Needs attention" in text(page)
    assert f'src="{picture_path("https://img.example/1.png")}"' in page.content.decode()


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
    assert re.findall(r"Course \d{3}", text(client.get("/courses/?q=04+COURSE"))) == [
        "Course 004",
        *(f"Course 04{n}" for n in range(10)),
    ]
    assert re.findall(r"Course \d{3}", text(client.get("/courses/?badge=yes"))) == ["Course 007"]
    assert "Course 007" not in text(client.get("/courses/?badge=no"))
    nothing = text(client.get("/courses/?q=nothing"))
    assert "No course is called “nothing”. Search with fewer words" in nothing
    # What a person may type into the address.
    for odd in ("?page=0", "?page=-1", "?page=x", "?page=99999999999999999999", "?badge=maybe", "?q=%00"):
        assert client.get(f"/courses/{odd}").status_code == 200, odd


def test_who_manages_nothing_is_told_whom_to_ask(client: Client) -> None:
    client.force_login(User.objects.create_user("new"))
    assert "A site admin can assign them to you." in text(client.get("/courses/"))


@pytest.mark.parametrize("words", ["ethique cafe", "CAFÉ niveau", "éth-1", "niveau 1 ‘éthique"])
def test_courses_are_found_without_accents_and_in_any_order(
    web: Client, course: Course, manager: User, words: str
) -> None:
    other = make_course(course.site, shortname="ÉTH-1", fullname="Café & ‘Éthique’ — Niveau 1")
    CourseManager.objects.create(user=manager, course=other)
    page = text(web.get("/courses/", {"q": words}))
    assert "Niveau 1" in page
    assert "First Aid" not in page


def test_the_list_counts_what_failed_and_is_issued_and_asks_for_attention_from_the_first_failure(
    web: Client, course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping = make_mapping(course)
    make_rows(mapping, {State.ISSUED: 3, State.QUEUED: 2})
    page = text(web.get("/courses/"))
    assert "Safeguarding Staging 3 issued" in page
    assert "Needs attention" not in page
    make_rows(mapping, {State.FAILED: 1})
    assert "Safeguarding Staging Needs attention 1 failed · 3 issued" in text(web.get("/courses/"))
    assert "Learners 1 failed · 3 issued" in text(web.get(reverse("course", args=[course.pk])))
    monkeypatch.setattr("badging.counting.COUNTED_UP_TO", 2)
    assert "1 failed · more than 2 issued" in text(web.get("/courses/"))


def test_pages_stay_small(web: Client, course: Course, manager: User) -> None:
    long, trial = "Å" * 255, make_connection()
    for number in range(30):
        other = make_course(course.site, fullname=f"{number} {long}", shortname=f"{number} {long[:40]}")
        CourseManager.objects.create(user=manager, course=other)
        make_mapping(other, trial, badge_name=long[:80], badge_problem="Unpublished.")
    mapping = make_mapping(course, trial, min_score=50)
    for number in range(30):
        learner = make_learner(course.site, firstname=f"{number} {long[:60]}", lastname=long[:60])
        make_issuance(mapping, make_completion(course, learner), state=State.FAILED, reason=Outcome.UNPUBLISHED)
    for address in ("/courses/", reverse("course", args=[course.pk])):
        assert len(web.get(address).content) < 60_000


def test_the_list_makes_five_queries_however_long_it_is(web: Client, manager: User) -> None:
    site, trial = make_site(), make_connection()
    for number in range(30):
        course = make_course(site, fullname=f"Course {number}")
        CourseManager.objects.create(user=manager, course=course)
        make_mapping(course, trial)
    # The session, the user, the courses with site, their mappings with connection, and how many of each have failed
    # and are issued. Nobody without staff status has permissions, so none are asked for.
    with CaptureQueriesContext(connection) as queries:
        assert web.get("/courses/").status_code == 200
    assert len(queries) == 5


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
    assert "Next attempt" not in page
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


def test_an_implausible_date_is_shown_with_date_and_site(web: Client, course: Course) -> None:
    completion = make_completion(course, completed_at=IN_2028, implausible=True)
    row = make_issuance(make_mapping(course), completion, state=State.HELD, reason=Outcome.IMPLAUSIBLE_DATE)
    page = text(web.get(reverse("issuance", args=[course.pk, row.pk])))
    assert f"Completed {date_format(IN_2028, 'DATETIME_FORMAT')}" in page
    assert f"Moodle site {course.site.name}" in page
    assert "A site admin can use “Send again”" in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"state": NavigatrConnection.State.PAUSED}, "The Navigatr connection is paused"),
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
    assert "No learners found." in text(web.get(address, {"state": "held"}))
    assert web.get(address, {"state": "no such state"}).status_code == 200


def test_learners_are_paged_by_key_and_the_page_makes_six_queries(web: Client, course: Course) -> None:
    mapping = make_mapping(course)
    make_rows(mapping, {State.QUEUED: 60})
    address = reverse("course", args=[course.pk])
    seen: list[str] = []
    while True:
        # The session, the user, the course with its site, its mapping with connection and people, one page of issuances
        # with their learners, and how many have failed and are issued, which stops counting at a thousand.
        with CaptureQueriesContext(connection) as queries:
            page = web.get(address)
        assert len(queries) == 6
        counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
        assert [sql.count("LIMIT 1001") for sql in counts] == [2]
        seen += links(page, "/issuances/")
        found = re.search(r'rel="next"\s+href="([^"]*)"', page.content.decode())
        if not found:
            break
        address = unescape(found[1])
    assert len(seen) == len(set(seen)) == 60
    assert "Newest" in text(page)


def test_one_issuance_shows_its_attempts_in_plain_words(web: Client, course: Course) -> None:
    row = make_issuance(make_mapping(course), state=State.NOT_MET, reason=Outcome.NOT_MET)
    make_attempt(row, outcome=Outcome.RATE_LIMITED, status=429, next_attempt_at=NOW)
    words = {"detail": "Ana is too low", "looked_up": "badge 111, found 42"}
    make_attempt(row, outcome=Outcome.NOT_MET, status=202, fields="score, min_score", **words)
    page = web.get(reverse("issuance", args=[course.pk, row.pk]))
    told = text(page)
    assert told.index("Badge requirement not met") < told.index("Too many requests")
    for words in ("Refused: score, minimum score", "Send again"):
        assert words in told
    assert "HTTP" not in told
    # What Navigatr said may name anybody, and is for staff only.
    assert not [word for word in ("Ana is too low", "found 42") if word in told]


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
    assert "No attempts yet." in text(web.get(reverse("issuance", args=[course.pk, row.pk])))


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

    monkeypatch.setattr("badging.pages.courses.mapping_of", read_before_it_went)
    answer = web.post(address)
    assert answer["Location"] == reverse("course", args=[course.pk])
    monkeypatch.undo()
    assert "awards no badge any more" in text(web.get(answer["Location"]))


@pytest.mark.parametrize(
    "link", ["javascript:alert(1)", "data:text/html,x", "//evil.example/", "https://me:word@x.org/"]
)
def test_a_stored_link_that_is_no_web_address_is_not_a_link(web: Client, course: Course, link: str) -> None:
    """Rows from before links were checked may hold anything."""
    row = make_issuance(make_mapping(course, badge_url=link), state=State.ISSUED, assertion_id="7", assertion_url=link)
    MoodleSiteState.objects.filter(site=course.site).update(wwwroot=link)
    for page in (reverse("course", args=[course.pk]), reverse("issuance", args=[course.pk, row.pk])):
        answer = web.get(page)
        assert not links(answer, link)
    assert links(web.get(reverse("course", args=[course.pk])), "https://moodle.example/course/view.php")
