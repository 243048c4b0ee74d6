"""What needs a person: each thing that stops badges is told, and nothing is well that is not."""

from datetime import timedelta
from typing import Any

import pytest

from badging import problems as problems_module
from badging import troubles
from badging.meanings import Outcome
from badging.models import BulkRun, CourseBadgeMapping, NavigatrConnection, ScheduledTask
from badging.overview import look
from badging.problems import GIVEN_UP_TOLD_FOR, RUN_STALLED_AFTER, Problem, problems_of, rows
from moodle_sync.models import Course, MoodleSite
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

pytestmark = pytest.mark.django_db

OFF = {"check": "completion", "ok": False, "message": "Completion tracking is switched off for the site.", "values": {}}


@pytest.fixture(autouse=True)
def running() -> None:
    let_everything_run(NOW)


def set_up(**fields: Any) -> CourseBadgeMapping:
    """A portal in which a badge can be issued, and all is well."""
    site = make_site(feed="A", last_poll_at=NOW, next_poll_at=NOW)
    return make_mapping(make_course(site), **fields)


def found() -> list[Problem]:
    return problems_of(look(NOW))


def told() -> list[str]:
    return [problem.what for problem in found()]


def stop(mapping: CourseBadgeMapping, number: int, state: str, reason: str, **fields: Any) -> None:
    for _ in range(number):
        completion = make_completion(mapping.course, make_learner(mapping.course.site))
        make_issuance(mapping, completion, state=state, reason=reason, recipient_key="", **fields)


def test_a_portal_that_works_has_no_problems() -> None:
    stop(set_up(), 1, "queued", "")
    assert told() == []


def test_an_empty_portal_is_not_set_up_and_each_step_goes_from_the_list() -> None:
    def still_missing() -> str:
        (problem,) = found()
        assert (problem.what, problem.stops) == ("Not set up yet: no badge can be issued", True)
        return problem.todo

    assert "a connection to Navigatr, a Moodle site, a course that awards a badge" in still_missing()
    connection = make_connection(open_to_all=False)
    assert "a Moodle site, a connection that is open to courses, a course" in still_missing()
    site = make_site(feed="A", last_poll_at=NOW)
    connection.grants.create(kind="all")
    assert still_missing() == "Still missing: a course that awards a badge."
    make_mapping(make_course(site), connection)
    assert told() == []


def test_completion_tracking_that_is_off_is_told_for_a_site_and_for_a_course() -> None:
    mapping = set_up()
    mapping.course.site.state.findings = [OFF]
    mapping.course.site.state.save()
    (problem,) = found()
    assert problem.what == "Moodle 1: nobody can complete a course"
    assert problem.todo == OFF["message"]
    mapping.course.site.state.findings = [OFF | {"ok": True}]
    mapping.course.site.state.save()
    Course.objects.update(completion_enabled=False)
    make_course(mapping.course.site, completion_enabled=False, fullname="Without a badge")
    (text,) = told()
    assert text.startswith(f"{mapping.course.full_label}: nobody can complete it")


def test_a_task_that_is_switched_off_and_a_site_that_is_not_polled_come_first() -> None:
    mapping = set_up(badge_problem="Draft.")
    stop(mapping, 5, "failed", Outcome.FORBIDDEN)
    ScheduledTask._default_manager.filter(task="badging.tasks.send_sweep").update(enabled=False)
    make_site(name="Left alone", feed="A", next_poll_at=NOW - timedelta(hours=1))
    first, second, third, *_rest = found()
    assert "it is switched off" in first.what
    assert second.what == "Left alone: not polled"
    assert (first.stops, second.stops, third.stops) == (True, True, False)


def test_sends_that_are_overdue_are_told_unless_something_holds_them() -> None:
    mapping = set_up()
    late = NOW - timedelta(minutes=11)
    stop(mapping, 2, "queued", "", next_attempt_at=late)
    stop(mapping, 1, "queued", "", next_attempt_at=NOW - timedelta(minutes=9))
    (problem,) = found()
    assert problem.what.startswith("Badges are not sent: the first should have been sent on 23 Nov 2026")
    assert (problem.people, problem.waiting, problem.stops) == (2, "2 badges wait", True)
    NavigatrConnection.objects.update(not_before=NOW + timedelta(minutes=1))
    (text,) = told()
    assert text.startswith("Navigatr 1 (Staging): waits until")


def test_a_large_back_fill_is_not_overdue_while_anything_is_sent() -> None:
    mapping = set_up()
    stop(mapping, 1, "queued", "", next_attempt_at=NOW - timedelta(hours=1), past=True)
    assert "Badges are not sent" in told()[0]
    make_attempt(make_issuance(set_up(), state="failed", recipient_key=""), at=NOW - timedelta(minutes=1))
    assert not any("not sent" in text for text in told())


def test_whom_a_connection_a_mapping_or_a_site_keeps_waiting_is_counted_and_most_come_first() -> None:
    paused = set_up(connection=make_connection(name="Tired", state="paused"))
    stop(paused, 3, "queued", "")
    disabled = set_up(active=False)
    stop(disabled, 2, "queued", "")
    closed = set_up(connection=make_connection(name="Shut", open_to_all=False))
    stop(closed, 4, "queued", "")
    over = set_up(past_release="over")
    stop(over, 5, "queued", "", past=True)
    asked = set_up()
    asked.course.site.state.__class__.objects.filter(pk=asked.course.site).update(doubt="Still the same?")
    stop(asked, 1, "queued", "")
    assert [(problem.people, problem.waiting) for problem in found()] == [
        (1, "1 badge waits"), (5, "5 badges wait"), (4, "4 badges wait"), (3, "3 badges wait"), (2, "2 badges wait"),
    ]  # fmt: skip
    question, past, shut, tired, off = told()
    assert question == "Moodle 5 waits for your answer"
    assert "more than 200 past completions" in past
    assert "Shut (Staging) is not open to it" in shut
    assert tired.startswith("Tired (Staging): Paused")
    assert off.startswith("Badges wait under the disabled mapping of")


def test_what_failed_is_told_by_course_and_reason_and_many_courses_in_one_line() -> None:
    mapping = set_up()
    stop(mapping, 2, "failed", Outcome.FORBIDDEN)
    stop(mapping, 1, "failed", Outcome.NAMES_HIDDEN)
    forbidden, hidden = found()
    label = mapping.course.full_label
    assert forbidden.what == f"2 badges failed in {label}: Account may not issue this badge"
    assert hidden.what.startswith(f"1 badge failed in {label}")
    query = {"state__exact": "failed", "course": mapping.course_id, "reason": "forbidden"}
    assert (forbidden.place, forbidden.people) == (rows(mapping.course.issuances.model, **query), 2)
    for _ in range(3):
        stop(set_up(), 1, "failed", Outcome.FORBIDDEN)
    assert found()[0].what == f"5 badges failed in 4 courses, most in {label}: Account may not issue this badge"


def test_test_badges_are_named_as_such_beside_real_ones() -> None:
    stop(set_up(), 1, "failed", Outcome.FORBIDDEN)
    assert told()[0].startswith("1 badge failed")
    stop(set_up(connection=make_connection(environment="production")), 2, "failed", Outcome.FORBIDDEN)
    real, test = told()
    assert real.startswith("2 badges failed")
    assert test.startswith("Staging: 1 badge failed")


def test_a_course_in_which_nobody_meets_the_requirement_is_told_until_somebody_does() -> None:
    mapping = set_up(min_score=60)
    stop(mapping, 2, "not_met", Outcome.NO_SCORE)
    assert told() == []
    stop(mapping, 1, "not_met", Outcome.NO_SCORE)
    (problem,) = found()
    assert "none of the last 3 learners met the requirement: No score in Moodle yet" in problem.what
    assert problem.todo.startswith("The badge has a minimum score, and nobody has a grade.")
    stop(mapping, 1, "issued", Outcome.ISSUED, assertion_id="1", issued_at=NOW)
    assert told() == []


def test_a_removed_connection_without_courses_and_a_disabled_site_without_badges_are_no_problem() -> None:
    mapping = set_up()
    make_connection(name="Old", state="removed")
    make_site(name="Retired", enabled=False)
    assert told() == []
    MoodleSite.objects.filter(pk=mapping.course.site_id).update(enabled=False)
    make_connection(name="Nobody's", open_to_all=False)
    assert told() == [
        "Nobody's (Staging) is open to no course",
        "Moodle 1 is not read, and courses there award badges",
    ]


def test_many_of_one_kind_are_cut_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems_module, "MOST_LISTED", 2)
    site = make_site(feed="A", last_poll_at=NOW)
    connection = make_connection()
    for _ in range(5):
        make_mapping(make_course(site), connection, badge_problem="Draft.")
    assert told()[2:] == ["3 more courses award badges that cannot be issued any more"]
    assert len(told()) == 3


def test_past_completions_that_a_site_admin_holds_are_told_while_somebody_waits() -> None:
    mapping = set_up(past_release="looked_at")
    assert told() == []
    stop(mapping, 2, "queued", "", past=True)
    (problem,) = found()
    assert problem.what == f"{mapping.course.full_label}: past completions are held until a site admin releases them"
    assert problem.people == 2


def test_what_is_wrong_with_a_mapping_is_the_same_on_all_pages() -> None:
    mapping = set_up()
    Course.objects.update(completion_enabled=False)
    mapping.refresh_from_db()
    (sentence,) = troubles.health_of(mapping)
    assert sentence in troubles.wrong_with_mapping(mapping)
    assert "completion tracking is switched off" in told()[0]


def test_background_actions_that_do_not_go_on_or_were_given_up_are_told() -> None:
    set_up()
    run = BulkRun.objects.create(kind="cancel", total=5, done=2, last=9, created_at=NOW)
    assert told() == []
    BulkRun.objects.update(created_at=NOW - RUN_STALLED_AFTER)
    (problem,) = found()
    assert "does not go on" in problem.what
    assert (problem.place.args, problem.people) == ((run.pk,), 3)
    BulkRun.objects.update(state="failed", ended_at=NOW)
    assert "given up after faults" in told()[0]
    BulkRun.objects.update(ended_at=NOW - GIVEN_UP_TOLD_FOR)
    assert told() == []
