"""Finding a learner of a course, sending a badge again, looking at Moodle now, and the page's news."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from badging.meanings import Outcome
from badging.models import AuditEntry, CourseBadgeMapping, Issuance
from badging.moments import moment
from badging.privacy import erase_learner
from badging.status import OVERDUE_AFTER
from moodle_sync.models import Course, MoodleSiteState
from tests.builders import (
    NOW,
    make_completion,
    make_course,
    make_issuance,
    make_learner,
    make_mapping,
)

from .reading import links, text

pytestmark = pytest.mark.django_db

State = Issuance.State


def find(web: Client, course: Course, words: str) -> str:
    """What the page says to a search."""
    answer = web.post(reverse("find-learner", args=[course.pk]), {"q": words})
    assert answer.status_code == 303
    # The address has a number of the search, which may have these digits in it.
    assert f"q={words}" not in answer["Location"]
    assert words.isdecimal() or words not in answer["Location"]
    return text(web.get(answer["Location"]))


@pytest.mark.parametrize("words", ["zoe", "OBRIEN".replace("OB", "o’b"), "brien zoë", "Zoe@Example.org", "4711"])
def test_a_learner_is_found_by_name_address_or_number(web: Client, course: Course, words: str) -> None:
    mapping = make_mapping(course)
    person = {"moodle_id": 4711, "firstname": "Zoë", "lastname": "O’Brien", "email": "zoe@example.org"}
    learner = make_learner(course.site, **person)
    make_issuance(mapping, make_completion(course, learner), state=State.FAILED, reason=Outcome.UNPUBLISHED)
    make_issuance(mapping, make_completion(course, make_learner(course.site, firstname="Ana", moodle_id=14711)))
    page = find(web, course, words)
    assert "Zoë O’Brien (id 4711) The badge is unpublished" in page
    assert "Ana" not in page


def test_who_is_not_in_the_list_is_told_with_the_reason(web: Client, course: Course) -> None:
    make_completion(course, make_learner(course.site, firstname="Nomap"))
    assert "Nomap Lee (id 101) The course awards no badge." in find(web, course, "nomap")
    mapping = make_mapping(course)
    early = NOW - timedelta(days=30)
    make_completion(course, make_learner(course.site, firstname="Early"), completed_at=early)
    make_completion(course, make_learner(course.site, firstname="Undone"), undone_at=NOW)
    make_completion(course, make_learner(course.site, firstname="Fresh"), completed_at=NOW + timedelta(hours=1))
    erased = make_completion(course, make_learner(course.site, moodle_id=900)).learner
    make_issuance(mapping, make_completion(course, make_learner(course.site, firstname="Held")), state=State.HELD,
                  reason=Outcome.COMPLETION_UNDONE)  # fmt: skip
    erase_learner(erased, now=NOW)
    told = {
        "early": f"before it awarded a badge: at {moment(early)}, and badges count from {moment(NOW)}.",
        "undone": "Moodle no longer has this completion",
        "fresh": "the badge is queued when the portal next reads Moodle",
        "900": "erased learner 900 The learner's personal data was erased.",
        "held": "it is sent when the learner completes the course again. Held",
    }
    for words, reason in told.items():
        assert reason in find(web, course, words), words
    CourseBadgeMapping.objects.update(past_wanted_at=NOW)
    assert "queued once the portal has read the whole course" in find(web, course, "early")


def test_who_has_not_completed_the_course_is_told_as_that_and_nothing_of_other_courses(
    web: Client, course: Course
) -> None:
    make_mapping(course)
    elsewhere = make_learner(course.site, firstname="Elsewhere", moodle_id=500)
    make_completion(make_course(course.site), elsewhere)
    Course.objects.filter(pk=course.pk).update(untracked=[77])
    pages = [find(web, course, words) for words in ("elsewhere", "nobody", "500", "9" * 30, "&", "%", "(", "''")]
    assert len({page.partition("Find a learner")[2] for page in pages}) == 1
    assert "the course is not completed yet" in pages[0]
    assert f"If it was completed before {moment(NOW)}, it does not count" in pages[0]
    assert "Moodle does not track the completion of the participant" in find(web, course, "77")
    assert "No learner has earned a badge" in find(web, course, "  ")


def test_a_search_is_nobody_elses_and_takes_nine_queries(web: Client, client: Client, course: Course) -> None:
    mapping = make_mapping(course)
    for _number in range(30):
        make_issuance(mapping, make_completion(course))
    address = web.post(reverse("find-learner", args=[course.pk]), {"q": "lee"})["Location"]
    # Session, user, course, mapping, counts, the completions and the issuances of those found.
    with CaptureQueriesContext(connection) as queries:
        page = text(web.get(address))
    assert len(queries) == 7
    assert "More learners fit." in page
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    assert "This search is over." in text(client.get(address, follow=True))


def test_what_failed_has_change_badge_and_send_again_at_hand(web: Client, course: Course, manager: User) -> None:
    mapping = make_mapping(course, chosen_by=manager)
    row = make_issuance(mapping, state=State.FAILED, reason=Outcome.UNPUBLISHED)
    other = make_issuance(mapping, state=State.FAILED, reason=Outcome.REJECTED)
    again = reverse("send-again", args=[course.pk, row.pk])
    page = web.get(reverse("course", args=[course.pk]))
    assert links(page, "/send-again/") == [again]
    assert links(web.get(reverse("issuance", args=[course.pk, row.pk])), "/send-again/") == [again]
    asked = text(web.get(again))
    assert f"is sent to {row.learner.full_label} again (Staging)" in asked
    assert "fails in the same way" in asked
    row.refresh_from_db()
    assert row.state == State.FAILED
    assert "It is queued, and sent again in a moment." in text(web.post(again, follow=True))
    row.refresh_from_db()
    assert row.state == State.QUEUED
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor, entry.details["issuances"]) == ("sent_again", manager, [row.pk])
    for pk in (row.pk, other.pk):
        refused = text(web.post(reverse("send-again", args=[course.pk, pk]), follow=True))
        assert "cannot be sent again from here now" in refused
    other.refresh_from_db()
    assert other.state == State.FAILED


def test_sent_again_under_a_disabled_mapping_is_said_to_stay_held(web: Client, course: Course) -> None:
    row = make_issuance(make_mapping(course, active=False), state=State.FAILED, reason=Outcome.GAVE_UP)
    again = reverse("send-again", args=[course.pk, row.pk])
    assert "It stays held for now. The course's mapping is disabled." in text(web.get(again))
    page = text(web.post(again, follow=True))
    assert "stays held for now. The course's mapping is disabled. A site admin must enable the mapping again" in page
    assert "It is queued" not in page
    assert "Held" in page


def test_look_now_asks_for_a_poll_but_not_too_often(web: Client, course: Course) -> None:
    make_mapping(course)
    address, look = reverse("course", args=[course.pk]), reverse("look-now", args=[course.pk])
    later, now = timezone.now() + timedelta(minutes=1), timezone.now()
    state = MoodleSiteState.objects.filter(site=course.site)
    state.update(next_poll_at=later, last_poll_at=now - timedelta(seconds=30))
    page = web.get(address)
    assert (
        f"Moodle was last read at {moment(now - timedelta(seconds=30))}. It is read next at {moment(later)}."
        in text(page)
    )
    assert "Look now" in text(page)
    assert "Moodle is read now." in text(web.post(look, follow=True))
    assert state.get().next_poll_at <= timezone.now()
    for wrong, words in (
        ({"last_poll_at": now}, "It was read just now"),
        ({"failures": 2}, "It could not be read before, and is tried again at"),
        ({"polling_until": later}, "It is being read right now."),
        ({"doubt": "Is it the same?"}, "whether it is still the same Moodle"),
    ):
        state.update(next_poll_at=later, **wrong)
        assert words in text(web.post(look, follow=True))
        assert state.get().next_poll_at == later
        assert "Look now" not in text(web.get(address))


def test_a_manager_is_told_that_moodle_is_not_read_though_it_should_be(web: Client, course: Course) -> None:
    make_mapping(course)
    now = timezone.now()
    MoodleSiteState.objects.filter(site=course.site).update(next_poll_at=now, last_poll_at=now - timedelta(minutes=5))
    address = reverse("course", args=[course.pk])
    assert "It is read in a moment." in text(web.get(address))
    MoodleSiteState.objects.filter(site=course.site).update(next_poll_at=now - OVERDUE_AFTER)
    page = text(web.get(address))
    assert "It is read in a moment." not in page
    assert "Tell a site admin: a part of the portal stands still." in page
    assert "Look now" in page


def test_the_news_of_a_page_are_its_learners_and_nothing_else(web: Client, course: Course) -> None:
    mapping = make_mapping(course)
    failed = make_issuance(mapping, state=State.FAILED, reason=Outcome.UNPUBLISHED)
    make_issuance(mapping, make_completion(course, make_learner(course.site, firstname="Zoë")))
    address = reverse("course-news", args=[course.pk])
    news = web.get(address)
    assert "Zoë Lee" in text(news)
    assert "<html" not in news.content.decode()
    only = text(web.get(address, {"state": "failed"}))
    assert failed.learner.full_label in only
    assert "Zoë" not in only
    number = web.post(reverse("find-learner", args=[course.pk]), {"q": "zoe"})["Location"]
    assert "Zoë Lee" in text(web.get(number.replace("?", "news/?")))


@pytest.mark.parametrize("name", ["find-learner", "look-now"])
def test_who_signed_in_again_instead_of_posting_comes_to_the_course(web: Client, course: Course, name: str) -> None:
    """The sign-in page sends on by GET to what was posted when the session had ended."""
    answer = web.get(reverse(name, args=[course.pk]))
    assert (answer.status_code, answer.headers["Location"]) == (302, reverse("course", args=[course.pk]))
