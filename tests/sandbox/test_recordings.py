"""Every recorded request of a function in use, replayed.

The older recordings are answered in the shape that Moodle answered in, the newer ones with the very same values.
"""

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox import MOODLE, Sandbox
from sandbox.moodle import AGREED_COLUMNS, AGREED_NAME, TEACHER, Filter
from sandbox.moodle_wire import FUNCTIONS

from . import second_lab

REPLIES = Path(__file__).parent.parent / "replies" / "moodle"
COLUMNS = (
    "Course ID number",
    "Course short name",
    "Course full name",
    "Username",
    "Email address",
    "ID number",
    "First name",
    "Last name",
    "Completed",
    "Time completed",
    "Grade",
)
LINKED = (
    "Course full name with link",
    "Full name with link",
    "Name",
    "Role name",
    "Completed",
    "Time completed",
    "Time until completion",
    "Student progress",
    "Grade",
)
# States of a Moodle that the sandbox does not play; the client's own tests read these recordings.
NOT_PLAYED = {
    "completion_reset_learner",  # the same answer as completion_not_done
    "error_bad_protocol_path",
    "error_debug_developer",
    "error_debug_missing_capability",
    "error_enrolled_users_onlyactive_no_enrolreview",
    "error_enrolled_users_withcapability_no_role_review",
    "error_service_user_nologin",
    "error_service_user_suspended",
    "error_service_user_unconfirmed",
    "error_upgrade_running",
    "force_password_change_pref_course",
}


def _fault(kind: str, **limits: Any) -> Callable[[Sandbox], None]:
    return lambda sandbox: void(sandbox.faults.on(kind, side=MOODLE, **limits))


def _nothing_newer(sandbox: Sandbox) -> None:
    for report_id in sandbox.moodle.reports:
        sandbox.moodle.set_filter(report_id, Filter(start=1_899_999_999))


def _expired_and_used(sandbox: Sandbox) -> None:
    sandbox.faults.on("token_expired", side=MOODLE)
    form = {"wstoken": sandbox.moodle_token, "wsfunction": "core_webservice_get_site_info"}
    requests.post(f"{sandbox.moodle_url}/webservice/rest/server.php", data=form, timeout=10)


def void(_value: object) -> None:
    """Make a function with a result one without."""


# What has to be wrong for a recording, besides the seed.
STATES: dict[str, Callable[[Sandbox], None]] = {
    "agreed_report_nothing_new": _nothing_newer,
    "agreed_report_since": _nothing_newer,
    "courses_by_field_all_without_hidden": lambda sandbox: void(sandbox.moodle.courses.pop(5)),
    "error_completion_disabled_sitewide": _fault("completion_off"),
    "error_course_not_accessible": _fault("course_refused"),
    "error_course_not_accessible_enrol": _fault("course_refused"),
    "error_custom_reports_disabled": _fault("reports_off"),
    "error_custom_reports_disabled_list": _fault("reports_off"),
    "error_hidden_course": _fault("course_refused"),
    "error_maintenance_cli": _fault("maintenance_cli"),
    "error_maintenance_web": _fault("maintenance"),
    "error_maintenance_web_xml": _fault("maintenance"),
    "error_missing_capability_completion": _fault("completion_off"),
    "error_missing_capability_grades": _fault("grades_refused"),
    "error_missing_capability_rest_use": _fault("token_expired"),
    "error_missing_capability_viewparticipants": _fault("participants_refused"),
    "error_report_no_audience": _fault("report_refused"),
    "error_rest_disabled": _fault("ws_disabled"),
    "error_service_disabled": _fault("token_expired"),
    "error_service_required_capability": _fault("token_expired"),
    "error_service_user_ip_restricted": _fault("token_expired"),
    "error_service_user_validuntil_future": _fault("token_expired"),
    "error_token_after_expiry_second_call": _expired_and_used,
    "error_token_expired": _fault("token_expired"),
    "error_token_ip_restricted": _fault("token_expired"),
    "error_user_not_authorised_for_service": _fault("token_expired"),
    "error_webservices_disabled": _fault("ws_disabled"),
    "error_webservices_disabled_xml": _fault("ws_disabled"),
    "maintenance_after_cli_enable": _fault("maintenance_cli"),
    "report_filtered_empty": _nothing_newer,
    "report_list_no_audience": _fault("report_refused"),
    "silent_empty_missing_viewdetails": _fault("few_users"),
    "silent_empty_users_by_email_missing_viewuseridentity": _fault("no_emails"),
    "silent_no_email_missing_viewuseridentity": _fault("no_emails"),
}


# Recordings of Moodle 4.5.5+ and 5.0.6+ whose values are compared; all others are compared by shape.
NEWER = re.compile(
    r".*_50|escaping_.*|timezone_.*|lifecycle_.*|completion_any_.*|separate_groups_.*|language_customised_.*"
    r"|error_(course_ids|dbconnection|usernotfullysetup|reportbuilder_view|users_by_id).*|.*tag_in_a_name|.*the_tag"
    r"|mobile_batch_(php|settings|tag|users).*|course_lifecycle_.*|reset_course_.*|report_(column|hidden|scale)_.*"
    r"|grade_items_(extra|gradebook|hidden|scale|total).*|users_by_id_unknown|usernotfullysetup_.*|sitepolicy_.*"
    r"|reportbuilder_view_.*"
)


def recordings(newer: bool | None = None) -> list[str]:
    """The names of the recordings that can be replayed: all, the newer or the older ones."""
    names = []
    for path in sorted(REPLIES.glob("*.json")):
        function = json.loads(path.read_text(encoding="utf-8"))["request"].get("wsfunction")
        if newer not in (None, bool(NEWER.fullmatch(path.stem))):
            continue
        if function in FUNCTIONS and path.stem not in NOT_PLAYED:
            names.append(path.stem)
    return names


def seed(sandbox: Sandbox) -> None:
    """A Moodle as it was when it was recorded: the same courses, and the accounts that requests name."""
    moodle = sandbox.moodle
    moodle.set_report(2, name="Badge portal completions", columns=COLUMNS)
    moodle.add_report("Demo with links", LINKED, unique=False)
    moodle.add_report(AGREED_NAME, AGREED_COLUMNS)
    safe = moodle.add_course("SAFE101", "Safeguarding Essentials", idnumber="SG-101")
    ethics = moodle.add_course(
        "ÉTH-1 & <2>", "Café & “Éthique” <b>niveau 1</b> — 日本語 ✓", criteria="grade", idnumber="ETH/1"
    )
    fire = moodle.add_course("FIRE", "Fire Safety (no completion tracking)", enablecompletion=0)
    lone = moodle.add_course("LONE", "Draft: Lone Working", visible=0)
    gdpr = moodle.add_course("GDPR26", "Data Protection 2026", criteria="activities", grademax=30, idnumber="DP-26")
    induction = moodle.add_course("IND", "Induction (no criteria set)", criteria="")
    handling = moodle.add_course("MH", "Manual Handling")
    addresses = {13: "learner011@example.org", 14: "learner013@example.org", 15: "learner013@example.org"}
    addresses |= {16: "Learner014@Example.ORG", 4: "learner002@example.org"}
    for number in [*range(4, 47), 202]:
        email = addresses.get(number, f"learner{number:03d}@example.org")
        moodle.add_learner("" if number == 13 else "Zoë", "Öztürk", email, user_id=number, course_id=safe)
    for number, name in ((303, "Hélène"), (304, "Tom")):
        moodle.add_learner(name, "Marsh", f"teacher{number}@example.org", user_id=number)
        for course in moodle.courses:
            moodle.enrol(course, number, role=TEACHER)
    moodle.suspend(20)
    moodle.enrol(safe, 21, active=False)
    for course in (ethics, fire, lone, gdpr, induction):
        for number in (4, 10, 42, 46):
            moodle.enrol(course, number)
    for number in (4, 20):
        moodle.complete(safe, number, grade=80.53)
    moodle.complete(ethics, 4, grade=50)
    moodle.add_learner("Ümit", "Tran", "learner001@example.org", user_id=3, course_id=ethics)
    moodle.set_grade(ethics, 3, 40)
    moodle.complete(lone, 4, time_known=False)
    moodle.complete(gdpr, 4, grade=9)
    moodle.set_grade(gdpr, 46, 15, grademax=20)
    moodle.complete_many(handling, moodle.add_learners(740))
    moodle.delete_user(22)


def flat(params: Any, name: str = "") -> dict[str, str]:
    """Parameters as a client flattens them: a[0][name]=x."""
    if isinstance(params, dict):
        items = list(params.items())
    elif isinstance(params, list):
        items = list(enumerate(params))
    else:
        return {name: str(params)}
    pairs: dict[str, str] = {}
    for key, value in items:
        pairs |= flat(value, f"{name}[{key}]" if name else str(key))
    return pairs


def replay(sandbox: Sandbox, request: dict[str, Any]) -> requests.Response:
    """Send what was sent then."""
    form = {"wsfunction": request["wsfunction"], **flat(request["params"]), **request.get("extra", {})}
    token = request.get("wstoken", "(absent)")
    if token == "TOKEN":
        form["wstoken"] = sandbox.moodle_token
    elif token != "(absent)":
        form["wstoken"] = token
    if request["moodlewsrestformat"] is not None:
        form["moodlewsrestformat"] = request["moodlewsrestformat"]
    address = f"{sandbox.moodle_url}/webservice/rest/server.php"
    if request["method"] == "GET":
        return requests.get(address, params=form, timeout=10)
    return requests.post(address, data=form, timeout=10)


def kind_of(value: Any) -> str:
    """The JSON type; Moodle writes whole points without decimals, so there is one kind of number."""
    if value is None or isinstance(value, bool | str):
        return type(value).__name__
    return "number"


def differences(recorded: Any, ours: Any, where: str = "") -> list[str]:
    """Where two answers differ in keys or types. An item of a list must match one of the recorded items."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        found = [f"{where}: keys {sorted(set(recorded) ^ set(ours))}"] if set(recorded) != set(ours) else []
        return found + [
            line
            for key in recorded.keys() & ours.keys()
            for line in differences(recorded[key], ours[key], f"{where}.{key}")
        ]
    if isinstance(recorded, list) and isinstance(ours, list):
        known = [item for item in recorded if not _trimmed(item)]
        if bool(recorded) != bool(ours):
            return [f"{where}: {len(recorded)} items recorded, {len(ours)} here"]
        if not known:
            return []
        found = []
        for item in ours:
            tried = [differences(other, item, f"{where}[]") for other in known]
            if all(tried):
                found.append(min(tried, key=len)[0])
        return found
    if isinstance(recorded, dict | list) or isinstance(ours, dict | list) or kind_of(recorded) != kind_of(ours):
        return [f"{where}: {type(recorded).__name__} recorded, {type(ours).__name__} here"]
    return []


def _trimmed(item: Any) -> bool:
    return isinstance(item, dict) and "_trimmed" in item


@pytest.fixture(scope="module")
def recorded_moodle() -> Any:
    """One seeded sandbox for the replays that need no special state."""
    with Sandbox() as sandbox:
        seed(sandbox)
        yield sandbox


@pytest.mark.parametrize("name", recordings(newer=False))
def test_a_recorded_request_is_answered_in_the_recorded_shape(name: str, recorded_moodle: Sandbox) -> None:
    recording = json.loads((REPLIES / f"{name}.json").read_text(encoding="utf-8"))
    if name in STATES:
        with Sandbox() as sandbox:
            seed(sandbox)
            STATES[name](sandbox)
            answer = replay(sandbox, recording["request"])
    else:
        answer = replay(recorded_moodle, recording["request"])
    assert answer.status_code == recording["http_status"]
    assert answer.headers["Content-Type"].lower() == recording["content_type"].lower()
    expected = recording["response"]
    if recording["content_type"] != "application/json":
        if not expected:
            assert answer.text == ""
        if "xml" in recording["content_type"]:
            assert re.findall(r"<(RESPONSE|EXCEPTION|ERRORCODE|MESSAGE)", answer.text) == re.findall(
                r"<(RESPONSE|EXCEPTION|ERRORCODE|MESSAGE)", expected
            )
            assert set(re.findall(r'KEY name="(\w+)"', answer.text)) <= set(re.findall(r'KEY name="(\w+)"', expected))
        return
    ours = answer.json()
    assert differences(expected, ours) == []
    if isinstance(expected, dict) and "errorcode" in expected:
        assert ours == expected
    if isinstance(expected, dict) and "responses" in expected:
        for then, now in zip(expected["responses"], ours["responses"], strict=True):
            inner = "exception" if then["error"] else "data"
            assert differences(json.loads(then[inner]), json.loads(now[inner])) == []


@pytest.mark.parametrize("name", recordings(newer=True))
def test_a_newer_recording_is_answered_with_the_recorded_values(name: str) -> None:
    recording = second_lab.recording(name)
    request, expected = recording["request"], recording["response"]
    with Sandbox() as sandbox:
        second_lab.prepare(sandbox, name)
        answer = replay(sandbox, request)
        # Of the recordings only those of a site below a path show its whole address.
        site = "http://moodle.example" + ("/moodle" if name.startswith("subpath_") else "")
        plain = functools.partial(second_lab.plain, url=sandbox.moodle_url, recorded=site)
        ours = json.loads(plain(answer.text))
    assert answer.status_code == recording["http_status"]
    assert answer.headers["Content-Type"].lower() == recording["content_type"].lower()
    expected = json.loads(second_lab.plain(json.dumps(expected), "http://moodle.example", "http://moodle.example"))
    incidental = second_lab.INCIDENTAL.get(request["wsfunction"], set())
    cut = "keys cut" in recording.get("note", "") or name == "escaping_users_by_id_numeric_entity"
    if isinstance(expected, dict) and "responses" in expected:
        for then, now in zip(expected["responses"], ours["responses"], strict=True):
            assert then["error"] == now["error"]
            inner = "exception" if then["error"] else "data"
            told = [json.loads(plain(response[inner])) for response in (then, now)]
            values = {key for keys in second_lab.INCIDENTAL.values() for key in keys} - {"id", "fullname"}
            assert second_lab.disagreements(*told, values, cut=False) == []
        return
    if isinstance(expected, dict) and "data" in expected:
        rows = expected["data"]["rows"]
        if rows and (len(rows) != expected["data"]["totalrowcount"] or any("_trimmed" in row for row in rows)):
            # The rows of other pages, and those cut out of the recording, cannot be counted.
            expected["data"]["totalrowcount"] = ours["data"]["totalrowcount"]
    assert second_lab.disagreements(expected, ours, incidental, cut) == []


def test_every_function_in_use_has_recordings_that_succeed_or_fail() -> None:
    replayed = {
        json.loads((REPLIES / f"{name}.json").read_text(encoding="utf-8"))["request"]["wsfunction"]
        for name in recordings()
    }
    assert replayed == set(FUNCTIONS)


def test_a_missing_key_or_another_type_would_be_noticed() -> None:
    recorded = {"users": [{"id": 1, "email": "x"}], "total": 1}
    assert differences(recorded, {"users": [{"id": 1}], "total": 1}) != []
    assert differences(recorded, {"users": [{"id": "1", "email": "x"}], "total": 1}) != []
    assert differences(recorded, {"users": [], "total": 1}) != []
    assert differences(recorded, {"users": [{"id": 2, "email": "y"}], "total": 2}) == []
