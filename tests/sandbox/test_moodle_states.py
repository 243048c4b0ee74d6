"""The states that a Moodle can be put in: sites, courses, people, reports and grades, each by one call."""

import json
import re
import time
from html import unescape
from typing import Any

import pytest
import requests
from hypothesis import assume, given
from hypothesis import strategies as st

from sandbox import MOODLE, Sandbox
from sandbox.moodle import AGREED_COLUMNS, Filter
from sandbox.moodle_text import escaped, formatted, holds_tag, strip_tags

from .conftest import NOW, Portal

COURSES = "core_course_get_courses_by_field"
STATUS = "core_completion_get_course_completion_status"
ENROLLED = "core_enrol_get_enrolled_users"
USERS = "core_user_get_users_by_field"
GRADES = "gradereport_user_get_grade_items"
REPORT = "core_reportbuilder_retrieve_report"
LIST = "core_reportbuilder_list_reports"
CONFIG = "tool_mobile_get_config"
TIMESTAMPS = "core_calendar_get_timestamps"
BATCH = "tool_mobile_call_external_functions"
SPANS = '<span lang="en" class="multilang">Fire</span><span lang="cy" class="multilang">Tân</span>'


@pytest.fixture
def course(sandbox: Sandbox) -> int:
    """A course that tracks completion."""
    return sandbox.moodle.add_course("SAFE101", "Safeguarding Essentials")


@pytest.fixture
def learner(sandbox: Sandbox, course: int) -> int:
    """Somebody who has completed it, yesterday."""
    number = sandbox.moodle.add_learner("Siobhán", "O'Connor", "s.o'connor@example.org", course_id=course)
    sandbox.moodle.complete(course, number, at=NOW - 86_400)
    return number


def rows(portal: Portal, report_id: int = 2, **extra: Any) -> list[list[str]]:
    """The cells of a report, in UTC."""
    extra = {"moodlewssettingtimezone": "UTC"} | extra
    answer = portal.moodle(REPORT, reportid=report_id, perpage=0, **extra)
    return [row["columns"] for row in answer["data"]["rows"]]


def users(portal: Portal, *ids: int) -> Any:
    """These accounts."""
    return portal.moodle(USERS, field="id", **{f"values[{place}]": number for place, number in enumerate(ids)})


def status(portal: Portal, course: int, learner: int) -> dict[str, Any]:
    """A completion status, or the error."""
    answer = portal.moodle(STATUS, courseid=course, userid=learner)
    return answer.get("completionstatus", answer)


def batch(portal: Portal, *requests_: dict[str, Any], **extra: Any) -> list[Any]:
    """The decoded answers of a batch; an error as its errorcode."""
    form = {f"requests[{n}][{key}]": value for n, request in enumerate(requests_) for key, value in request.items()}
    answers = portal.moodle(BATCH, **form, **extra)["responses"]
    return [
        json.loads(answer["exception"])["errorcode"] if answer["error"] else json.loads(answer["data"])
        for answer in answers
    ]


# Texts


@pytest.mark.parametrize(
    ("stored", "left"),
    [
        ("2 < 3 > 1", "2 < 3 > 1"),
        ("a <b>c</b>", "a c"),
        ('Q<"+x', "Q"),
        ('<a title="1 > 0">x</a>', "x"),
        ("<3", ""),
        ("<<b>>x", "x"),
    ],
)
def test_tags_are_stripped_as_php_does(stored: str, left: str) -> None:
    assert strip_tags(stored) == left
    assert holds_tag(stored) == (stored != left)


def test_signs_are_escaped_but_entities_by_number_are_not() -> None:
    assert escaped("""O'N & <x> "y" &amp; &#39; &#x26;""") == (
        "O&#039;N &amp; &lt;x&gt; &quot;y&quot; &amp;amp; &#39; &#x26;"
    )


@given(st.text())
def test_any_text_without_an_entity_by_number_is_decoded_once_to_what_was_stored(stored: str) -> None:
    assume(not re.search(r"&#(\d+|x[0-9a-fA-F]+);", stored))
    assert unescape(escaped(stored)) == stored


def test_the_filter_leaves_the_language_asked_for_else_the_first() -> None:
    assert formatted(SPANS, html=True, language="cy") == "Tân"
    assert formatted(SPANS, html=True, language="de") == "Fire"
    assert formatted(SPANS, html=True, language=None) == "FireTân"
    single = '<span lang="en" class="multilang">One</span> alone'
    assert formatted(single, html=True, language="en", tags=True) == single


# The site


def test_settings_that_are_not_there_are_refused(sandbox: Sandbox) -> None:
    for setting in ({"date_form": "roman"}, {"titles": "none"}, {"version": "3.9"}):
        with pytest.raises(ValueError, match="must be one of"):
            sandbox.moodle.set_site(**setting)
    with pytest.raises(KeyError):
        sandbox.moodle.set_site(colour="red")


def test_a_forced_time_zone_beats_what_is_sent(sandbox: Sandbox, portal: Portal, learner: int) -> None:
    assert rows(portal)[0][8] == "Sunday, 22 November 2026, 12:30 PM"
    sandbox.moodle.set_site(force_timezone="Australia/Sydney")
    assert rows(portal)[0][8] == "Sunday, 22 November 2026, 11:30 PM"
    settings = portal.moodle(CONFIG, section="locationsettings")["settings"]
    assert settings == [
        {"name": "timezone", "value": "Europe/London"},
        {"name": "forcetimezone", "value": "Australia/Sydney"},
    ]
    noon = {"data[0][year]": 2026, "data[0][month]": 7, "data[0][day]": 1, "data[0][hour]": 12}
    sydney = portal.moodle(TIMESTAMPS, **noon, moodlewssettingtimezone="UTC")["timestamps"]
    assert sydney == [{"timestamp": 1782871200}]
    sandbox.moodle.set_site(force_timezone="")
    assert portal.moodle(TIMESTAMPS, **noon, moodlewssettingtimezone="UTC")["timestamps"][0]["timestamp"] == 1782907200
    assert portal.moodle(TIMESTAMPS, **(noon | {"data[0][month]": 13}))["errorcode"] == "invalidparameter"
    assert portal.moodle(CONFIG, section="nothing")["settings"] == []


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ("english", "Sunday, 22 November 2026, 12:30 PM"),
        ("24_hour", "Sunday, 22 November 2026, 12:30"),
        ("numeric", "22/11/26 12:30"),
        ("us", "Sunday, November 22, 2026, 12:30 PM"),
    ],
)
def test_dates_have_the_form_of_the_language(
    sandbox: Sandbox, portal: Portal, learner: int, form: str, told: str
) -> None:
    sandbox.moodle.set_site(date_form=form)
    assert rows(portal)[0][8] == told


def test_customised_titles_change_headings_and_the_word_for_yes(
    sandbox: Sandbox, portal: Portal, course: int, learner: int
) -> None:
    sandbox.moodle.set_site(titles="customised")
    data = portal.moodle(REPORT, reportid=2)["data"]
    assert data["headers"][3] == "Student number"
    assert data["rows"][0]["columns"][7] == "Aye"
    assert status(portal, course, learner)["completions"][0]["status"] == "Aye"


def test_version_5_differs_in_what_it_says_of_itself_and_of_missing_rows(
    sandbox: Sandbox, portal: Portal, course: int
) -> None:
    sandbox.moodle.set_site(version="5.0")
    info = portal.moodle("core_webservice_get_site_info")
    assert (info["release"], info["version"]) == ("5.0.6+ (Build: 20260403)", "2025041406.11")
    assert portal.moodle(LIST)["reports"][0]["customfields"] == {"data": []}
    assert portal.moodle(REPORT, reportid=2)["details"]["customfields"] == {"data": []}
    assert portal.moodle(REPORT, reportid=99)["errorcode"] == "invalidrecordunknown"
    assert status(portal, course, 99_999)["errorcode"] == "invalidrecordunknown"


def test_the_total_beyond_the_last_page_is_told_by_4_5_alone(sandbox: Sandbox, portal: Portal, learner: int) -> None:
    assert portal.moodle(REPORT, reportid=2, page=9)["data"]["totalrowcount"] == 1
    sandbox.moodle.set_site(version="5.0")
    assert portal.moodle(REPORT, reportid=2, page=9)["data"]["totalrowcount"] == 0


def test_any_function_can_be_missing_also_inside_a_batch(sandbox: Sandbox, portal: Portal, learner: int) -> None:
    request = {"function": USERS, "arguments": json.dumps({"field": "id", "values": [learner]})}
    for function in (USERS, CONFIG, TIMESTAMPS):
        sandbox.faults.on("missing_function", side=MOODLE, call=function)
    assert users(portal, learner)["errorcode"] == "accessexception"
    assert portal.moodle(CONFIG)["errorcode"] == portal.moodle(TIMESTAMPS)["errorcode"] == "accessexception"
    assert batch(portal, request, request) == ["accessexception"]


def test_a_batch_mixes_functions_and_has_settings_of_its_own(
    sandbox: Sandbox, portal: Portal, course: int, learner: int
) -> None:
    sandbox.moodle.set_course(course, fullname=f"{SPANS} & more")
    both = json.dumps({"courseid": course, "userid": learner})
    by_id = json.dumps({"field": "id", "value": str(course)})
    answers = batch(
        portal,
        {"function": STATUS, "arguments": both},
        {"function": USERS, "arguments": json.dumps({"field": "id", "values": [learner]})},
        {"function": GRADES, "arguments": both},
        {"function": COURSES, "arguments": by_id},
        {"function": COURSES, "arguments": by_id, "settingfilter": 1, "settinglang": "cy"},
        {"function": COURSES, "arguments": by_id, "settingraw": 1},
        {"function": COURSES, "arguments": json.dumps({"field": "ids", "value": "999"})},
        {"function": STATUS, "arguments": both},
        moodlewssettingraw=1,
        moodlewssettingfilter=1,
    )
    assert answers[0]["completionstatus"]["completed"] is True
    assert answers[1][0]["lastname"] == "O'Connor"
    assert answers[2]["usergrades"][0]["userfullname"] == "Siobhán O'Connor"
    names = [answer["courses"][0]["fullname"] for answer in answers[3:6]]
    assert names == ["FireTân &amp; more", "Tân &amp; more", f"{SPANS} & more"]
    assert answers[6:] == ["generalexceptionmessage"]


# Courses


def test_one_unknown_id_of_several_is_an_error_without_a_code(portal: Portal, course: int) -> None:
    answer = portal.moodle(COURSES, field="ids", value=f"{course},999")
    assert answer == {"exception": "Error", "message": 'Attempt to assign property "contextvalidated" on null'}
    for value in ("", f"{course},x"):
        assert portal.moodle(COURSES, field="ids", value=value)["errorcode"] == "dmlreadexception"
    assert [row["id"] for row in portal.moodle(COURSES, field="ids", value=f"1,{course}")["courses"]] == [1, course]


def test_a_deleted_course_leaves_its_short_name_to_another(
    sandbox: Sandbox, portal: Portal, course: int, learner: int
) -> None:
    moodle = sandbox.moodle
    moodle.delete_course(course)
    assert portal.moodle(COURSES, field="id", value=course)["courses"] == []
    assert status(portal, course, learner)["errorcode"] == "invalidrecord"
    assert portal.moodle(ENROLLED, courseid=course)["errorcode"] == "invalidrecord"
    assert "exception" in portal.moodle(COURSES, field="ids", value=course)
    assert rows(portal) == []
    other = moodle.add_course("SAFE101", "Safeguarding Essentials")
    assert [row["id"] for row in portal.moodle(COURSES, field="shortname", value="SAFE101")["courses"]] == [other]
    with pytest.raises(ValueError, match="taken"):
        moodle.add_course("X", "Y", course_id=other)


def test_every_value_of_a_course_can_be_changed(sandbox: Sandbox, portal: Portal, course: int, learner: int) -> None:
    category = sandbox.moodle.add_category("Health & care")
    milliseconds = 1_790_000_000_000
    changes = {"shortname": "NEW", "category": category, "groupmode": 2, "startdate": milliseconds}
    sandbox.moodle.set_course(course, **changes, timecreated=5.0)
    [record] = portal.moodle(COURSES, field="category", value=category)["courses"]
    assert (record["shortname"], record["categoryname"], record["groupmode"], record["startdate"]) == (
        "NEW",
        "Health &amp; care",
        2,
        milliseconds,
    )
    assert "timecreated" not in record, "Moodle does not tell it here"
    assert rows(portal)[0][1] == "NEW"
    for wrong in ("id", "colour"):
        with pytest.raises(KeyError):
            sandbox.moodle.set_course(course, **{wrong: 1})
    moodle = sandbox.moodle
    moodle.complete(course, moodle.add_learner("A", "B", "a@example.org"), at=NOW)
    moodle.uncomplete(course, learner)
    assert len(rows(portal)) == 1


# Completions


def test_any_of_the_criteria_completes_at_the_first_of_them(sandbox: Sandbox, portal: Portal, course: int) -> None:
    moodle = sandbox.moodle
    moodle.set_course(course, aggregation=2, criteria="self,grade", grade_required=60)
    learner = moodle.add_learner("A", "B", "a@example.org", course_id=course)
    assert [row["type"] for row in status(portal, course, learner)["completions"]] == [1, 6]
    first, second = int(NOW) - 7200, int(NOW) - 3600
    moodle.complete(course, learner, at=first, criteria=[(1, first), (6, None)])
    moodle.set_grade(course, learner, 80)
    moodle.set_criteria(course, learner, [(1, first), (6, second)])
    told = status(portal, course, learner)
    assert (told["completed"], told["aggregation"]) == (True, 2)
    assert [row["timecompleted"] for row in told["completions"]] == [first, second]
    assert told["completions"][1]["status"] == "80.00 (60.00 required)"
    assert rows(portal)[0][8] == "Monday, 23 November 2026, 10:30 AM"


def test_the_task_may_complete_later_than_every_criterion(sandbox: Sandbox, portal: Portal, course: int) -> None:
    moodle = sandbox.moodle
    learner = moodle.add_learner("A", "B", "a@example.org", course_id=course)
    met = int(NOW) - 7200
    moodle.complete(course, learner, at=NOW, criteria=[(1, met), (6, met - 60)])
    assert max(row["timecompleted"] for row in status(portal, course, learner)["completions"]) == met
    assert rows(portal)[0][8] == "Monday, 23 November 2026, 12:30 PM"


def test_of_several_activities_any_may_be_enough(sandbox: Sandbox, portal: Portal, course: int) -> None:
    moodle = sandbox.moodle
    learner = moodle.add_learner("A", "B", "a@example.org", course_id=course)
    moodle.set_criteria(course, learner, [(4, int(NOW)), (4, None), (4, None)])
    assert status(portal, course, learner)["completed"] is False
    moodle.complete(course, learner)
    told = status(portal, course, learner)
    assert (told["completed"], told["aggregation"]) == (True, 1)
    assert [row["complete"] for row in told["completions"]] == [True, False, False]
    assert len({row["details"]["criteria"] for row in told["completions"]}) == 3


def test_a_completion_may_hold_no_time_of_any_criterion(sandbox: Sandbox, portal: Portal, course: int) -> None:
    learner = sandbox.moodle.add_learner("A", "B", "a@example.org")
    sandbox.moodle.complete(course, learner, criteria=[(1, None)])
    told = status(portal, course, learner)
    assert told["completed"] is True
    assert [row["timecompleted"] for row in told["completions"]] == [None]
    with pytest.raises(KeyError):
        sandbox.moodle.set_criteria(course, 99_999, [])
    with pytest.raises(KeyError):
        sandbox.moodle.set_criteria(999, learner, [])


def test_unlocking_deletes_completions_and_the_tasks_bring_activities_back(
    sandbox: Sandbox, portal: Portal, course: int, learner: int
) -> None:
    moodle = sandbox.moodle
    activity = moodle.add_course("ACT", "By activities", criteria="activities")
    moodle.complete(activity, learner, at=NOW - 60)
    before = rows(portal)
    for number in (course, activity):
        moodle.unlock_completion(number)
    assert rows(portal) == []
    assert status(portal, activity, learner)["completed"] is False
    moodle.run_completion_tasks()
    assert rows(portal) == before[:1]
    assert status(portal, course, learner)["completed"] is False
    with pytest.raises(KeyError):
        moodle.unlock_completion(999)


# People


def test_a_deleted_account_breaks_lists_once_it_is_cleaned_up(
    sandbox: Sandbox, portal: Portal, course: int, learner: int
) -> None:
    moodle = sandbox.moodle
    other = moodle.add_learner("A", "B", "a@example.org")
    with pytest.raises(ValueError, match="not deleted"):
        moodle.clean_up_user(other)
    moodle.delete_user(learner)
    assert [len(user["email"]) for user in users(portal, learner)] == [32]
    moodle.clean_up_user(learner)
    assert users(portal, learner, other)["errorcode"] == users(portal, learner)["errorcode"] == "invaliduser"
    moodle.set_site(version="5.0")
    assert users(portal, learner, other)["errorcode"] == "invalidrecordunknown"
    assert len(users(portal, other, 99_999)) == 1
    assert status(portal, course, learner)["errorcode"] == "userdeleted"
    moodle.delete_user(other, cleaned_up=True)
    assert users(portal, other)["errorcode"] == "invalidrecordunknown"


def test_a_tag_in_a_name_breaks_lists_and_a_lone_sign_does_not(
    sandbox: Sandbox, portal: Portal, course: int, learner: int
) -> None:
    moodle = sandbox.moodle
    moodle.set_name(learner, "Less", "2 < 3")
    assert users(portal, learner)[0]["lastname"] == "2 < 3"
    tagged = moodle.add_learner("Ann <Annie>", "Lee", "ann@example.org", course_id=course)
    moodle.complete(course, tagged)
    assert users(portal, learner, tagged)["errorcode"] == "invalidresponse"
    options = {"options[0][name]": "userfields", "options[0][value]": "id"}
    assert portal.moodle(ENROLLED, courseid=course, **options)["errorcode"] == "invalidresponse"
    options |= {"options[1][name]": "limitnumber", "options[1][value]": "1"}
    assert [user["id"] for user in portal.moodle(ENROLLED, courseid=course, **options)] == [learner]
    assert portal.moodle(GRADES, courseid=course, userid=tagged)["errorcode"] == "invalidresponse"
    assert status(portal, course, tagged)["completed"] is True
    assert [row[4] for row in rows(portal)] == ["Ann &lt;Annie&gt;", "Less"]


@pytest.mark.parametrize(
    ("enrolment", "active_now"), [({"active": False}, False), ({"ended": True}, False), ({"ways": 2}, True)]
)
def test_an_enrolment_that_is_suspended_or_ended_keeps_its_row(
    sandbox: Sandbox, portal: Portal, course: int, learner: int, enrolment: dict[str, Any], active_now: bool
) -> None:
    sandbox.moodle.enrol(course, learner, **enrolment)
    assert ("completed" in status(portal, course, learner)) == active_now
    assert status(portal, course, learner).get("errorcode") == (None if active_now else "usernotenroled")
    options = {"options[0][name]": "onlyactive", "options[0][value]": "1"}
    assert bool(portal.moodle(ENROLLED, courseid=course, **options)) == active_now
    assert len(portal.moodle(ENROLLED, courseid=course)) == len(rows(portal)) == 1


def test_every_value_of_an_account_can_be_changed(sandbox: Sandbox, portal: Portal, course: int, learner: int) -> None:
    moodle = sandbox.moodle
    moodle.set_user(learner, username="new'name", firstname="A", lastname="B", email="n@example.org", suspended=True)
    [user] = users(portal, learner)
    assert (user["fullname"], user["email"], user["suspended"]) == ("A B", "n@example.org", True)
    assert "suspended" not in portal.moodle(ENROLLED, courseid=course)[0]
    assert rows(portal)[0][3:7] == ["new&#039;name", "A", "B", "n@example.org"]
    assert moodle.ids_by_email("n@example.org") == [learner]
    moodle.set_user(learner, confirmed=False, idnumber="E-1", city="", auth="nologin")
    assert status(portal, course, learner)["errorcode"] == "usernotconfirmed"
    assert "city" not in users(portal, learner)[0]
    for wrong in ("id", "deleted", "shoe"):
        with pytest.raises(KeyError):
            moodle.set_user(learner, **{wrong: 1})
    moodle.unenrol(course, learner)
    assert rows(portal) == []


def test_a_second_account_of_a_person_has_the_same_completions(
    sandbox: Sandbox, portal: Portal, course: int, learner: int
) -> None:
    moodle = sandbox.moodle
    moodle.set_grade(course, learner, 70)
    second = moodle.double_user(learner)
    cells = [[*row[4:6], *row[8:]] for row in rows(portal)]
    assert cells[0] == cells[1]
    assert {row[6] for row in rows(portal)} == {"s.o&#039;connor@example.org", "second.s.o&#039;connor@example.org"}
    other = moodle.add_course("OTHER", "Other")
    moodle.complete(other, second, criteria=[(1, 5)])
    moodle.merge_users(learner, second)
    assert [row[2].partition("?id=")[2][:3] for row in rows(portal)] == [str(learner)] * 2
    assert status(portal, other, learner)["completions"][0]["timecompleted"] == 5
    assert [user["suspended"] for user in users(portal, learner, second)] == [False, True]


@pytest.mark.parametrize("people", ["same", "new"])
def test_a_rebuilt_site_has_other_people_and_courses_under_its_ids(
    sandbox: Sandbox, portal: Portal, course: int, learner: int, people: str
) -> None:
    moodle = sandbox.moodle
    other = moodle.add_course("OTHER", "Other")
    moodle.complete(other, moodle.add_learner("Tom", "Lee", "tom@example.org"))
    before = rows(portal)
    moodle.rebuild(people)
    after = rows(portal)
    ids = [[cell.partition("?id=")[2].partition('"')[0] for cell in (row[0], row[2])] for row in before]
    assert ids == [[cell.partition("?id=")[2].partition('"')[0] for cell in (row[0], row[2])] for row in after]
    for old, new in zip(before, after, strict=True):
        assert not {old[1], *old[3:7]} & {new[1], *new[3:7]}
        assert old[8] == new[8]
    assert ({row[6] for row in before} == {row[6] for row in after}) == (people == "same")
    assert moodle.ids_by_email(moodle.users[learner].email) == [learner]
    with pytest.raises(ValueError, match="same or new"):
        moodle.rebuild("nobody")


def test_answers_can_hold_odd_values(sandbox: Sandbox, portal: Portal, course: int, learner: int) -> None:
    moodle = sandbox.moodle
    other = moodle.add_learner("A", "B", "a@example.org", course_id=course)
    moodle.complete(course, other)
    moodle.distort(USERS, "lastname", None, id=learner)
    moodle.distort(ENROLLED, "id", 2**63 + 5, id=learner)
    moodle.distort(COURSES, "startdate", "soon")
    moodle.distort(REPORT, "Last name", None, id=learner)
    assert [user["lastname"] for user in users(portal, learner, other)] == [None, "B"]
    assert {user["id"] for user in portal.moodle(ENROLLED, courseid=course)} == {2**63 + 5, other}
    assert {row["startdate"] for row in portal.moodle(COURSES)["courses"]} == {"soon"}
    assert [row[5] for row in rows(portal)] == ["B", None]
    moodle.undistort()
    assert users(portal, learner)[0]["lastname"] == "O'Connor"


# Reports


def test_a_report_without_its_condition_lists_who_has_not_completed(
    sandbox: Sandbox, portal: Portal, course: int, learner: int
) -> None:
    moodle = sandbox.moodle
    other = moodle.add_learner("A", "B", "a@example.org", course_id=course)
    before = portal.moodle(REPORT, reportid=2)["details"]
    assert (before["conditiondata"], before["uniquerows"]) == ('{"completion:completed_operator":1}', True)
    moodle.set_report(2, completed_only=False)
    details = portal.moodle(REPORT, reportid=2)["details"]
    assert details["conditiondata"] == "[]"
    assert details["timemodified"] > before["timemodified"]
    assert [row[7:9] for row in rows(portal)] == [["No", ""], ["Yes", "Sunday, 22 November 2026, 12:30 PM"]]
    moodle.set_filter(2, Filter(start=1))
    assert len(rows(portal)) == 1, "a range of time leaves out who has none"
    moodle.set_filter(2, Filter(end=int(NOW)))
    assert len(rows(portal)) == 1
    moodle.set_filter(2, Filter(courses=frozenset({course})))
    assert len(rows(portal)) == 2
    moodle.complete(course, other)
    assert [row[7] for row in rows(portal)] == ["Yes", "Yes"]


def test_a_report_that_keeps_duplicate_rows_shows_each_enrolment(
    sandbox: Sandbox, portal: Portal, course: int, learner: int
) -> None:
    sandbox.moodle.enrol(course, learner, ways=2)
    assert len(rows(portal)) == 1
    sandbox.moodle.set_report(2, unique=False)
    assert portal.moodle(LIST)["reports"][0]["uniquerows"] is False
    twice = rows(portal)
    assert len(twice) == 2
    assert twice[0] == twice[1]


def test_a_filter_that_the_report_lacks_has_no_effect(sandbox: Sandbox, portal: Portal, learner: int) -> None:
    later = json.dumps({"completion:timecompleted_operator": 3, "completion:timecompleted_from": int(NOW)})
    assert portal.moodle("core_reportbuilder_set_filters", reportid=2, values=later) is True
    assert rows(portal) == []
    sandbox.moodle.set_report(2, filters=["Select course"])
    assert len(rows(portal)) == 1
    sandbox.moodle.set_filter(2, Filter(courses=frozenset({999})))
    assert rows(portal) == []
    sandbox.moodle.set_report(2, filters=[])
    assert len(rows(portal)) == 1


def test_columns_can_be_renamed_moved_left_out_and_added(sandbox: Sandbox, portal: Portal, learner: int) -> None:
    usual = rows(portal)[0]
    sandbox.moodle.set_report(2, headings={"Username": "Login & <b>name</b>"}, columns=AGREED_COLUMNS[::-1])
    data = portal.moodle(REPORT, reportid=2, moodlewssettingtimezone="UTC")["data"]
    assert data["headers"][6] == "Login &amp; name"
    assert data["rows"][0]["columns"] == usual[::-1]
    sandbox.moodle.set_report(2, columns=[*AGREED_COLUMNS[1:], "City"], headings={})
    assert rows(portal)[0] == [*usual[1:], ""]
    with pytest.raises(ValueError, match="taken"):
        sandbox.moodle.add_report("Again", [], report_id=2)


# Grades


def total(portal: Portal, course: int, learner: int) -> dict[str, Any]:
    """The course total."""
    items = portal.moodle(GRADES, courseid=course, userid=learner)["usergrades"][0]["gradeitems"]
    return next(item for item in items if item["itemtype"] == "course")


def test_a_total_can_be_a_scale_nothing_or_more_than_all(
    sandbox: Sandbox, portal: Portal, course: int, learner: int
) -> None:
    moodle = sandbox.moodle
    moodle.set_grade(course, learner, 3)
    moodle.set_course(course, grade_type="scale")
    item = total(portal, course, learner)
    assert (item["graderaw"], item["grademin"], item["grademax"], item["scaleid"]) == (3, 1, 4, None)
    assert (item["gradeformatted"], item["percentageformatted"]) == ("Merit", "66.67 %")
    assert rows(portal)[0][9] == "3.00"
    moodle.set_course(course, grade_type="none")
    item = total(portal, course, learner)
    assert (item["graderaw"], item["grademin"], item["grademax"], item["gradeformatted"]) == (None, 0, 0, "-")
    assert rows(portal)[0][9] == ""
    moodle.set_course(course, grade_type="points")
    moodle.set_grade(course, learner, 63, grademax=50)
    assert total(portal, course, learner)["percentageformatted"] == "126.00 %"


# From outside, and after a restart


def test_new_states_are_reached_by_control_calls(sandbox: Sandbox, portal: Portal, course: int, learner: int) -> None:
    def control(method: str, **arguments: Any) -> Any:
        answer = requests.post(f"{sandbox.url}/control/moodle/{method}", json=arguments, timeout=10)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]

    control("set_site", force_timezone="America/New_York")
    control("set_course", course_id=course, aggregation=2)
    second = control("double_user", user_id=learner)
    control("uncomplete", course_id=course, user_id=second)
    control("complete", course_id=course, user_id=second, at=NOW, criteria=[[1, int(NOW)], [6, None]])
    assert [row["type"] for row in status(portal, course, second)["completions"]] == [1, 6]
    control("distort", function=USERS, key="id", value=2**70, id=second)
    assert users(portal, second)[0]["id"] == 2**70
    control("rebuild", people="new")
    control("delete_course", course_id=course)
    assert rows(portal) == []
    wrong = requests.post(f"{sandbox.url}/control/moodle/set_site", json={"version": "1"}, timeout=10)
    assert wrong.status_code == 400


def test_new_states_are_kept_in_the_state_file(sandbox: Sandbox, course: int, learner: int) -> None:
    moodle = sandbox.moodle
    moodle.set_site(version="5.0", titles="customised")
    moodle.set_course(course, aggregation=2, grade_type="scale", category=moodle.add_category("Other"))
    moodle.set_criteria(course, learner, [(1, 5), (6, None)])
    moodle.set_report(2, completed_only=False, headings={"Grade": "Mark"}, filters=["Select course"])
    moodle.distort(USERS, "email", None)
    moodle.enrol(course, learner, ended=True, ways=2)
    moodle.delete_user(moodle.add_learner("A", "B", "a@example.org"), cleaned_up=True)
    activity = moodle.add_course("ACT", "By activities", criteria="activities")
    moodle.complete(activity, learner)
    moodle.unlock_completion(activity)
    kept = json.loads(json.dumps(moodle.dump()))
    listed = moodle.rows(2)
    moodle.load(kept)
    assert json.loads(json.dumps(moodle.dump())) == kept
    assert moodle.rows(2) == listed
    moodle.run_completion_tasks()
    assert moodle.completion(activity, learner)
    older = {name: value for name, value in kept.items() if name not in ("site", "criteria", "unlocked", "oddities")}
    moodle.load({**older, "enrolments": [[course, learner, "student", True]]})
    assert moodle.members(course)[learner].counts


@pytest.mark.slow
def test_a_page_of_100_000_completions_costs_what_one_of_1_000_does(
    sandbox: Sandbox, portal: Portal, course: int
) -> None:
    def seconds_for_twenty_pages(number: int) -> float:
        start = time.perf_counter()
        for page in range(0, number // 50, number // 1000):
            data = portal.moodle(REPORT, reportid=2, page=page, perpage=50)["data"]
            assert (len(data["rows"]), data["totalrowcount"]) == (50, number)
        return time.perf_counter() - start

    sandbox.moodle.complete_many(course, sandbox.moodle.add_learners(1_000), at=NOW - 86_400)
    few = seconds_for_twenty_pages(1_000)
    sandbox.moodle.complete_many(course, sandbox.moodle.add_learners(99_000), at=NOW - 86_400)
    assert seconds_for_twenty_pages(100_000) < few * 4 + 0.5
    sandbox.moodle.complete(course, sandbox.moodle.add_learner("A", "B", "a@example.org"), at=NOW)
    since = json.dumps({"completion:timecompleted_operator": 3, "completion:timecompleted_from": int(NOW) - 60})
    portal.moodle("core_reportbuilder_set_filters", reportid=2, values=since)
    assert len(rows(portal)) == 1
