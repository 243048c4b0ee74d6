"""One odd row, one odd answer: it costs itself, is named, and never ends a poll with an exception."""

import pytest

from sandbox import MOODLE

from .college import DAY, College

COURSES = "core_course_get_courses_by_field"
ENROLLED = "core_enrol_get_enrolled_users"
USERS = "core_user_get_users_by_field"
STATUS = "core_completion_get_course_completion_status"
RETRIEVE = "core_reportbuilder_retrieve_report"
MANY = "tool_mobile_call_external_functions"
GRADES = "gradereport_user_get_grade_items"

ANY_ANSWER = ["junk_before", "cut", "cut_off", "flood"]
ODD_ROW = ["odd_startdate", "odd_null", "odd_id"]
# Each function with the feeds that use it in a way of their own, and the faults that it can have. The check of the site
# calls most of them as well, whatever its feed.
CASES = [
    (feed, function, kind)
    for function, feeds, kinds in (
        (COURSES, "A", [*ANY_ANSWER, *ODD_ROW]),
        (RETRIEVE, "A", [*ANY_ANSWER, *ODD_ROW, "short_pages"]),
        (ENROLLED, "B", [*ANY_ANSWER, *ODD_ROW, "short_pages"]),
        (USERS, "AB", [*ANY_ANSWER, *ODD_ROW]),
        (STATUS, "B", ANY_ANSWER),
        (MANY, "B", ANY_ANSWER),
        (GRADES, "B", ANY_ANSWER),
    )
    for feed in feeds
    for kind in kinds
]


@pytest.mark.slow
@pytest.mark.parametrize(("any_college", "function", "kind"), CASES, indirect=["any_college"])
def test_no_odd_answer_makes_a_poll_raise_or_loses_a_badge(any_college: College, kind: str, function: str) -> None:
    fault = any_college.sandbox.faults.on(kind, side=MOODLE, call=function)
    learners = [any_college.learner(email=f"learner{number}@example.org") for number in range(3)]
    for learner in learners:
        any_college.complete(learner)
    any_college.poll_and_send(DAY)
    assert fault.hits
    assert "portal itself failed" not in any_college.site.state.error
    any_college.sandbox.faults.clear()
    any_college.poll_and_send(DAY)
    assert sorted(badge.recipient_email for badge in any_college.badges()) == [
        f"learner{number}@example.org" for number in range(3)
    ]


def test_a_php_notice_before_the_answer_is_read_past_and_said(any_college: College) -> None:
    any_college.sandbox.faults.on("junk_before", side=MOODLE)
    learner = any_college.learner()
    any_college.complete(learner)
    result = any_college.poll_and_send()
    assert len(any_college.badges()) == 1
    assert any("Display debug messages" in problem for problem in result.problems)


@pytest.mark.parametrize(("key", "value"), [("email", 17), ("lastname", []), ("id", 2**63), ("id", "x")])
def test_an_odd_account_is_named_by_its_id_and_costs_only_itself(
    slow_college: College, key: str, value: object
) -> None:
    odd, good = slow_college.learner("Odd", "One", "odd@example.org"), slow_college.learner(email="good@example.org")
    for learner in (odd, good):
        slow_college.complete(learner)
    slow_college.moodle.distort(ENROLLED, key, value, id=odd)
    result = slow_college.poll_and_send()
    assert [badge.recipient_email for badge in slow_college.badges()] == ["good@example.org"]
    named = f"participant {odd}" if key != "id" else "participant"
    assert any(named in problem for problem in result.problems)


@pytest.mark.parametrize(
    "column", ["Full name with link", "Email address", "Time completed", "Course full name with link"]
)
def test_an_odd_cell_costs_its_row_and_nothing_else(college: College, column: str) -> None:
    odd, good = college.learner("Odd", "One", "odd@example.org"), college.learner(email="good@example.org")
    for learner in (odd, good):
        college.complete(learner)
    college.moodle.distort(RETRIEVE, column, 17, id=odd)
    result = college.poll_and_send()
    assert [badge.recipient_email for badge in college.badges()] == ["good@example.org"]
    assert any("row " in problem for problem in result.problems)


def test_a_report_without_its_condition_is_one_sentence(college: College) -> None:
    college.moodle.set_report(2, completed_only=False)
    learners = [college.learner(email=f"learner{number}@example.org") for number in range(5)]
    college.complete(learners[0])
    result = college.poll_and_send(DAY)
    assert [badge.recipient_email for badge in college.badges()] == ["learner0@example.org"]
    assert len([problem for problem in result.problems if "Completed" in problem]) == 1
    assert len(result.problems) == 1


def test_columns_in_another_order_are_refused_and_lose_nothing(college: College) -> None:
    learner = college.learner()
    college.complete(learner)
    columns = list(college.moodle.reports[2].columns)
    columns[4], columns[5] = columns[5], columns[4]
    college.moodle.set_report(2, columns=columns)
    college.poll_and_send()
    assert "column 5" in college.site.state.error
    # Until it is mended the other feed is used, and that is told.
    college.poll_and_send()
    assert college.site.state.feed == "B"
    assert [badge.recipient_lastname for badge in college.badges()] == ["Lee"]


def test_the_report_is_used_again_at_the_poll_after_it_was_mended(college: College) -> None:
    columns = list(college.moodle.reports[2].columns)
    college.moodle.set_report(2, columns=columns[:-1])
    for _ in range(2):
        college.poll()
    assert college.site.state.feed == "B"
    college.moodle.set_report(2, columns=columns)
    college.poll()
    assert college.site.state.feed == "A"
