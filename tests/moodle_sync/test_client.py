"""Moodle's web services as recorded: what is asked, what is read from the answers, what each error becomes."""

import gzip
import json
import logging
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

import pytest
import requests
import responses

from moodle_sync.client import MoodleClient, normalise_url
from moodle_sync.client.connection import LARGEST_ANSWER, flatten
from moodle_sync.client.errors import (
    ERRORCODES,
    MoodleError,
    MoodleGone,
    MoodleLearnerGone,
    MoodleNoCriteria,
    MoodleNotAllowed,
    MoodleNotTracked,
    MoodleReportRefused,
    MoodleSomethingGone,
    MoodleTokenRefused,
    MoodleUnavailable,
    MoodleUnexpected,
    MoodleUnreadable,
    ReportLayoutChanged,
)
from moodle_sync.client.questions import BATCH_SIZE
from moodle_sync.client.records import CompletionStatus, EnrolledUser, Grade, LearnerFacts, User
from outbound_http import VERSION
from tests.moodle_sync.recordings import (
    SERVER,
    SITE,
    TOKEN,
    answer_by,
    answer_json,
    answer_with,
    form,
    recording,
    sent,
)
from tests.outbound_http.wire import Answer, drips, replies, says_nothing, sends_and_hangs_up, wire

SITE_INFO = "core_webservice_get_site_info"
COMPLETION = "core_completion_get_course_completion_status"
GRADES = "gradereport_user_get_grade_items"
PARTICIPANTS = "core_enrol_get_enrolled_users"
REPORT = "core_reportbuilder_retrieve_report"
LIST = "core_reportbuilder_list_reports"
USERS = "core_user_get_users_by_field"
COURSES = "core_course_get_courses_by_field"
MANY = "tool_mobile_call_external_functions"
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def moodle() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def client() -> Iterator[MoodleClient]:
    with MoodleClient(SITE, TOKEN) as client:
        yield client


def grade(client: MoodleClient, course_id: int = 2, user_id: int = 4) -> Grade | MoodleError | None:
    """One learner's course total, or the error in its place."""
    pair = (course_id, user_id)
    return next(client.learner_facts([pair], available={GRADES}, grades=True))[pair].grade


# How to make each function's call, for errors that may meet any of them.
CALLS: dict[str, Callable[[MoodleClient], Any]] = {
    SITE_INFO: lambda client: client.site_info(),
    COMPLETION: lambda client: client.completion_status(2, 4),
    GRADES: grade,
    PARTICIPANTS: lambda client: client.enrolled_users(2),
    REPORT: lambda client: client.report_page(4, 0),
    LIST: lambda client: client.list_reports(),
    USERS: lambda client: client.users([4]).get(4),
    COURSES: lambda client: client.courses(),
}


def failure(client: MoodleClient, function: str) -> MoodleError:
    """The error that a call of this function ends in, raised or returned."""
    try:
        result = CALLS[function](client)
    except MoodleError as error:
        return error
    assert isinstance(result, MoodleError)
    return result


# Every errorcode of docs/moodle-api.md, "Errors": recording, class, what the message says, a word of the advice.
ERRORS = [
    ("error_token_invalid", MoodleTokenRefused, "invalidtoken", "new token"),
    ("error_token_missing", MoodleTokenRefused, "invalidtoken", "new token"),
    ("error_token_empty", MoodleTokenRefused, "invalidtoken", "new token"),
    ("error_token_after_expiry_second_call", MoodleTokenRefused, "invalidtoken", "expired"),
    ("error_token_expired", MoodleTokenRefused, "accessexception", "just expired"),
    ("error_token_ip_restricted", MoodleTokenRefused, "accessexception", "IP range"),
    ("error_service_user_ip_restricted", MoodleTokenRefused, "accessexception", "authorised user"),
    ("error_service_user_validuntil_future", MoodleTokenRefused, "accessexception", "Valid until"),
    ("error_service_disabled", MoodleTokenRefused, "accessexception", "service is disabled"),
    ("error_user_not_authorised_for_service", MoodleTokenRefused, "accessexception", "not an authorised user"),
    ("error_service_required_capability", MoodleTokenRefused, "accessexception", "requires a capability"),
    ("error_missing_capability_rest_use", MoodleTokenRefused, "accessexception", "webservice/rest:use"),
    ("error_service_user_suspended", MoodleTokenRefused, "wsaccessusersuspended", "suspended"),
    ("error_service_user_unconfirmed", MoodleTokenRefused, "wsaccessuserunconfirmed", "not confirmed"),
    ("error_service_user_nologin", MoodleTokenRefused, "wsaccessusernologin", "No login"),
    ("force_password_change_pref_course", MoodleTokenRefused, "nopasswordchangeforced", "password"),
    ("error_webservices_disabled", MoodleUnavailable, "HTTP 403, web services or REST are off", "Enable web services"),
    ("error_rest_disabled", MoodleUnavailable, "HTTP 403, web services or REST are off", "REST"),
    ("error_maintenance_web", MoodleUnavailable, "sitemaintenance", "maintenance"),
    ("error_maintenance_cli", MoodleUnavailable, "HTTP 503", "cannot be reached"),
    ("maintenance_after_cli_enable", MoodleUnavailable, "HTTP 503", "cannot be reached"),
    ("error_upgrade_running", MoodleUnavailable, "upgraderunning", "upgraded"),
    ("error_bad_protocol_path", MoodleUnexpected, "HTTP 404", "front page"),
    ("format_missing_xml", MoodleUnexpected, "HTTP 200, not JSON but XML", "not Moodle's web service"),
    ("error_param_missing", MoodleUnexpected, "invalidparameter", "fault of the portal"),
    ("error_param_wrong_type", MoodleUnexpected, "invalidparameter", "fault of the portal"),
    ("error_param_unexpected", MoodleUnexpected, "invalidparameter", "fault of the portal"),
    ("error_param_scalar_for_list", MoodleUnexpected, "invalidparameter", "fault of the portal"),
    ("error_enrolled_users_bad_sortby", MoodleUnexpected, "invalidparameter", "fault of the portal"),
    ("error_completion_unknown_course", MoodleGone, "invalidrecord", "no longer exists"),
    ("error_grade_items_unknown_course", MoodleGone, "invalidrecord", "no longer exists"),
    ("error_report_unknown_id", MoodleGone, "invalidrecord", "no longer exists"),
    ("error_completion_unknown_user", MoodleLearnerGone, "invaliduser", "deleted"),
    ("error_completion_deleted_account", MoodleLearnerGone, "userdeleted", "deleted"),
    ("error_course_not_accessible", MoodleNotAllowed, "requireloginerror", "moodle/course:view"),
    ("error_hidden_course", MoodleNotAllowed, "requireloginerror", "moodle/course:viewhiddencourses"),
    ("error_course_not_accessible_enrol", MoodleNotAllowed, "errorcoursecontextnotvalid", "moodle/course:view"),
    ("error_missing_capability_viewparticipants", MoodleNotAllowed, "nopermissions", "viewparticipants"),
    ("error_missing_capability_completion", MoodleNotAllowed, "cannotviewreport", "report/completion:view"),
    ("error_completion_tracking_off", MoodleNotAllowed, "cannotviewreport", "completion tracking is on"),
    ("error_completion_disabled_sitewide", MoodleNotAllowed, "cannotviewreport", "for the site"),
    ("error_missing_capability_grades", MoodleNotAllowed, "nopermissiontoviewgrades", "moodle/grade:viewall"),
    ("error_custom_reports_disabled", MoodleReportRefused, "errorreportview", "custom reports are enabled"),
    ("error_custom_reports_disabled_list", MoodleReportRefused, "errorreportview", "custom reports are enabled"),
    ("error_report_no_audience", MoodleReportRefused, "errorreportview", "audience"),
    ("error_completion_no_criteria", MoodleNoCriteria, "nocriteriaset", "criteria"),
    ("error_completion_not_enrolled", MoodleNotTracked, "usernotenroled", "not enrolled"),
    ("error_completion_suspended_enrolment", MoodleNotTracked, "usernotenroled", "suspended"),
    ("error_completion_teacher_not_tracked", MoodleNotTracked, "usernotenroled", "teacher"),
    ("error_function_not_in_service", MoodleTokenRefused, "accessexception", "not in the service"),
    ("error_function_missing", MoodleUnexpected, "invalidparameter", "fault of the portal"),
    ("error_debug_developer", MoodleUnexpected, "invalidparameter", "fault of the portal"),
    ("error_course_ids_empty", MoodleUnexpected, "dmlreadexception", "Try again later"),
    ("error_dbconnectionfailed", MoodleUnavailable, "dbconnectionfailed", "its own database"),
    ("error_usernotfullysetup_completion", MoodleTokenRefused, "usernotfullysetup", "every required field"),
    ("error_users_by_id_tag_in_a_name", MoodleUnreadable, "invalidresponse", "something like <Test>"),
    ("error_users_by_id_only_deleted_account", MoodleLearnerGone, "invaliduser", "deleted"),
    ("error_users_by_id_deleted_account_50", MoodleSomethingGone, "invalidrecordunknown", "no longer exists"),
    ("lifecycle_completion_unconfirmed", MoodleNotTracked, "usernotconfirmed", "Confirm it"),
    ("separate_groups_completion_status", MoodleNotAllowed, "accessdenied", "accessallgroups"),
    ("separate_groups_grade_items", MoodleNotAllowed, "notingroup", "accessallgroups"),
]


@pytest.mark.parametrize(("name", "kind", "message", "advice"), ERRORS, ids=[row[0] for row in ERRORS])
def test_every_recorded_error_says_what_to_do_next(
    name: str,
    kind: type[MoodleError],
    message: str,
    advice: str,
    moodle: responses.RequestsMock,
    client: MoodleClient,
) -> None:
    found = recording(name)
    function = found["request"].get("wsfunction")
    function = function if function in CALLS else SITE_INFO
    answer_with(moodle, name)

    error = failure(client, function)

    assert type(error) is kind
    assert str(error) == f"{function}: {message}"
    assert advice in error.advice
    assert error.status == found["http_status"]


@pytest.mark.parametrize("name", [row[0] for row in ERRORS])
def test_an_error_holds_nothing_of_moodles_own_words(
    name: str, moodle: responses.RequestsMock, client: MoodleClient, caplog: pytest.LogCaptureFixture
) -> None:
    answer_with(moodle, name)
    answer = recording(name)["response"]
    with caplog.at_level(logging.DEBUG):
        error = failure(client, SITE_INFO)
    told = f"{error} {error!r} {error.args} {vars(error)} {caplog.text}"
    assert TOKEN not in told
    if isinstance(answer, dict):
        for secret in ("message", "debuginfo", "exception"):
            assert answer.get(secret, TOKEN) not in told


def test_debug_text_with_user_names_and_sql_is_not_kept(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    answer = recording("error_service_user_suspended")["response"] | {"debuginfo": "SELECT secret FROM ana"}
    answer_json(moodle, answer)
    error = failure(client, SITE_INFO)
    assert "ana" not in repr(vars(error)).replace("Manage", "")
    assert error.__cause__ is None


def test_an_unknown_function_is_not_taken_for_a_course_that_is_gone(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, "error_function_unknown")
    error = failure(client, SITE_INFO)
    assert type(error) is MoodleUnexpected
    assert "Moodle 3.7" in error.advice


def test_an_errorcode_decides_before_the_http_status(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    answer_json(moodle, {"errorcode": "invalidtoken", "exception": "x", "message": "y"}, status=500)
    error = failure(client, SITE_INFO)
    assert type(error) is MoodleTokenRefused
    assert error.status == 500


def test_an_unknown_errorcode_needs_a_person_and_is_named(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    answer_json(moodle, {"errorcode": "plugin/newthing", "message": "y"})
    error = failure(client, SITE_INFO)
    assert type(error) is MoodleUnexpected
    assert str(error) == f"{SITE_INFO}: plugin/newthing"
    assert error.advice


@pytest.mark.parametrize("function", [SITE_INFO, COURSES])
@pytest.mark.parametrize("name", ["error_course_ids_one_unknown", "error_course_ids_one_deleted"])
def test_an_exception_without_errorcode_is_an_error(
    name: str, function: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, name)
    error = failure(client, function)
    assert type(error) is MoodleUnreadable
    assert str(error) == f"{function}: HTTP 200, a PHP error in Moodle"
    assert "PHP error" in error.advice


@pytest.mark.parametrize("errorcode", ["Ana Lee <ana@example.org>", "x" * 200, 7, "", ["invalidtoken"]])
def test_an_errorcode_that_is_none_is_not_repeated(
    errorcode: Any, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_json(moodle, {"errorcode": errorcode})
    error = failure(client, SITE_INFO)
    assert type(error) is MoodleUnexpected
    assert str(error) == f"{SITE_INFO}: HTTP 200, unreadable errorcode"


STATUSES = [
    (301, MoodleUnexpected, "final address"),
    (303, MoodleUnexpected, "final address"),
    (400, MoodleUnexpected, "not Moodle"),
    (401, MoodleUnexpected, "in front of Moodle"),
    (403, MoodleUnexpected, "in front of Moodle"),
    (404, MoodleUnexpected, "front page"),
    (408, MoodleUnavailable, "cannot be reached"),
    (429, MoodleUnavailable, "cannot be reached"),
    (500, MoodleUnavailable, "cannot be reached"),
    (502, MoodleUnavailable, "cannot be reached"),
    (504, MoodleUnavailable, "cannot be reached"),
]


@pytest.mark.parametrize(("status", "kind", "advice"), STATUSES)
def test_every_http_status_without_an_errorcode_says_what_to_do(
    status: int, kind: type[MoodleError], advice: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    headers = {"Location": "http://elsewhere.example/?wstoken=1"}
    moodle.post(SERVER, body="<html>Ana Lee</html>", status=status, content_type="text/html", headers=headers)
    error = failure(client, SITE_INFO)
    assert type(error) is kind
    assert str(error) == f"{SITE_INFO}: HTTP {status}"
    assert advice in error.advice
    assert len(moodle.calls) == 1


PHP_MESSAGES = [
    "<br />\n<b>Notice</b>:  Undefined index: Ana in <b>/var/www/config.php</b> on line <b>3</b><br />\n",
    "<br>\n<b>Warning</b>:  session_start(): x in <b>/var/www/config.php</b> on line <b>3</b><br />\n",
    "\nDeprecated: Function strftime() is deprecated in /var/www/lib/moodlelib.php on line 2400\n",
    "PHP Warning:  Undefined variable $x in /var/www/config.php on line 12\n",
    "<br />\n<font size='1'><table class='xdebug-error xe-notice' dir='ltr'>\n<tr><td>Ana</td></tr></table></font>\n",
]
CONTENT_TYPES = ["application/json", "text/html; charset=UTF-8"]


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
@pytest.mark.parametrize("message", [*PHP_MESSAGES, PHP_MESSAGES[0] * 3])
def test_a_message_of_php_before_the_answer_is_read_past_and_noted(
    message: str, content_type: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    moodle.post(SERVER, body=message + json.dumps(recording("site_info")["response"]), content_type=content_type)
    assert client.site_info().siteurl == SITE
    [(text, values)] = client.oddities
    assert "display of PHP errors" in text
    assert values == {}


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
@pytest.mark.parametrize("message", PHP_MESSAGES)
def test_an_error_after_a_message_of_php_is_that_error(
    message: str, content_type: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    moodle.post(SERVER, body=message + '{"errorcode": "invalidtoken"}', content_type=content_type)
    assert str(failure(client, SITE_INFO)) == f"{SITE_INFO}: invalidtoken"


@pytest.mark.parametrize("answer", ["", '{"sitename": "Ana'])
@pytest.mark.parametrize("content_type", CONTENT_TYPES)
@pytest.mark.parametrize("message", [*PHP_MESSAGES, "<font size='1'><table class='xdebug-error xe-notice' dir='ltr'>"])
def test_a_message_of_php_without_an_answer_says_what_to_switch_off(
    message: str, content_type: str, answer: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    moodle.post(SERVER, body=message + answer, content_type=content_type)
    error = failure(client, SITE_INFO)
    assert type(error) is MoodleUnexpected
    assert str(error) == f"{SITE_INFO}: HTTP 200, a PHP message before the answer"
    assert "display of PHP errors" in error.advice


@pytest.mark.parametrize("body", ["Warning: members only", "<b>Notice</b> of closure", "Notice: moved in May"])
def test_a_page_that_warns_of_something_is_no_message_of_php(
    body: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    moodle.post(SERVER, body=body, content_type="text/html")
    assert str(failure(client, SITE_INFO)) == f"{SITE_INFO}: HTTP 200, not JSON but something else"


def test_an_answer_of_more_values_than_fit_into_memory_is_not_read(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    moodle.post(SERVER, body=f"[{'{},' * 600_000}0]", content_type="application/json")
    error = failure(client, SITE_INFO)
    assert type(error) is MoodleUnexpected
    assert str(error) == f"{SITE_INFO}: HTTP 200, answer with too many values"
    assert "more values" in error.advice


@pytest.mark.parametrize(
    ("body", "content_type", "what"),
    [
        ("<!DOCTYPE html><p>Ana", "text/html", "not JSON but an HTML page"),
        ("<html>", "application/json+html", "unreadable JSON"),
        ('{"sitename": ', "application/json", "unreadable JSON"),
        ('{"a": NaN}', "application/json", "unreadable JSON"),
        ("[" * 100_000, "application/json", "unreadable JSON"),
        ("", "text/plain", "not JSON but nothing"),
        ("Ana was here", "text/plain", "not JSON but something else"),
        ("", "application/json", "unreadable JSON"),
    ],
)
def test_what_is_not_moodles_json_is_told_apart_and_never_repeated(
    body: str, content_type: str, what: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    moodle.post(SERVER, body=body, content_type=content_type)
    error = failure(client, SITE_INFO)
    assert type(error) is MoodleUnexpected
    assert str(error) == f"{SITE_INFO}: HTTP 200, {what}"


def test_a_busy_moodle_says_how_long_to_wait(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    moodle.post(SERVER, body="", status=429, headers={"Retry-After": "90"})
    error = failure(client, SITE_INFO)
    assert isinstance(error, MoodleUnavailable)
    assert error.retry_after == timedelta(seconds=90)


def test_every_errorcode_has_advice() -> None:
    for errorcode, (kind, _) in ERRORCODES.items():
        assert len(kind("core_x_y", errorcode=errorcode).advice) > 30


def test_an_error_without_errorcode_has_the_advice_of_its_class_and_says_what_failed() -> None:
    error = MoodleUnavailable("core_x_y", failure="timed out", retry_after=timedelta(seconds=3))
    assert str(error) == "core_x_y: timed out"
    assert error.advice == MoodleUnavailable.advice
    assert error.retry_after == timedelta(seconds=3)
    assert str(MoodleGone("core_x_y")) == "core_x_y: failed"
    assert MoodleGone("core_x_y", advice="Do this.").advice == "Do this."


def test_a_changed_layout_says_why_and_how_to_restore_it() -> None:
    error = ReportLayoutChanged("10 columns expected, 9 found")
    assert isinstance(error, MoodleNotAllowed)
    assert "10 columns expected, 9 found" in str(error)
    for agreed in ("Navigatr badge feed", "Course full name with link", "Completed = Yes", "Sorting", "duplicate rows"):
        assert agreed in error.advice


def test_a_site_without_a_feed_says_what_both_feeds_need() -> None:
    error = MoodleNotAllowed.no_feed()
    assert "neither the report nor the per-learner functions" in str(error)
    for needed in ("Navigatr badge feed", "moodle/user:viewdetails", "names every function"):
        assert needed in error.advice


# What is asked.


def test_every_call_is_a_post_with_the_token_in_its_body_only(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, "site_info")
    client.site_info()
    request = moodle.calls[0].request
    assert request.method == "POST"
    assert request.url == SERVER
    assert TOKEN not in str(request.headers)
    assert request.headers["User-Agent"] == f"navigatr-badge-portal/{VERSION}"
    assert form(request) == {
        "wstoken": TOKEN,
        "wsfunction": SITE_INFO,
        "moodlewsrestformat": "json",
        "moodlewssettingraw": "1",
        "moodlewssettinglang": "en",
        "moodlewssettingtimezone": "UTC",
    }


def test_the_token_is_trimmed_and_never_shown(moodle: responses.RequestsMock) -> None:
    client = MoodleClient(SITE + "/", f"  {TOKEN}\n")
    answer_with(moodle, "site_info")
    client.site_info()
    assert form(moodle.calls[0].request)["wstoken"] == TOKEN
    assert repr(client) == f"<MoodleClient {SITE}>"


def test_parameters_are_flattened_as_php_reads_them() -> None:
    params = {
        "courseid": 2,
        "options": [{"name": "limitnumber", "value": 100}, {"name": "onlyactive", "value": True}],
        "values": ["Ünal & Søn", 3],
        "deep": {"ids": (2,)},
        "missing": None,
        "no": False,
    }
    assert flatten(params) == [
        ("courseid", "2"),
        ("options[0][name]", "limitnumber"),
        ("options[0][value]", "100"),
        ("options[1][name]", "onlyactive"),
        ("options[1][value]", "1"),
        ("values[0]", "Ünal & Søn"),
        ("values[1]", "3"),
        ("deep[ids][0]", "2"),
        ("no", "0"),
    ]


def test_calls_are_counted_and_moodles_clock_is_kept(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    answer_json(moodle, recording("site_info")["response"], headers={"Date": "Mon, 23 Nov 2026 12:00:03 GMT"})
    moodle.post(SERVER, body=requests.ConnectionError("refused"))
    answer_json(moodle, {"errorcode": "sitemaintenance"}, headers={"Date": "no date"})
    kept = [(client.calls, client.server_time)]
    client.site_info()
    kept.append((client.calls, client.server_time))
    for _ in range(2):
        failure(client, SITE_INFO)
        kept.append((client.calls, client.server_time))

    at = NOW + timedelta(seconds=3)
    assert kept == [(0, None), (1, at), (2, at), (3, None)]


GOOD_ADDRESSES = [
    ("https://moodle.example", "https://moodle.example"),
    ("  https://Moodle.Example/ \n", "https://moodle.example"),
    ("HTTPS://moodle.example//", "https://moodle.example"),
    ("https://example.org/moodle/", "https://example.org/moodle"),
    ("https://example.org/moodle/webservice/rest/server.php", "https://example.org/moodle"),
    ("https://example.org/login/index.php?loginredirect=1#x", "https://example.org"),
    ("https://example.org/Moodle/my/courses.php", "https://example.org/Moodle"),
    ("https://example.org/my/", "https://example.org"),
    ("https://example.org/academy", "https://example.org/academy"),
    ("http://127.0.0.1:8001/moodle", "http://127.0.0.1:8001/moodle"),
    ("http://[::1]:8001/", "http://[::1]:8001"),
]


@pytest.mark.parametrize(("text", "address"), GOOD_ADDRESSES)
def test_an_address_as_pasted_becomes_the_front_page(text: str, address: str) -> None:
    assert normalise_url(text) == address
    assert normalise_url(address) == address


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("moodle.example", "must start with https"),
        ("", "must start with https"),
        ("ftp://moodle.example", "must start with https"),
        ("https://ana:pass@moodle.example", "user name or password"),
        ("https://", "not a web address"),
        ("https://moodle.example:port", "not a web address"),
        ("https://[::1", "not a web address"),
        ("https://moodle .example", "not a web address"),
        ("https://moodle.example/\x00", "not a web address"),
        ("https://*.example", "not a web address"),
    ],
)
def test_an_address_that_cannot_be_says_so_to_a_person(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as error:
        MoodleClient(text, TOKEN)
    assert "pass@" not in str(error.value)


@pytest.mark.parametrize("timeout", [0, 0.5, 301, -1, float("nan")])
def test_a_time_out_out_of_range_is_refused(timeout: float) -> None:
    with pytest.raises(ValueError, match="1 to 300"):
        MoodleClient(SITE, TOKEN, timeout=timeout)


# What is read.


def test_site_info_tells_version_features_and_functions_but_no_secret(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, "site_info")
    info = client.site_info()
    assert (info.siteurl, info.userid) == ("http://moodle.example", 306)
    assert (info.version, info.release) == (2024100705, "4.5.5+ (Build: 20250613)")
    assert "core_course_get_courses_by_field" in info.functions
    assert info.features["enablecompletion"] is True
    assert "TOKEN" not in repr(info)


def answer_courses(moodle: responses.RequestsMock, courses: list[dict[str, Any]]) -> None:
    """Let each call about courses be answered from these, as stored; where filters apply, as people see them."""
    answer_by(moodle, lambda fields: {"courses": _asked_for(courses, fields), "warnings": []})


def _asked_for(courses: list[dict[str, Any]], fields: dict[str, str]) -> list[dict[str, Any]]:
    assert fields.get("moodlewssettingraw", "") != fields.get("moodlewssettingfilter", "")
    return [course for course in courses if fields.get("field") != "id" or str(course["id"]) == fields["value"]]


def test_courses_are_read_without_the_front_page(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    recorded = recording("courses_by_field_all")["response"]["courses"]
    answer_courses(moodle, recorded)
    courses = client.courses()
    forms = [form(call.request) for call in moodle.calls]
    assert [one.get("moodlewssettingraw") for one in forms] == ["1", None]
    assert [one.get("moodlewssettingfilter") for one in forms] == [None, "1"]
    assert [course.id for course in courses] == [one["id"] for one in recorded if one["format"] != "site"]
    assert {course.visible for course in courses} == {True, False}
    assert all(course.completion_enabled is not None for course in courses)
    # Moodle tells "Compliance &amp; Safety".
    assert {(course.category_id, course.category_name) for course in courses} == {(2, "Compliance & Safety")}


def test_a_short_name_comes_as_stored_and_a_full_name_as_people_see_it(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    stored = recording("courses_by_field_raw_names")["response"]
    shown = recording("courses_by_field_raw_names")["response"]
    shown["courses"][0] |= {"fullname": "Café &amp; “Éthique” niveau 1 — 日本語 ✓", "shortname": "ÉTH-1 &amp; "}
    answer_json(moodle, stored)
    answer_json(moodle, shown)
    [course] = client.courses(ids=[3])
    assert course.fullname == "Café & “Éthique” niveau 1 — 日本語 ✓"
    assert course.shortname == "ÉTH-1 & <2>"
    assert course.contact_ids == {303}


def test_a_course_without_access_is_read_as_far_as_moodle_tells(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_courses(moodle, [{"id": 9, "shortname": "S", "fullname": "F", "contacts": None}])
    [course] = client.courses(shortname="S & <2>")
    assert (course.visible, course.completion_enabled) == (True, None)
    assert (course.category_id, course.category_name) == (None, "")
    asked = {"wsfunction": COURSES, "field": "shortname", "value": "S & <2>"}
    assert [without_settings(fields) for fields in sent(moodle)] == [asked, asked]


def without_settings(fields: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if not name.startswith("moodlewssetting")}


def test_courses_by_id_are_asked_for_one_by_one_once_raw_and_once_filtered(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_courses(moodle, [{"id": number, "shortname": "s", "fullname": "f"} for number in (2, 4)])
    # The third is gone, which is no error.
    assert [course.id for course in client.courses(ids=[2, 3, 4])] == [2, 4]
    assert [(one["field"], one["value"]) for one in sent(moodle)] == [("id", str(n)) for n in (2, 2, 3, 3, 4, 4)]
    assert client.courses(ids=[]) == []
    assert client.calls == 6


def test_courses_by_id_are_asked_for_in_batches_with_settings_of_their_own(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    settings: list[tuple[Any, ...]] = []

    def answer(fields: dict[str, str]) -> Any:
        assert fields["wsfunction"] == MANY
        found = []
        for number in range(BATCH_SIZE):
            if f"requests[{number}][arguments]" not in fields:
                break
            asked = json.loads(fields[f"requests[{number}][arguments]"])
            own = [fields.get(f"requests[{number}][{name}]") for name in ("settingraw", "settingfilter")]
            settings.append((asked["value"], *own))
            course = {"id": asked["value"], "shortname": "s", "fullname": "f"}
            found.append({"error": False, "data": json.dumps({"courses": [course]})})
        return {"responses": found}

    answer_by(moodle, answer)
    assert [course.id for course in client.courses(ids=range(2, 62), batch=True)] == list(range(2, 62))
    assert client.calls == 3
    assert settings == [(n, *one) for n in range(2, 62) for one in (("1", None), (None, "1"))]


@pytest.mark.parametrize("batch", [True, False])
def test_one_course_that_moodle_cannot_answer_for_costs_only_itself_and_is_named(
    batch: bool, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    broken = "generalexceptionmessage"

    def answer(number: int) -> Any:
        return broken if number == 3 else {"courses": [{"id": number, "shortname": "s", "fullname": "f"}]}

    def respond(fields: dict[str, str]) -> Any:
        if fields["wsfunction"] != MANY:
            found = answer(int(fields["value"]))
            return {"exception": "Error", "message": "Ana"} if found == broken else found
        told: list[dict[str, Any]] = []
        while f"requests[{len(told)}][arguments]" in fields and not (told and told[-1]["error"]):
            found = answer(json.loads(fields[f"requests[{len(told)}][arguments]"])["value"])
            told.append(exception(broken) if found == broken else {"error": False, "data": json.dumps(found)})
        return {"responses": told}

    answer_by(moodle, respond)
    assert [course.id for course in client.courses(ids=[2, 3, 4], batch=batch)] == [2, 4]
    assert {(values["what"], values["id"]) for _, values in client.oddities} == {("course", 3)}


@pytest.mark.parametrize("batch", [True, False])
def test_courses_raise_what_concerns_the_whole_site(
    batch: bool, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_by(moodle, lambda _: {"errorcode": "sitemaintenance"})
    with pytest.raises(MoodleUnavailable):
        client.courses(ids=[2, 3], batch=batch)
    assert client.calls == 1


# What may stand in one row of a list, and what is said of it.
ODD_COURSES: list[tuple[dict[str, Any], str]] = [
    ({"id": 2**63}, "an id expected for id"),
    ({"id": 0}, "an id expected for id"),
    ({"id": "7"}, "a whole number expected for id"),
    ({"id": True}, "a whole number expected for id"),
    ({"fullname": None}, "a text expected for fullname"),
    ({"shortname": ["S"]}, "a text expected for shortname"),
    ({"visible": 7}, "yes or no expected for visible"),
    ({"contacts": "nobody"}, "a list expected for contacts"),
]


@pytest.mark.parametrize(("changes", "reason"), ODD_COURSES)
def test_one_odd_course_costs_only_itself_and_is_named(
    changes: dict[str, Any], reason: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    good = {"id": 7, "shortname": "S", "fullname": "F"}
    answer_courses(moodle, [good | {"id": 6}, good | changes, good | {"id": 8}])
    assert [course.id for course in client.courses()] == [6, 8]
    named = (good | changes)["id"]
    shown = named if type(named) is int else "?"
    assert [values for _, values in client.oddities] == [{"what": "course", "id": shown, "reason": reason}] * 2


def test_dates_that_nobody_needs_may_be_in_milliseconds(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    changed = recording("courses_by_field_id")["response"]
    changed["courses"][0] |= {"startdate": 1795424427000, "enddate": None, "timemodified": -1}
    answer_json(moodle, changed)
    answer_json(moodle, changed)
    reports = recording("agreed_report_list")["response"]
    reports["reports"][0]["timemodified"] = 1795424427000
    answer_json(moodle, reports)
    assert len(client.courses(ids=[2])) == 1
    assert client.list_reports()[0].timemodified is None
    assert client.oddities == []


def test_participants_are_asked_for_by_page_in_a_steady_order(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, "enrolled_users_min_fields")
    answer_with(moodle, "enrolled_users_past_end")
    users = client.enrolled_users(2, offset=100, limit=50)
    first = recording("enrolled_users_min_fields")["response"][0]
    assert users[0].id == first["id"]
    assert users[0].email == first["email"]
    fields = sent(moodle)[0]
    options = {fields[f"options[{n}][name]"]: fields[f"options[{n}][value]"] for n in range(4)}
    assert options == {
        "userfields": "id,email,firstname,lastname",
        "sortby": "id",
        "limitfrom": "100",
        "limitnumber": "50",
    }
    assert fields["courseid"] == "2"
    assert client.enrolled_users(2, offset=10_000) == []


def test_a_missing_e_mail_is_none_and_an_empty_first_name_is_empty(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, "silent_no_email_missing_viewuseridentity")
    answer_json(moodle, [{"id": 13, "fullname": " Ferrari", "firstname": "", "lastname": "Ferrari", "email": ""}])
    assert {user.email for user in client.enrolled_users(2)} == {None}
    assert client.enrolled_users(2) == [EnrolledUser(13, "", "Ferrari", "")]


ODD_PEOPLE: list[tuple[Any, str | int]] = [
    ({"id": 2**63, "fullname": "Ana Lee"}, 2**63),
    ({"id": 4, "email": 5}, 4),
    ({"id": 4, "firstname": ["Ana"]}, 4),
    ({"id": 4, "lastname": False}, 4),
    ({"id": True}, "?"),
    ({"id": 4.5}, "?"),
    ({"fullname": "Ana Lee"}, "?"),
    (["Ana Lee"], "?"),
    (None, "?"),
]


@pytest.mark.parametrize(("odd", "named"), ODD_PEOPLE)
@pytest.mark.parametrize("function", [PARTICIPANTS, USERS])
def test_one_odd_person_costs_only_that_row_and_is_named(
    function: str, odd: Any, named: str | int, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_json(moodle, [{"id": 3}, odd, {"id": 5}])
    found = client.enrolled_users(2) if function == PARTICIPANTS else client.users([3, 4, 5]).values()
    assert [user.id for user in found if not isinstance(user, MoodleError)] == [3, 5]
    [(text, values)] = client.oddities
    assert values["id"] == named
    assert "Ana" not in text.format(**values)


def test_texts_that_are_null_cost_nothing(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    nothing = {"id": 4, "fullname": None, "firstname": None, "lastname": None, "email": None}
    for _ in range(2):
        answer_json(moodle, [nothing])
    assert client.enrolled_users(2) == [EnrolledUser(4, None, None, None)]
    assert client.users([4]) == {4: User(4, None, None, None, suspended=False)}
    assert client.oddities == []


def test_accounts_tell_who_is_suspended(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    answer_with(moodle, "users_by_id")
    users = client.users([13, 20, 22, 99999])
    assert users.keys() == {13, 20, 22}
    assert users[13] == User(13, "", "Ferrari", "learner011@example.org", suspended=False)
    assert [isinstance(user, User) and user.suspended for user in users.values()] == [False, True, False]
    fields = sent(moodle)[0]
    assert [fields[name] for name in ("field", "values[0]", "values[3]")] == ["id", "13", "99999"]


SPOILING = {
    "invaliduser": MoodleLearnerGone,
    "invalidresponse": MoodleUnreadable,
    "invalidrecordunknown": MoodleSomethingGone,
}


@pytest.mark.parametrize("errorcode", SPOILING)
def test_accounts_that_spoil_a_whole_list_are_found_and_the_others_read(
    errorcode: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    def answer(fields: dict[str, str]) -> Any:
        asked = [int(value) for name, value in fields.items() if name.startswith("values[")]
        assert len(asked) <= 200
        if {7, 250} & set(asked):
            return {"errorcode": errorcode, "message": "Ana"}
        return [{"id": number} for number in asked if number != 9]

    answer_by(moodle, answer)
    users = client.users(range(1, 301))
    assert users.keys() == set(range(1, 301)) - {9}
    assert {number: type(user) for number, user in users.items() if number in (7, 250)} == {
        7: SPOILING[errorcode],
        250: SPOILING[errorcode],
    }
    assert all(isinstance(user, User) for number, user in users.items() if number not in (7, 250))
    # Two lists, and two calls for each halving.
    assert client.calls <= 2 + 2 * (8 + 7)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ({"errorcode": "accessexception"}, MoodleTokenRefused),
        ({"errorcode": "generalexceptionmessage"}, MoodleUnreadable),
        ({"exception": "Error"}, MoodleUnreadable),
    ],
)
@pytest.mark.parametrize("call", [lambda client: client.users(range(1, 100)), lambda client: client.enrolled_users(2)])
def test_what_no_single_person_causes_is_not_asked_for_in_halves(
    call: Callable[[MoodleClient], Any],
    answer: dict[str, str],
    kind: type[MoodleError],
    moodle: responses.RequestsMock,
    client: MoodleClient,
) -> None:
    answer_by(moodle, lambda _: answer)
    with pytest.raises(kind):
        call(client)
    assert client.calls == 1


COMPLETIONS = [
    ("completion_done_self", True, 1),
    ("completion_done_grade", True, 1),
    ("completion_done_activities", True, 2),
    ("completion_suspended_account", True, 1),
    ("completion_hidden_course", True, 0),
    ("completion_not_done", False, 0),
    ("completion_half_activities", False, 0),
    ("completion_grade_failed", False, 0),
    ("completion_reset_learner", False, 0),
]


@pytest.mark.parametrize(("name", "completed", "number"), COMPLETIONS)
def test_a_completion_has_the_times_of_its_criteria(
    name: str, completed: bool, number: int, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, name)
    criteria = recording(name)["response"]["completionstatus"]["completions"]
    met = [one["timecompleted"] for one in criteria if one["timecompleted"]] if completed else []
    assert len(met) == number
    times = sorted(datetime.fromtimestamp(one, UTC) for one in met)
    status = client.completion_status(2, 4)
    assert (status.completed, status.times) == (completed, frozenset(times))
    assert (status.earliest, status.latest) == ((times[0], times[-1]) if times else (None, None))
    assert status.is_exact is (len(status.times) == 1)
    assert sent(moodle) == [{"wsfunction": COMPLETION, "courseid": "2", "userid": "4"}]


def criterion(kind: int, second: int | None) -> dict[str, Any]:
    return {"type": kind, "timecompleted": second}


# Aggregation, the criteria, and the earliest and latest second at which the course may have been completed.
BETWEEN: list[tuple[int, list[dict[str, Any]], int | None, int | None]] = [
    # All: each type is needed, but of several of one type perhaps one only.
    (1, [criterion(1, 100), criterion(6, 200)], 200, 200),
    (1, [criterion(1, 200), criterion(6, 100)], 200, 200),
    (1, [criterion(4, 100), criterion(4, 200)], 100, 200),
    (1, [criterion(4, 100), criterion(4, None)], 100, 100),
    (1, [criterion(4, 100), criterion(4, 300), criterion(6, 200)], 200, 300),
    (1, [criterion(4, 100), criterion(4, 150), criterion(6, 200)], 200, 200),
    (1, [criterion(8, 50), criterion(8, 60), criterion(4, 10), criterion(4, 70)], 50, 70),
    # Any: whichever was met first.
    (2, [criterion(1, 100), criterion(6, 200)], 100, 200),
    (2, [criterion(1, None), criterion(6, 200)], 200, 200),
    # Another value, or none: as little is assumed as of any.
    (3, [criterion(1, 100), criterion(6, 200)], 100, 200),
    (1, [criterion(1, None), criterion(6, 0)], None, None),
    (1, [], None, None),
]


@pytest.mark.parametrize(("aggregation", "criteria", "earliest", "latest"), BETWEEN)
def test_a_completion_lies_between_two_times(
    aggregation: int, criteria: list[dict[str, Any]], earliest: int | None, latest: int | None
) -> None:
    status = CompletionStatus.from_json(
        {"completionstatus": {"completed": True, "aggregation": aggregation, "completions": criteria}}
    )
    seconds = [None if time is None else int(time.timestamp()) for time in (status.earliest, status.latest)]
    assert seconds == [earliest, latest]
    assert status.is_exact is (earliest is not None and earliest == latest)


# Recording, course, learner, and the exact share. Moodle shows two decimals, rounded half up.
GRADE_CASES = [
    ("grade_items_one_user", 2, 4, Grade(Decimal("80.53"))),
    ("grade_items_one_user_50", 2, 3, Grade(Decimal("7"))),
    ("grade_items_one_user_max30", 6, 4, Grade(Decimal("30"))),
    ("grade_items_partly_graded_user", 6, 46, Grade(Decimal("75"))),
    ("grade_items_one_user_no_grade", 2, 7, Grade(None)),
    ("grade_items_not_enrolled_user", 3, 202, Grade(None)),
    ("grade_items_extra_credit", 2, 5, Grade(Decimal("100"))),
    ("grade_items_extra_credit_unlimited", 2, 5, Grade(Decimal("100"))),
    ("grade_items_gradebook_not_shown_to_students", 2, 5, Grade(Decimal("21"))),
    ("grade_items_hidden_total", 2, 5, Grade(None, total_missing=True)),
    ("grade_items_hidden_total_viewhidden", 2, 5, Grade(None, hidden=True)),
    ("grade_items_scale_total", 2, 4, Grade(Decimal("66.666666"))),
    ("grade_items_total_type_none", 2, 5, Grade(None)),
    ("grade_items_total_with_hidden_work", 2, 4, Grade(None)),
    ("grade_items_total_with_hidden_work_viewhidden", 2, 4, Grade(Decimal("50"))),
]


@pytest.mark.parametrize(("name", "course", "user", "expected"), GRADE_CASES)
def test_a_grade_is_the_exact_share_of_the_learners_own_range(
    name: str, course: int, user: int, expected: Grade, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, name)
    assert grade(client, course, user) == expected


@pytest.mark.parametrize(
    ("raw", "least", "most", "share"),
    [
        (59.5, 0, 100, "59.5"),
        (17.85, 0, 30, "59.5"),
        (59.99999, 0, 100, "59.99999"),
        # A rounded quotient would be 60.
        (59.9999999999, 0, 100, "59.999999"),
        (2, 0, 3, "66.666666"),
        (18, 0, 30, "60"),
        (15, 10, 20, "50"),
        (-5, -10, 0, "50"),
        (0, 0, 100, "0"),
        (-5, 0, 100, "0"),
        (120, 0, 100, "100"),
        (1e300, 0, 1e-300, "100"),
        (None, 0, 100, None),
        (0, 0, 0, None),
        (5, 0, 0, None),
        (5, 10, 5, None),
        (5, 0, None, None),
        (5, None, 10, "50"),
    ],
)
def test_a_share_is_never_rounded_up_and_stays_within_0_and_100(
    raw: float | None,
    least: float | None,
    most: float | None,
    share: str | None,
    moodle: responses.RequestsMock,
    client: MoodleClient,
) -> None:
    total = {"itemtype": "course", "graderaw": raw, "grademin": least, "grademax": most}
    item = {"itemtype": "mod", "graderaw": 3, "grademin": 0, "grademax": 4}
    answer_json(moodle, {"usergrades": [{"userid": 4, "gradeitems": [item, total]}]})
    assert grade(client) == Grade(None if share is None else Decimal(share))


@pytest.mark.parametrize("learners", [[], [{"userid": 4, "gradeitems": []}]])
def test_no_course_total_is_told_apart_from_no_grade(
    learners: Any, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_json(moodle, {"usergrades": learners})
    assert grade(client) == Grade(None, total_missing=True)


def test_the_grades_of_another_learner_are_refused(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    answer_json(moodle, {"usergrades": [{"userid": 5, "gradeitems": []}]})
    assert isinstance(grade(client), MoodleUnreadable)


def test_reports_are_read_from_all_pages(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    def answer(fields: dict[str, str]) -> Any:
        assert fields["perpage"] == "100"
        first = int(fields["page"]) * 100
        return {"reports": [{"id": n + 1, "name": "R", "source": "s"} for n in range(first, min(first + 100, 230))]}

    answer_by(moodle, answer)
    assert [report.id for report in client.list_reports()] == list(range(1, 231))
    assert client.calls == 3


def test_a_moodle_that_repeats_its_reports_is_not_asked_for_ever(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_by(moodle, lambda _: {"reports": [{"id": n, "name": "R", "source": "s"} for n in range(1, 101)]})
    assert len(client.list_reports()) == 100
    assert client.calls == 2


def test_endless_reports_end_at_ten_thousand(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    def answer(fields: dict[str, str]) -> Any:
        first = int(fields["page"]) * 100 + 1
        return {"reports": [{"id": n, "name": "R", "source": "s"} for n in range(first, first + 100)]}

    answer_by(moodle, answer)
    assert len(client.list_reports()) == 10_000


def test_one_odd_report_costs_only_itself_and_ends_no_full_page(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    def answer(fields: dict[str, str]) -> Any:
        first = int(fields["page"]) * 100 + 1
        reports = [{"id": n, "name": "R", "source": "s"} for n in range(first, min(first + 100, 131))]
        reports[3]["name"] = None
        return {"reports": reports}

    answer_by(moodle, answer)
    assert len(client.list_reports()) == 128
    assert [values["id"] for _, values in client.oddities] == [4, 104]


def test_the_agreed_report_is_listed(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    answer_with(moodle, "agreed_report_list")
    agreed = next(report for report in client.list_reports() if report.name == "Navigatr badge feed")
    source = "core_course\\reportbuilder\\datasource\\participants"
    assert (agreed.id, agreed.source) == (4, source)
    assert agreed.timemodified == datetime(2026, 11, 23, 9, 0, 27, tzinfo=UTC)
    assert (agreed.unique_rows, agreed.conditions) == (True, {"completion:completed_operator": 1})


@pytest.mark.parametrize("name", ["agreed_report_page0", "agreed_report_last_page", "agreed_report_since"])
def test_a_report_page_keeps_its_cells_as_they_came(
    name: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, name)
    recorded = recording(name)["response"]
    page = client.report_page(4, 3, 40)
    assert sent(moodle) == [{"wsfunction": REPORT, "reportid": "4", "page": "3", "perpage": "40"}]
    assert page.headers == recorded["data"]["headers"]
    assert page.rows == [row["columns"] for row in recorded["data"]["rows"]]
    assert page.total == recorded["data"]["totalrowcount"]
    assert (page.details.name, page.details.source) == ("Navigatr badge feed", recorded["details"]["source"])
    assert page.details.timemodified == datetime.fromtimestamp(recorded["details"]["timemodified"], UTC)
    assert page.page == 3


def test_odd_cells_and_rows_cost_only_themselves_and_past_the_end_is_no_row(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    changed = recording("agreed_report_page0")["response"]
    changed["data"]["rows"] = [{"columns": [None, "x", 7]}, {"columns": None}, None]
    answer_json(moodle, changed)
    answer_with(moodle, "report_page_past_end")
    assert client.report_page(4, 0).rows == [["", "x", None], [], []]
    past = client.report_page(4, 99)
    assert (past.rows, past.total) == ([], recording("report_page_past_end")["response"]["data"]["totalrowcount"])


def test_filters_are_sent_exactly_as_moodle_reads_them(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    answer_with(moodle, "agreed_report_set_since")
    answer_with(moodle, "report_set_filters_range_and_course")
    answer_with(moodle, "report_set_filters_clear")
    since = datetime.fromtimestamp(1795424000, UTC)
    client.set_report_filters(4, since=since, course_ids=[])
    client.set_report_filters(4, since=None, course_ids=(2, 3))
    client.set_report_filters(4, since=None, course_ids=[])
    fields = sent(moodle)
    assert {one["wsfunction"] for one in fields} == {"core_reportbuilder_set_filters"}
    assert {one["reportid"] for one in fields} == {"4"}
    assert [json.loads(one["values"]) for one in fields] == [
        json.loads(recording("agreed_report_set_since")["request"]["params"]["values"]),
        {"course:courseselector_values": [2, 3]},
        {},
    ]


def test_filters_that_moodle_does_not_confirm_are_an_error(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_json(moodle, False)
    with pytest.raises(MoodleUnexpected, match="true expected"):
        client.set_report_filters(4, since=None, course_ids=[])


WRONG_SHAPES = [
    (SITE_INFO, ["x"]),
    (SITE_INFO, recording("site_info")["response"] | {"version": "soon"}),
    (SITE_INFO, recording("site_info")["response"] | {"functions": None}),
    (SITE_INFO, recording("site_info")["response"] | {"userid": "306"}),
    (SITE_INFO, recording("site_info")["response"] | {"siteurl": None}),
    (SITE_INFO, recording("site_info")["response"] | {"advancedfeatures": [{"name": "x", "value": 7}]}),
    (COMPLETION, []),
    (COMPLETION, {"completionstatus": {"completed": "yes", "completions": []}}),
    (COMPLETION, {"completionstatus": {"completed": True, "completions": [{"timecompleted": "now"}]}}),
    (COMPLETION, {"completionstatus": {"completed": True, "completions": [{"timecompleted": 10**18}]}}),
    (COMPLETION, {"completionstatus": {"completed": True, "completions": [{"timecompleted": 1795424427000}]}}),
    (COMPLETION, {"completionstatus": {"completed": True, "completions": [{"timecompleted": -1}]}}),
    (PARTICIPANTS, {"users": []}),
    (USERS, {"users": []}),
    (LIST, []),
    (COURSES, []),
    (COURSES, {"courses": None}),
    (REPORT, {"details": {}, "data": {"headers": [], "rows": [], "totalrowcount": 0}}),
    (REPORT, recording("agreed_report_page0")["response"] | {"data": {"headers": [1], "rows": []}}),
    (REPORT, recording("agreed_report_page0")["response"] | {"data": None}),
]


@pytest.mark.parametrize(("function", "answer"), WRONG_SHAPES)
def test_an_answer_of_a_wrong_shape_names_the_function_and_what_was_expected(
    function: str, answer: Any, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_json(moodle, answer)
    error = failure(client, function)
    assert type(error) is MoodleUnexpected
    assert str(error).startswith(f"{function}: answer of a wrong shape, ")
    assert str(error).split(", ", 1)[1].count("expected") == 1
    assert "Ana" not in str(error)


@pytest.mark.parametrize(
    "total",
    [
        {"graderaw": "70"},
        {"graderaw": True},
        {"graderaw": 7, "grademax": [10]},
        {"graderaw": 7, "grademax": 10, "gradeishidden": "no"},
    ],
)
def test_a_grade_of_a_wrong_shape_is_about_this_learner_only(
    total: dict[str, Any], moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_json(moodle, {"usergrades": [{"userid": 4, "gradeitems": [{"itemtype": "course"} | total]}]})
    error = grade(client)
    assert type(error) is MoodleUnreadable
    assert str(error).startswith(f"{GRADES}: answer of a wrong shape, ")
    # Nothing says that the name is to blame.
    assert "<Test>" not in error.advice


@pytest.mark.parametrize("raw", ["1e999", "-1e999"])
def test_a_grade_beyond_all_numbers_is_about_this_learner_only(
    raw: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    total = f'{{"itemtype": "course", "graderaw": {raw}, "grademin": {raw}, "grademax": 1e999}}'
    body = f'{{"usergrades": [{{"userid": 4, "gradeitems": [{total}]}}]}}'
    moodle.post(SERVER, body=body, content_type="application/json")
    assert type(grade(client)) is MoodleUnreadable


# Many questions at once.


def exception(errorcode: str) -> dict[str, Any]:
    """What a failed request of a batch looks like (recording mobile_batch_completion_stops_at_first_error)."""
    return {"error": True, "exception": json.dumps({"errorcode": errorcode, "message": "Ana Lee is unknown"})}


def done(completed: bool = True) -> dict[str, Any]:
    return {"completionstatus": {"completed": completed, "completions": []}}


def batching(answers: Callable[[int, int], Any]) -> Callable[[dict[str, str]], Any]:
    """A Moodle that answers batches and single calls alike, and stops a batch at the first error (trap 10).

    `answers` gives, for a course and a learner, the answer, or an errorcode as a str.
    """

    def respond(fields: dict[str, str]) -> Any:
        if fields["wsfunction"] != "tool_mobile_call_external_functions":
            answer = answers(int(fields["courseid"]), int(fields["userid"]))
            return {"errorcode": answer, "message": "Ana"} if isinstance(answer, str) else answer
        found: list[dict[str, Any]] = []
        for number in range(BATCH_SIZE + 1):
            if f"requests[{number}][function]" not in fields:
                break
            asked = json.loads(fields[f"requests[{number}][arguments]"])
            answer = answers(asked["courseid"], asked["userid"])
            if isinstance(answer, str):
                found.append(exception(answer))
                break
            found.append({"error": False, "data": json.dumps(answer)})
        assert number <= BATCH_SIZE
        return {"responses": found}

    return respond


def test_a_recorded_batch_is_read_up_to_its_error_and_then_resumed(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, "mobile_batch_completion_stops_at_first_error")
    answer_json(moodle, {"responses": [{"error": False, "data": json.dumps(done(completed=False))}]})

    found = client.completion_statuses(2, [4, 22, 202], batch=True)

    at = datetime.fromtimestamp(1790891711, UTC)
    assert found[4] == CompletionStatus(True, at, at, frozenset({at}))
    assert type(found[22]) is MoodleLearnerGone
    assert str(found[22]) == f"{COMPLETION}: userdeleted"
    assert found[202] == CompletionStatus(False)
    first, second = sent(moodle)
    recorded = recording("mobile_batch_completion_stops_at_first_error")["request"]["params"]["requests"]
    for number, one in enumerate(recorded):
        assert first[f"requests[{number}][function]"] == one["function"]
        assert json.loads(first[f"requests[{number}][arguments]"]) == json.loads(one["arguments"])
    assert json.loads(second["requests[0][arguments]"]) == {"courseid": 2, "userid": 202}
    assert "requests[1][function]" not in second


def test_an_error_in_the_last_place_of_a_recorded_batch_needs_no_second_call(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, "mobile_batch_completion")
    found = client.completion_statuses(2, [4, 202, 22], batch=True)
    assert [type(found[user]) for user in (4, 202, 22)] == [CompletionStatus, CompletionStatus, MoodleLearnerGone]
    assert client.calls == 1


@pytest.mark.parametrize(("batch", "calls"), [(True, 5), (False, 120)])
def test_learners_with_errors_of_their_own_stop_none_of_the_others(
    batch: bool, calls: int, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    odd = {10: "usernotenroled", 11: "userdeleted", 119: "strangenewerror"}
    answer_by(moodle, batching(lambda _, user: odd.get(user, done())))
    found = client.completion_statuses(2, range(120), batch=batch)
    assert list(found) == list(range(120))
    assert [type(found[user]) for user in odd] == [MoodleNotTracked, MoodleLearnerGone, MoodleUnexpected]
    assert all(found[user] == CompletionStatus(True) for user in found if user not in odd)
    assert client.calls == calls


@pytest.mark.parametrize("batch", [True, False])
def test_no_learners_are_no_call(batch: bool, moodle: responses.RequestsMock, client: MoodleClient) -> None:
    assert client.completion_statuses(2, [], batch=batch) == {}
    assert list(client.learner_facts([], available=BATCHED if batch else ASKED, grades=True)) == []
    assert client.calls == 0


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize(
    ("errorcode", "kind"),
    [
        ("nocriteriaset", MoodleNoCriteria),
        ("cannotviewreport", MoodleNotAllowed),
        ("requireloginerror", MoodleNotAllowed),
        ("invalidrecord", MoodleGone),
        ("invalidtoken", MoodleTokenRefused),
        ("accessexception", MoodleTokenRefused),
        ("sitemaintenance", MoodleUnavailable),
    ],
)
def test_what_concerns_the_whole_course_or_site_is_raised_once(
    errorcode: str, kind: type[MoodleError], batch: bool, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_by(moodle, batching(lambda _, user: done() if user < 2 else errorcode))
    with pytest.raises(kind) as error:
        client.completion_statuses(2, range(500), batch=batch)
    assert type(error.value) is kind
    assert client.calls == (1 if batch else 3)


# The three functions of `learner_facts`, without and with Moodle's batches.
ASKED = frozenset({COMPLETION, USERS, GRADES})
BATCHED = ASKED | {MANY}


def total_of(user: int) -> dict[str, Any]:
    item = {"itemtype": "course", "graderaw": 7, "grademin": 0, "grademax": 10}
    return {"usergrades": [{"userid": user, "gradeitems": [item]}]}


def knowing(
    answers: Callable[[str, int | None, int], Any], asked: list[tuple[str, int | None, int]]
) -> Callable[[dict[str, str]], Any]:
    """A Moodle that answers for a function, a course (None: of accounts) and a learner, and keeps what it was asked.

    An answer that is a str is an errorcode, which ends a batch and spoils a list.
    """

    def about(function: str, course: int | None, user: int) -> Any:
        asked.append((function, course, user))
        return answers(function, course, user)

    def one(function: str, arguments: dict[str, Any]) -> Any:
        if function != USERS:
            return about(function, int(arguments["courseid"]), int(arguments["userid"]))
        told = [about(function, None, int(user)) for user in arguments["values"]]
        return next((answer for answer in told if isinstance(answer, str)), None) or [*chain(*told)]

    def respond(fields: dict[str, str]) -> Any:
        if fields["wsfunction"] != MANY:
            values = [value for name, value in fields.items() if name.startswith("values[")]
            answer = one(fields["wsfunction"], {**fields, "values": values})
            return {"errorcode": answer} if isinstance(answer, str) else answer
        told: list[dict[str, Any]] = []
        while f"requests[{len(told)}][function]" in fields:
            start = f"requests[{len(told)}]"
            answer = one(fields[f"{start}[function]"], json.loads(fields[f"{start}[arguments]"]))
            if isinstance(answer, str):
                return {"responses": [*told, exception(answer)]}
            told.append({"error": False, "data": json.dumps(answer)})
        return {"responses": told}

    return respond


def facts_of(client: MoodleClient, pairs: list[tuple[int, int]], **more: Any) -> dict[tuple[int, int], LearnerFacts]:
    """What `learner_facts` yields, together."""
    asked: dict[str, Any] = {"available": BATCHED, "grades": True}
    return {pair: facts for told in client.learner_facts(pairs, **asked | more) for pair, facts in told.items()}


def all_well(function: str, _course: int | None, user: int) -> Any:
    """The answer of a Moodle where everything is in order."""
    answers: dict[str, Any] = {COMPLETION: done(), USERS: [{"id": user, "firstname": "Ana"}], GRADES: total_of(user)}
    return answers[function]


WELL = LearnerFacts(CompletionStatus(True), User(4, "Ana", None, None, suspended=False), Grade(Decimal(70)))


@pytest.mark.parametrize(
    ("available", "at_once", "calls"),
    [
        (BATCHED, [25, 25, 10], 3),
        (ASKED, [25, 25, 10], 123),
        (BATCHED - {COMPLETION}, [50, 10], 2),
        (BATCHED - {GRADES}, [50, 10], 2),
    ],
)
def test_fifty_questions_and_a_list_of_accounts_go_into_one_call(
    available: frozenset[str],
    at_once: list[int],
    calls: int,
    moodle: responses.RequestsMock,
    client: MoodleClient,
) -> None:
    asked: list[tuple[str, int | None, int]] = []
    answer_by(moodle, knowing(all_well, asked))
    pairs = [(2, user) for user in range(1, 61)]
    assert [len(told) for told in client.learner_facts(pairs, available=available, grades=True)] == at_once
    assert client.calls == calls
    assert sorted(asked, key=str) == sorted(
        ((function, None if function == USERS else 2, user) for function in available - {MANY} for _, user in pairs),
        key=str,
    )


def test_facts_are_those_of_the_learner_and_course_asked_for(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_by(moodle, knowing(all_well, []))
    found = facts_of(client, [(2, 4), (3, 4)])
    assert found == {(2, 4): WELL, (3, 4): WELL}


@pytest.mark.parametrize("missing", sorted(ASKED))
def test_what_the_service_lacks_is_not_asked(
    missing: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    asked: list[tuple[str, int | None, int]] = []
    answer_by(moodle, knowing(all_well, asked))
    found = facts_of(client, [(2, 4)], available=BATCHED - {missing})[2, 4]
    assert missing not in {function for function, _, _ in asked}
    told = {COMPLETION: found.status, USERS: found.user, GRADES: found.grade}
    assert [function for function, answer in told.items() if answer is None] == [missing]


def test_without_any_function_nothing_is_asked(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    assert facts_of(client, [(2, 4)], available=frozenset()) == {(2, 4): LearnerFacts()}
    assert facts_of(client, [(2, 4)], available=BATCHED - {COMPLETION, USERS}, grades=False) == {(2, 4): LearnerFacts()}
    assert client.calls == 0


@pytest.mark.parametrize("available", [BATCHED, ASKED])
@pytest.mark.parametrize("function", sorted(ASKED))
@pytest.mark.parametrize("errorcode", ["userdeleted", "invaliduser", "invalidrecordunknown", "invalidresponse", "odd"])
def test_what_concerns_one_learner_stands_in_the_answers_place(
    errorcode: str,
    function: str,
    available: frozenset[str],
    moodle: responses.RequestsMock,
    client: MoodleClient,
) -> None:
    def answer(called: str, course: int | None, user: int) -> Any:
        return errorcode if (called, user) == (function, 5) else all_well(called, course, user)

    answer_by(moodle, knowing(answer, []))
    found = facts_of(client, [(2, 4), (2, 5), (2, 6)], available=available)
    told = {COMPLETION: found[2, 5].status, USERS: found[2, 5].user, GRADES: found[2, 5].grade}
    assert [name for name, fact in told.items() if isinstance(fact, MoodleError)] == [function]
    assert found[2, 4] == WELL
    assert not any(isinstance(fact, MoodleError) for fact in (found[2, 6].status, found[2, 6].user, found[2, 6].grade))


@pytest.mark.parametrize(
    ("users", "expected"),
    [([], None), ([{"id": 5, "firstname": "Not Ana"}], None), ([{"id": 4, "email": 5}], MoodleUnreadable)],
)
def test_an_account_that_cannot_be_seen_or_read_is_not_that_of_another(
    users: list[dict[str, Any]], expected: Any, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_by(moodle, knowing(lambda *asked: users if asked[0] == USERS else all_well(*asked), []))
    user = facts_of(client, [(2, 4)])[2, 4].user
    assert user is None if expected is None else type(user) is expected


@pytest.mark.parametrize("available", [BATCHED, ASKED])
def test_a_course_whose_grades_may_not_be_seen_stops_no_other_course(
    available: frozenset[str], moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    def answer(function: str, course: int | None, user: int) -> Any:
        if (function, course) == (GRADES, 3):
            return "nopermissiontoviewgrades"
        return "invaliduser" if (function, user) == (GRADES, 7) else all_well(function, course, user)

    asked: list[tuple[str, int | None, int]] = []
    answer_by(moodle, knowing(answer, asked))
    pairs = [(2, 4), (3, 4), (2, 7), (3, 5), (2, 5), (3, 6)]
    found = facts_of(client, pairs, available=available)
    assert found.keys() == set(pairs)
    assert found[2, 4].grade == found[2, 5].grade == Grade(Decimal(70))
    assert type(found[2, 7].grade) is MoodleLearnerGone
    assert {type(found[3, user].grade) for user in (4, 5, 6)} == {MoodleNotAllowed}
    assert all(found[pair].status == CompletionStatus(True) for pair in pairs)
    # The rest of course 3 is not asked about: every answer would be the same.
    assert [(course, user) for function, course, user in asked if function == GRADES] == [
        (2, 4),
        (3, 4),
        (2, 7),
        (2, 5),
    ]
    assert client.calls == (3 if available == BATCHED else 11)


@pytest.mark.parametrize("available", [BATCHED, ASKED])
@pytest.mark.parametrize("errorcode", ["invalidtoken", "upgraderunning", "dbconnectionfailed"])
def test_facts_raise_what_concerns_the_whole_site(
    errorcode: str, available: frozenset[str], moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_by(moodle, knowing(lambda *_: errorcode, []))
    with pytest.raises(MoodleTokenRefused if errorcode == "invalidtoken" else MoodleUnavailable):
        facts_of(client, [(2, 4), (3, 4)], available=available)
    assert client.calls == 1


def test_a_function_that_batches_may_not_call_is_the_services_fault(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_with(moodle, "mobile_batch_function_not_in_service")
    with pytest.raises(MoodleTokenRefused) as error:
        client.completion_statuses(2, [4], batch=True)
    assert "function is not in the service" in error.value.advice


def test_one_learners_unreadable_answer_stops_none_of_the_others(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_by(moodle, batching(lambda _, user: {"completionstatus": None} if user == 5 else done()))
    found = client.completion_statuses(2, [4, 5, 6], batch=True)
    assert isinstance(found[5], MoodleUnreadable)
    assert found[4] == found[6] == CompletionStatus(True)
    assert client.calls == 1


GOOD = {"error": False, "data": json.dumps(done())}


@pytest.mark.parametrize(
    "answer",
    [
        {"responses": []},
        {"responses": [GOOD]},
        {"responses": [GOOD, GOOD, GOOD]},
        {"responses": [GOOD, {"error": False, "data": "{"}]},
        {"responses": [GOOD, {"error": False, "data": '"\ud800'}]},
        {"responses": [GOOD, {"error": False, "data": f"[{'{},' * 600_000}0]"}]},
        {"responses": [GOOD, {"error": True, "exception": None}]},
        {"responses": [GOOD, "x"]},
        {},
        [],
    ],
)
def test_a_batch_that_cannot_be_matched_to_its_questions_is_refused_whole(
    answer: Any, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_json(moodle, answer)
    with pytest.raises(MoodleUnexpected):
        client.completion_statuses(2, [4, 5], batch=True)
    assert client.calls == 1


@pytest.mark.parametrize("text", ["[]", "{}", "null", '{"message": "Ana"}'])
def test_a_failure_in_a_batch_without_a_code_is_about_one_learner(
    text: str, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    answer_json(moodle, {"responses": [GOOD, {"error": True, "exception": text}]})
    answer_json(moodle, {"responses": [GOOD, GOOD]})
    found = client.completion_statuses(2, [4, 5, 6, 7], batch=True)
    assert [type(found[user]) for user in (4, 5, 6, 7)] == [
        CompletionStatus,
        MoodleUnreadable,
        CompletionStatus,
        CompletionStatus,
    ]


def test_a_code_in_a_batch_that_is_none_is_about_one_learner(
    moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    # Plugins write whole sentences where a code belongs.
    answer_json(moodle, {"responses": [exception("Ana Lee has no team yet!")]})
    answer_json(moodle, {"responses": [GOOD]})
    found = client.completion_statuses(2, [4, 5], batch=True)
    assert str(found[4]) == f"{COMPLETION}: unreadable errorcode"
    assert found[5] == CompletionStatus(True)


@pytest.mark.slow
def test_answers_of_a_batch_are_in_memory_one_at_a_time(moodle: responses.RequestsMock, client: MoodleClient) -> None:
    # Each of them takes 25 MB once it is decoded.
    padded = {"error": False, "data": json.dumps(done() | {"more": [{}] * 300_000})}
    body = json.dumps({"responses": [padded] * 8})
    moodle.post(SERVER, body=body, content_type="application/json")
    tracemalloc.start()
    try:
        assert len(client.completion_statuses(2, range(8), batch=True)) == 8
        assert tracemalloc.get_traced_memory()[1] < 100 * 1024 * 1024
    finally:
        tracemalloc.stop()


# The wire.

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
BROKEN_WIRES: list[tuple[str, Answer, str]] = [
    ("silence", says_nothing, "no answer in time"),
    ("a dripping header", drips(b"HTTP/1.1 200 OK\r\nX-Slow:"), "no answer in time"),
    ("a dripping body", drips(HEAD + b"\r\n{"), "no answer in time"),
    ("hung up at once", sends_and_hangs_up(b""), "connection lost"),
    ("half an answer", sends_and_hangs_up(HEAD + b"Content-Length: 100\r\n\r\n{"), "connection lost"),
    ("no HTTP", sends_and_hangs_up(b"SSH-2.0-OpenSSH_9\r\n"), "connection lost"),
    ("broken chunks", sends_and_hangs_up(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), "connection lost"),
    ("broken gzip", sends_and_hangs_up(HEAD + b"Content-Encoding: gzip\r\n\r\nnothing"), "connection lost"),
]


@pytest.mark.parametrize(("answer", "what"), [row[1:] for row in BROKEN_WIRES], ids=[row[0] for row in BROKEN_WIRES])
def test_a_broken_wire_is_tried_later_and_never_takes_long(
    answer: Answer, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    started = time.monotonic()
    with wire(answer) as server, MoodleClient(f"http://127.0.0.1:{server.port}", TOKEN, timeout=1) as client:
        with pytest.raises(MoodleUnavailable) as error:
            client.site_info()
        assert str(error.value) == f"{SITE_INFO}: no answer"
        assert caplog.messages == [f"No answer from Moodle at 127.0.0.1:{server.port}: {what}"]
        assert error.value.__cause__ is None
    assert time.monotonic() - started < 4


def test_nobody_listening_is_tried_later() -> None:
    with wire(says_nothing) as server:
        port = server.port
    with MoodleClient(f"http://127.0.0.1:{port}", TOKEN) as client, pytest.raises(MoodleUnavailable) as error:
        client.site_info()
    assert str(error.value) == f"{SITE_INFO}: no answer"


@pytest.mark.parametrize(
    ("raised", "what"),
    [
        (requests.exceptions.SSLError("self-signed"), "TLS failed"),
        (requests.ConnectTimeout("10.1.1.1"), "no connection in time"),
        (requests.ConnectionError("http://user:pass@proxy"), "connection lost"),
    ],
)
def test_a_failed_connection_says_how_in_the_log_only(
    raised: Exception,
    what: str,
    moodle: responses.RequestsMock,
    client: MoodleClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    moodle.post(SERVER, body=raised)
    error = failure(client, SITE_INFO)
    assert type(error) is MoodleUnavailable
    assert str(error) == f"{SITE_INFO}: no answer"
    assert error.advice == MoodleUnavailable.advice
    assert caplog.messages == [f"No answer from Moodle at moodle.example: {what}"]


def test_a_redirect_is_not_followed_with_the_token() -> None:
    with wire(replies(b"", status="302 Found", headers="Location: /elsewhere\r\n")) as server:
        with MoodleClient(f"http://127.0.0.1:{server.port}", TOKEN) as client, pytest.raises(MoodleUnexpected) as error:
            client.site_info()
        assert len(server.requests) == 1
    assert "redirects" in error.value.advice


def test_an_answer_over_20_mb_is_refused_before_it_is_read_whole() -> None:
    squeezed = gzip.compress(b" " * (LARGEST_ANSWER + 1))
    with (
        wire(replies(squeezed, headers="Content-Encoding: gzip\r\n")) as server,
        MoodleClient(f"http://127.0.0.1:{server.port}", TOKEN) as client,
        pytest.raises(MoodleUnexpected, match="over 20 MB") as error,
    ):
        client.site_info()
    assert "20 MB" in error.value.advice


def test_a_compressed_answer_is_read() -> None:
    body = gzip.compress(json.dumps(recording("site_info")["response"]).encode())
    with (
        wire(replies(body, headers="Content-Encoding: gzip\r\n"), read_first=True) as server,
        MoodleClient(f"http://127.0.0.1:{server.port}", TOKEN) as client,
    ):
        assert client.site_info() == client.site_info()
        assert len(server.requests) == 2


def test_passwords_of_netrc_and_proxies_stay_out_of_loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ana password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    body = json.dumps(recording("site_info")["response"]).encode()
    with wire(replies(body)) as server, MoodleClient(f"http://127.0.0.1:{server.port}", TOKEN) as client:
        client.site_info()
        assert b"Authorization" not in server.requests[0]


def test_a_password_in_netrc_is_never_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, moodle: responses.RequestsMock, client: MoodleClient
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login ana password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    answer_with(moodle, "site_info")
    client.site_info()
    assert "Authorization" not in moodle.calls[0].request.headers
