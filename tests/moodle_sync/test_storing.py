"""What is written down of a completion: people, times and scores, and what is never written again."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import responses
from django.db import transaction
from pytest_django import DjangoAssertNumQueries

from badging.privacy import erase_learner
from moodle_sync.completing import Completed, is_again
from moodle_sync.models import Completion, Course, Learner
from moodle_sync.polling import read_site
from moodle_sync.reading import Batch, Poll, Seen, Stored, WantedCourse
from moodle_sync.site_check import moodle_client_for
from moodle_sync.storing import fitting, profile, store
from sandbox import MOODLE
from tests.builders import NOW, make_course, make_learner, make_site

from .polled import GRADES, MANY, REPORT, RETRIEVE, SET_FILTERS, Polled
from .recordings import SITE, answer_by, recording

DAY = timedelta(days=1)
USERS = "core_user_get_users_by_field"


def seen_at(completed_at: datetime | None, source: str = "report", email: str | None = None) -> Seen:
    return Seen(Course(moodle_id=2), 101, None, None, email, completed_at, source)


@pytest.fixture(params=["A", "B"])
def feed(polled: Polled, request: pytest.FixtureRequest) -> Polled:
    """The same Moodle read with either feed."""
    if request.param == "B":
        polled.without_report()
    return polled


def test_changed_profile_updates_the_learner_and_is_handed_over(feed: Polled) -> None:
    course = feed.course(learners=2)
    learner, other = feed.users(course)
    for user in (learner, other):
        feed.complete(course, user)
    feed.poll()
    assert feed.changed == []
    feed.moodle.set_email(learner, "neu@example.org")
    feed.moodle.set_name(other, "Søren", "Ærø")
    feed.poll()
    assert feed.changed == [learner, other]
    assert (feed.learner(learner).email, feed.learner(learner).email_key) == ("neu@example.org", "neu@example.org")
    assert (feed.learner(other).firstname, feed.learner(other).lastname) == ("Søren", "Ærø")
    feed.poll()
    assert feed.changed == []
    assert Learner.objects.count() == Completion.objects.count() == 2


@pytest.mark.parametrize(("name", "address"), [("", ""), ("\u3164", "pat@college"), ("\u200b\u2800", "bo@x.127")])
def test_missing_name_or_address_is_kept_as_incomplete_and_filled_later(feed: Polled, name: str, address: str) -> None:
    course = feed.course()
    nameless = feed.moodle.add_learner(name, "Lee", "ana@example.org", course_id=course.moodle_id)
    unreachable = feed.moodle.add_learner("Bo", "Lee", address, course_id=course.moodle_id)
    for user in (nameless, unreachable):
        feed.complete(course, user)
    result = feed.poll()
    assert (result.new_completions, feed.told) == (2, [nameless, unreachable])
    assert [feed.learner(user).profile_complete for user in (nameless, unreachable)] == [False, False]
    assert not feed.learner(unreachable).deleted
    feed.moodle.set_name(nameless, "Ana", "Lee")
    feed.moodle.set_email(unreachable, "bo@example.org")
    feed.poll()
    assert feed.changed == [nameless, unreachable]
    assert [feed.learner(user).profile_complete for user in (nameless, unreachable)] == [True, True]


def test_erased_learner_never_comes_back(feed: Polled) -> None:
    course, later = feed.course(learners=2), feed.course()
    gone, stays = feed.users(course)
    for user in (gone, stays):
        feed.complete(course, user, ago=timedelta(hours=1))
    feed.poll()
    erase_learner(feed.learner(gone), now=feed.now)
    feed.moodle.set_email(gone, "again@example.org")
    feed.moodle.enrol(later.moodle_id, gone)
    feed.complete(later, gone)
    feed.moodle.uncomplete(course.moodle_id, gone)
    feed.complete(course, gone)
    for after in (timedelta(minutes=1), DAY):
        result = feed.poll(after)
        assert result.new_completions == 0
        assert gone not in feed.told
        assert feed.changed == []
    row = feed.learner(gone)
    assert (row.firstname, row.lastname, row.email, row.email_key) == ("", "", "", "")
    assert not Completion.objects.filter(course=later).exists()


def test_nothing_more_is_asked_about_an_erased_learner(polled: Polled) -> None:
    course = polled.course(learners=1)
    (learner,) = polled.users(course)
    polled.complete(course, learner)
    polled.poll()
    erase_learner(polled.learner(learner), now=polled.now)
    polled.moodle.uncomplete(course.moodle_id, learner)
    polled.complete(course, learner)
    polled.poll()
    assert polled.called == [SET_FILTERS, RETRIEVE]


def test_address_of_a_deleted_account_marks_the_learner_as_deleted() -> None:
    told = profile(seen_at(NOW, email="d41d8cd98f00b204e9800998ecf8427e"), None)
    assert told["deleted"] is True


def test_feed_b_asks_for_accounts_only_where_it_matters(polled: Polled) -> None:
    polled.without_report()
    course = polled.course(learners=2)
    suspended, _ = polled.users(course)
    polled.moodle.suspend(suspended)
    for user in polled.users(course):
        polled.complete(course, user)
    polled.poll()
    assert not polled.learner(suspended).suspended


def test_suspended_account_is_noted_and_noted_again_when_it_comes_back(feed: Polled) -> None:
    feed.site.send_suspended = False
    feed.site.save()
    course = feed.course(learners=2)
    first, second = feed.users(course)
    feed.moodle.suspend(first)
    for user in (first, second):
        feed.complete(course, user)
    feed.poll()
    assert [feed.learner(user).suspended for user in (first, second)] == [True, False]
    feed.moodle.suspend(first, suspended=False)
    feed.moodle.suspend(second)
    # What badging does for those who wait.
    feed.waiting = list(Completion.objects.select_related("learner"))
    feed.poll()
    assert feed.changed == [first, second]
    assert [feed.learner(user).suspended for user in (first, second)] == [False, True]


def test_site_that_may_not_ask_for_accounts_does_without(feed: Polled) -> None:
    feed.site.send_suspended = False
    feed.site.save()
    feed.sandbox.faults.on("missing_function", side=MOODLE, call=USERS)
    course = feed.course(learners=1)
    feed.complete(course, feed.users(course)[0])
    assert feed.poll().new_completions == 1


def test_score_is_the_exact_share_of_the_learners_own_maximum(feed: Polled) -> None:
    course = feed.course(learners=5)
    half, bonus, none, exact, thirds = feed.users(course)
    feed.moodle.set_grade(course.moodle_id, half, 15, grademax=30)
    feed.moodle.set_grade(course.moodle_id, bonus, 22, grademax=20)
    feed.moodle.set_grade(course.moodle_id, exact, 17.85, grademax=30)
    feed.moodle.set_grade(course.moodle_id, thirds, 2, grademax=3)
    for user in feed.users(course):
        feed.complete(course, user)
    feed.poll()
    scores = [feed.completion(course, user).score for user in (half, bonus, none, exact, thirds)]
    assert scores == [50, 100, None, Decimal("59.5"), Decimal("66.666666")]
    texts = [feed.completion(course, user).score_text for user in (half, bonus, none, exact, thirds)]
    assert texts == ["50 %", "100 %", "", "59.5 %", "66.66 %"]


@pytest.mark.parametrize("may_see", [True, False])
def test_a_hidden_course_total_is_noted_and_no_score(feed: Polled, may_see: bool) -> None:
    if not may_see:
        feed.sandbox.faults.on("no_viewhidden", side=MOODLE)
    course = feed.course(learners=1)
    (learner,) = feed.users(course)
    feed.moodle.set_course(course.moodle_id, hidden_total=True)
    feed.complete(course, learner, grade=80)
    feed.poll()
    row = feed.completion(course, learner)
    assert (row.score, row.score_hidden) == (None, True)
    feed.moodle.set_course(course.moodle_id, hidden_total=False)
    feed.waiting = [row]
    feed.poll()
    row.refresh_from_db()
    assert (row.score, row.score_hidden) == (80, False)


def test_refused_grades_give_no_score_and_one_line_for_each_course(feed: Polled) -> None:
    first, second = feed.course(learners=3), feed.course(learners=2)
    feed.sandbox.faults.on("grades_refused", side=MOODLE)
    for course in (first, second):
        for user in feed.users(course):
            feed.complete(course, user, grade=80)
    result = feed.poll()
    assert (result.new_completions, result.queued, result.error) == (5, 5, "")
    assert not Completion.objects.exclude(score=None).exists()
    assert sorted(problem.partition(":")[0] for problem in result.problems) == sorted([str(first), str(second)])
    assert all("moodle/grade:viewall" in problem for problem in result.problems)


def test_service_without_grades_gives_no_score(feed: Polled) -> None:
    feed.sandbox.faults.on("missing_function", side=MOODLE, call=GRADES)
    course = feed.course(learners=1)
    feed.complete(course, feed.users(course)[0], grade=80)
    result = feed.poll()
    assert (result.new_completions, result.problems) == (1, [])
    row = feed.completion(course, feed.users(course)[0])
    assert (row.score, row.score_read_at) == (None, feed.now)
    assert GRADES not in feed.called


def test_score_asked_for_again_is_updated_without_a_new_completion(feed: Polled) -> None:
    course = feed.course(learners=1)
    (learner,) = feed.users(course)
    feed.complete(course, learner, grade=40)
    feed.poll()
    feed.moodle.set_grade(course.moodle_id, learner, 90)
    # What `badging` does once a day for "requirement not met".
    Completion.objects.update(score_read_at=None)
    assert feed.poll().new_completions == 0
    assert feed.completion(course, learner).score == 90


def test_new_completions_are_completed_twenty_five_at_a_time(polled: Polled) -> None:
    course = polled.course(learners=120)
    polled.poll()
    polled.moodle.complete_many(course.moodle_id, polled.users(course), polled.now.timestamp(), grade=70)
    polled.poll()
    assert polled.called == [SET_FILTERS, RETRIEVE, *[MANY] * 5]
    assert Completion.objects.filter(score=70).count() == 120


def test_caller_hears_of_known_completions_too_so_that_what_was_missed_is_caught_up(feed: Polled) -> None:
    course = feed.course(learners=1)
    feed.complete(course, feed.users(course)[0])
    feed.poll()
    result = feed.poll()
    assert (result.new_completions, feed.told) == (0, feed.users(course))
    assert [stored.new for stored in feed.batches] == [0]


def test_time_that_moodle_learns_later_replaces_an_unknown_one(polled: Polled) -> None:
    polled.without_report()
    course = polled.course(learners=1)
    (learner,) = polled.users(course)
    polled.complete(course, learner, ago=timedelta(hours=5), time_known=False)
    polled.poll()
    assert polled.completion(course, learner).completed_at is None
    polled.moodle.set_report(REPORT, shared=True)
    assert polled.poll(DAY).new_completions == 0
    row = polled.completion(course, learner)
    assert (row.completed_at, row.time_source) == (datetime(2026, 11, 23, 7, 30, tzinfo=UTC), "report")


@pytest.mark.parametrize(
    ("known", "completed_at", "source", "expected"),
    [
        (NOW, NOW, "report", False),
        (NOW + timedelta(seconds=40), NOW, "report", False),
        (NOW, NOW + timedelta(seconds=40), "criteria", False),
        (NOW, NOW + timedelta(seconds=60), "criteria", True),
        (NOW, NOW - DAY, "report", False),
        (NOW, None, "unknown", False),
        (NOW, NOW + DAY, "seen", False),
        (None, NOW, "report", True),
        (None, None, "unknown", False),
    ],
)
def test_second_completion_is_one_of_a_later_minute(
    known: datetime | None, completed_at: datetime | None, source: str, expected: bool
) -> None:
    assert is_again(Completion(completed_at=known), seen_at(completed_at, source)) is expected


@pytest.mark.parametrize(
    ("text", "longest", "stored"),
    [
        ("Søren 陈", 20, "Søren 陈"),
        ("  Ana  ", 20, "  Ana  "),
        ("A\0na", 20, "Ana"),
        ("half \ud83d of a character", 50, "half ? of a character"),
        ("abcdef", 3, "abc"),
        ("", 3, ""),
    ],
)
def test_text_that_no_database_takes_is_made_storable(text: str, longest: int, stored: str) -> None:
    assert fitting(text, longest) == stored


def test_learner_with_text_that_no_database_takes_stops_no_other(db: None) -> None:
    page = recording("agreed_report_last_page")["response"]
    rows = page["data"]["rows"]
    rows[0]["columns"][4:7] = ["N\0ul\ud83d", "x" * 300, "y" * 300 + "@example.org"]
    page["data"]["totalrowcount"] = len(rows)
    site = make_site(url=SITE, feed="A", report_id=4, checked_at=NOW)
    numbers = {int(row["columns"][0].partition("id=")[2].partition('"')[0]) for row in rows}
    wanted = [WantedCourse(make_course(site, moodle_id=number)) for number in numbers]
    with responses.RequestsMock() as moodle:
        answer_by(moodle, lambda asked: True if asked["wsfunction"] == SET_FILTERS else page)
        result = read_site(site, wanted, on_stored=lambda stored: len(stored.wanted), now=NOW)
    assert (result.error, result.new_completions) == ("", len(rows))
    odd = Learner.objects.get(firstname="Nul?")
    # Half an address would be somebody else's.
    assert (odd.lastname, odd.email, odd.profile_complete) == ("x" * 255, "", False)


def test_known_completions_cost_no_query_each(
    polled: Polled, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    course = polled.course(learners=30)
    polled.moodle.complete_many(course.moodle_id, polled.users(course), polled.now.timestamp())
    polled.poll()
    heard: list[str] = []

    def courses_of(stored: Stored) -> int:
        # None: the completions come with their courses and learners.
        with django_assert_num_queries(0):
            heard.extend(f"{row.course} {row.learner.moodle_id}" for row in stored.wanted)
        return 0

    read_site(polled.site, polled.wanted(), on_stored=courses_of, now=polled.now + timedelta(minutes=1))
    assert len(heard) == 30


@pytest.mark.django_db
def test_a_list_that_was_read_before_an_erasure_is_stored_without_the_person() -> None:
    course = make_course(untracked=[7, 8])
    person = make_learner(course.site, moodle_id=7)
    as_read = Course.objects.get(pk=course.pk)
    erase_learner(person, now=NOW)
    poll = Poll(course.site, course.site.state, moodle_client_for(course.site), {}, NOW)
    with transaction.atomic():
        store(poll, Batch([], bookmarks=(as_read,)), Completed([], {}, set()))
    course.refresh_from_db()
    assert course.untracked == [8]


@pytest.mark.django_db
def test_of_an_erased_learner_it_is_not_noted_that_the_account_was_deleted() -> None:
    person = make_learner()
    erase_learner(person, now=NOW)
    poll = Poll(person.site, person.site.state, moodle_client_for(person.site), {}, NOW)
    with transaction.atomic():
        stored = store(poll, Batch([], gone=frozenset({person.moodle_id})), Completed([], {}, set()))
    person.refresh_from_db()
    assert (person.deleted, stored.changed_learners) == (False, [])
