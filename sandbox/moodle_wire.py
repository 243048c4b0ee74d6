"""How the pretend Moodle speaks: form fields in, Moodle's JSON (or XML) out, with its errors and its omissions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from html import escape
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .faults import MOODLE, Draw, Faults
from .moodle import (
    ADMIN_ID,
    PARTICIPANTS,
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

VERSION = "2024100705.01"
RELEASE = "4.5.5+ (Build: 20250613)"
SERVER = "/webservice/rest/server.php"
MAX_INPUT_VARS = 5000
MAINTENANCE_PAGE = (
    '<!DOCTYPE html><html lang="en"><title>Site under maintenance</title><h1>Site under maintenance</h1></html>'
)
BROKEN_PAGE = '<!DOCTYPE html><html lang="en"><title>500</title><h1>Internal Server Error</h1></html>'
# Moodle's own classes of exception: most errors are the first.
GENERAL = "core\\exception\\moodle_exception"
ACCESS = "webservice_access_exception"
PARAMETER = "core\\exception\\invalid_parameter_exception"
RECORD = "dml_missing_record_exception"
REPORT_ACCESS = "core_reportbuilder\\exception\\report_access_exception"
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
# Inside a batch one message is worded in another way.
BATCH_MESSAGES = {"userdeleted": "This user account has been deleted"}
TEXT_FILTERS = ("displayh5p", "activitynames", "mathjaxloader", "emoticon", "urltolink", "mediaplugin")


class WsError(Exception):
    """An error of the web service: Moodle's class, code and message, sent with HTTP 200."""

    def __init__(self, errorcode: str, message: str, exception: str = GENERAL) -> None:
        super().__init__(errorcode)
        self.errorcode = errorcode
        self.message = message
        self.exception = exception


def _bad_parameter() -> WsError:
    return WsError("invalidparameter", "Invalid parameter value detected", PARAMETER)


def _no_record(table: str) -> WsError:
    return WsError("invalidrecord", f"Can't find data record in database table {table}.", RECORD)


def _no_access() -> WsError:
    return WsError("accessexception", "Access control exception", ACCESS)


def _no_report() -> WsError:
    return WsError("errorreportview", "You cannot view this report", REPORT_ACCESS)


def _no_capability(what: str) -> WsError:
    message = f"Sorry, but you do not currently have permissions to do that ({what})."
    return WsError("nopermissions", message, "core\\exception\\required_capability_exception")


@dataclass(frozen=True, slots=True)
class Settings:
    """The extra fields of a call: names as stored, and the time zone of dates."""

    raw: bool
    zone: tzinfo


# What a parameter may be: a type with a default (`...` for none), a list of something, or named parts.
@dataclass(frozen=True, slots=True)
class Param:
    """One parameter of a function. `parts` describes the items of a list; a single "" part is a plain value."""

    kind: str = "text"
    default: Any = ...
    parts: tuple[tuple[str, Param], ...] = ()


INT = Param("int")
TEXT = Param("text")


class MoodleWire:
    """Answers requests below `/moodle/` from the state, as the faults that are on allow."""

    def __init__(self, moodle: Moodle, faults: Faults) -> None:
        self.moodle = moodle
        self.faults = faults
        self._expired: set[int] = set()

    def handle(self, request: Request) -> Reply:
        """Answer one request below `/moodle/`."""
        path = request.path.removeprefix(self.moodle.root)
        if path != SERVER:
            return self._page(path, request)
        pairs = parse_qsl(request.query, keep_blank_values=True)
        pairs += parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True)
        # PHP reads no more fields than this and says nothing.
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
                    errorcode = error.errorcode
                    reply = _refusal(error, as_json)
            status = 0 if reply.drop else reply.status
            self.moodle.ledger.append(Call(self.moodle.clock(), function, errorcode, status, kind))
        return reply.later(draw.delay)

    def _page(self, path: str, request: Request) -> Reply:
        """The pages that links lead to; everything else is not found, in Moodle's web server's words."""
        if path in ("", "/"):
            return html_reply(_small_page(self.moodle.sitename))
        number = request.params().get("id", "")
        with self.moodle.lock:
            if path == "/course/view.php" and number.isdecimal() and (course := self.moodle.courses.get(int(number))):
                return html_reply(_small_page(_stripped(course.fullname)))
        return html_reply("File not found.\n", 404)

    def _closed(self, draw: Draw) -> Reply | None:
        """The answer where the service cannot be reached at all, or None."""
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
        """Check maintenance and token. Raises WsError."""
        fault = draw.fault
        if fault is not None and fault.kind == "maintenance":
            raise WsError("sitemaintenance", "The site is undergoing maintenance and is currently not available")
        token = fields.pop("wstoken", "")
        if fault is not None and fault.kind == "token_expired" and token == self.moodle.token:
            # Moodle deletes an expired token at its first use, so the code changes from the second call on.
            if fault.id not in self._expired:
                self._expired.add(fault.id)
                raise _no_access()
            token = ""
        if not token or token != self.moodle.token:
            raise WsError("invalidtoken", "Invalid token - token not found")

    def _call(self, function: str, fields: dict[str, Any]) -> Any:
        raw = fields.pop("moodlewssettingraw", "") in ("1", "true")
        zone = self._zone(str(fields.pop("moodlewssettingtimezone", "")))
        for name in ("moodlewssettinglang", "moodlewssettingfilter", "moodlewssettingfileurl"):
            fields.pop(name, None)
        return self._run(function, fields, Settings(raw, zone))

    def _run(self, function: str, arguments: dict[str, Any], settings: Settings) -> Any:
        if not function:
            raise _bad_parameter()
        if function not in FUNCTIONS:
            raise _no_access() if function in OTHER_FUNCTIONS else _no_record("external_functions")
        if self.faults.meets(MOODLE, "missing_function", function):
            raise _no_access()
        spec, answer = FUNCTIONS[function]
        return answer(self, settings, **_checked(spec, arguments))

    def _zone(self, name: str) -> tzinfo:
        return _known_zone(name) or _known_zone(self.moodle.site_timezone) or UTC

    # The functions

    def _site_info(self, _settings: Settings, serviceshortnames: list[str]) -> dict[str, Any]:
        del serviceshortnames  # accepted and, for a token's own service, without effect
        moodle, faults = self.moodle, self.faults
        features = dict(FEATURES)
        features["enablecompletion"] = int(not faults.stands(MOODLE, "completion_off"))
        features["enablecustomreports"] = int(not faults.stands(MOODLE, "reports_off"))
        return {
            "sitename": moodle.sitename,
            "username": "svc_badges",
            "firstname": "Badge",
            "lastname": "Portal",
            "fullname": "Badge Portal",
            "lang": "en",
            "userid": SERVICE_ACCOUNT_ID,
            "siteurl": moodle.url,
            "userpictureurl": self._picture(1),
            "functions": [
                {"name": name, "version": VERSION}
                for name in FUNCTIONS
                if not faults.stands(MOODLE, "missing_function", name)
            ],
            "downloadfiles": 0,
            "uploadfiles": 0,
            "release": RELEASE,
            "version": VERSION,
            "mobilecssurl": "",
            "advancedfeatures": [{"name": name, "value": value} for name, value in features.items()],
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

    def _courses_by_field(self, settings: Settings, field: str, value: str) -> dict[str, Any]:
        courses = self.moodle.courses
        match field:
            case "":
                found = list(courses.values())
            case "id" | "ids":
                if not re.fullmatch(r"\d+(,\d+)*", value):
                    raise _bad_parameter()
                wanted = {int(number) for number in value.split(",")}
                found = [courses[number] for number in sorted(wanted) if number in courses]
            case "shortname":
                found = [course for course in courses.values() if course.shortname == value]
            case "idnumber":
                found = [course for course in courses.values() if course.idnumber == value != ""]
            case "category":
                found = list(courses.values()) if value == "2" else []
            case _:
                raise _bad_parameter()
        records = [self._course_record(course, settings.raw) for course in found]
        if field == "" or (field in ("id", "ids") and str(SITE_COURSE_ID) in value.split(",")):
            records.insert(0, self._site_course())
        return {"courses": records, "warnings": []}

    def _enrolled_users(self, settings: Settings, courseid: int, options: list[dict[str, str]]) -> list[dict[str, Any]]:
        self._open_course(courseid, "core_enrol_get_enrolled_users")
        if self.faults.meets(MOODLE, "participants_refused"):
            raise _no_capability("View participants")
        # Unknown option names are ignored, as Moodle does.
        chosen = {option["name"]: option["value"] for option in options}
        start = _number(chosen.get("limitfrom", "0"))
        limit = _number(chosen.get("limitnumber", "0"))
        order = chosen.get("sortby", "id")
        direction = chosen.get("sortdirection", "ASC").upper()
        if order not in ("id", "firstname", "lastname", "siteorder") or direction not in ("ASC", "DESC"):
            raise _bad_parameter()
        members = self.moodle.members(courseid)
        ids = self.moodle.member_ids(courseid)
        if chosen.get("onlyactive") == "1":
            ids = [user_id for user_id in ids if members[user_id].active]
        if chosen.get("withcapability") == "moodle/course:isincompletionreports":
            ids = [user_id for user_id in ids if members[user_id].role == STUDENT]
        if self.faults.meets(MOODLE, "few_users", "core_enrol_get_enrolled_users"):
            ids = [user_id for user_id in ids if members[user_id].role != STUDENT]
        users = self.moodle.users
        if order in ("firstname", "lastname"):
            ids = sorted(ids, key=lambda user_id: (getattr(users[user_id], order).casefold(), user_id))
        elif order == "siteorder":
            ids = sorted(ids, key=lambda user_id: (users[user_id].lastname.casefold(), users[user_id].firstname))
        if direction == "DESC":
            ids = ids[::-1]
        ids = ids[start : start + limit] if limit else ids[start:]
        no_emails = self.faults.meets(MOODLE, "no_emails", "core_enrol_get_enrolled_users")
        fields = [name.strip() for name in chosen["userfields"].split(",")] if chosen.get("userfields") else None
        return [self._enrolled(users[number], members[number], settings.raw, fields, no_emails) for number in ids]

    def _completion_status(self, _settings: Settings, courseid: int, userid: int) -> dict[str, Any]:
        course = self._open_course(courseid, "core_completion_get_course_completion_status")
        self._active_user(userid)
        if not course.enablecompletion or self.faults.meets(MOODLE, "completion_off"):
            raise WsError("cannotviewreport", "You cannot view this report")
        if not course.criteria:
            raise WsError("nocriteriaset", "No completion criteria set for this course")
        enrolment = self.moodle.members(courseid).get(userid)
        if enrolment is None or enrolment.role != STUDENT or not enrolment.active:
            raise WsError("usernotenroled", "User is not enrolled in this course")
        completion = self.moodle.completion(courseid, userid)
        when = int(completion.time) if completion and completion.time_known else None
        return {
            "completionstatus": {
                "completed": completion is not None,
                "aggregation": 1,
                "completions": self._criteria(course, userid, when),
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
            # Those two need one more right, and without it Moodle says "none" and not "no".
            raise _bad_parameter()
        no_emails = self.faults.meets(MOODLE, "no_emails", "core_user_get_users_by_field")
        return [self._user_record(user, no_emails) for user in found]

    def _grade_items(self, _settings: Settings, courseid: int, userid: int, groupid: int) -> dict[str, Any]:
        del groupid  # accepted; there are no groups here
        course = self._open_course(courseid, "gradereport_user_get_grade_items")
        if self.faults.meets(MOODLE, "grades_refused"):
            raise WsError("nopermissiontoviewgrades", "Cannot view grades.")
        if userid:
            users = [self._active_user(userid)]
        else:
            members = self.moodle.members(courseid)
            users = [self.moodle.users[number] for number in self.moodle.member_ids(courseid) if members[number].active]
            users = [user for user in users if members[user.id].role == STUDENT]
        return {"usergrades": [self._user_grades(course, user) for user in users], "warnings": []}

    def _list_reports(self, _settings: Settings, page: int, perpage: int) -> dict[str, Any]:
        if self.faults.meets(MOODLE, "reports_off"):
            raise _no_report()
        shared = [report for report in self.moodle.reports.values() if report.shared]
        if self.faults.meets(MOODLE, "report_refused"):
            shared = []
        start = max(page, 0) * perpage
        shown = shared[start : start + perpage] if perpage > 0 else shared
        return {"reports": [self._report_record(report) for report in shown], "warnings": []}

    def _retrieve_report(self, settings: Settings, reportid: int, page: int, perpage: int) -> dict[str, Any]:
        report = self._readable_report(reportid)
        rows = self.moodle.rows(reportid)
        start = max(page, 0) * perpage
        shown = rows[start : start + perpage] if perpage > 0 else rows
        columns = report.columns
        if self.faults.meets(MOODLE, "report_changed"):
            # What an editor of the report may do: a column less, another in its place.
            columns = (*columns[1:3], "Enrolment method", *columns[3:-1])
        return {
            "details": self._report_record(report),
            "data": {
                "headers": list(columns),
                "rows": [{"columns": self._cells(columns, key, settings.zone)} for key in shown],
                "totalrowcount": len(rows),
            },
            "warnings": [],
        }

    def _set_filters(self, _settings: Settings, reportid: int, values: str) -> bool:
        self._readable_report(reportid)
        self.moodle.set_filter(reportid, _filter(values))
        return True

    def _call_external(self, settings: Settings, requests: list[dict[str, Any]]) -> dict[str, Any]:
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
                result = self._run(function, arguments if isinstance(arguments, dict) else {}, settings)
            except WsError as error:
                # The first failure ends the batch: what comes after it is not even tried.
                responses.append({"error": True, "exception": _php_json(self._batch_error(error))})
                break
            responses.append({"error": False, "data": _php_json(result)})
        return {"responses": responses}

    # The records

    def _batch_error(self, error: WsError) -> dict[str, str]:
        if error.errorcode == "accessexception":
            return {"errorcode": "accessexception", "module": "webservice"}
        return {
            "message": BATCH_MESSAGES.get(error.errorcode, error.message),
            "errorcode": error.errorcode,
            "link": f"{self.moodle.url}/",
            "moreinfourl": f"https://docs.moodle.org/405/en/error/moodle/{error.errorcode}",
        }

    def _open_course(self, course_id: int, function: str) -> Course:
        """The course, if the account may enter it; enrolment functions word the refusal in their own way."""
        course = self.moodle.courses.get(course_id)
        if course is None:
            raise _no_record("course")
        if self.faults.meets(MOODLE, "course_refused"):
            told = "Course or activity not accessible."
            if function.startswith("core_enrol_"):
                where = f"You cannot execute functions in the course context (course id:{course_id})."
                raise WsError("errorcoursecontextnotvalid", f"{where} The context error message was: {told}")
            raise WsError("requireloginerror", told, "core\\exception\\require_login_exception")
        return course

    def _active_user(self, user_id: int) -> User:
        user = self.moodle.users.get(user_id)
        if user is None:
            raise WsError("invaliduser", "Invalid user", RECORD)
        if user.deleted:
            raise WsError("userdeleted", "error/userdeleted")
        return user

    def _readable_report(self, report_id: int) -> Report:
        if self.faults.meets(MOODLE, "reports_off") or self.faults.meets(MOODLE, "report_refused"):
            raise _no_report()
        report = self.moodle.reports.get(report_id)
        if report is None:
            raise _no_record("reportbuilder_report")
        if not report.shared:
            raise _no_report()
        return report

    def _picture(self, size: int) -> str:
        return f"{self.moodle.url}/theme/image.php/boost/core/1/u/f{size}"

    def _course_record(self, course: Course, raw: bool) -> dict[str, Any]:
        fullname, shortname = _name(course.fullname, raw), _name(course.shortname, raw)
        members = self.moodle.members(course.id)
        teachers = [number for number, enrolment in members.items() if enrolment.role != STUDENT]
        return {
            **_COURSE,
            "id": course.id,
            "fullname": fullname,
            "displayname": fullname,
            "shortname": shortname,
            "courseimage": f"{self.moodle.url}/pluginfile.php/{course.id}/course/generated/course.svg",
            "categoryid": 2,
            "categoryname": _name("Compliance & Safety", raw),
            "sortorder": 20000 + course.id,
            "summary": f"<p>About {escape(course.shortname)}</p>",
            "contacts": [{"id": number, "fullname": self.moodle.users[number].fullname} for number in teachers],
            "startdate": course.startdate,
            "visible": course.visible,
            "enablecompletion": course.enablecompletion,
        }

    def _site_course(self) -> dict[str, Any]:
        record = {
            **_COURSE,
            "id": SITE_COURSE_ID,
            "fullname": self.moodle.sitename,
            "displayname": self.moodle.sitename,
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
        self, user: User, enrolment: Enrolment, raw: bool, fields: list[str] | None, no_emails: bool
    ) -> dict[str, Any]:
        """One participant: everything, or the fields asked for besides id and full name."""
        record: dict[str, Any] = {
            "id": user.id,
            "firstname": user.firstname,
            "lastname": user.lastname,
            "fullname": user.fullname,
            "email": user.email,
        }
        if no_emails:
            del record["email"]
        if fields is None:
            record |= {
                "firstaccess": 0,
                "lastaccess": 0,
                "lastcourseaccess": 0,
                "city": "Leeds",
                "country": "GB",
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
                {"id": course.id, "fullname": _name(course.fullname, raw), "shortname": _name(course.shortname, raw)}
                for course in self.moodle.courses_of(user.id)
            ]
        return record

    def _user_record(self, user: User, no_emails: bool) -> dict[str, Any]:
        record = {
            "id": user.id,
            "firstname": user.firstname,
            "lastname": user.lastname,
            "fullname": user.fullname,
            "email": user.email,
            "firstaccess": 0,
            "lastaccess": 0,
            "suspended": user.suspended,
            "timezone": "99",
            "city": "Leeds",
            "country": "GB",
            "profileimageurlsmall": self._picture(2),
            "profileimageurl": self._picture(1),
        }
        if no_emails:
            del record["email"]
        return record

    def _criteria(self, course: Course, user_id: int, when: int | None) -> list[dict[str, Any]]:
        """The criteria of a course with what a learner has reached; `when` None: not met, or met without a time."""
        met = {"complete": when is not None, "timecompleted": when}
        yes = "No" if when is None else "Yes"
        if course.criteria == "grade":
            grade = self.moodle.grade(course.id, user_id)
            points = f"{grade.raw:.2f}" if grade else "-"
            need = f"{course.grademax / 2:.2f}"
            details = {
                "type": "Course grade",
                "criteria": "Required course grade",
                "requirement": need,
                "status": points,
            }
            status = f"{points} ({need} required)"
            return [{"type": 6, "title": "Course grade", "status": status, **met, "details": details}]
        if course.criteria == "activities":
            return [
                {
                    "type": 4,
                    "title": "Activity completion",
                    "status": yes,
                    **met,
                    "details": {
                        "type": "Activity completion",
                        "criteria": f'<a href="{self.moodle.url}/mod/page/view.php?id={number}">{title}</a>',
                        "requirement": "Marking yourself complete",
                        "status": "",
                    },
                }
                for number, title in ((8, "Read the policy"), (9, "Sign the declaration"))
            ]
        details = {
            "type": "Self completion",
            "criteria": "Self completion",
            "requirement": "Marking yourself complete",
            "status": "",
        }
        return [{"type": 1, "title": "Self completion", "status": yes, **met, "details": details}]

    def _user_grades(self, course: Course, user: User) -> dict[str, Any]:
        grade = self.moodle.grade(course.id, user.id)
        work = _grade_item(grade, course, {"id": course.id * 2, "itemname": "Final test", "itemtype": "manual"})
        work |= {"itemnumber": 0, "categoryid": course.id, "feedbackformat": 0}
        if grade is not None:
            work |= {"weightraw": 1, "weightformatted": "100.00 %"}
        total = _grade_item(grade, course, {"id": course.id * 2 + 1, "itemname": None, "itemtype": "course"})
        total |= {"iteminstance": course.id}
        return {
            "courseid": course.id,
            "courseidnumber": course.idnumber,
            "userid": user.id,
            "userfullname": user.fullname,
            "useridnumber": user.idnumber,
            "maxdepth": 2,
            "gradeitems": [work, total],
        }

    def _report_record(self, report: Report) -> dict[str, Any]:
        return {
            "name": report.name,
            "source": PARTICIPANTS,
            "type": 0,
            "uniquerows": report.unique,
            "conditiondata": '{"completion:completed_operator":1}',
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

    def _cells(self, columns: tuple[str, ...], key: RowKey, zone: tzinfo) -> list[str]:
        """One row of a report. Cells are text stripped of tags; only the link columns hold HTML."""
        seconds, _shortname, _username, course_id, user_id = key
        course, user = self.moodle.courses[course_id], self.moodle.users[user_id]
        cells: list[str] = []
        for title in columns:
            match title:
                case "Course full name with link":
                    cells.append(_link(f"{self.moodle.url}/course/view.php?id={course_id}", _stripped(course.fullname)))
                case "Full name with link":
                    cells.append(_link(f"{self.moodle.url}/user/profile.php?id={user_id}", user.fullname))
                case "Time completed":
                    cells.append(_long_date(int(-seconds) // 60, zone))
                case "Grade":
                    grade = self.moodle.grade(course_id, user_id)
                    cells.append(f"{grade.raw:.2f}" if grade else "")
                case _:
                    cells.append(_plain_cell(title, course, user))
        return cells


def _plain_cell(title: str, course: Course, user: User) -> str:
    match title:
        case "Course short name":
            return _stripped(course.shortname)
        case "Course full name":
            return _stripped(course.fullname)
        case "Course ID number":
            return course.idnumber
        case "Username":
            return user.username
        case "First name":
            return user.firstname
        case "Last name":
            return user.lastname
        case "Email address":
            return user.email
        case "ID number":
            return user.idnumber
        case "Completed":
            return "Yes"
        case _:
            return ""


def _grade_item(grade: Grade | None, course: Course, start: dict[str, Any]) -> dict[str, Any]:
    """One grade item: `graderaw` is null without a grade, and the maximum is the learner's own."""
    maximum = grade.maximum if grade else course.grademax
    raw = grade.raw if grade else None
    percent = "-" if raw is None else f"{raw / maximum * 100:.2f} %"
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
        "gradeformatted": "-" if raw is None else f"{raw:.2f}",
        "grademin": 0,
        "grademax": _points(maximum),
        "rangeformatted": f"0&ndash;{_points(maximum)}",
        "percentageformatted": percent,
        "feedback": "",
        "feedbackformat": 2 if grade else 0,
    }


def _points(value: float | None) -> float | int | None:
    """Points as PHP writes them: no decimals where there are none."""
    return int(value) if value is not None and value == int(value) else value


def _link(address: str, text: str) -> str:
    return f'<a href="{address}">{escape(text, quote=False)}</a>'


def _stripped(text: str) -> str:
    """Without tags, as PHP's strip_tags: real text that looks like a tag is lost too."""
    return re.sub(r"<[^>]*>", "", text)


def _name(text: str, raw: bool) -> str:
    """A course's name as Moodle gives it: stripped and escaped, unless it is asked for as stored."""
    return text if raw else re.sub(r"&(?!\w+;|#\d+;)", "&amp;", _stripped(text))


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


@lru_cache(maxsize=8192)
def _long_date(minutes: int, zone: tzinfo) -> str:
    """Moodle's long English date, e.g. "Monday, 23 November 2026, 8:03 AM", whatever this machine's language is."""
    when = datetime.fromtimestamp(minutes * 60, zone)
    half = "AM" if when.hour < 12 else "PM"
    day, month = DAYS[when.weekday()], MONTHS[when.month - 1]
    return f"{day}, {when.day} {month} {when.year}, {when.hour % 12 or 12}:{when.minute:02d} {half}"


DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)


def _filter(values: str) -> Filter:
    """What the JSON of set_filters limits a report to. JSON that cannot be read clears all, without a word."""
    try:
        given = json.loads(values)
    except ValueError:
        return Filter()
    if not isinstance(given, dict):
        return Filter()
    start = end = 0
    # Operator 3 is a range; no other is spoken here, and Moodle ignores what it does not know.
    if given.get("completion:timecompleted_operator") == 3:
        start = _seconds(given.get("completion:timecompleted_from"))
        end = _seconds(given.get("completion:timecompleted_to"))
    courses = given.get("course:courseselector_values")
    wanted = courses if isinstance(courses, list) else []
    return Filter(start, end, frozenset(_seconds(number) for number in wanted) - {0})


def _seconds(value: Any) -> int:
    """A whole number, given as such or as text; 0 for anything else."""
    text = str(value)
    return int(float(text)) if re.fullmatch(r"\d{1,12}(\.\d*)?", text) else 0


def _number(text: str) -> int:
    if not re.fullmatch(r"\d+", text):
        raise _bad_parameter()
    return int(text)


def _nested(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """PHP's reading of form fields: `a[0][name]=x` becomes {"a": {"0": {"name": "x"}}}."""
    result: dict[str, Any] = {}
    for name, value in pairs:
        match = re.fullmatch(r"([^\[]+)((?:\[[^\]]*\])*)", name)
        if match is None:
            continue
        steps = [match[1], *re.findall(r"\[([^\]]*)\]", match[2])]
        place = result
        for step in steps[:-1]:
            inner = place.get(step or str(len(place)))
            if not isinstance(inner, dict):
                inner = {}
                place[step or str(len(place))] = inner
            place = inner
        place[steps[-1] or str(len(place))] = value
    return result


def _checked(spec: dict[str, Param], given: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a function, checked and with defaults. Raises WsError for unknown, missing and wrong ones."""
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
    """JSON as PHP writes it: ASCII only, with escaped slashes."""
    return json.dumps(value, separators=(",", ":")).replace("/", "\\/")


def _answer(value: Any, as_json: bool) -> Reply:
    if as_json:
        return Reply(200, _php_json(value).encode())
    body = f'<?xml version="1.0" encoding="UTF-8" ?>\n<RESPONSE>\n{_xml(value)}</RESPONSE>\n'
    return Reply(200, body.encode(), "application/xml; charset=utf-8")


def _refusal(error: WsError, as_json: bool) -> Reply:
    if as_json:
        record = {"exception": error.exception, "errorcode": error.errorcode, "message": error.message}
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


# A course's record with what is the same for all of them.
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

_BOTH = {"courseid": INT, "userid": INT}
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
    "core_completion_get_course_completion_status": (_BOTH, MoodleWire._completion_status),
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
                    ("settingfilter", Param("text", "1")),
                    ("settingfileurl", Param("text", "1")),
                    ("settinglang", Param("text", "")),
                ),
            )
        },
        MoodleWire._call_external,
    ),
}
# Functions that Moodle has and the token's service has not: refused, and not unknown.
OTHER_FUNCTIONS = frozenset({"core_user_create_users", "core_course_get_courses", "core_enrol_get_users_courses"})
