"""Feed B against the sandbox: who is asked about, in how many calls, and what one bad course or learner stops."""

import json
from datetime import datetime, timedelta

import pytest
import responses
from pytest_django.fixtures import Settings

from moodle_sync.models import Completion, Course
from moodle_sync.polling import read_site
from moodle_sync.reading import WantedCourse
from sandbox import MOODLE
from sandbox.moodle import TEACHER
from tests.builders import NOW, make_course, make_site

from .polled import ENROLLED, GRADES, MANY, STATUS, Polled
from .recordings import SITE, answer_by, recording

DAY = timedelta(days=1)
# Each poll first looks at its courses, in one batch.
LOOKS = 1
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _no_report(polled: Polled) -> None:
    polled.without_report()


def asked(polled: Polled) -> list[str]:
    """The functions that the last poll called to read learners, without the looks at the report and the courses."""
    return [function for function in polled.called if function in (ENROLLED, MANY, STATUS, GRADES)][LOOKS:]


def test_completions_are_found_with_their_seconds(polled: Polled) -> None:
    course = polled.course(learners=3)
    first, second, _ = polled.users(course)
    polled.complete(course, first, ago=timedelta(seconds=77), grade=80)
    polled.complete(course, second, ago=400 * DAY)
    result = polled.poll()
    assert (result.new_completions, result.queued, result.error, result.problems) == (2, 2, "", [])
    assert polled.site.state.feed == "B"
    row = polled.completion(course, first)
    assert row.completed_at == polled.now - timedelta(minutes=1, seconds=77)
    assert (row.time_source, row.score) == (Completion.TimeSource.CRITERIA, 80)
    assert (row.learner.firstname, row.learner.email) == (f"Learner{first}", f"learner{first}@example.org")
    assert polled.site.state.read_up_to == polled.site.state.read_whole_at == polled.now


def test_learners_are_asked_about_fifty_at_a_time(polled: Polled) -> None:
    polled.course(learners=101)
    polled.poll()
    polled.poll()
    # Pages of 100 participants: two batches for the first page, one for the second; an empty page is the end.
    assert asked(polled) == [ENROLLED, MANY, MANY, ENROLLED, MANY, ENROLLED]


def test_known_completions_are_not_asked_about_again(polled: Polled) -> None:
    course = polled.course(learners=60)
    polled.moodle.complete_many(course.moodle_id, polled.users(course)[:59])
    polled.poll()
    polled.poll()
    assert asked(polled) == [ENROLLED, MANY, ENROLLED]
    polled.complete(course, polled.users(course)[59])
    polled.poll()
    assert asked(polled) == [ENROLLED, MANY, GRADES, ENROLLED]
    polled.poll()
    assert asked(polled) == [ENROLLED, ENROLLED]


def test_batch_goes_on_behind_each_learner_with_an_error(polled: Polled) -> None:
    course = polled.course(learners=20)
    users = polled.users(course)
    for user in users[3:6]:
        polled.moodle.enrol(course.moodle_id, user, active=False)
    for user in users:
        polled.complete(course, user)
    assert polled.poll().new_completions == 17
    assert set(polled.told) == set(users) - set(users[3:6])


def test_untracked_people_are_left_alone_until_the_daily_sweep(polled: Polled) -> None:
    course = polled.course(learners=1)
    (learner,) = polled.users(course)
    teacher = polled.moodle.add_learner("Hélène", "Marsh", "marsh@example.org")
    polled.moodle.enrol(course.moodle_id, teacher, role=TEACHER)
    polled.poll()
    course.refresh_from_db()
    assert course.untracked == [teacher]
    polled.complete(course, learner)
    polled.poll()
    # The teacher has become a learner and completed; that is noticed within a day.
    polled.moodle.enrol(course.moodle_id, teacher)
    polled.complete(course, teacher)
    assert polled.poll().new_completions == 0
    assert asked(polled) == [ENROLLED, ENROLLED]
    assert polled.poll(DAY).new_completions == 1
    course.refresh_from_db()
    assert course.untracked == []


def test_daily_sweep_reaches_every_course_although_no_round_does(polled: Polled, settings: Settings) -> None:
    settings.MOODLE_CALLS_PER_ROUND = 3
    courses = [polled.course(learners=2) for _ in range(4)]
    paused = [polled.users(course)[0] for course in courses]
    for course, user in zip(courses, paused, strict=True):
        polled.moodle.enrol(course.moodle_id, user, active=False)
    for _ in range(5):
        polled.poll()
    for course, user in zip(courses, paused, strict=True):
        polled.moodle.enrol(course.moodle_id, user)
        polled.complete(course, user)
    polled.poll(DAY)
    for _ in range(12):
        polled.poll()
    assert Completion.objects.count() == 4


def test_round_is_bounded_and_the_next_goes_on_from_there(polled: Polled, settings: Settings) -> None:
    settings.MOODLE_CALLS_PER_ROUND = 4
    large, small = polled.course(learners=250), polled.course(learners=1)
    for course in (large, small):
        polled.complete(course, polled.users(course)[-1])
    first = polled.poll()
    began = polled.now
    large.refresh_from_db()
    assert (first.new_completions, large.next_offset, large.past_read_at) == (0, 200, None)
    assert polled.site.state.read_up_to is None
    second = polled.poll()
    assert second.calls <= 6
    large.refresh_from_db()
    assert (large.next_offset, large.past_read_at, large.read_at) == (0, began, began)
    third = polled.poll()
    assert (first.new_completions, second.new_completions + third.new_completions) == (0, 2)
    assert polled.site.state.read_up_to is not None
    assert polled.site.state.read_up_to < polled.now


def test_course_that_waited_longest_is_read_first(polled: Polled, settings: Settings) -> None:
    settings.MOODLE_CALLS_PER_ROUND = 2
    courses = [polled.course(learners=1) for _ in range(3)]
    for _ in range(2 * len(courses)):
        polled.poll()
    times = [Course.objects.get(pk=course.pk).read_at for course in courses]
    assert None not in times
    assert len(set(times)) == 3


def test_deleted_learner_is_noted_and_stops_nobody(polled: Polled) -> None:
    course = polled.course(learners=3)
    users = polled.users(course)
    polled.poll()
    polled.moodle.users[users[0]].deleted = True  # deleted while the list of participants is read
    polled.complete(course, users[1])
    polled.complete(course, users[2])
    result = polled.poll()
    assert (result.new_completions, result.problems) == (2, [])


def test_known_learner_whose_account_goes_is_noted_as_deleted(polled: Polled) -> None:
    first, second = polled.course(learners=1), polled.course()
    (learner,) = polled.users(first)
    polled.complete(first, learner)
    polled.poll()
    polled.moodle.enrol(second.moodle_id, learner)
    polled.moodle.users[learner].deleted = True
    polled.unwant(first)
    polled.poll()
    assert polled.learner(learner).deleted


def test_time_unknown_at_the_first_look_stays_unknown(polled: Polled) -> None:
    course, recent = polled.course(learners=1), polled.course(learners=1, since=polled.now)
    for of in (course, recent):
        polled.complete(of, polled.users(of)[0], time_known=False)
    assert polled.poll().new_completions == 2
    row = polled.completion(course, polled.users(course)[0])
    assert (row.completed_at, row.time_source) == (None, Completion.TimeSource.UNKNOWN)
    # With all its history wanted it counts; "from now on" does not cover what was there before.
    assert polled.told == polled.users(course)
    assert polled.poll().new_completions == 0


def test_time_unknown_later_is_when_it_was_seen(polled: Polled) -> None:
    course = polled.course(learners=1, since=polled.now)
    (learner,) = polled.users(course)
    polled.poll()
    polled.complete(course, learner, time_known=False)
    polled.poll()
    seen_at = polled.now
    row = polled.completion(course, learner)
    assert (row.completed_at, row.time_source) == (seen_at, Completion.TimeSource.SEEN)
    assert polled.told == [learner]
    polled.poll()
    assert polled.completion(course, learner).completed_at == seen_at


def test_changed_address_is_noticed_and_reported(polled: Polled) -> None:
    course = polled.course(learners=2)
    learner, _ = polled.users(course)
    polled.complete(course, learner)
    polled.poll()
    assert polled.changed == []
    polled.moodle.set_email(learner, "New.Address@Example.org")
    polled.poll()
    assert polled.changed == [learner]
    row = polled.learner(learner)
    assert (row.email, row.email_key) == ("New.Address@Example.org", "new.address@example.org")
    polled.moodle.set_email(learner, "Neu@XN--BCHER-KVA.example")
    polled.poll()
    row.refresh_from_db()
    assert (row.email, row.email_key) == ("Neu@XN--BCHER-KVA.example", "neu@bücher.example")
    polled.poll()
    assert polled.changed == []


def test_addresses_that_moodle_hides_are_kept_as_missing_and_filled_later(polled: Polled) -> None:
    course = polled.course(learners=1)
    (learner,) = polled.users(course)
    polled.complete(course, learner)
    fault = polled.sandbox.faults.on("no_emails", side=MOODLE)
    polled.poll()
    row = polled.learner(learner)
    assert (row.email, row.profile_complete, row.deleted) == ("", False, False)
    polled.sandbox.faults.off(fault.id)
    polled.poll()
    assert polled.changed == [learner]
    assert polled.learner(learner).profile_complete
    # Hidden again, the address that is known stays.
    polled.sandbox.faults.on("no_emails", side=MOODLE)
    polled.poll()
    assert polled.learner(learner).profile_complete


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ({"criteria": ""}, "completion criteria"),
        ({"enablecompletion": 0}, "completion tracking is on"),
    ],
)
def test_bad_course_is_named_and_stops_no_other(polled: Polled, change: dict[str, object], advice: str) -> None:
    bad, good = polled.course(learners=2), polled.course(learners=1)
    polled.poll()
    polled.moodle.set_course(bad.moodle_id, **change)
    polled.complete(good, polled.users(good)[0])
    result = polled.poll()
    assert (result.new_completions, result.error) == (1, "")
    assert len(result.problems) == 1
    assert result.problems[0].startswith(f"{bad}: ")
    assert advice in result.problems[0]
    bad.refresh_from_db()
    assert advice in bad.error
    assert advice in polled.site.state.error
    polled.moodle.set_course(bad.moodle_id, criteria="self", enablecompletion=1)
    assert polled.poll().problems == []
    bad.refresh_from_db()
    assert (bad.error, polled.site.state.error) == ("", "")


def test_learner_whom_moodle_stumbles_over_is_named_by_course_and_stops_no_other(db: None) -> None:
    site = make_site(url=SITE, feed="B", checked_at=NOW, functions=[MANY])
    course = make_course(site, moodle_id=2)
    done = json.dumps(recording("completion_done_self")["response"])

    def answer(asked: dict[str, str]) -> object:
        if asked["wsfunction"] == ENROLLED:
            if asked["options[2][value]"] != "0":
                return []
            return [{"id": number, "firstname": "Ana", "lastname": "Lee", "email": "a@b.example"} for number in (5, 6)]
        if '"userid": 5' in asked["requests[0][arguments]"]:
            return {"responses": [{"error": True, "exception": '{"errorcode": "dmlreadexception"}'}]}
        return {"responses": [{"error": False, "data": done}]}

    with responses.RequestsMock() as moodle:
        answer_by(moodle, answer)
        result = read_site(site, [WantedCourse(course)], on_stored=lambda stored: len(stored.wanted), now=NOW)
    assert (result.error, result.queued) == ("", 1)
    assert [problem.partition(":")[0] for problem in result.problems] == [f"{course}, learner 5"]
    assert Completion.objects.get().learner.moodle_id == 6


def test_course_that_is_gone_from_moodle_is_named(polled: Polled) -> None:
    gone, good = polled.course(learners=150), polled.course(learners=1)
    polled.poll()
    Course.objects.filter(pk=gone.pk).update(next_offset=100)
    del polled.moodle.courses[gone.moodle_id]
    polled.complete(good, polled.users(good)[0])
    result = polled.poll()
    assert result.new_completions == 1
    assert "was deleted in Moodle" in result.problems[0]
    gone.refresh_from_db()
    assert gone.gone_at == polled.now
    # The next try begins at the start, whatever could not be read in the middle.
    assert gone.next_offset == 0


def test_without_the_batch_function_learners_are_asked_about_one_by_one(polled: Polled) -> None:
    polled.sandbox.faults.on("missing_function", side=MOODLE, call=MANY)
    course = polled.course(learners=4)
    polled.complete(course, polled.users(course)[0], grade=50)
    polled.poll()
    assert MANY not in polled.called
    assert (polled.called.count(STATUS), polled.called[-2:]) == (4 + 1, [GRADES, ENROLLED])  # the check asks once
    assert polled.completion(course, polled.users(course)[0]).score == 50


@pytest.mark.slow
def test_past_completions_wanted_while_a_long_course_is_being_read_are_all_found(
    polled: Polled, settings: Settings
) -> None:
    course = polled.course(learners=250, since=polled.now + DAY)
    polled.moodle.complete_many(course.moodle_id, polled.users(course), polled.now.timestamp())
    settings.MOODLE_CALLS_PER_ROUND = 4
    polled.poll()
    assert 0 < Course.objects.get(pk=course.pk).next_offset < 250
    # What the wizard does for "also those who have already completed".
    polled.since.clear()
    polled.past_wanted_at[course.pk] = polled.now
    told: set[int] = set()
    for _ in range(12):
        polled.poll()
        told |= set(polled.told)
    assert told == set(polled.users(course))


def test_learner_who_left_is_passed_on_when_the_history_is_wanted_later(polled: Polled) -> None:
    course = polled.course(learners=2, since=polled.now)
    learner, _ = polled.users(course)
    polled.complete(course, learner, ago=30 * DAY)
    polled.poll()
    assert polled.told == []
    polled.moodle.unenrol(course.moodle_id, learner)
    polled.since.clear()
    Course.objects.filter(pk=course.pk).update(past_read_at=None, read_at=None, next_offset=0)
    polled.poll()
    assert polled.told == [learner]


@pytest.mark.parametrize("fault", ["down", "maintenance", "500"])
def test_site_that_fails_half_way_keeps_what_was_read(polled: Polled, fault: str) -> None:
    first, second = polled.course(learners=1), polled.course(learners=1)
    polled.poll()
    before = polled.site.state.read_up_to
    for course in (first, second):
        polled.complete(course, polled.users(course)[0])
    Course.objects.filter(pk=first.pk).update(read_at=datetime(2020, 1, 1, tzinfo=polled.now.tzinfo))
    polled.meanwhile = lambda: polled.sandbox.faults.on(fault, side=MOODLE)
    result = polled.poll()
    assert result.error
    assert Completion.objects.filter(course=first).exists()
    assert not Completion.objects.filter(course=second).exists()
    assert polled.site.state.read_up_to == before
    polled.meanwhile = lambda: None
    polled.sandbox.faults.clear()
    assert polled.poll().new_completions == 1
