"""Exact times: the zone that Moodle really uses, forms of dates, criteria of all kinds, and dates that cannot be."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from badging import by_hand
from badging.meanings import Outcome
from badging.models import Issuance
from sandbox import MOODLE

from .college import DAY, HOUR, MINUTE, REPORT, START, College

# Days pass in each of these, poll by poll.
pytestmark = pytest.mark.slow

CONFIG = "tool_mobile_get_config"
SELF, DATE, GRADE, ACTIVITY = 1, 2, 6, 4


def issue_date(college: College) -> datetime:
    """The date of the only badge."""
    [badge] = college.badges()
    return datetime.fromisoformat(badge.issue_date)


@pytest.mark.parametrize("zone", ["Australia/Sydney", "America/New_York", "Europe/London", "Asia/Kathmandu"])
@pytest.mark.parametrize("summer", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_forced_time_zone_gives_the_right_date(college: College, zone: str, summer: bool, known: bool) -> None:
    if not known:
        college.sandbox.faults.on("missing_function", side=MOODLE, call=CONFIG)
    college.moodle.set_site(force_timezone=zone)
    college.clock.move_to(datetime(2027, 7 if summer else 1, 15, 12, 0, tzinfo=UTC))
    college.poll(DAY)
    # Without criterion times the report is all there is.
    before, after = college.learner(email="before@example.org"), college.learner(email="after@example.org")
    college.mapping.since = timezone.now()
    college.mapping.save()
    college.complete(before, ago=timedelta(minutes=30))
    college.complete(after, ago=timedelta(minutes=-1), criteria=[(SELF, None)] if known else None)
    completed_at = timezone.now() + MINUTE
    college.poll_and_send(2 * MINUTE)
    assert [badge.recipient_email for badge in college.badges()] == ["after@example.org"]
    assert abs(issue_date(college) - completed_at) < MINUTE


def test_a_zone_that_changes_between_two_checks_is_noticed_and_dates_stay_right(college: College) -> None:
    college.moodle.set_site(force_timezone="Australia/Sydney")
    learner = college.learner()
    college.complete(learner)
    completed_at = timezone.now()
    result = college.poll_and_send()
    assert any("Force timezone" in problem for problem in result.problems)
    assert issue_date(college) == completed_at
    college.poll(HOUR)
    assert college.site.state.zone == "Australia/Sydney"


def test_the_past_of_a_large_course_shows_that_the_zone_was_changed(college: College) -> None:
    college.moodle.set_site(force_timezone="Australia/Sydney")
    completed_at = timezone.now() - 3 * DAY
    for number in range(60):
        college.complete(college.learner(email=f"learner{number}@example.org"), ago=3 * DAY)
    college.mapping.past_wanted_at = timezone.now() + MINUTE
    college.mapping.save()
    college.poll_and_send(2 * MINUTE)
    dates = [datetime.fromisoformat(badge.issue_date) for badge in college.badges()]
    assert len(dates) == 60
    assert set(dates) == {completed_at}


def test_the_hour_that_autumn_repeats_is_told_apart(college: College) -> None:
    college.moodle.set_site(force_timezone="Europe/London")
    college.clock.move_to(datetime(2027, 10, 31, 0, 20, tzinfo=UTC))
    college.poll()
    first, second = college.learner(email="first@example.org"), college.learner(email="second@example.org")
    college.clock.move_to(datetime(2027, 10, 31, 0, 30, 5, tzinfo=UTC))
    college.complete(first)
    college.poll_and_send()
    college.clock.move_to(datetime(2027, 10, 31, 1, 30, 5, tzinfo=UTC))
    college.complete(second)
    college.poll_and_send()
    dates = {badge.recipient_email: badge.issue_date for badge in college.badges()}
    assert datetime.fromisoformat(dates["first@example.org"]) == datetime(2027, 10, 31, 0, 30, 5, tzinfo=UTC)
    assert datetime.fromisoformat(dates["second@example.org"]) == datetime(2027, 10, 31, 1, 30, 5, tzinfo=UTC)


@pytest.mark.parametrize("form", ["24_hour", "numeric", "us"])
def test_a_customised_form_of_dates_is_understood_or_named(college: College, form: str) -> None:
    college.moodle.set_site(date_form=form, titles="customised")
    old, new = college.learner(email="old@example.org"), college.learner(email="new@example.org")
    college.complete(old, ago=400 * DAY)
    college.complete(new)
    completed_at = timezone.now()
    result = college.poll_and_send(DAY)
    assert [badge.recipient_email for badge in college.badges()] == ["new@example.org"]
    assert issue_date(college) == completed_at
    assert result.error == ""
    assert any("Student number" in problem for problem in result.problems)
    assert any("strftimedaydatetime" in problem for problem in result.problems) == (form == "numeric")


def test_all_criteria_count_from_the_last_one(any_college: College) -> None:
    any_college.moodle.set_course(any_college.mapping.course.moodle_id, criteria="self,grade")
    learner = any_college.learner()
    last = START + timedelta(minutes=1)
    criteria = [(SELF, int((START - 3 * DAY).timestamp())), (GRADE, int(last.timestamp()))]
    any_college.moodle.complete(any_college.mapping.course.moodle_id, learner, last.timestamp(), criteria=criteria)
    any_college.poll_and_send()
    assert issue_date(any_college) == last


def test_any_criterion_counts_from_the_first_one_when_the_second_came_later(any_college: College) -> None:
    any_college.moodle.set_course(any_college.mapping.course.moodle_id, criteria="self,grade", aggregation=2)
    learner = any_college.learner()
    first = START - 3 * DAY
    criteria = [(SELF, int(first.timestamp())), (GRADE, (START + timedelta(minutes=1)).timestamp())]
    any_college.moodle.complete(any_college.mapping.course.moodle_id, learner, first.timestamp(), criteria=criteria)
    any_college.poll_and_send()
    # It was completed before the course was mapped, whatever was done since.
    assert any_college.badges() == []
    assert not Issuance.objects.exists()
    any_college.poll_and_send(DAY)
    assert any_college.badges() == []


def test_any_criterion_counts_from_the_one_that_the_report_shows(college: College) -> None:
    college.moodle.set_course(college.mapping.course.moodle_id, criteria="self,grade", aggregation=2)
    learner = college.learner()
    earlier, later = START + timedelta(seconds=65), START + timedelta(seconds=130)
    criteria = [(GRADE, int(earlier.timestamp())), (SELF, int(later.timestamp()))]
    college.moodle.complete(college.mapping.course.moodle_id, learner, later.timestamp(), criteria=criteria)
    college.poll_and_send(3 * MINUTE)
    assert issue_date(college) == later


def test_doubt_about_nested_criteria_makes_no_old_completion_new(slow_college: College) -> None:
    course = slow_college.course("LATER", "Mapped later")
    learner = slow_college.learner()
    old = START - 3 * DAY
    # Of two activities one is enough; the second was done after the course had long been completed.
    criteria = [(ACTIVITY, int(old.timestamp())), (ACTIVITY, int((timezone.now() + MINUTE).timestamp()))]
    slow_college.moodle.complete(course.moodle_id, learner, old.timestamp(), criteria=criteria)
    slow_college.map(course)
    slow_college.poll_and_send(2 * MINUTE)
    assert slow_college.badges() == []


def test_all_of_several_activities_count_from_the_last_one(any_college: College) -> None:
    any_college.moodle.set_course(any_college.mapping.course.moodle_id, criteria="activities")
    learner = any_college.learner()
    any_college.poll()
    last = timezone.now() + MINUTE
    criteria = [(ACTIVITY, int(at.timestamp())) for at in (START - 9 * DAY, START - 2 * DAY, last)]
    any_college.moodle.complete(any_college.mapping.course.moodle_id, learner, last.timestamp(), criteria=criteria)
    any_college.poll_and_send(2 * MINUTE)
    assert issue_date(any_college) == last


def test_completed_again_after_a_reset_is_seen_within_a_day(any_college: College) -> None:
    learner = any_college.learner()
    any_college.complete(learner)
    any_college.poll_and_send()
    first = any_college.completion(learner).completed_at
    any_college.clock.shift(timedelta(hours=20))
    any_college.moodle.uncomplete(any_college.mapping.course.moodle_id, learner)
    any_college.complete(learner)
    again = timezone.now()
    any_college.poll_and_send(DAY)
    any_college.poll_and_send()
    completion = any_college.completion(learner)
    assert (completion.completed_at, completion.completed_again_at) == (first, again)
    assert len(any_college.badges()) == 1


@pytest.mark.postgres
def test_who_completed_before_the_mapping_and_again_after_it_is_owed_the_badge(any_college: College) -> None:
    learner = any_college.learner()
    any_college.complete(learner, ago=30 * DAY)
    any_college.poll_and_send(DAY)
    assert any_college.badges() == []
    any_college.moodle.uncomplete(any_college.mapping.course.moodle_id, learner)
    any_college.complete(learner)
    any_college.poll_and_send(DAY)
    any_college.poll_and_send()
    assert len(any_college.badges()) == 1


def test_a_course_that_is_mapped_while_no_zone_is_known_loses_nobody(college: College) -> None:
    college.sandbox.faults.on("missing_function", side=MOODLE, call=CONFIG)
    college.poll(DAY)
    assert college.site.state.zone == ""
    later = college.map(college.course("LATER", "Mapped later"))
    learner = college.learner()
    college.moodle.complete(later.course.moodle_id, learner, timezone.now().timestamp(), time_known=False)
    college.poll_and_send()
    assert len(college.badges()) == 1


@pytest.mark.parametrize("at", [datetime(2028, 3, 1, 12, 0, tzinfo=UTC), datetime(1999, 3, 1, 12, 0, tzinfo=UTC)])
def test_a_date_that_cannot_be_waits_for_a_person(any_college: College, at: datetime) -> None:
    any_college.mapping.past_wanted_at = timezone.now() + MINUTE
    any_college.mapping.save()
    learner = any_college.learner()
    any_college.moodle.complete(any_college.mapping.course.moodle_id, learner, at.timestamp())
    any_college.poll_and_send()
    row = any_college.row(learner)
    assert (row.state, row.reason) == ("held", Outcome.IMPLAUSIBLE_DATE)
    assert any_college.badges() == []
    assert by_hand.send_again(Issuance.objects.all(), now=timezone.now()) == 1
    any_college.send()
    [badge] = any_college.badges()
    assert datetime.fromisoformat(badge.issue_date) <= timezone.now()


def test_a_date_that_is_corrected_in_moodle_goes_on_by_itself(any_college: College) -> None:
    learner = any_college.learner()
    course = any_college.mapping.course.moodle_id
    any_college.moodle.complete(course, learner, datetime(2028, 3, 1, 12, 0, tzinfo=UTC).timestamp())
    any_college.poll_and_send()
    any_college.moodle.uncomplete(course, learner)
    any_college.complete(learner)
    for _ in range(2):
        any_college.poll_and_send()
    [badge] = any_college.badges()
    assert datetime.fromisoformat(badge.issue_date).year == 2026


def test_a_report_that_is_shared_later_changes_no_date(slow_college: College) -> None:
    learner = slow_college.learner()
    slow_college.complete(learner)
    slow_college.poll_and_send()
    slow_college.moodle.set_report(REPORT, shared=True)
    slow_college.poll_and_send()
    assert slow_college.site.state.feed == "A"
    completion = slow_college.completion(learner)
    assert (completion.completed_at, completion.completed_again_at) == (START + MINUTE, None)
