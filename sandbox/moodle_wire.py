"""The web-service functions of the pretend Moodle, from form fields to Moodle's JSON or XML (docs/moodle-api.md)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, tzinfo
from functools import lru_cache
from html import escape
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from . import moodle_text
from .faults import MOODLE, Draw, Faults
from .moodle import (
    ADMIN_ID,
    PARTICIPANTS,
    SEPARATE_GROUPS,
    SERVICE_ACCOUNT_ID,
    SITE_COURSE_ID,
    STUDENT,
    Call,
    Course,
    Enrolment,
    Filter,
    Grade,
    Moodle,
    Report,
    RowKey,
    User,
)
from .wire import Reply, Request, html_reply

# For each version of Moodle: version and release as get_site_info gives them, and the branch in links to its docs.
RELEASES = {
    "4.5": ("2024100705.01", "4.5.5+ (Build: 20250613)", "405"),
    "5.0": ("2025041406.11", "5.0.6+ (Build: 20260403)", "500"),
}
# The path of the web service.
SERVER = "/webservice/rest/server.php"
# PHP's limit on the number of form fields.
MAX_INPUT_VARS = 5000
# Pages, messages and sizes of faults.
MAINTENANCE_PAGE = (
    '<!DOCTYPE html><html lang="en"><title>Site under maintenance</title><h1>Site under maintenance</h1></html>'
)
NO_DATABASE = (
    "<p>Error: Database connection failed</p>\n"
    "<p>It is possible that the database is overloaded or otherwise not running properly.</p>\n"
    "<p>The site administrator should also check that the database details have been correctly specified in"
    " config.php</p>"
)
PHP_NOTICE = (
    b"<br />\n<b>Notice</b>:  Undefined variable: extra in <b>local/plugin/lib.php</b> on line <b>12</b><br />\n"
)
FLOOD_BYTES = 20_000_000
BROKEN_PAGE = '<!DOCTYPE html><html lang="en"><title>500</title><h1>Internal Server Error</h1></html>'
# Moodle's exception classes. Most errors have the first one.
GENERAL = "core\\exception\\moodle_exception"
ACCESS = "webservice_access_exception"
PARAMETER = "core\\exception\\invalid_parameter_exception"
RECORD = "dml_missing_record_exception"
REPORT_ACCESS = "core_reportbuilder\\exception\\report_access_exception"
CAPABILITY = "core\\exception\\required_capability_exception"
# The advanced features in get_site_info.
FEATURES = {
    "usecomments": 1,
    "usetags": 1,
    "enablenotes": 1,
    "messaging": 1,
    "enableblogs": 1,
    "enablecompletion": 1,
    "enablebadges": 1,
    "enableportfolios": 0,
    "enablecustomreports": 1,
    "enableglobalsearch": 0,
    "mnet_dispatcher_mode": 0,
    "enablecompetencies": 1,
}
# Messages that are different in a batch, by error code.
BATCH_MESSAGES = {"userdeleted": "This user account has been deleted"}
# The module in the link to an error's docs, by error code, if it is not "moodle".
BATCH_MODULES = {"invalidresponse": "debug"}
# The text filters that are on in every course.
TEXT_FILTERS = ("displayh5p", "activitynames", "mathjaxloader", "emoticon", "urltolink", "mediaplugin", "multilang")
# The scale of courses whose grade type is "scale".
SCALE = ("Fail", "Pass", "Merit", "Distinction")
# The value of forcetimezone if no zone is forced.
FORCED_TIMEZONE_OFF = "99"
# Completion criteria by type: title and requirement.
CRITERIA = {
    1: ("Self completion", "Marking yourself complete"),
    2: ("Date", "After a date"),
    4: ("Activity completion", "Marking yourself complete"),
    5: ("Enrolment duration", "Days left"),
    6: ("Course grade", ""),
    7: ("Manual completion by others", "Marked complete by Teacher"),
    8: ("Prerequisite courses", ""),
}
# The names of a course's first activities, and the id of the first one's page.
ACTIVITIES = ("Read the policy", "Sign the declaration")
ACTIVITY_PAGE = 8
# The types of the criteria in `Course.criteria`.
CRITERIA_OF = {"self": (1,), "grade": (6,), "activities": (4, 4)}


class WsError(Exception):
    """An error with Moodle's class, code and message, sent with HTTP 200. Errors of PHP have no code."""

    def __init__(self, errorcode: str, message: str, exception: str = GENERAL) -> None:
        super().__init__(errorcode)
        self.errorcode = errorcode
        self.message = message
        self.exception = exception


def _bad_parameter() -> WsError:
    return WsError("invalidparameter", "Invalid parameter value detected", PARAMETER)


def _no_access() -> WsError:
    return WsError("accessexception", "Access control exception", ACCESS)


def _no_report() -> WsError:
    return WsError("errorreportview", "You cannot view this report", REPORT_ACCESS)


def _no_capability(capability: str) -> WsError:
    message = f"Sorry, but you do not currently have permissions to do that ({capability})."
    return WsError("nopermissions", message, CAPABILITY)


def _not_set_up() -> WsError:
    return WsError("usernotfullysetup", "User not fully set-up")


def _unreadable_response() -> WsError:
    """The error of an answer that does not pass Moodle's own check, such as a person's name with a tag."""
    return WsError("invalidresponse", "Invalid response value detected", "core\\exception\\invalid_response_exception")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a call: names as stored, text filters applied, the language, the time zone of dates."""

    raw: bool
    filter: bool
    language: str
    zone: tzinfo


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a function.

    - `kind`: "text", "int" or "list".
    - `default`: `...` if the parameter is required.
    - `parts`: the fields of a list's items. A single part "" means that the items are plain values.
    """

    kind: str = "text"
    default: Any = ...
    parts: tuple[tuple[str, Param], ...] = ()


INT = Param("int")
TEXT = Param("text")


class MoodleWire:
    """Answers requests below `/moodle/` from the state, or lets faults do so."""

    def __init__(self, moodle: Moodle, faults: Faults) -> None:
        self.moodle = moodle
        self.faults = faults
        self._expired: set[int] = set()

    def handle(self, request: Request) -> Reply:
        """Answer a request below `/moodle/`."""
        path = request.path.removeprefix(self.moodle.root)
        if path != SERVER:
            return self._page(path, request)
        pairs = parse_qsl(request.query, keep_blank_values=True)
        pairs += parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        # PHP ignores further fields.
        fields = _nested(pairs[:MAX_INPUT_VARS])
        as_json = fields.pop("moodlewsrestformat", "") == "json"
        function = str(fields.pop("wsfunction", ""))
        draw = self.faults.draw(MOODLE, function)
        kind = draw.fault.kind if draw.fault else ("slow" if draw.delay else "")
        errorcode = ""
        with self.moodle.lock:
            reply = self._closed(draw)
            if reply is None:
                try:
                    self._admit(draw, fields)
                    reply = _answer(self._call(function, fields), as_json)
                except WsError as error:
                    errorcode = error.errorcode or error.exception
                    reply = _refusal(error, as_json)
            status = 0 if reply.drop else reply.status
            self.moodle.ledger.append(Call(self.moodle.clock(), function, errorcode, status, kind))
        return _damaged(reply, draw).later(draw.delay)

    def _page(self, path: str, request: Request) -> Reply:
        """The pages that links lead to. Other addresses are answered with 404, as by Moodle's web server."""
        if path in ("", "/"):
            return html_reply(_small_page(self.moodle.site.name))
        number = request.params().get("id", "")
        with self.moodle.lock:
            if path == "/course/view.php" and number.isdecimal() and (course := self.moodle.courses.get(int(number))):
                return html_reply(_small_page(moodle_text.strip_tags(course.fullname)))
        return html_reply("File not found.\n", 404)

    def _closed(self, draw: Draw) -> Reply | None:
        """The reply of a fault that closes the web service, or None."""
        match draw.fault.kind if draw.fault else "":
            case "down":
                return Reply(drop="close")
            case "refuse":
                return Reply(drop="reset")
            case "500":
                return html_reply(BROKEN_PAGE, 500)
            case "maintenance_cli":
                return html_reply(MAINTENANCE_PAGE, 503)
            case "ws_disabled":
                return html_reply("", 403)
            case _:
                return None

    def _admit(self, draw: Draw, fields: dict[str, Any]) -> None:
        """Check for maintenance mode and the token. Raises WsError."""
        fault = draw.fault
        if fault is not None and fault.kind == "dbconnectionfailed":
            raise WsError("dbconnectionfailed", NO_DATABASE, "dml_connection_exception")
        if fault is not None and fault.kind == "maintenance":
            raise WsError("sitemaintenance", "The site is undergoing maintenance and is currently not available")
        token = fields.pop("wstoken", "")
        if fault is not None and fault.kind == "token_expired" and token == self.moodle.token:
            # Moodle deletes an expired token when it is used, so later calls get another error.
            if fault.id not in self._expired:
                self._expired.add(fault.id)
                raise _no_access()
            token = ""
        if not token or token != self.moodle.token:
            raise WsError("invalidtoken", "Invalid token - token not found")

    def _call(self, function: str, fields: dict[str, Any]) -> Any:
        raw, filtered = (fields.pop(f"moodlewssetting{name}", "") in ("1", "true") for name in ("raw", "filter"))
        zone = self._zone(str(fields.pop("moodlewssettingtimezone", "")))
        language = str(fields.pop("moodlewssettinglang", "")) or "en"
        fields.pop("moodlewssettingfileurl", None)
        return self._run(function, fields, Settings(raw, filtered, language, zone))

    def _run(self, function: str, arguments: dict[str, Any], settings: Settings) -> Any:
        if not function:
            raise _bad_parameter()
        if function not in FUNCTIONS:
            raise _no_access() if function in OTHER_FUNCTIONS else self._no_record("external_functions")
        if self.faults.meets(MOODLE, "missing_function", function):
            raise _no_access()
        spec, answer = FUNCTIONS[function]
        return self._distorted(function, answer(self, settings, **_checked(spec, arguments)))

    def _zone(self, name: str) -> tzinfo:
        """The zone of a call's dates: the forced one, else the one of the call, else the site's."""
        site = self.moodle.site
        return _known_zone(site.force_timezone) or _known_zone(name) or _known_zone(site.timezone) or UTC

    def _distorted(self, function: str, answer: Any) -> Any:
        """The answer with the changes of `Moodle.distort` and of the faults for odd rows."""
        for oddity in self.moodle.oddities:
            if oddity.function == function:
                _distort(answer, oddity.key, oddity.value, oddity.id)
        for kind in ("odd_startdate", "odd_null", "odd_id"):
            if (rows := _first_rows(answer)) and self.faults.meets(MOODLE, kind, function):
                _make_odd(rows[0], kind)
        return answer

    def _no_record(self, table: str) -> WsError:
        """The error of a missing record. Since 5.0 it does not name the table."""
        if self.moodle.site.version != "4.5":
            return WsError("invalidrecordunknown", "Can't find data record in database.", RECORD)
        if table == "user":
            return WsError("invaliduser", "Invalid user", RECORD)
        return WsError("invalidrecord", f"Can't find data record in database table {table}.", RECORD)

    # The functions.

    def _site_info(self, _settings: Settings, serviceshortnames: list[str]) -> dict[str, Any]:
        del serviceshortnames  # Accepted, but without effect for a token that belongs to one service.
        site, faults = self.moodle.site, self.faults
        features = dict(FEATURES)
        features["enablecompletion"] = int(not faults.is_on(MOODLE, "completion_off"))
        features["enablecustomreports"] = int(not faults.is_on(MOODLE, "reports_off"))
        version, release, _branch = RELEASES[site.version]
        if site.version != "4.5":
            del features["enableportfolios"]
            features["messagingallusers"] = 0
        functions = [name for name in FUNCTIONS if not faults.is_on(MOODLE, "missing_function", name)]
        return {
            **_SITE_INFO,
            "sitename": site.name,
            "siteurl": self.moodle.url,
            "userpictureurl": self._picture(1),
            "functions": [{"name": name, "version": version} for name in functions],
            "release": release,
            "version": version,
            "advancedfeatures": [{"name": name, "value": value} for name, value in features.items()],
        }

    def _courses_by_field(self, settings: Settings, field: str, value: str) -> dict[str, Any]:
        courses = self.moodle.courses
        match field:
            case "":
                found = list(courses.values())
            case "id":
                if not re.fullmatch(r"\d+", value):
                    raise _bad_parameter()
                found = [courses[int(value)]] if int(value) in courses else []
            case "ids":
                found = self._courses_by_ids(value)
            case "shortname":
                found = [course for course in courses.values() if course.shortname == value]
            case "idnumber":
                found = [course for course in courses.values() if course.idnumber == value != ""]
            case "category":
                found = [course for course in courses.values() if str(course.category) == value]
            case _:
                raise _bad_parameter()
        if self.faults.meets(MOODLE, "no_hidden_courses"):
            found = [course for course in found if course.visible]
        records = [self._course_record(course, settings) for course in found]
        if field == "" or (field in ("id", "ids") and str(SITE_COURSE_ID) in value.split(",")):
            records.insert(0, self._site_course())
        return {"courses": records, "warnings": []}

    def _courses_by_ids(self, value: str) -> list[Course]:
        """Several courses. If one does not exist, the call fails with an error of PHP."""
        if not re.fullmatch(r"\d+(,\d+)*", value):
            raise WsError("dmlreadexception", "Error reading from database", "dml_read_exception")
        wanted = sorted({int(number) for number in value.split(",")} - {SITE_COURSE_ID})
        if any(number not in self.moodle.courses for number in wanted):
            raise WsError("", 'Attempt to assign property "contextvalidated" on null', "Error")
        return [self.moodle.courses[number] for number in wanted]

    def _enrolled_users(self, settings: Settings, courseid: int, options: list[dict[str, str]]) -> list[dict[str, Any]]:
        function = "core_enrol_get_enrolled_users"
        course = self._open_course(courseid, function)
        if self.faults.meets(MOODLE, "participants_refused"):
            raise _no_capability("View participants")
        # Moodle ignores unknown options.
        values = {option["name"]: option["value"] for option in options}
        start = _number(values.get("limitfrom", "0"))
        limit = _number(values.get("limitnumber", "0"))
        order = values.get("sortby", "id")
        direction = values.get("sortdirection", "ASC").upper()
        if order not in ("id", "firstname", "lastname", "siteorder") or direction not in ("ASC", "DESC"):
            raise _bad_parameter()
        ids = self._participant_ids(course, values, order)
        if direction == "DESC":
            ids = ids[::-1]
        if limit and self.faults.meets(MOODLE, "short_pages", function):
            limit = _shorter(limit)
        ids = ids[start : start + limit] if limit else ids[start:]
        if any(_has_tag(self.moodle.users[number]) for number in ids):
            raise _unreadable_response()
        unseen = self._unseen(function)
        fields = [name.strip() for name in values["userfields"].split(",")] if values.get("userfields") else None
        members = self.moodle.members(courseid)
        return [self._enrolled(self.moodle.users[number], members[number], settings, fields, unseen) for number in ids]

    def _participant_ids(self, course: Course, options: dict[str, str], order: str) -> list[int]:
        """The sorted participants that the account may see and the options select."""
        if self._groups_close(course):
            return []
        members = self.moodle.members(course.id)
        ids = self.moodle.member_ids(course.id)
        if options.get("onlyactive") == "1":
            ids = [user_id for user_id in ids if members[user_id].counts]
        if options.get("withcapability") == "moodle/course:isincompletionreports":
            ids = [user_id for user_id in ids if members[user_id].role == STUDENT]
        if self.faults.meets(MOODLE, "few_users", "core_enrol_get_enrolled_users"):
            ids = [user_id for user_id in ids if members[user_id].role != STUDENT]
        users = self.moodle.users
        if order in ("firstname", "lastname"):
            ids = sorted(ids, key=lambda user_id: (getattr(users[user_id], order).casefold(), user_id))
        elif order == "siteorder":
            ids = sorted(ids, key=lambda user_id: (users[user_id].lastname.casefold(), users[user_id].firstname))
        return ids

    def _completion_status(self, _settings: Settings, courseid: int, userid: int) -> dict[str, Any]:
        course = self._open_course(courseid, "core_completion_get_course_completion_status")
        self._active_user(userid)
        if not course.enablecompletion or self.faults.meets(MOODLE, "completion_off"):
            raise WsError("cannotviewreport", "You cannot view this report")
        if self._groups_close(course):
            raise WsError("accessdenied", "Access denied")
        enrolment = self.moodle.members(courseid).get(userid)
        if enrolment is None or enrolment.role != STUDENT or not enrolment.counts:
            raise WsError("usernotenroled", "User is not enrolled in this course")
        if not course.criteria:
            raise WsError("nocriteriaset", "No completion criteria set for this course")
        return {
            "completionstatus": {
                "completed": self.moodle.completion(courseid, userid) is not None,
                "aggregation": course.aggregation,
                "completions": self._criteria(course, userid),
            },
            "warnings": [],
        }

    def _users_by_field(self, _settings: Settings, field: str, values: list[str]) -> list[dict[str, Any]]:
        users = self.moodle.users
        found: list[User] = []
        if field == "id":
            wanted = {int(value) for value in values if re.fullmatch(r"\d+", value)}
            found = [users[number] for number in sorted(wanted) if number in users]
        elif field == "email":
            if not self.faults.meets(MOODLE, "no_emails", "core_user_get_users_by_field"):
                ids = sorted({number for value in values for number in self.moodle.ids_by_email(value)})
                found = [users[number] for number in ids if not users[number].deleted]
        elif field not in ("username", "idnumber"):
            # The account may not search by username and idnumber, so Moodle finds nobody. Other fields are invalid.
            raise _bad_parameter()
        if self.faults.meets(MOODLE, "few_users", "core_user_get_users_by_field"):
            # Without moodle/user:viewdetails the account sees teachers only.
            found = [user for user in found if self._teaches(user.id)]
        if any(user.cleaned_up for user in found):
            raise self._no_record("user")
        if any(_has_tag(user) for user in found):
            raise _unreadable_response()
        unseen = self._unseen("core_user_get_users_by_field")
        return [self._user_record(user, unseen) for user in found]

    def _grade_items(self, _settings: Settings, courseid: int, userid: int, groupid: int) -> dict[str, Any]:
        del groupid  # Accepted, but the sandbox has no groups.
        course = self._open_course(courseid, "gradereport_user_get_grade_items")
        if self.faults.meets(MOODLE, "gradereport_refused"):
            raise _no_capability("View your own grade report")
        members = self.moodle.members(courseid)
        if userid:
            users = [self._active_user(userid)]
            if self._groups_close(course):
                raise WsError("notingroup", "error/notingroup")
        else:
            users = [self.moodle.users[number] for number in self.moodle.member_ids(courseid) if members[number].counts]
            users = [user for user in users if members[user.id].role == STUDENT]
        if self.faults.meets(MOODLE, "grades_refused"):
            raise WsError("nopermissiontoviewgrades", "Cannot view grades.")
        if any(_has_tag(user) for user in users):
            raise _unreadable_response()
        view_hidden = not self.faults.meets(MOODLE, "no_viewhidden")
        return {"usergrades": [self._user_grades(course, user, view_hidden) for user in users], "warnings": []}

    def _mobile_config(self, _settings: Settings, section: str) -> dict[str, Any]:
        site = self.moodle.site
        sections = {
            "frontpagesettings": {"fullname": site.name, "shortname": "sandbox"},
            "mobile": {"tool_mobile_disabledfeatures": ""},
            "locationsettings": {
                "timezone": site.timezone,
                "forcetimezone": site.force_timezone or FORCED_TIMEZONE_OFF,
            },
        }
        chosen = [sections.get(section, {})] if section else list(sections.values())
        pairs = [{"name": name, "value": value} for settings in chosen for name, value in settings.items()]
        return {"settings": pairs, "warnings": []}

    def _timestamps(self, settings: Settings, data: list[dict[str, Any]]) -> dict[str, Any]:
        timestamps = []
        for row in data:
            key = {"key": row["key"]} if row["key"] else {}
            parts = {name: value for name, value in row.items() if name != "key"}
            try:
                timestamps.append({**key, "timestamp": moodle_text.epoch(**parts, zone=settings.zone)})
            except ValueError:
                raise _bad_parameter() from None
        return {"timestamps": timestamps}

    def _list_reports(self, _settings: Settings, page: int, perpage: int) -> dict[str, Any]:
        if self.faults.meets(MOODLE, "reports_off"):
            raise _no_report()
        if self.faults.meets(MOODLE, "reportbuilder_refused"):
            raise _no_report()
        if self.faults.meets(MOODLE, "usernotfullysetup"):
            raise _not_set_up()
        shared = [report for report in self.moodle.reports.values() if report.shared]
        if self.faults.meets(MOODLE, "report_refused"):
            shared = []
        start = max(page, 0) * perpage
        shown = shared[start : start + perpage] if perpage > 0 else shared
        return {"reports": [self._report_record(report) for report in shown], "warnings": []}

    def _retrieve_report(self, settings: Settings, reportid: int, page: int, perpage: int) -> dict[str, Any]:
        report = self._readable_report(reportid)
        rows = self.moodle.rows(reportid)
        if perpage > 0 and self.faults.meets(MOODLE, "short_pages", "core_reportbuilder_retrieve_report"):
            perpage = _shorter(perpage)
        start = max(page, 0) * perpage
        shown = rows[start : start + perpage] if perpage > 0 else rows
        columns = report.columns
        if self.faults.meets(MOODLE, "report_changed"):
            # As if its editor had removed two columns, changed the order and added another one.
            columns = (*columns[1:3], "Enrolment method", *columns[3:-1])
        return {
            "details": self._report_record(report),
            "data": {
                "headers": [self._heading(report, title) for title in columns],
                "rows": [{"columns": self._cells(columns, key, settings)} for key in shown],
                # In 5.0, pages after the last one have no total.
                "totalrowcount": len(rows) if shown or self.moodle.site.version == "4.5" else 0,
            },
            "warnings": [],
        }

    def _set_filters(self, _settings: Settings, reportid: int, values: str) -> bool:
        self._readable_report(reportid)
        self.moodle.set_filter(reportid, _filter(values))
        return True

    def _call_external(self, _settings: Settings, requests: list[dict[str, Any]]) -> dict[str, Any]:
        responses: list[dict[str, Any]] = []
        for request in requests:
            function = request["function"]
            try:
                arguments = json.loads(request["arguments"] or "{}")
            except ValueError:
                raise _bad_parameter() from None
            try:
                if function not in FUNCTIONS or function == "tool_mobile_call_external_functions":
                    raise _no_access()
                # The settings of the call do not apply to its requests, which have no setting for the zone.
                settings = Settings(
                    raw=request["settingraw"] in ("1", "true"),
                    filter=request["settingfilter"] in ("1", "true"),
                    language=request["settinglang"] or "en",
                    zone=self._zone(""),
                )
                result = self._run(function, arguments if isinstance(arguments, dict) else {}, settings)
            except WsError as error:
                # The first error ends the batch; later requests are not run.
                responses.append({"error": True, "exception": _php_json(self._batch_error(error))})
                break
            responses.append({"error": False, "data": _php_json(result)})
        return {"responses": responses}

    # The records.

    def _batch_error(self, error: WsError) -> dict[str, str]:
        if error.errorcode == "accessexception":
            return {"errorcode": "accessexception", "module": "webservice"}
        code, message = error.errorcode, BATCH_MESSAGES.get(error.errorcode, error.message)
        if not code:
            code, message = "generalexceptionmessage", f"Exception - {message}"
        branch, module = RELEASES[self.moodle.site.version][2], BATCH_MODULES.get(code, "moodle")
        return {
            "message": message,
            "errorcode": code,
            "link": f"{self.moodle.url}/",
            "moreinfourl": f"https://docs.moodle.org/{branch}/en/error/{module}/{code}",
        }

    def _open_course(self, course_id: int, function: str) -> Course:
        """The course, if the account may enter it. Raises WsError, with another text in enrolment functions."""
        course = self.moodle.courses.get(course_id)
        if course is None:
            raise self._no_record("course")
        hidden = not course.visible and self.faults.meets(MOODLE, "no_hidden_courses")
        if self.faults.meets(MOODLE, "usernotfullysetup"):
            error = _not_set_up()
        elif hidden or self.faults.meets(MOODLE, "course_refused"):
            refused = "core\\exception\\require_login_exception"
            error = WsError("requireloginerror", "Course or activity not accessible.", refused)
        else:
            return course
        if function.startswith("core_enrol_"):
            where = f"You cannot execute functions in the course context (course id:{course_id})."
            raise WsError("errorcoursecontextnotvalid", f"{where} The context error message was: {error.message}")
        raise error

    def _groups_close(self, course: Course) -> bool:
        """Whether separate groups hide a course's learners from the account."""
        if self.faults.meets(MOODLE, "separate_groups"):
            return True
        return course.groupmode == SEPARATE_GROUPS and self.faults.meets(MOODLE, "no_accessallgroups")

    def _active_user(self, user_id: int) -> User:
        user = self.moodle.users.get(user_id)
        if user is None:
            raise self._no_record("user")
        if user.deleted:
            raise WsError("userdeleted", "error/userdeleted")
        if not user.confirmed:
            raise WsError("usernotconfirmed", "error/usernotconfirmed")
        return user

    def _readable_report(self, report_id: int) -> Report:
        if any(self.faults.meets(MOODLE, kind) for kind in ("reports_off", "report_refused", "reportbuilder_refused")):
            raise _no_report()
        if self.faults.meets(MOODLE, "usernotfullysetup"):
            raise _not_set_up()
        report = self.moodle.reports.get(report_id)
        if report is None:
            raise self._no_record("reportbuilder_report")
        if not report.shared:
            raise _no_report()
        return report

    def _course_name(self, text: str, settings: Settings) -> str:
        """A course's name outside reports: as stored, or as HTML."""
        if settings.raw:
            return text
        site = self.moodle.site
        language = settings.language if settings.filter and site.filter_headings else None
        return moodle_text.formatted(text, html=True, language=language, tags=not site.strip_tags)

    def _heading(self, report: Report, title: str) -> str:
        """A column's heading as HTML: the title, or what the report's editor replaced it by."""
        if title in report.headings:
            return moodle_text.formatted(report.headings[title], html=True, language=None)
        customised = self.moodle.site.titles == "customised"
        return "Student number" if customised and title == "Username" else title

    def _yes(self) -> str:
        return "Aye" if self.moodle.site.titles == "customised" else "Yes"

    def _picture(self, size: int) -> str:
        return f"{self.moodle.url}/theme/image.php/boost/core/1/u/f{size}"

    def _course_record(self, course: Course, settings: Settings) -> dict[str, Any]:
        fullname, shortname = (self._course_name(name, settings) for name in (course.fullname, course.shortname))
        members = self.moodle.members(course.id)
        teachers = [number for number, enrolment in members.items() if enrolment.role != STUDENT]
        return {
            **_COURSE,
            "id": course.id,
            "fullname": fullname,
            "displayname": fullname,
            "shortname": shortname,
            "courseimage": f"{self.moodle.url}/pluginfile.php/{course.id}/course/generated/course.svg",
            "categoryid": course.category,
            "categoryname": self._course_name(self.moodle.categories.get(course.category, ""), settings),
            "sortorder": 20000 + course.id,
            "summary": f"<p>About {escape(course.shortname)}</p>",
            "contacts": [{"id": number, "fullname": self.moodle.users[number].fullname} for number in teachers],
            "startdate": course.startdate,
            "visible": course.visible,
            "groupmode": SEPARATE_GROUPS if self.faults.is_on(MOODLE, "separate_groups") else course.groupmode,
            "groupmodeforce": course.groupmodeforce,
            "enablecompletion": course.enablecompletion,
        }

    def _site_course(self) -> dict[str, Any]:
        record = {
            **_COURSE,
            "id": SITE_COURSE_ID,
            "fullname": self.moodle.site.name,
            "displayname": self.moodle.site.name,
            "shortname": "sandbox",
            "courseimage": f"{self.moodle.url}/pluginfile.php/2/course/generated/course.svg",
            "summaryformat": 0,
            "showcompletionconditions": None,
            "enrollmentmethods": [],
            "format": "site",
            "newsitems": 3,
        }
        del record["courseformatoptions"]
        return record

    def _enrolled(
        self, user: User, enrolment: Enrolment, settings: Settings, fields: list[str] | None, unseen: set[str]
    ) -> dict[str, Any]:
        """A participant with all fields, or with id, full name and the requested `fields`."""
        record = _names(user, unseen)
        if fields is None:
            record |= {
                "firstaccess": 0,
                "lastaccess": 0,
                "lastcourseaccess": 0,
                **_place(user),
                "profileimageurlsmall": self._picture(2),
                "profileimageurl": self._picture(1),
            }
        else:
            record = {name: value for name, value in record.items() if name in ("id", "fullname", *fields)}
        if fields is None or "roles" in fields:
            role_id = 5 if enrolment.role == STUDENT else 3
            record["roles"] = [{"roleid": role_id, "name": "", "shortname": enrolment.role, "sortorder": 0}]
        if fields is None or "enrolledcourses" in fields:
            record["enrolledcourses"] = [
                {
                    "id": course.id,
                    "fullname": self._course_name(course.fullname, settings),
                    "shortname": self._course_name(course.shortname, settings),
                }
                for course in self.moodle.courses_of(user.id)
            ]
        return record

    def _teaches(self, user_id: int) -> bool:
        courses = self.moodle.courses_of(user_id)
        return any(self.moodle.members(course.id)[user_id].role != STUDENT for course in courses)

    def _unseen(self, function: str) -> set[str]:
        """The fields of a person that the account may not see."""
        unseen = {"email"} if self.faults.meets(MOODLE, "no_emails", function) else set()
        return unseen | ({"firstname", "lastname"} if self.faults.meets(MOODLE, "no_viewfullnames") else set())

    def _user_record(self, user: User, unseen: set[str]) -> dict[str, Any]:
        return {
            **_names(user, unseen),
            "firstaccess": 0,
            "lastaccess": 0,
            "suspended": user.suspended,
            "timezone": "99",
            **_place(user),
            "profileimageurlsmall": self._picture(2),
            "profileimageurl": self._picture(1),
        }

    def _criteria(self, course: Course, user_id: int) -> list[dict[str, Any]]:
        """A learner's completion criteria."""
        completion = self.moodle.completion(course.id, user_id)
        when = int(completion.time) if completion and completion.time_known else None
        met = self.moodle.criteria(course.id, user_id)
        if met is None:
            kinds = [kind for name in course.criteria.split(",") for kind in CRITERIA_OF.get(name.strip(), (1,))]
            met = [(kind, when) for kind in kinds]
        records = []
        activities = 0
        for kind, seconds in met:
            title, requirement = CRITERIA.get(kind, ("Other criterion", ""))
            details = {"type": title, "criteria": title, "requirement": requirement, "status": ""}
            status = "No" if seconds is None else self._yes()
            if kind == 4:
                number = ACTIVITY_PAGE + activities
                name = ACTIVITIES[activities] if activities < len(ACTIVITIES) else f"Activity {number}"
                activities += 1
                details["criteria"] = f'<a href="{self.moodle.url}/mod/page/view.php?id={number}">{name}</a>'
            elif kind == 6:
                grade = self.moodle.grade(course.id, user_id)
                need = f"{course.grademax / 2 if course.grade_required is None else course.grade_required:.2f}"
                points = f"{grade.raw:.2f}" if grade else "-"
                details |= {"criteria": "Required course grade", "requirement": need, "status": points}
                status = f"{points} ({need} required)"
            records.append(
                {
                    "type": kind,
                    "title": title,
                    "status": status,
                    "complete": seconds is not None,
                    "timecompleted": seconds,
                    "details": details,
                }
            )
        return records

    def _user_grades(self, course: Course, user: User, view_hidden: bool) -> dict[str, Any]:
        grade = self.moodle.grade(course.id, user.id)
        items: list[dict[str, Any]] = []
        if course.grade_type != "none":
            names = ["Final test", *(["Hidden test"] if course.hidden_work and view_hidden else [])]
            for place, name in enumerate(names):
                work = _grade_item(grade, course, {"id": course.id * 3 + place, "itemname": name, "itemtype": "manual"})
                work |= {"itemnumber": 0, "categoryid": course.id, "feedbackformat": 0}
                if grade is not None:
                    work |= {"weightraw": 1, "weightformatted": "100.00 %"}
                items.append(work)
        total = _grade_item(grade, course, {"id": course.id * 3 + 2, "itemname": None, "itemtype": "course"})
        total |= {"iteminstance": course.id, "gradeishidden": course.hidden_total}
        if course.hidden_work and not view_hidden:
            total |= {"graderaw": None, "gradeformatted": "-", "percentageformatted": "-"}
        items.append(total)
        return {
            "courseid": course.id,
            "courseidnumber": course.idnumber,
            "userid": user.id,
            "userfullname": user.fullname,
            "useridnumber": user.idnumber,
            "maxdepth": 2,
            "gradeitems": [] if course.hidden_total and not view_hidden else items,
        }

    def _report_record(self, report: Report) -> dict[str, Any]:
        return {
            "name": report.name,
            "source": PARTICIPANTS,
            "type": 0,
            "uniquerows": report.unique,
            "conditiondata": '{"completion:completed_operator":1}' if report.completed_only else "[]",
            "settingsdata": None,
            "contextid": 1,
            "component": "",
            "area": "",
            "itemid": 0,
            "usercreated": ADMIN_ID,
            "id": report.id,
            "timecreated": report.timecreated,
            "timemodified": report.timemodified,
            "usermodified": ADMIN_ID,
            "sourcename": "Course participants",
            "tags": [],
            **({} if self.moodle.site.version == "4.5" else {"customfields": {"data": []}}),
            "modifiedby": {
                "id": ADMIN_ID,
                "email": "admin@example.org",
                "idnumber": "",
                "phone1": "",
                "phone2": "",
                "department": "",
                "institution": "",
                "fullname": "Admin User",
                "identity": "admin@example.org",
                "profileurl": f"{self.moodle.url}/user/profile.php?id={ADMIN_ID}",
                "profileimageurl": self._picture(1),
                "profileimageurlsmall": self._picture(2),
            },
        }

    def _cells(self, columns: tuple[str, ...], key: RowKey, settings: Settings) -> list[str]:
        """A row of a report. Each column has its own escaping."""
        seconds, _shortname, _username, course_id, user_id = key
        course, user = self.moodle.courses[course_id], self.moodle.users[user_id]
        cells: list[str] = []
        for title in columns:
            match title:
                case "Course full name with link":
                    text = self._report_name(course.fullname, settings, html=True)
                    cells.append(_link(f"{self.moodle.url}/course/view.php?id={course_id}", text))
                case "Course full name":
                    cells.append(self._report_name(course.fullname, settings, html=False))
                case "Course short name":
                    cells.append(self._report_name(course.shortname, settings, html=False))
                case "Full name with link":
                    cells.append(_link(f"{self.moodle.url}/user/profile.php?id={user_id}", user.fullname))
                case "Completed":
                    cells.append("No" if seconds == -math.inf else self._yes())
                case "Time completed":
                    known = seconds != -math.inf
                    form = self.moodle.site.date_form
                    cells.append(moodle_text.date(int(-seconds) // 60, settings.zone, form) if known else "")
                case "Grade":
                    grade = self.moodle.grade(course_id, user_id)
                    cells.append(f"{grade.raw:.2f}" if grade and course.grade_type != "none" else "")
                case _:
                    cells.append(_plain_cell(title, course, user))
        return cells

    def _report_name(self, text: str, settings: Settings, *, html: bool) -> str:
        """A course's name in a report. Whether filters apply depends on the site and not on the call."""
        site = self.moodle.site
        language = settings.language if site.filter_headings else None
        return moodle_text.formatted(text, html=html, language=language, tags=not site.strip_tags)


def _plain_cell(title: str, course: Course, user: User) -> str:
    match title:
        case "Course ID number":
            return course.idnumber
        case "Username":
            return moodle_text.escaped(user.username)
        case "First name":
            return moodle_text.escaped(user.firstname)
        case "Last name":
            return moodle_text.escaped(user.lastname)
        case "Email address":
            return moodle_text.escaped(user.email)
        case "ID number":
            return moodle_text.escaped(user.idnumber)
        case _:
            return ""


def _has_tag(user: User) -> bool:
    return ("<" in user.firstname and moodle_text.holds_tag(user.firstname)) or (
        "<" in user.lastname and moodle_text.holds_tag(user.lastname)
    )


def _names(user: User, unseen: set[str]) -> dict[str, Any]:
    """A person's id, names and address as stored."""
    record: dict[str, Any] = {
        "id": user.id,
        "firstname": user.firstname,
        "lastname": user.lastname,
        "fullname": user.fullname,
        "email": user.email,
    }
    for name in unseen:
        del record[name]
    return record


def _place(user: User) -> dict[str, str]:
    """City and country, without those that are empty."""
    return {name: value for name, value in (("city", user.city), ("country", user.country)) if value}


def _shorter(size: int) -> int:
    """The size of a page with fewer rows than requested."""
    return max(size // 2, 1)


def _distort(answer: Any, key: str, value: Any, wanted: int | None) -> None:
    """Put a value into the records of an answer, or only into the one with the id `wanted`."""
    if isinstance(answer, dict) and "headers" in answer and key in answer["headers"]:
        position = answer["headers"].index(key)
        for row in answer["rows"]:
            cells = row["columns"]
            if wanted is None or any(re.search(rf"/user/profile\.php\?id={wanted}\b", str(cell)) for cell in cells):
                cells[position] = value
        return
    if isinstance(answer, dict) and key in answer and wanted in (None, answer.get("id"), answer.get("userid")):
        answer[key] = value
    for inner in answer.values() if isinstance(answer, dict) else answer if isinstance(answer, list) else ():
        _distort(inner, key, value, wanted)


def _first_rows(answer: Any) -> list[dict[str, Any]]:
    """The rows, courses or people of an answer, if it has any."""
    if isinstance(answer, dict) and "rows" in answer.get("data", ()):
        return list(answer["data"]["rows"])
    rows = answer.get("courses", ()) if isinstance(answer, dict) else answer if isinstance(answer, list) else ()
    # Without the front page, which nobody uses as a course.
    return [row for row in rows if row.get("id") != SITE_COURSE_ID]


def _make_odd(row: dict[str, Any], kind: str) -> None:
    """Apply a fault for odd rows to a course, a person or a row of a report."""
    if kind == "odd_startdate":
        if "startdate" in row:
            row["startdate"] *= 1000
    elif "columns" in row:
        cells = row["columns"]
        if kind == "odd_null":
            cells[len(cells) // 2] = None
        else:
            cells[:] = [cell and cell.replace("/profile.php?id=", f"/profile.php?id={2**63}") for cell in cells]
    elif kind == "odd_null":
        row |= {name: None for name in ("fullname", "lastname", "shortname") if name in row}
    else:
        row["id"] += 2**63


def _grade_item(grade: Grade | None, course: Course, start: dict[str, Any]) -> dict[str, Any]:
    """A grade item. Without a grade, `graderaw` is null. The maximum is the learner's."""
    minimum, maximum = 0.0, grade.maximum if grade else course.grademax
    grade_range = f"0&ndash;{_points(maximum)}"
    if course.grade_type == "scale":
        minimum, maximum, grade_range = 1.0, float(len(SCALE)), f"{SCALE[0]}&ndash;{SCALE[-1]}"
    elif course.grade_type == "none":
        grade, maximum, grade_range = None, 0.0, "0&ndash;0"
    raw = grade.raw if grade else None
    shown = "-" if raw is None else f"{raw:.2f}"
    if raw is not None and course.grade_type == "scale":
        shown = SCALE[min(max(int(raw), 1), len(SCALE)) - 1]
    return {
        **start,
        "itemmodule": None,
        "iteminstance": None,
        "itemnumber": None,
        "idnumber": None,
        "categoryid": None,
        "outcomeid": None,
        "scaleid": None,
        "locked": False,
        "graderaw": _points(raw),
        "gradedatesubmitted": None,
        "gradedategraded": int(grade.time) if grade else None,
        "gradehiddenbydate": False,
        "gradeneedsupdate": False,
        "gradeishidden": False,
        "gradeislocked": False,
        "gradeisoverridden": False,
        "gradeformatted": shown,
        "grademin": _points(minimum),
        "grademax": _points(maximum),
        "rangeformatted": grade_range,
        "percentageformatted": "-" if raw is None else f"{(raw - minimum) / (maximum - minimum) * 100:.2f} %",
        "feedback": "",
        "feedbackformat": 2 if grade else 0,
    }


def _points(value: float | None) -> float | int | None:
    """Points as PHP writes them: whole numbers have no decimals."""
    return int(value) if value is not None and value == int(value) else value


def _link(address: str, text: str) -> str:
    return f'<a href="{address}">{text}</a>'


def _small_page(title: str) -> str:
    return (
        '<!DOCTYPE html><html lang="en"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><h1>{escape(title)}</h1>"
        '<p>A page of the pretend Moodle. <a href="/">Back to the sandbox</a></p></html>'
    )


@lru_cache(maxsize=64)
def _known_zone(name: str) -> tzinfo | None:
    if not re.fullmatch(r"[A-Za-z0-9_+\-]+(/[A-Za-z0-9_+\-]+)*", name):
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, IsADirectoryError):
        return None


def _filter(values: str) -> Filter:
    """The filter in the JSON of set_filters. Malformed JSON clears it, without an error."""
    try:
        given = json.loads(values)
    except ValueError:
        return Filter()
    if not isinstance(given, dict):
        return Filter()
    start = end = 0
    # Operator 3 is a range. The sandbox has no other one.
    if given.get("completion:timecompleted_operator") == 3:
        start = _whole(given.get("completion:timecompleted_from"))
        end = _whole(given.get("completion:timecompleted_to"))
    courses = given.get("course:courseselector_values")
    ids = courses if isinstance(courses, list) else []
    return Filter(start, end, frozenset(_whole(number) for number in ids) - {0})


def _whole(value: Any) -> int:
    """The whole number in a number or text, 0 for anything else."""
    text = str(value)
    return int(float(text)) if re.fullmatch(r"\d{1,12}(\.\d*)?", text) else 0


def _number(text: str) -> int:
    if not re.fullmatch(r"\d+", text):
        raise _bad_parameter()
    return int(text)


def _nested(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Nested form fields as PHP reads them: `a[0][name]=x` becomes {"a": {"0": {"name": "x"}}}."""
    result: dict[str, Any] = {}
    for name, value in pairs:
        match = re.fullmatch(r"([^\[]+)((?:\[[^\]]*\])*)", name)
        if match is None:
            continue
        steps = [match[1], *re.findall(r"\[([^\]]*)\]", match[2])]
        fields = result
        for step in steps[:-1]:
            key = step or str(len(fields))
            if not isinstance(fields.get(key), dict):
                fields[key] = {}
            fields = fields[key]
        fields[steps[-1] or str(len(fields))] = value
    return result


def _checked(spec: dict[str, Param], given: dict[str, Any]) -> dict[str, Any]:
    """Check the parameters of a function and add defaults. Raises WsError for unknown, missing and invalid ones."""
    if set(given) - set(spec):
        raise _bad_parameter()
    checked: dict[str, Any] = {}
    for name, param in spec.items():
        if name in given:
            checked[name] = _value(param, given[name])
        elif param.default is ...:
            raise _bad_parameter()
        else:
            checked[name] = param.default
    return checked


def _value(param: Param, given: Any) -> Any:
    if param.kind == "list":
        items = list(given.values()) if isinstance(given, dict) else given
        if not isinstance(items, list):
            raise _bad_parameter()
        parts = dict(param.parts)
        if "" in parts:
            return [_value(parts[""], item) for item in items]
        if not all(isinstance(item, dict) for item in items):
            raise _bad_parameter()
        return [_checked(parts, item) for item in items]
    if isinstance(given, dict | list) or given is None:
        raise _bad_parameter()
    text = str(int(given)) if isinstance(given, bool) else str(given)
    if param.kind == "int":
        if not re.fullmatch(r"-?\d+", text):
            raise _bad_parameter()
        return int(text)
    return text


def _php_json(value: Any) -> str:
    """JSON as PHP writes it: ASCII with escaped slashes."""
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/")


def _damaged(reply: Reply, draw: Draw) -> Reply:
    """The reply as a fault damages it."""
    pace = draw.fault.seconds if draw.fault else 0.0
    match draw.fault.kind if draw.fault else "":
        case "drip_headers":
            return replace(reply, drip="headers", pace=pace)
        case "drip_body":
            return replace(reply, drip="body", pace=pace)
        case "flood":
            return replace(reply, body=_flood())
        case "junk_before":
            return replace(reply, body=PHP_NOTICE + reply.body)
        case "cut":
            return replace(reply, body=reply.body[: len(reply.body) // 2])
        case "cut_off":
            return replace(reply, sent=len(reply.body) // 2)
        case _:
            return reply


@lru_cache(maxsize=1)
def _flood() -> bytes:
    return b"[" + b"{}," * (FLOOD_BYTES // 3) + b"{}]"


def _answer(value: Any, as_json: bool) -> Reply:
    if as_json:
        return Reply(200, _php_json(value).encode())
    body = f'<?xml version="1.0" encoding="UTF-8" ?>\n<RESPONSE>\n{_xml(value)}</RESPONSE>\n'
    return Reply(200, body.encode(), "application/xml; charset=utf-8")


def _refusal(error: WsError, as_json: bool) -> Reply:
    if as_json:
        code = {"errorcode": error.errorcode} if error.errorcode else {}
        record = {"exception": error.exception, **code, "message": error.message}
        return Reply(200, _php_json(record).encode())
    body = (
        f'<?xml version="1.0" encoding="UTF-8" ?>\n<EXCEPTION class="{escape(error.exception)}">\n'
        f"<ERRORCODE>{escape(error.errorcode)}</ERRORCODE>\n<MESSAGE>{escape(error.message, quote=False)}</MESSAGE>\n"
        "</EXCEPTION>\n"
    )
    return Reply(200, body.encode(), "application/xml; charset=utf-8")


def _xml(value: Any) -> str:
    if isinstance(value, list):
        return "<MULTIPLE>\n" + "".join(_xml(item) for item in value) + "</MULTIPLE>\n"
    if isinstance(value, dict):
        keys = (f'<KEY name="{escape(name)}">{_xml(item)}</KEY>\n' for name, item in value.items())
        return "<SINGLE>\n" + "".join(keys) + "</SINGLE>\n"
    if value is None:
        return '<VALUE null="null"/>\n'
    text = str(int(value)) if isinstance(value, bool) else str(value)
    return f"<VALUE>{escape(text, quote=False)}</VALUE>\n"


# What get_site_info answers on every site.
_SITE_INFO: dict[str, Any] = {
    "username": "svc_badges",
    "firstname": "Badge",
    "lastname": "Portal",
    "fullname": "Badge Portal",
    "lang": "en",
    "userid": SERVICE_ACCOUNT_ID,
    "downloadfiles": 0,
    "uploadfiles": 0,
    "mobilecssurl": "",
    "usercanmanageownfiles": True,
    "userquota": 104857600,
    "usermaxuploadfilesize": 2097152,
    "userhomepage": 1,
    "userprivateaccesskey": "a-secret-that-nobody-should-keep",
    "siteid": 1,
    "sitecalendartype": "gregorian",
    "usercalendartype": "gregorian",
    "userissiteadmin": False,
    "theme": "boost",
    "limitconcurrentlogins": 0,
    "policyagreed": 0,
}

# The fields of a course that are the same for all courses.
_COURSE: dict[str, Any] = {
    "id": 0,
    "fullname": "",
    "displayname": "",
    "shortname": "",
    "courseimage": "",
    "categoryid": 0,
    "categoryname": "",
    "sortorder": 1,
    "summary": "",
    "summaryformat": 1,
    "summaryfiles": [],
    "overviewfiles": [],
    "showactivitydates": False,
    "showcompletionconditions": True,
    "contacts": [],
    "enrollmentmethods": ["manual"],
    "format": "topics",
    "showgrades": 1,
    "newsitems": 1,
    "startdate": 0,
    "enddate": 0,
    "maxbytes": 0,
    "showreports": 0,
    "visible": 1,
    "groupmode": 0,
    "groupmodeforce": 0,
    "defaultgroupingid": 0,
    "enablecompletion": 0,
    "completionnotify": 0,
    "lang": "",
    "theme": "",
    "marker": 0,
    "filters": [{"filter": name, "localstate": 0, "inheritedstate": 1} for name in TEXT_FILTERS],
    "courseformatoptions": [
        {"name": "hiddensections", "value": 1},
        {"name": "coursedisplay", "value": 0},
        {"name": "indentation", "value": "1"},
    ],
}

_COURSE_AND_USER = {"courseid": INT, "userid": INT}
# The functions of the token's service: parameters and method.
FUNCTIONS: dict[str, tuple[dict[str, Param], Callable[..., Any]]] = {
    "core_webservice_get_site_info": (
        {"serviceshortnames": Param("list", [], (("", TEXT),))},
        MoodleWire._site_info,
    ),
    "core_course_get_courses_by_field": (
        {"field": Param("text", ""), "value": Param("text", "")},
        MoodleWire._courses_by_field,
    ),
    "core_enrol_get_enrolled_users": (
        {"courseid": INT, "options": Param("list", [], (("name", TEXT), ("value", TEXT)))},
        MoodleWire._enrolled_users,
    ),
    "core_completion_get_course_completion_status": (_COURSE_AND_USER, MoodleWire._completion_status),
    "core_user_get_users_by_field": (
        {"field": TEXT, "values": Param("list", ..., (("", TEXT),))},
        MoodleWire._users_by_field,
    ),
    "gradereport_user_get_grade_items": (
        {"courseid": INT, "userid": Param("int", 0), "groupid": Param("int", 0)},
        MoodleWire._grade_items,
    ),
    "core_reportbuilder_list_reports": (
        {"page": Param("int", 0), "perpage": Param("int", 10)},
        MoodleWire._list_reports,
    ),
    "core_reportbuilder_retrieve_report": (
        {"reportid": INT, "page": Param("int", 0), "perpage": Param("int", 10)},
        MoodleWire._retrieve_report,
    ),
    "core_reportbuilder_set_filters": ({"reportid": INT, "values": TEXT}, MoodleWire._set_filters),
    "tool_mobile_call_external_functions": (
        {
            "requests": Param(
                "list",
                ...,
                (
                    ("function", TEXT),
                    ("arguments", Param("text", "{}")),
                    ("settingraw", Param("text", "0")),
                    ("settingfilter", Param("text", "0")),
                    ("settingfileurl", Param("text", "1")),
                    ("settinglang", Param("text", "")),
                ),
            )
        },
        MoodleWire._call_external,
    ),
    "tool_mobile_get_config": ({"section": Param("text", "")}, MoodleWire._mobile_config),
    "core_calendar_get_timestamps": (
        {
            "data": Param(
                "list",
                ...,
                (
                    ("key", Param("text", "")),
                    ("year", INT),
                    ("month", INT),
                    ("day", INT),
                    ("hour", Param("int", 0)),
                    ("minute", Param("int", 0)),
                ),
            )
        },
        MoodleWire._timestamps,
    ),
}
# Functions that exist but are not in the token's service.
OTHER_FUNCTIONS = frozenset({"core_user_create_users", "core_course_get_courses", "core_enrol_get_users_courses"})
