"""What is found about a site, and which feed follows from it."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import requests
import responses

from moodle_sync.client import MoodleClient
from moodle_sync.client.errors import MoodleTokenRefused, MoodleUnavailable, MoodleUnexpected
from moodle_sync.client.findings import MoodleFinding
from moodle_sync.client.inspection import Inspection, inspect
from moodle_sync.client.report_cells import AGREED_HEADERS, AGREED_NAME, AGREED_SOURCE
from tests.moodle_sync.recordings import form

REPLIES = Path(__file__).parent.parent / "replies" / "moodle"
NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
TOKEN = "0123456789abcdef0123456789abcdef"

SITE_INFO = "core_webservice_get_site_info"
COURSES = "core_course_get_courses_by_field"
USERS = "core_user_get_users_by_field"
ENROLLED = "core_enrol_get_enrolled_users"
COMPLETION = "core_completion_get_course_completion_status"
GRADES = "gradereport_user_get_grade_items"
BATCH = "tool_mobile_call_external_functions"
LIST = "core_reportbuilder_list_reports"
READ = "core_reportbuilder_retrieve_report"
FILTER = "core_reportbuilder_set_filters"
CONFIG = "tool_mobile_get_config"
ALL: tuple[str, ...] = (SITE_INFO, COURSES, USERS, ENROLLED, COMPLETION, GRADES, BATCH, LIST, READ, FILTER, CONFIG)
NO_REPORT = tuple(name for name in ALL if "reportbuilder" not in name)


TOTAL = {"itemtype": "course", "graderaw": 80, "grademin": 0, "grademax": 100, "gradeishidden": False}


def recorded(name: str) -> Any:
    """A recording: request, status and answer."""
    return json.loads((REPLIES / f"{name}.json").read_text())


def answer(name: str) -> Any:
    """Moodle's recorded answer."""
    return recorded(name)["response"]


def error(code: str) -> dict[str, str]:
    """Moodle's answer to a call that it refuses; the message holds a name, as real ones do."""
    return {
        "exception": "core\\exception\\moodle_exception",
        "errorcode": code,
        "message": "Secret Person",
        "debuginfo": TOKEN,
    }


class FakeMoodle:
    """The wire of a Moodle: an answer for each function, which a test may replace, and what it was asked.

    The report honours the filters, unless the test says that the report lacks one.
    """

    def __init__(self, url: str = "https://moodle.example") -> None:
        self.url = url
        self.functions = ALL
        self.features = {"enablecompletion": 1, "enablecustomreports": 1}
        self.version = "2024100705.01"
        self.siteurl = url
        self.date: datetime | None = NOW
        self.rows = self._report_rows()
        self.headers = list(AGREED_HEADERS)
        self.report_filters = {"time", "course"}
        self.answers: dict[str, Any] = {
            COURSES: {"courses": [self.course(2)], "warnings": []},
            ENROLLED: [self.person(number) for number in (303, 806, 634)],
            COMPLETION: answer("completion_done_self"),
            GRADES: lambda fields: {"usergrades": [{"userid": int(fields["userid"]), "gradeitems": [TOTAL]}]},
            USERS: lambda fields: [self.person(int(fields["values[0]"])) | {"suspended": False}],
            CONFIG: answer("timezone_not_forced_mobile_config"),
            LIST: {"reports": [self.report(4)]},
        }
        self.asked: list[tuple[str, dict[str, str]]] = []
        self._filters: dict[str, Any] = {}

    def _report_rows(self) -> list[list[str]]:
        rows = answer("agreed_report_page0")["data"]["rows"][:2]
        return [[cell.replace("http://moodle.example", self.url) for cell in row["columns"]] for row in rows]

    def course(self, number: int, **changes: Any) -> dict[str, Any]:
        """A course with one teacher, 303, as its contact."""
        return {
            "id": number,
            "fullname": "Safeguarding Essentials",
            "shortname": f"SAFE{number}",
            "visible": 1,
            "enablecompletion": 1,
            "contacts": [{"id": 303, "fullname": "Hélène Marsh"}],
            "format": "topics",
        } | changes

    def person(self, number: int) -> dict[str, Any]:
        """A participant."""
        names = {"firstname": "Secret", "lastname": "Person", "fullname": "Secret Person"}
        return {"id": number, "email": f"person{number}@example.org"} | names

    def report(self, number: int, name: str = AGREED_NAME) -> dict[str, Any]:
        """A report in the list."""
        return {"id": number, "name": name, "source": AGREED_SOURCE, "timemodified": 1795424427}

    def serve(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        """Answer one call."""
        fields = form(request)
        function = fields["wsfunction"]
        self.asked.append((function, fields))
        found = self.answers.get(function, self._own.get(function))
        data = found(fields) if callable(found) else found
        headers = {"Date": format_datetime(self.date, usegmt=True)} if self.date else {}
        if isinstance(data, HTTPStatus):
            return data, headers, ""
        return 200, headers, json.dumps(data)

    @property
    def _own(self) -> dict[str, Callable[[dict[str, str]], Any]]:
        return {SITE_INFO: self._site_info, FILTER: self._set_filters, READ: self._page}

    def _site_info(self, _: dict[str, str]) -> dict[str, Any]:
        site: dict[str, Any] = answer("site_info")
        return site | {
            "siteurl": self.siteurl,
            "version": self.version,
            "functions": [{"name": name, "version": self.version} for name in self.functions],
            "advancedfeatures": [{"name": name, "value": value} for name, value in self.features.items()],
        }

    def _set_filters(self, fields: dict[str, str]) -> bool:
        self._filters = json.loads(fields["values"])
        return True

    def _page(self, fields: dict[str, str]) -> dict[str, Any]:
        rows = self.rows
        if "time" in self.report_filters and self._filters.get("completion:timecompleted_from", 0) > NOW.timestamp():
            rows = []
        if "course" in self.report_filters and 1 in self._filters.get("course:courseselector_values", []):
            rows = []
        return {
            "details": self.report(4),
            "data": {
                "headers": self.headers,
                "rows": [{"columns": row} for row in rows[: int(fields["perpage"])]],
                "totalrowcount": len(rows),
            },
            "warnings": [],
        }


@pytest.fixture
def moodle() -> Iterator[FakeMoodle]:
    """A Moodle with everything as it should be."""
    fake = FakeMoodle()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as wire:
        wire.add_callback(
            responses.POST, f"{fake.url}/webservice/rest/server.php", fake.serve, content_type="application/json"
        )
        yield fake


def run(moodle: FakeMoodle) -> Inspection:
    """Check the site."""
    with MoodleClient(moodle.url, TOKEN) as client:
        return inspect(client, now=NOW)


def finding(result: Inspection, slug: str) -> MoodleFinding:
    """The only finding of this name."""
    [found] = [item for item in result.findings if item.check == slug]
    return found


def bad(result: Inspection) -> set[str]:
    """The names of what is not as it should be."""
    return {item.check for item in result.findings if not item.ok}


def test_a_site_as_it_should_be_is_read_by_its_report(moodle: FakeMoodle) -> None:
    result = run(moodle)
    assert result.feed == "A"
    assert bad(result) == set()
    assert result.ok
    assert result.failure is None
    assert result.report is not None
    assert result.report.id == 4
    assert result.info is not None
    assert result.info.functions == set(ALL)
    assert result.clock_skew == timedelta(0)
    assert len(moodle.asked) <= 20
    assert finding(result, "report-readable").message.endswith("It holds 2 completions.")


def test_the_check_leaves_no_filter_behind(moodle: FakeMoodle) -> None:
    run(moodle)
    filters = [fields["values"] for function, fields in moodle.asked if function == FILTER]
    assert filters[-1] == "{}"


def test_without_report_functions_learners_are_asked_one_by_one(moodle: FakeMoodle) -> None:
    moodle.functions = NO_REPORT
    result = run(moodle)
    assert result.feed == "B"
    assert result.report is None
    assert bad(result) == {f"function-{name}" for name in (LIST, READ, FILTER)}
    # The other feed works, so nothing that is needed is missing.
    assert result.ok


def test_without_any_feed_everything_missing_is_needed(moodle: FakeMoodle) -> None:
    moodle.functions = (SITE_INFO, COURSES)
    result = run(moodle)
    assert result.feed == ""
    assert not result.ok
    assert not finding(result, "strategy").ok
    for name in (LIST, READ, FILTER, ENROLLED, COMPLETION):
        assert finding(result, f"function-{name}").needed
    for name in (GRADES, USERS, BATCH):
        assert not finding(result, f"function-{name}").needed


@pytest.mark.parametrize("name", ALL[1:])
def test_each_missing_function_is_one_finding_that_names_it(moodle: FakeMoodle, name: str) -> None:
    moodle.functions = tuple(function for function in ALL if function != name)
    result = run(moodle)
    missing = finding(result, f"function-{name}")
    assert not missing.ok
    assert name in missing.message
    assert "External services" in missing.message
    assert result.feed == ("B" if "reportbuilder" in name else "A")


@pytest.mark.parametrize(("functions", "feed"), [(ALL, "A"), (NO_REPORT, "B")])
def test_site_wide_completion_switched_off_is_told(moodle: FakeMoodle, functions: tuple[str, ...], feed: str) -> None:
    moodle.functions = functions
    moodle.features["enablecompletion"] = 0
    result = run(moodle)
    assert not finding(result, "completion").ok
    assert not result.ok
    assert result.feed == feed


@pytest.mark.parametrize(
    ("features", "version", "slug"),
    [
        ({"enablecompletion": 1, "enablecustomreports": 0}, "2024100705.01", "custom-reports"),
        ({"enablecompletion": 1, "enablecustomreports": 1}, "2022041900.00", "version"),
    ],
)
def test_a_site_that_cannot_have_the_report_is_not_asked_for_it(
    moodle: FakeMoodle, features: dict[str, int], version: str, slug: str
) -> None:
    moodle.features, moodle.version = features, version
    result = run(moodle)
    assert result.feed == "B"
    assert bad(result) == {slug}
    assert LIST not in [function for function, _ in moodle.asked]


def test_features_that_moodle_does_not_tell_count_as_on(moodle: FakeMoodle) -> None:
    moodle.features = {}
    assert run(moodle).feed == "A"


def test_a_missing_report_is_told_with_what_to_make(moodle: FakeMoodle) -> None:
    moodle.answers[LIST] = answer("report_list_no_audience")
    result = run(moodle)
    assert result.feed == "B"
    assert "30 minutes" in finding(result, "report").message
    assert "audience" in finding(result, "report").message


def test_of_two_reports_the_oldest_is_read_and_said_so(moodle: FakeMoodle) -> None:
    moodle.answers[LIST] = {"reports": [moodle.report(9), moodle.report(4), moodle.report(5, "Other")]}
    result = run(moodle)
    assert result.report is not None
    assert result.report.id == 4
    assert bad(result) == {"report-unique"}
    assert "id 4" in finding(result, "report-unique").message
    assert result.feed == "A"


def test_a_refused_list_of_reports_leaves_the_other_feed(moodle: FakeMoodle) -> None:
    moodle.answers[LIST] = answer("error_custom_reports_disabled_list")
    result = run(moodle)
    assert result.feed == "B"
    assert bad(result) == {"report"}
    assert result.failure is None


@pytest.mark.parametrize("code", ["errorreportview", "invalidrecord", "unknowncode"])
@pytest.mark.parametrize("function", [READ, FILTER])
def test_a_refused_report_leaves_the_other_feed(moodle: FakeMoodle, function: str, code: str) -> None:
    moodle.answers[function] = error(code)
    result = run(moodle)
    assert result.feed == "B"
    assert bad(result) == {"report-readable"}
    assert code in finding(result, "report-readable").message


def test_changed_columns_are_refused_with_the_reason(moodle: FakeMoodle) -> None:
    moodle.headers = moodle.headers[:-1]
    result = run(moodle)
    assert result.feed == "B"
    assert "10 columns expected, 9 found" in finding(result, "report-readable").message
    assert "Completed = Yes" in finding(result, "report-readable").message


def test_links_to_a_foreign_site_are_refused(moodle: FakeMoodle) -> None:
    moodle.rows = [[cell.replace(moodle.url, "https://evil.example") for cell in row] for row in moodle.rows]
    result = run(moodle)
    assert result.feed == "B"
    assert "links to another site" in finding(result, "report-readable").message


def test_an_odd_row_is_told_and_the_report_read_all_the_same(moodle: FakeMoodle) -> None:
    moodle.rows[1][2] = "nobody"
    result = run(moodle)
    assert result.feed == "A"
    assert bad(result) == {"report-rows"}
    assert "row 2 of page 1: person is not a link" in finding(result, "report-rows").message


def test_a_time_in_another_form_is_told_and_the_report_read_all_the_same(moodle: FakeMoodle) -> None:
    moodle.rows[1][8] = "gestern"
    result = run(moodle)
    assert result.feed == "A"
    assert bad(result) == {"report-form"}
    assert "strftimedaydatetime" in finding(result, "report-form").message


def test_a_renamed_title_is_told_and_the_report_read_all_the_same(moodle: FakeMoodle) -> None:
    moodle.headers[3] = "Student number"
    result = run(moodle)
    assert result.feed == "A"
    assert bad(result) == {"report-form"}
    assert 'column 4 is titled "Student number"' in finding(result, "report-form").message


def test_columns_in_another_order_are_refused(moodle: FakeMoodle) -> None:
    moodle.headers[4:6] = reversed(moodle.headers[4:6])
    result = run(moodle)
    assert result.feed == "B"
    assert "column 5 should be" in finding(result, "report-readable").message


def test_an_empty_report_with_the_agreed_columns_is_usable(moodle: FakeMoodle) -> None:
    moodle.rows = []
    result = run(moodle)
    assert result.feed == "A"
    assert bad(result) == set()


@pytest.mark.parametrize(
    ("filters", "lacking"),
    [({"course"}, "Time completed"), ({"time"}, "Select course"), (set(), "Time completed, Select course")],
)
def test_a_report_without_its_filters_is_read_but_told(moodle: FakeMoodle, filters: set[str], lacking: str) -> None:
    moodle.report_filters = filters
    result = run(moodle)
    assert result.feed == "A"
    assert bad(result) == {"report-filters"}
    assert f"lacks the filter: {lacking}." in finding(result, "report-filters").message


def test_a_report_without_any_address_is_told(moodle: FakeMoodle) -> None:
    for row in moodle.rows:
        row[6] = ""
    result = run(moodle)
    assert result.feed == "A"
    assert bad(result) == {"report-emails"}
    assert not result.ok


def test_one_row_without_names_or_address_is_fine(moodle: FakeMoodle) -> None:
    moodle.rows[0][4:7] = ["", "", ""]
    assert bad(run(moodle)) == set()


def test_addresses_that_moodle_leaves_out_are_noticed(moodle: FakeMoodle) -> None:
    moodle.functions = NO_REPORT
    names = {"firstname": "Secret", "lastname": "Person"}
    moodle.answers[ENROLLED] = [user | names for user in answer("silent_no_email_missing_viewuseridentity")[:4]]
    result = run(moodle)
    assert result.feed == "B"
    assert bad(result) - {f"function-{name}" for name in (LIST, READ, FILTER)} == {"emails"}
    assert "moodle/site:viewuseridentity" in finding(result, "emails").message
    assert not result.ok


def test_learners_that_moodle_leaves_out_are_noticed(moodle: FakeMoodle) -> None:
    moodle.functions = NO_REPORT
    moodle.answers[ENROLLED] = answer("silent_empty_missing_viewdetails")
    courses = answer("courses_by_field_all")["courses"]
    moodle.answers[COURSES] = {"courses": [course for course in courses if course["id"] == 2]}
    result = run(moodle)
    assert result.feed == "B"
    assert "moodle/user:viewdetails" in finding(result, "participants").message
    assert "at most 2 participants" in finding(result, "participants").message
    assert not result.ok


def test_learners_of_the_report_that_are_missing_from_the_participants_are_noticed(moodle: FakeMoodle) -> None:
    moodle.answers[ENROLLED] = [moodle.person(303), moodle.person(5)]
    result = run(moodle)
    assert result.feed == "A"
    assert "Only 2 participants of the course 2" in finding(result, "participants").message
    # The report does not need the participants.
    assert not finding(result, "participants").needed
    assert result.ok


def test_learners_beyond_the_first_hundred_are_not_called_missing(moodle: FakeMoodle) -> None:
    moodle.answers[ENROLLED] = [moodle.person(number) for number in range(1000, 1100)]
    assert finding(run(moodle), "participants").ok


def test_the_account_itself_is_no_learner(moodle: FakeMoodle) -> None:
    moodle.answers[ENROLLED] = [moodle.person(306)]
    assert not finding(run(moodle), "participants").ok


def test_a_course_without_learners_is_passed_over(moodle: FakeMoodle) -> None:
    moodle.functions = NO_REPORT
    moodle.answers[COURSES] = {"courses": [moodle.course(number) for number in (2, 3, 5, 6, 7)]}
    moodle.answers[ENROLLED] = lambda fields: [moodle.person(303)] + [moodle.person(9)] * (fields["courseid"] == "5")
    result = run(moodle)
    assert finding(result, "participants").ok
    assert [fields["courseid"] for function, fields in moodle.asked if function == ENROLLED] == ["2", "3", "5"]


def test_courses_that_are_hidden_or_not_tracked_are_not_tried(moodle: FakeMoodle) -> None:
    moodle.functions = NO_REPORT
    courses = [moodle.course(2, visible=0), moodle.course(3, enablecompletion=0)]
    moodle.answers[COURSES] = {"courses": courses}
    result = run(moodle)
    assert result.feed == "B"
    assert ENROLLED not in [function for function, _ in moodle.asked]


def test_courses_of_the_report_that_cannot_be_seen_are_told(moodle: FakeMoodle) -> None:
    moodle.answers[COURSES] = {"courses": []}
    result = run(moodle)
    assert result.feed == "A"
    assert bad(result) == {"courses"}
    assert "because they are hidden: 2." in finding(result, "courses").message
    assert "moodle/course:viewhiddencourses" in finding(result, "courses").message


def test_a_site_without_any_visible_course_is_told(moodle: FakeMoodle) -> None:
    moodle.functions = NO_REPORT
    moodle.answers[COURSES] = {"courses": []}
    assert "sees no course at all" in finding(run(moodle), "courses").message


def test_a_refused_list_of_courses_is_told(moodle: FakeMoodle) -> None:
    moodle.answers[COURSES] = error("nopermissions")
    result = run(moodle)
    assert result.feed == "A"
    assert bad(result) == {"courses"}


@pytest.mark.parametrize(
    ("function", "code", "slug"),
    [
        (ENROLLED, "nopermissions", "participants"),
        (ENROLLED, "errorcoursecontextnotvalid", "participants"),
        (COMPLETION, "cannotviewreport", "completion-status"),
    ],
)
def test_without_report_a_refusal_leaves_no_feed(moodle: FakeMoodle, function: str, code: str, slug: str) -> None:
    moodle.functions = NO_REPORT
    moodle.answers[function] = error(code)
    result = run(moodle)
    assert result.feed == ""
    assert code in finding(result, slug).message
    assert result.failure is None
    assert result.info is not None


@pytest.mark.parametrize("code", ["usernotenroled", "nocriteriaset", "userdeleted"])
def test_an_answer_about_one_learner_or_course_is_no_refusal(moodle: FakeMoodle, code: str) -> None:
    moodle.functions = NO_REPORT
    moodle.answers[COMPLETION] = error(code)
    result = run(moodle)
    assert result.feed == "B"
    assert finding(result, "completion-status").ok


@pytest.mark.parametrize("code", ["nopermissiontoviewgrades", "invalidtoken"])
def test_refused_grades_only_cost_the_score(moodle: FakeMoodle, code: str) -> None:
    moodle.answers[GRADES] = error(code)
    result = run(moodle)
    assert result.feed == "A"
    assert bad(result) == {"grades"}
    assert result.ok


def test_without_completions_a_participant_serves_to_try_grades(moodle: FakeMoodle) -> None:
    moodle.rows = []
    run(moodle)
    [fields] = [fields for function, fields in moodle.asked if function == GRADES]
    assert (fields["courseid"], fields["userid"]) == ("2", "806")


@pytest.mark.parametrize(
    ("name", "slug", "advice"),
    [
        ("error_token_invalid", "token", "Create a new token"),
        ("error_token_expired", "token", "has just expired"),
        ("error_service_user_suspended", "token", "suspended"),
        ("error_rest_disabled", "address", "Manage protocols"),
        ("error_webservices_disabled", "address", "Advanced"),
        ("error_maintenance_web", "address", "maintenance mode"),
        ("error_maintenance_cli", "address", "too busy"),
        ("error_upgrade_running", "address", "being upgraded"),
    ],
)
def test_a_site_that_cannot_be_entered_is_a_failure_with_what_to_do(name: str, slug: str, advice: str) -> None:
    reply = recorded(name)
    body = reply["response"] if isinstance(reply["response"], str) else json.dumps(reply["response"])
    with responses.RequestsMock() as wire:
        wire.post(
            "https://moodle.example/webservice/rest/server.php",
            body=body,
            status=reply["http_status"],
            content_type=reply["content_type"],
        )
        result = run(FakeMoodle())
    assert not finding(result, slug).ok
    assert advice in finding(result, slug).message
    assert bad(result) == {slug}
    assert result.failure is not None
    assert (result.info, result.report, result.feed) == (None, None, "")
    assert not result.ok


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        ({"body": requests.ConnectionError("moodle.example")}, MoodleUnavailable),
        ({"body": "<!DOCTYPE html><html>", "content_type": "text/html"}, MoodleUnexpected),
        ({"status": 301, "headers": {"Location": "https://www.moodle.example/"}}, MoodleUnexpected),
        ({"status": 404, "body": "not here"}, MoodleUnexpected),
        ({"body": "[]", "content_type": "application/json"}, MoodleUnexpected),
    ],
)
def test_an_address_without_moodle_is_a_failure(reply: dict[str, Any], kind: type[Exception]) -> None:
    with responses.RequestsMock() as wire:
        wire.post("https://moodle.example/webservice/rest/server.php", **reply)
        result = run(FakeMoodle())
    assert [item.check for item in result.findings] == ["address"]
    assert bad(result) == {"address"}
    assert isinstance(result.failure, kind)


@pytest.mark.parametrize("function", [LIST, FILTER, READ])
@pytest.mark.parametrize(
    ("reply", "kind"),
    [(HTTPStatus.SERVICE_UNAVAILABLE, MoodleUnavailable), (error("invalidtoken"), MoodleTokenRefused)],
    ids=["503", "token"],
)
def test_a_site_that_goes_away_half_way_decides_nothing(
    moodle: FakeMoodle, function: str, reply: Any, kind: type[Exception]
) -> None:
    moodle.answers[function] = reply
    result = run(moodle)
    assert isinstance(result.failure, kind)
    assert (result.info, result.report, result.feed) == (None, None, "")
    assert not result.ok
    assert ENROLLED not in [function for function, _ in moodle.asked]


@pytest.mark.parametrize("function", [COURSES, ENROLLED, COMPLETION])
def test_a_site_that_goes_away_while_learners_are_looked_at_decides_nothing(moodle: FakeMoodle, function: str) -> None:
    moodle.functions = NO_REPORT
    moodle.answers[function] = HTTPStatus.SERVICE_UNAVAILABLE
    result = run(moodle)
    assert isinstance(result.failure, MoodleUnavailable)
    assert result.info is None
    assert GRADES not in [function for function, _ in moodle.asked]


def test_a_call_that_only_the_other_feed_needs_does_not_stop_the_report(moodle: FakeMoodle) -> None:
    moodle.answers[ENROLLED] = HTTPStatus.SERVICE_UNAVAILABLE
    result = run(moodle)
    assert result.feed == "A"
    assert result.failure is None
    assert bad(result) == {"participants"}


@pytest.mark.parametrize(
    ("ahead", "skew", "ok"),
    [
        (0, 0, True),
        (4, 0, True),
        (-4, 0, True),
        (60, 60, True),
        (-60, -60, True),
        (600, 600, False),
        (-600, -600, False),
    ],
)
def test_the_difference_of_the_clocks_is_measured(moodle: FakeMoodle, ahead: int, skew: int, ok: bool) -> None:
    moodle.date = NOW + timedelta(seconds=ahead)
    result = run(moodle)
    assert abs(result.clock_skew - timedelta(seconds=skew)) < timedelta(seconds=1)
    assert finding(result, "clock").ok is ok
    assert result.ok


def test_a_site_that_tells_no_time_counts_as_right(moodle: FakeMoodle) -> None:
    moodle.date = None
    result = run(moodle)
    assert result.clock_skew == timedelta(0)
    assert finding(result, "clock").ok


@pytest.mark.parametrize(
    ("url", "ok"),
    [
        ("https://moodle.example", True),
        ("http://127.0.0.1:8001/moodle", True),
        ("http://[::1]:8001", True),
        ("http://localhost:8001", True),
        ("http://moodle.example", False),
        ("http://192.0.2.7", False),
    ],
)
def test_an_unencrypted_address_is_told_unless_it_is_this_machine(url: str, ok: bool) -> None:
    moodle = FakeMoodle(url)
    with responses.RequestsMock() as wire:
        wire.add_callback(
            responses.POST, f"{url}/webservice/rest/server.php", moodle.serve, content_type="application/json"
        )
        result = run(moodle)
    assert finding(result, "address").ok is ok
    assert result.ok
    assert result.feed == "A"


@pytest.mark.parametrize(
    ("siteurl", "ok"),
    [("https://moodle.example/", True), ("http://MOODLE.example", True), ("https://www.moodle.example", False)],
)
def test_a_site_with_another_name_for_itself_is_told(moodle: FakeMoodle, siteurl: str, ok: bool) -> None:
    moodle.siteurl = siteurl
    result = run(moodle)
    assert finding(result, "siteurl").ok is ok
    assert result.feed == "A"


@pytest.mark.parametrize("function", [SITE_INFO, COURSES, ENROLLED, COMPLETION, GRADES, LIST, READ, FILTER])
@pytest.mark.parametrize("code", ["nopermissions", "accessexception", "Secret Person!"])
def test_findings_hold_no_names_and_no_token(moodle: FakeMoodle, function: str, code: str) -> None:
    moodle.answers[function] = error(code)
    result = run(moodle)
    told = f"{result.findings} {result.failure!r}"
    assert all(item.message for item in result.findings)
    assert not any(secret in told for secret in (TOKEN, "Secret", "Person", "@example", "Eilidh", "Lee"))


@pytest.mark.slow
def test_every_recorded_error_becomes_findings(moodle: FakeMoodle) -> None:
    for path in sorted(REPLIES.glob("error_*.json")):
        reply = json.loads(path.read_text())
        if reply["http_status"] == 200 and isinstance(reply["response"], dict):
            for function in (COURSES, ENROLLED, COMPLETION, GRADES, LIST, READ, FILTER):
                before = dict(moodle.answers)
                moodle.answers[function] = reply["response"]
                assert run(moodle).findings
                moodle.answers = before
