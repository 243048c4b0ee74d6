"""The pretend Moodle: what it stores, and how it speaks where no recording says so."""

import json
from typing import Any

import pytest

from sandbox import Sandbox
from sandbox.moodle import Filter

from .conftest import NOW, Portal

STATUS = "core_completion_get_course_completion_status"
REPORT = "core_reportbuilder_retrieve_report"
SITE_INFO = "core_webservice_get_site_info"


@pytest.fixture
def course(sandbox: Sandbox) -> int:
    """A course that tracks completion."""
    return sandbox.moodle.add_course("SAFE101", "Safeguarding Essentials")


def rows(portal: Portal, **params: Any) -> list[list[str]]:
    """The cells of the agreed report."""
    answer = portal.moodle(REPORT, reportid=2, perpage=0, moodlewssettingtimezone="UTC", **params)
    return [row["columns"] for row in answer["data"]["rows"]]


def filter_since(portal: Portal, start: float, **more: Any) -> None:
    """Limit the report to what was completed since then."""
    values = {"completion:timecompleted_operator": 3, "completion:timecompleted_from": start, **more}
    assert portal.moodle("core_reportbuilder_set_filters", reportid=2, values=json.dumps(values)) is True


def test_a_completion_is_a_row_with_ids_in_its_links(sandbox: Sandbox, portal: Portal, course: int) -> None:
    learner = sandbox.moodle.add_learner("Zoë", "O'Brien <3", "zoe@example.org", course_id=course)
    sandbox.moodle.complete(course, learner, grade=80.5)
    assert rows(portal) == [
        [
            f'<a href="{sandbox.moodle_url}/course/view.php?id={course}">Safeguarding Essentials</a>',
            "SAFE101",
            f'<a href="{sandbox.moodle_url}/user/profile.php?id={learner}">' + "Zoë O'Brien <3</a>",
            f"learner{learner}",
            "Zoë",
            "O&#039;Brien &lt;3",
            "zoe@example.org",
            "Yes",
            "Monday, 23 November 2026, 12:30 PM",
            "80.50",
        ]
    ]


def test_times_are_told_in_the_zone_asked_for_and_else_in_the_sites(sandbox: Sandbox, portal: Portal) -> None:
    summer = sandbox.moodle.add_course("S", "Summer")
    sandbox.moodle.complete(summer, sandbox.moodle.add_learner("A", "B", "a@example.org"), at=NOW - 130 * 86_400)

    def told(**extra: str) -> str:
        return portal.moodle(REPORT, reportid=2, **extra)["data"]["rows"][0]["columns"][8]

    assert told(moodlewssettingtimezone="UTC") == "Thursday, 16 July 2026, 12:30 PM"
    assert told(moodlewssettingtimezone="America/New_York") == "Thursday, 16 July 2026, 8:30 AM"
    assert told() == "Thursday, 16 July 2026, 1:30 PM"
    assert told(moodlewssettingtimezone="Mars/Olympus") == told(moodlewssettingtimezone="../x") == told()


def test_rows_are_sorted_by_time_then_course_then_username(sandbox: Sandbox, portal: Portal, course: int) -> None:
    moodle = sandbox.moodle
    other = moodle.add_course("AAA", "First by name")
    first, second, third = moodle.add_learners(3)
    moodle.complete(course, second, at=NOW)
    moodle.complete(course, first, at=NOW)
    moodle.complete(other, third, at=NOW)
    moodle.complete_many(other, [first, second], at=NOW - 60)
    order = [(row[1], row[3]) for row in rows(portal)]
    names = [f"learner{number}" for number in (first, second, third)]
    assert order == [
        ("AAA", names[2]),
        ("SAFE101", names[0]),
        ("SAFE101", names[1]),
        ("AAA", names[0]),
        ("AAA", names[1]),
    ]


def test_every_row_is_on_exactly_one_page(sandbox: Sandbox, portal: Portal, course: int) -> None:
    sandbox.moodle.complete_many(course, sandbox.moodle.add_learners(95))
    seen: list[str] = []
    for page in range(11):
        data = portal.moodle(REPORT, reportid=2, page=page, perpage=10)["data"]
        assert data["totalrowcount"] == 95
        seen += [row["columns"][3] for row in data["rows"]]
    assert len(seen) == len(set(seen)) == 95
    assert portal.moodle(REPORT, reportid=2, page=10, perpage=10)["data"]["rows"] == []
    assert len(portal.moodle(REPORT, reportid=2)["data"]["rows"]) == 10


def test_a_filter_holds_until_it_is_replaced_exact_to_the_second(sandbox: Sandbox, portal: Portal, course: int) -> None:
    moodle = sandbox.moodle
    other = moodle.add_course("OTHER", "Other")
    old, new = moodle.add_learners(2)
    moodle.complete(course, old, at=NOW - 1)
    moodle.complete(course, new, at=NOW)
    moodle.complete(other, new, at=NOW)
    filter_since(portal, NOW)
    assert [row[3] for row in rows(portal)] == [f"learner{new}"] * 2
    assert [row[3] for row in rows(portal)] == [f"learner{new}"] * 2
    moodle.complete(other, old, at=NOW)
    assert len(rows(portal)) == 3
    filter_since(portal, NOW - 1, **{"completion:timecompleted_to": NOW - 1})
    assert [row[3] for row in rows(portal)] == [f"learner{old}"]
    filter_since(portal, 0, **{"course:courseselector_values": [course]})
    assert {row[1] for row in rows(portal)} == {"SAFE101"}
    filter_since(portal, NOW + 1)
    assert rows(portal) == []


@pytest.mark.parametrize("values", ["{}", "not json", "[1]", '{"completion:timecompleted_operator": 3}', '{"x": 1}'])
def test_values_that_say_nothing_clear_all_filters(sandbox: Sandbox, portal: Portal, course: int, values: str) -> None:
    sandbox.moodle.complete(course, sandbox.moodle.add_learner("A", "B", "a@example.org"))
    filter_since(portal, NOW + 1)
    assert portal.moodle("core_reportbuilder_set_filters", reportid=2, values=values) is True
    assert len(rows(portal)) == 1


def test_uncompleting_takes_the_row_away_and_completing_again_gives_a_new_time(
    sandbox: Sandbox, portal: Portal, course: int
) -> None:
    moodle = sandbox.moodle
    learner = moodle.add_learner("A", "B", "a@example.org", course_id=course)
    moodle.complete(course, learner, at=NOW - 86_400)
    moodle.complete(course, learner, at=NOW)
    assert rows(portal)[0][8].startswith("Sunday, 22 November"), "completion is sticky"
    moodle.uncomplete(course, learner)
    moodle.uncomplete(course, learner)
    assert rows(portal) == []
    moodle.complete(course, learner, at=NOW)
    assert rows(portal)[0][8].startswith("Monday, 23 November")


def test_enrolling_again_brings_a_completion_back_with_its_old_time(
    sandbox: Sandbox, portal: Portal, course: int
) -> None:
    moodle = sandbox.moodle
    learner = moodle.add_learner("A", "B", "a@example.org", course_id=course)
    moodle.complete(course, learner, at=NOW - 86_400)
    before = rows(portal)
    moodle.unenrol(course, learner)
    assert rows(portal) == []
    moodle.enrol(course, learner)
    assert rows(portal) == before


def test_a_deleted_account_leaves_the_report_and_keeps_a_hash(sandbox: Sandbox, portal: Portal, course: int) -> None:
    learner = sandbox.moodle.add_learner("A", "B", "a@example.org")
    sandbox.moodle.complete(course, learner)
    sandbox.moodle.delete_user(learner)
    [user] = portal.moodle("core_user_get_users_by_field", field="id", **{"values[0]": learner})
    assert len(user["email"]) == 32
    assert "@" not in user["email"]
    assert rows(portal) == []
    assert portal.moodle(STATUS, courseid=course, userid=learner)["errorcode"] == "userdeleted"
    gone = sandbox.moodle.add_learner("C", "D", "c@example.org", deleted=True)
    assert sandbox.moodle.users[gone].deleted


def test_a_changed_address_is_found_under_the_new_one_alone(sandbox: Sandbox, portal: Portal) -> None:
    learner = sandbox.moodle.add_learner("A", "B", "old@example.org")
    sandbox.moodle.set_email(learner, "new@example.org")
    sandbox.moodle.set_name(learner, "Ana", "Lee")

    def found(email: str) -> list[str]:
        users = portal.moodle("core_user_get_users_by_field", field="email", **{"values[0]": email})
        return [user["fullname"] for user in users]

    assert found("new@example.org") == ["Ana Lee"]
    assert found("NEW@example.org") == found("old@example.org") == []


def test_a_completion_without_a_time_is_completed_all_the_same(sandbox: Sandbox, portal: Portal, course: int) -> None:
    learner = sandbox.moodle.add_learner("A", "B", "a@example.org")
    sandbox.moodle.complete(course, learner, time_known=False)
    status = portal.moodle(STATUS, courseid=course, userid=learner)["completionstatus"]
    assert status["completed"] is True
    assert [criterion["timecompleted"] for criterion in status["completions"]] == [None]


def test_the_learners_own_maximum_is_in_the_grade(sandbox: Sandbox, portal: Portal, course: int) -> None:
    learner, bare = sandbox.moodle.add_learners(2, course_id=course)

    def total(user_id: int) -> tuple[Any, Any]:
        answer = portal.moodle("gradereport_user_get_grade_items", courseid=course, userid=user_id)
        [item] = [item for item in answer["usergrades"][0]["gradeitems"] if item["itemtype"] == "course"]
        return item["graderaw"], item["grademax"]

    sandbox.moodle.set_grade(course, learner, 15, grademax=20)
    assert total(learner) == (15, 20)
    assert total(bare) == (None, 100)
    sandbox.moodle.set_grade(course, learner, None)
    assert total(learner) == (None, 100)


def test_participants_come_in_the_order_and_pages_asked_for(sandbox: Sandbox, portal: Portal, course: int) -> None:
    moodle = sandbox.moodle
    for first, last in (("Cem", "Adams"), ("Ana", "Brown"), ("Ben", "Clark")):
        moodle.add_learner(first, last, f"{first}@example.org", course_id=course)

    def listed(**options: object) -> list[str]:
        pairs = enumerate(options.items())
        form = {f"options[{n}][{k}]": v for n, (name, value) in pairs for k, v in (("name", name), ("value", value))}
        answer = portal.moodle("core_enrol_get_enrolled_users", courseid=course, **form)
        return [answer["errorcode"]] if isinstance(answer, dict) else [user["fullname"].split()[0] for user in answer]

    assert listed(sortby="id") == ["Cem", "Ana", "Ben"]
    assert listed(sortby="firstname") == ["Ana", "Ben", "Cem"]
    assert listed(sortby="lastname", sortdirection="DESC") == ["Ben", "Ana", "Cem"]
    assert listed(sortby="siteorder", limitfrom=1, limitnumber=1) == ["Ana"]
    assert listed(sortby="email") == listed(limitfrom="x") == ["invalidparameter"]


def test_a_batch_stops_at_its_first_error(sandbox: Sandbox, portal: Portal, course: int) -> None:
    learner = sandbox.moodle.add_learner("A", "B", "a@example.org", course_id=course)
    form: dict[str, str] = {}
    for number, user_id in enumerate((learner, 99_999, learner)):
        form[f"requests[{number}][function]"] = STATUS
        form[f"requests[{number}][arguments]"] = json.dumps({"courseid": course, "userid": user_id})
    answers = portal.moodle("tool_mobile_call_external_functions", **form)["responses"]
    assert [answer["error"] for answer in answers] == [False, True]
    assert json.loads(answers[1]["exception"])["errorcode"] == "invaliduser"


def test_a_batch_refuses_what_is_no_json_and_what_is_no_function(portal: Portal) -> None:
    form = {"requests[0][function]": STATUS, "requests[0][arguments]": "{"}
    assert portal.moodle("tool_mobile_call_external_functions", **form)["errorcode"] == "invalidparameter"
    form = {"requests[0][function]": "core_no_such"}
    [answer] = portal.moodle("tool_mobile_call_external_functions", **form)["responses"]
    assert json.loads(answer["exception"])["errorcode"] == "accessexception"


@pytest.mark.parametrize(
    ("function", "params", "errorcode"),
    [
        ("", {}, "invalidparameter"),
        ("core_no_such_function", {}, "invalidrecord"),
        ("core_user_create_users", {}, "accessexception"),
        (SITE_INFO, {"foo": 1}, "invalidparameter"),
        (STATUS, {"courseid": 2}, "invalidparameter"),
        (STATUS, {"courseid": "x", "userid": 2}, "invalidparameter"),
        (STATUS, {"courseid[0]": 2, "userid": 2}, "invalidparameter"),
        ("core_user_get_users_by_field", {"field": "email", "values": "x"}, "invalidparameter"),
        ("core_user_get_users_by_field", {"field": "shoe", "values[0]": "x"}, "invalidparameter"),
        ("core_enrol_get_enrolled_users", {"courseid": 2, "options[0]": "x"}, "invalidparameter"),
        ("core_course_get_courses_by_field", {"field": "id", "value": "x"}, "invalidparameter"),
        ("core_course_get_courses_by_field", {"field": "colour", "value": "x"}, "invalidparameter"),
        (REPORT, {"reportid": 99}, "invalidrecord"),
    ],
)
def test_a_bad_call_gets_moodles_errorcode_with_http_200(
    portal: Portal, function: str, params: dict[str, Any], errorcode: str
) -> None:
    answer = portal.moodle_raw(function, moodlewsrestformat="json", **params)
    assert answer.status_code == 200
    assert answer.json()["errorcode"] == errorcode


def test_fields_beyond_phps_limit_are_lost(sandbox: Sandbox, portal: Portal) -> None:
    last = sandbox.moodle.add_learners(1)[0]
    values = {f"values[{number}]": 900_000 for number in range(5000)} | {"values[5000]": last}
    assert portal.moodle("core_user_get_users_by_field", field="id", **values) == []


def test_without_the_json_format_answers_are_xml(portal: Portal) -> None:
    answer = portal.moodle_raw("core_reportbuilder_set_filters", reportid=2, values="{}")
    assert answer.headers["Content-Type"].startswith("application/xml")
    assert "<VALUE>1</VALUE>" in answer.text
    assert "<ERRORCODE>invalidtoken</ERRORCODE>" in portal.moodle_raw(SITE_INFO, wstoken="wrong").text


def test_a_report_can_be_renamed_hidden_and_found_again(sandbox: Sandbox, portal: Portal) -> None:
    def listed() -> list[str]:
        return [report["name"] for report in portal.moodle("core_reportbuilder_list_reports", perpage=100)["reports"]]

    before = sandbox.moodle.reports[2].timemodified
    sandbox.moodle.set_report(2, name="Other name")
    assert listed() == ["Other name"]
    assert sandbox.moodle.reports[2].timemodified > before
    sandbox.moodle.set_report(2, shared=False)
    assert listed() == []
    assert portal.moodle(REPORT, reportid=2)["errorcode"] == "errorreportview"


def test_calls_are_counted_by_function(sandbox: Sandbox, portal: Portal) -> None:
    portal.moodle(SITE_INFO)
    portal.moodle(SITE_INFO, foo=1)
    assert (sandbox.moodle.count(), sandbox.moodle.count(SITE_INFO), sandbox.moodle.count(REPORT)) == (2, 2, 0)
    assert [call.errorcode for call in sandbox.moodle.ledger] == ["", "invalidparameter"]


def test_links_lead_to_pages_and_other_paths_to_none(sandbox: Sandbox, portal: Portal, course: int) -> None:
    def status(path: str) -> int:
        return portal.session.get(f"{sandbox.moodle_url}{path}", timeout=10).status_code

    assert status("") == status(f"/course/view.php?id={course}") == 200
    assert status("/course/view.php?id=999") == status("/course/view.php") == status("/login/index.php") == 404


def test_wrong_names_and_taken_ids_are_errors(sandbox: Sandbox, course: int) -> None:
    moodle = sandbox.moodle
    learner = moodle.add_learner("A", "B", "a@example.org")
    with pytest.raises(ValueError, match="taken"):
        moodle.add_learner("C", "D", "c@example.org", user_id=learner)
    with pytest.raises(KeyError):
        moodle.set_course(course, colour="red")
    with pytest.raises(KeyError):
        moodle.set_report(2, colour="red")
    moodle.set_course(course, visible=0)
    assert moodle.courses_of(learner) == []
    moodle.set_filter(2, Filter(courses=frozenset({course})))
    assert moodle.rows(2) == []
