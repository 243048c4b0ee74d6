"""Each fault does what its description says, as often as it was asked to."""

import socket
import time
from typing import Any

import pytest
import requests

from sandbox import MOODLE, NAVIGATR_PRODUCTION, Faults
from sandbox.faults import CONTENT_KINDS, MOODLE_KINDS, NAVIGATR_KINDS

from .conftest import Portal

SITE_INFO = "core_webservice_get_site_info"
STATUS = "core_completion_get_course_completion_status"
# kind: (status told, or 0 for none; whether the badge is issued all the same)
ISSUING = {
    "down": (0, False),
    "refuse": (0, False),
    "401": (401, False),
    "429": (429, False),
    "500_before": (500, False),
    "500_after": (500, True),
    "502": (502, False),
    "503": (503, False),
    "drop_before": (0, False),
    "drop_after": (0, True),
    "timeout": (0, False),
    "timeout_after": (0, True),
    "html_before": (200, False),
    "html_after": (200, True),
    "202": (202, False),
    "400": (400, False),
    "403": (403, False),
    "404": (404, False),
    "422": (422, False),
    "422_recipient": (422, False),
    "422_quotes": (422, False),
    "slow": (201, True),
}


@pytest.mark.parametrize(("kind", "status", "issued"), [(kind, *outcome) for kind, outcome in ISSUING.items()])
def test_a_fault_while_issuing(portal: Portal, kind: str, status: int, issued: bool) -> None:
    navigatr = portal.sandbox.navigatr
    portal.sandbox.faults.on(kind, count=1, seconds=0.05)
    if status:
        assert portal.issue().status_code == status
    else:
        with pytest.raises(requests.ConnectionError):
            portal.issue()
    entry = navigatr.puts[0]
    assert (entry.status, entry.fault, entry.assertion_id is not None) == (status, kind, issued)
    assert bool(navigatr.assertions) == issued
    assert portal.issue().status_code == 201, "the fault was for one request"


def test_every_navigatr_fault_is_tried_here() -> None:
    assert ISSUING.keys() == NAVIGATR_KINDS.keys() - CONTENT_KINDS


@pytest.mark.parametrize("kind", ["502", "503", "html_before", "html_after"])
def test_a_proxy_answers_in_html(portal: Portal, kind: str) -> None:
    portal.sandbox.faults.on(kind)
    answer = portal.issue()
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.text.startswith("<!DOCTYPE html>")


def test_a_time_out_holds_the_caller_who_gives_up_first(portal: Portal) -> None:
    portal.sandbox.faults.on("timeout_after", seconds=60)
    with pytest.raises(requests.ReadTimeout):
        portal.issue(timeout=0.2)
    assert len(portal.sandbox.navigatr.assertions) == 1


def test_slow_answers_wait_for_the_seconds_asked_for(portal: Portal) -> None:
    portal.sandbox.faults.on("slow", seconds=0.2)
    start = time.monotonic()
    assert portal.issue().status_code == 201
    assert time.monotonic() - start >= 0.2


def test_retry_after_is_told_when_it_is_set(portal: Portal) -> None:
    portal.sandbox.faults.on("429", retry_after=120, count=1)
    assert portal.issue().headers["Retry-After"] == "120"
    portal.sandbox.faults.on("429")
    assert "Retry-After" not in portal.issue().headers


def test_a_fault_after_the_commit_leaves_a_refused_call_refused(portal: Portal) -> None:
    portal.sandbox.faults.on("500_after")
    assert portal.issue(badge_id=99999).status_code == 404


def test_a_fault_meets_issuing_alone_unless_it_is_said_otherwise(portal: Portal) -> None:
    portal.sandbox.faults.on("500_before")
    assert portal.navigatr("GET", "/badge/111").status_code == 200
    portal.sandbox.faults.on("503", call="all")
    assert portal.navigatr("GET", "/badge/111").status_code == 503
    portal.sandbox.faults.clear()
    portal.sandbox.faults.on("401", call="badges")
    assert portal.navigatr("GET", "/badge/?provider_id=11").status_code == 401
    assert portal.issue().status_code == 201


def test_a_fault_of_production_leaves_staging_alone(portal: Portal) -> None:
    portal.sandbox.faults.on("500_before", side=NAVIGATR_PRODUCTION)
    assert portal.issue().status_code == 201


def test_looking_up_can_be_refused_or_come_without_recipients(portal: Portal) -> None:
    portal.issue()
    portal.sandbox.faults.on("no_recipients")
    [shown] = portal.navigatr("GET", "/badge/111/assertions").json()["items"]
    assert not [name for name in shown if name.startswith("recipient_")]
    portal.sandbox.faults.on("lookup_403")
    assert portal.navigatr("GET", "/badge/111/assertions").status_code == 403
    assert portal.navigatr("GET", "/badge_assertion/").status_code == 403
    assert portal.issue().status_code == 201


def test_planned_faults_meet_each_recipient_in_turn(portal: Portal) -> None:
    portal.sandbox.faults.plan(["Ana@example.org", "ben@example.org"], "500_before", times=2)
    portal.sandbox.faults.plan("ana@example.org", "422")
    assert [portal.issue("ana@EXAMPLE.org").status_code for _ in range(4)] == [500, 500, 422, 201]
    assert [portal.issue("ben@example.org").status_code for _ in range(3)] == [500, 500, 201]
    assert portal.issue("cem@example.org").status_code == 201


def test_a_planned_delay_and_a_general_fault_can_meet(portal: Portal) -> None:
    portal.sandbox.faults.plan("ana@example.org", "slow", seconds=0.01)
    portal.sandbox.faults.on("429", count=1)
    assert portal.issue().status_code == 429
    assert portal.issue().status_code == 201


def test_probability_is_repeatable_with_the_same_seed() -> None:
    def drawn(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.on("429", probability=0.5)
        return [faults.draw("navigatr", "issue").fault is not None for _ in range(200)]

    assert drawn(7) == drawn(7)
    assert 60 < sum(drawn(7)) < 140


def test_a_fault_is_switched_off_by_its_id() -> None:
    faults = Faults()
    kept, gone = faults.on("429"), faults.on("401")
    faults.off(gone.id)
    faults.off(9999)
    assert [fault["id"] for fault in faults.listing()] == [kept.id]


@pytest.mark.parametrize(
    "wrong", [{"kind": "no such"}, {"side": "mars"}, {"probability": 2}, {"count": 0}, {"seconds": -1}]
)
def test_a_fault_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must"):
        Faults().on(**{"kind": "429", **wrong})
    with pytest.raises(ValueError, match="planned"):
        Faults().plan("ana@example.org", "lookup_403")


# Moodle


@pytest.mark.parametrize("kind", ["down", "refuse"])
def test_a_moodle_that_is_down_gives_no_answer(portal: Portal, kind: str) -> None:
    portal.sandbox.faults.on(kind, side=MOODLE, count=1)
    with pytest.raises(requests.ConnectionError):
        portal.moodle(SITE_INFO)
    assert portal.moodle(SITE_INFO)["sitename"] == "Sandbox Moodle"


@pytest.mark.parametrize(("kind", "status"), [("500", 500), ("maintenance_cli", 503), ("ws_disabled", 403)])
def test_a_moodle_fault_below_the_web_service_is_no_json(portal: Portal, kind: str, status: int) -> None:
    portal.sandbox.faults.on(kind, side=MOODLE)
    answer = portal.moodle_raw(SITE_INFO, moodlewsrestformat="json")
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert bool(answer.content) == (kind != "ws_disabled")


def test_a_slow_moodle_answers_late(portal: Portal) -> None:
    portal.sandbox.faults.on("slow", side=MOODLE, seconds=0.2, call=SITE_INFO)
    start = time.monotonic()
    assert "sitename" in portal.moodle(SITE_INFO)
    assert time.monotonic() - start >= 0.2


def test_an_expired_token_is_refused_once_and_unknown_from_then_on(portal: Portal) -> None:
    fault = portal.sandbox.faults.on("token_expired", side=MOODLE)
    codes = [portal.moodle(SITE_INFO)["errorcode"] for _ in range(3)]
    assert codes == ["accessexception", "invalidtoken", "invalidtoken"]
    portal.sandbox.faults.off(fault.id)
    assert "errorcode" not in portal.moodle(SITE_INFO)


def _course(portal: Portal) -> dict[str, Any]:
    """A course with a learner who has completed it; the parameters that name both."""
    moodle = portal.sandbox.moodle
    course = moodle.add_course("SAFE101", "Safeguarding Essentials")
    learner = moodle.add_learner("Ana", "Lee", "ana@example.org", course_id=course)
    teacher = moodle.add_learner("Tom", "Okafor", "tom@example.org")
    moodle.enrol(course, teacher, role="editingteacher")
    moodle.complete(course, learner, grade=80)
    return {"courseid": course, "userid": learner}


REPORT = {"reportid": 2}
FILTER = {"reportid": 2, "values": "{}"}
# kind: calls that are refused while it is on, with their errorcode
REFUSALS: dict[str, dict[str, str]] = {
    "maintenance": {SITE_INFO: "sitemaintenance", STATUS: "sitemaintenance"},
    "participants_refused": {"core_enrol_get_enrolled_users": "nopermissions"},
    "course_refused": {
        "core_enrol_get_enrolled_users": "errorcoursecontextnotvalid",
        STATUS: "requireloginerror",
        "gradereport_user_get_grade_items": "requireloginerror",
    },
    "report_refused": {
        "core_reportbuilder_retrieve_report": "errorreportview",
        "core_reportbuilder_set_filters": "errorreportview",
    },
    "reports_off": {
        "core_reportbuilder_list_reports": "errorreportview",
        "core_reportbuilder_retrieve_report": "errorreportview",
        "core_reportbuilder_set_filters": "errorreportview",
    },
    "grades_refused": {"gradereport_user_get_grade_items": "nopermissiontoviewgrades"},
    "completion_off": {STATUS: "cannotviewreport"},
    "missing_function": {"core_reportbuilder_retrieve_report": "accessexception"},
    "gradereport_refused": {"gradereport_user_get_grade_items": "nopermissions"},
    "reportbuilder_refused": {
        "core_reportbuilder_list_reports": "errorreportview",
        "core_reportbuilder_retrieve_report": "errorreportview",
        "core_reportbuilder_set_filters": "errorreportview",
    },
    "separate_groups": {STATUS: "accessdenied", "gradereport_user_get_grade_items": "notingroup"},
    "usernotfullysetup": {
        "core_enrol_get_enrolled_users": "errorcoursecontextnotvalid",
        STATUS: "usernotfullysetup",
        "gradereport_user_get_grade_items": "usernotfullysetup",
        "core_reportbuilder_list_reports": "usernotfullysetup",
        "core_reportbuilder_retrieve_report": "usernotfullysetup",
        "core_reportbuilder_set_filters": "usernotfullysetup",
    },
}
# These refuse every call.
REFUSALS |= {"dbconnectionfailed": {SITE_INFO: "dbconnectionfailed", STATUS: "dbconnectionfailed"}}
# Those that are told by what is missing from an answer, each with its own test here.
OTHERS = {"down", "refuse", "slow", "500", "maintenance_cli", "token_expired", "ws_disabled"} | {
    "no_emails",
    "few_users",
    "report_changed",
    "no_viewhidden",
    "no_viewfullnames",
    "no_hidden_courses",
    "no_accessallgroups",
    "drip_headers",
    "drip_body",
    "flood",
    "junk_before",
    "cut",
    "cut_off",
    "short_pages",
    "odd_startdate",
    "odd_null",
    "odd_id",
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_moodle_fault_refuses_its_calls_and_no_others(portal: Portal, kind: str) -> None:
    both = _course(portal)
    calls: dict[str, dict[str, Any]] = {
        SITE_INFO: {},
        STATUS: both,
        "core_enrol_get_enrolled_users": {"courseid": both["courseid"]},
        "gradereport_user_get_grade_items": both,
        "core_reportbuilder_list_reports": {},
        "core_reportbuilder_retrieve_report": REPORT,
        "core_reportbuilder_set_filters": FILTER,
    }
    portal.sandbox.faults.on(kind, side=MOODLE)
    refused = {}
    for function, params in calls.items():
        answer = portal.moodle(function, **params)
        if isinstance(answer, dict) and "errorcode" in answer:
            refused[function] = answer["errorcode"]
    if kind in ("maintenance", "dbconnectionfailed"):
        assert set(refused.values()) == set(REFUSALS[kind].values())
        assert refused.keys() == calls.keys()
    else:
        assert refused == REFUSALS[kind]


def test_every_moodle_fault_is_tried_here() -> None:
    assert MOODLE_KINDS.keys() == REFUSALS.keys() | OTHERS


def test_site_info_tells_what_is_switched_off_or_missing(portal: Portal) -> None:
    portal.sandbox.faults.on("completion_off", side=MOODLE)
    portal.sandbox.faults.on("reports_off", side=MOODLE)
    portal.sandbox.faults.on("missing_function", side=MOODLE, call="gradereport_user_get_grade_items")
    info = portal.moodle(SITE_INFO)
    features = {feature["name"]: feature["value"] for feature in info["advancedfeatures"]}
    assert (features["enablecompletion"], features["enablecustomreports"]) == (0, 0)
    assert "gradereport_user_get_grade_items" not in [function["name"] for function in info["functions"]]


def test_missing_capabilities_leave_out_silently(portal: Portal) -> None:
    both = _course(portal)
    everybody = portal.moodle("core_enrol_get_enrolled_users", courseid=both["courseid"])
    assert [user["firstname"] for user in everybody] == ["Ana", "Tom"]
    portal.sandbox.faults.on("no_emails", side=MOODLE)
    users = portal.moodle("core_enrol_get_enrolled_users", courseid=both["courseid"])
    assert [user["firstname"] for user in users if "email" not in user] == ["Ana", "Tom"]
    by_email = {"field": "email", "values[0]": "ana@example.org"}
    assert portal.moodle("core_user_get_users_by_field", **by_email) == []
    portal.sandbox.faults.on("few_users", side=MOODLE)
    few = portal.moodle("core_enrol_get_enrolled_users", courseid=both["courseid"])
    assert [user["firstname"] for user in few] == ["Tom"]


def test_separate_groups_show_nobody_and_leave_the_report_alone(portal: Portal) -> None:
    both = _course(portal)
    moodle, faults = portal.sandbox.moodle, portal.sandbox.faults

    def groupmode() -> int:
        [course] = portal.moodle("core_course_get_courses_by_field", field="id", value=both["courseid"])["courses"]
        return course["groupmode"]

    faults.on("no_accessallgroups", side=MOODLE)
    assert len(portal.moodle("core_enrol_get_enrolled_users", courseid=both["courseid"])) == 2
    assert groupmode() == 0
    moodle.set_course(both["courseid"], groupmode=1)
    assert portal.moodle("core_enrol_get_enrolled_users", courseid=both["courseid"]) == []
    assert portal.moodle(STATUS, **both)["errorcode"] == "accessdenied"
    assert portal.moodle("gradereport_user_get_grade_items", **both)["errorcode"] == "notingroup"
    assert groupmode() == 1
    assert portal.moodle("core_reportbuilder_retrieve_report", **REPORT)["data"]["totalrowcount"] == 1
    faults.clear()
    moodle.set_course(both["courseid"], groupmode=0)
    faults.on("separate_groups", side=MOODLE)
    assert groupmode() == 1
    assert portal.moodle("core_enrol_get_enrolled_users", courseid=both["courseid"]) == []


def test_without_viewfullnames_only_the_whole_name_is_told(portal: Portal) -> None:
    both = _course(portal)
    portal.sandbox.faults.on("no_viewfullnames", side=MOODLE)
    listed = portal.moodle("core_enrol_get_enrolled_users", courseid=both["courseid"])
    found = portal.moodle("core_user_get_users_by_field", field="id", **{"values[0]": both["userid"]})
    for user in [*listed, *found]:
        assert "fullname" in user
        assert not {"firstname", "lastname"} & user.keys()


def test_without_viewhiddencourses_hidden_courses_are_not_there(portal: Portal) -> None:
    both = _course(portal)
    portal.sandbox.moodle.set_course(both["courseid"], visible=0)
    portal.sandbox.faults.on("no_hidden_courses", side=MOODLE)
    by_id = {"field": "id", "value": both["courseid"]}
    assert portal.moodle("core_course_get_courses_by_field", **by_id)["courses"] == []
    assert portal.moodle(STATUS, **both)["errorcode"] == "requireloginerror"
    answer = portal.moodle("core_enrol_get_enrolled_users", courseid=both["courseid"])
    assert answer["errorcode"] == "errorcoursecontextnotvalid"
    portal.sandbox.moodle.set_course(both["courseid"], visible=1)
    assert "completionstatus" in portal.moodle(STATUS, **both)


def test_without_viewhidden_hidden_totals_are_left_out(portal: Portal) -> None:
    both = _course(portal)
    moodle = portal.sandbox.moodle

    def items() -> list[dict[str, Any]]:
        return portal.moodle("gradereport_user_get_grade_items", **both)["usergrades"][0]["gradeitems"]

    moodle.set_course(both["courseid"], hidden_total=True)
    assert [item["gradeishidden"] for item in items() if item["itemtype"] == "course"] == [True]
    fault = portal.sandbox.faults.on("no_viewhidden", side=MOODLE)
    assert items() == []
    report = portal.moodle("core_reportbuilder_retrieve_report", **REPORT)
    assert report["data"]["rows"][0]["columns"][-1] == "80.00", "the report shows it all the same"
    moodle.set_course(both["courseid"], hidden_total=False, hidden_work=True)
    assert [item["graderaw"] for item in items() if item["itemtype"] == "course"] == [None]
    portal.sandbox.faults.off(fault.id)
    assert [item["graderaw"] for item in items() if item["itemtype"] == "course"] == [80]
    assert len(items()) == 3


def test_an_answer_can_arrive_with_junk_or_in_part(portal: Portal) -> None:
    faults = portal.sandbox.faults
    whole = portal.moodle_raw(SITE_INFO, moodlewsrestformat="json").content
    faults.on("junk_before", side=MOODLE, call=SITE_INFO, count=1)
    junk = portal.moodle_raw(SITE_INFO, moodlewsrestformat="json")
    assert junk.content.startswith(b"<br />")
    assert junk.content.endswith(whole)
    assert junk.headers["Content-Type"] == "application/json"
    faults.on("cut", side=MOODLE, count=1)
    assert portal.moodle_raw(SITE_INFO, moodlewsrestformat="json").content == whole[: len(whole) // 2]
    faults.on("cut_off", side=MOODLE, count=1)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        portal.moodle_raw(SITE_INFO, moodlewsrestformat="json")
    assert portal.moodle_raw(SITE_INFO, moodlewsrestformat="json").content == whole


def test_a_flood_is_20_mb_of_empty_records(portal: Portal) -> None:
    portal.sandbox.faults.on("flood", side=MOODLE, count=1)
    answer = portal.moodle_raw(STATUS, moodlewsrestformat="json")
    assert len(answer.content) > 20_000_000
    assert answer.content.startswith(b"[{},{},")
    assert answer.content.endswith(b",{}]")


@pytest.mark.parametrize(("kind", "first"), [("drip_headers", b"H"), ("drip_body", b"HTTP/1.1 200 OK\r\n")])
def test_bytes_drip_one_by_one(portal: Portal, kind: str, first: bytes) -> None:
    portal.sandbox.faults.on(kind, side=MOODLE, count=1, seconds=0.05)
    address = portal.sandbox.moodle_url.removeprefix("http://").partition("/")[0].split(":")
    form = f"wstoken={portal.sandbox.moodle_token}&wsfunction={SITE_INFO}&moodlewsrestformat=json".encode()
    head = f"POST /moodle/webservice/rest/server.php HTTP/1.1\r\nHost: x\r\nContent-Length: {len(form)}\r\n\r\n"
    with socket.create_connection((address[0], int(address[1])), timeout=5) as connection:
        connection.sendall(head.encode() + form)
        start, received = time.monotonic(), b""
        while time.monotonic() - start < 0.6:
            received += connection.recv(4096)
    assert received.startswith(first)
    dripped = received if kind == "drip_headers" else received.partition(b"\r\n\r\n")[2]
    assert 3 < len(dripped) < 20


def test_a_dripped_answer_is_whole_in_the_end(portal: Portal) -> None:
    for kind in ("drip_headers", "drip_body"):
        portal.sandbox.faults.on(kind, side=MOODLE, count=1, seconds=0)
        assert portal.moodle(STATUS, courseid=999, userid=1)["errorcode"] == "invalidrecord"


def test_a_short_page_is_not_the_last_one(portal: Portal) -> None:
    moodle = portal.sandbox.moodle
    course = moodle.add_course("SAFE101", "Safeguarding Essentials")
    learners = moodle.add_learners(10, course_id=course)
    moodle.complete_many(course, learners)
    portal.sandbox.faults.on("short_pages", side=MOODLE)
    seen: list[str] = []
    for page in range(5):
        data = portal.moodle("core_reportbuilder_retrieve_report", reportid=2, page=page, perpage=5)["data"]
        assert (len(data["rows"]), data["totalrowcount"]) == (2, 10)
        seen += [row["columns"][3] for row in data["rows"]]
    assert len(set(seen)) == 10
    limits = {"options[0][name]": "limitnumber", "options[0][value]": 4}
    assert len(portal.moodle("core_enrol_get_enrolled_users", courseid=course, **limits)) == 2


def test_the_first_row_can_be_odd(portal: Portal) -> None:
    both = _course(portal)
    faults = portal.sandbox.faults

    def course() -> dict[str, Any]:
        return portal.moodle("core_course_get_courses_by_field")["courses"][1]

    usual = course()
    faults.on("odd_startdate", side=MOODLE)
    assert course()["startdate"] == usual["startdate"] * 1000
    faults.on("odd_null", side=MOODLE, call="core_course_get_courses_by_field")
    assert course()["fullname"] is None
    faults.on("odd_id", side=MOODLE)
    assert course()["id"] > 2**63
    cells = portal.moodle("core_reportbuilder_retrieve_report", **REPORT)["data"]["rows"][0]["columns"]
    assert int(cells[2].partition("?id=")[2].partition('"')[0]) > 2**63
    [first, second] = portal.moodle("core_enrol_get_enrolled_users", courseid=both["courseid"])
    assert first["id"] > 2**63 > second["id"]
    assert first["lastname"] == "Lee", "only course names were to be null"


def test_a_changed_report_has_other_columns(portal: Portal) -> None:
    _course(portal)
    agreed = portal.moodle("core_reportbuilder_retrieve_report", **REPORT)["data"]
    portal.sandbox.faults.on("report_changed", side=MOODLE)
    changed = portal.moodle("core_reportbuilder_retrieve_report", **REPORT)["data"]
    assert changed["headers"] != agreed["headers"]
    assert [len(row["columns"]) for row in changed["rows"]] == [len(changed["headers"])]
