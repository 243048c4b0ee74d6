"""The state that Moodle was in when the newer recordings were made, rebuilt in the sandbox from what they hold.

People and courses are read from the recordings themselves, decoded; what was stored in another form than a cell shows
comes from the recordings that give names as stored.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import requests

from sandbox import MOODLE, Sandbox
from sandbox.moodle import AGREED_COLUMNS, AGREED_NAME

REPLIES = Path(__file__).parent.parent / "replies" / "moodle"
REPORT_ID = 4
# The exact times of esc01's completions under forced zones and customised languages, by course.
EXACT = {36: 1792891805, 35: 1792888205, 33: 1782909296, 37: 1775320207, 34: 1768480496}
PROFILE = re.compile(r"/user/profile\.php\?id=(\d+)")
COURSE = re.compile(r"/course/view\.php\?id=(\d+)")
REPORT = "core_reportbuilder_retrieve_report"
STATUS = "core_completion_get_course_completion_status"
USERS = "core_user_get_users_by_field"
ENROLLED = "core_enrol_get_enrolled_users"
GRADES = "gradereport_user_get_grade_items"
COURSES = "core_course_get_courses_by_field"


def recording(name: str) -> dict[str, Any]:
    """One recording, whole."""
    loaded: dict[str, Any] = json.loads((REPLIES / f"{name}.json").read_text(encoding="utf-8"))
    return loaded


def prepare(sandbox: Sandbox, name: str) -> None:
    """Bring an empty sandbox into the state in which this recording was made."""
    moodle = sandbox.moodle
    moodle.set_site(name="Lab College")
    moodle.reports.clear()
    moodle.add_report(AGREED_NAME, AGREED_COLUMNS, report_id=REPORT_ID)
    if name.endswith("_50"):
        moodle.set_site(version="5.0", name="Lab College Five")
    _stored_courses(sandbox)
    told = recording(name)
    function, answer = told["request"]["wsfunction"], told["response"]
    if name in BEFORE:
        BEFORE[name](sandbox)
    if function == REPORT and "data" in answer:
        report_rows(sandbox, name)
        moodle.reports[REPORT_ID].timecreated = answer["details"].get("timecreated", 0)
        moodle.reports[REPORT_ID].timemodified = answer["details"]["timemodified"]
    elif function == "core_reportbuilder_list_reports" and "reports" in answer:
        moodle.reports[REPORT_ID].timecreated = answer["reports"][0]["timecreated"]
        moodle.reports[REPORT_ID].timemodified = answer["reports"][0]["timemodified"]
    elif isinstance(answer, dict) and "responses" in answer:
        for request, response in zip(told["request"]["params"]["requests"], answer["responses"], strict=False):
            if not response["error"]:
                _answered(sandbox, request["function"], json.loads(request["arguments"]), json.loads(response["data"]))
    else:
        _answered(sandbox, function, told["request"]["params"], answer)
    if name in AFTER:
        AFTER[name](sandbox)


def report_rows(sandbox: Sandbox, name: str) -> None:
    """The completions that a recorded page of the report shows, a second apart where the minute is the same."""
    zone_is_told = name.startswith(("timezone_", "language_", "report_column_"))
    last = 0
    for row in recording(name)["response"]["data"]["rows"]:
        if "_trimmed" in row:
            continue
        link, short, person, username, first, last_name, email, _yes, when, points = row["columns"]
        course_id = int(COURSE.search(link)[1])
        user_id = int(PROFILE.search(person)[1])
        _course(sandbox, course_id, unescape(re.sub(r"<[^>]*>", "", link)), short)
        names = STORED_NAMES.get(name, {}).get(user_id) or (unescape(first), unescape(last_name))
        _person(sandbox, user_id, *names, unescape(email), username=unescape(username))
        if zone_is_told:
            at = EXACT[course_id]
        else:
            minute = datetime.strptime(when, "%A, %d %B %Y, %I:%M %p").replace(tzinfo=UTC)
            at = min(int(minute.timestamp()) + 59, last - 1) if last else int(minute.timestamp()) + 59
            last = at
        sandbox.moodle.complete(course_id, user_id, at, grade=float(points) if points else None)


def _answered(sandbox: Sandbox, function: str, asked: dict[str, Any], answer: Any) -> None:
    """What an answer says about people, completions, grades and courses."""
    if function in (USERS, ENROLLED) and isinstance(answer, list):
        _people(sandbox, asked.get("courseid"), answer)
    elif function == STATUS and "completionstatus" in answer:
        _status(sandbox, asked["courseid"], asked["userid"], answer["completionstatus"])
    elif function == STATUS and answer["errorcode"] in (
        "userdeleted",
        "usernotenroled",
        "usernotconfirmed",
        "accessdenied",
    ):
        _course(sandbox, asked["courseid"])
        _person(sandbox, asked["userid"])
        sandbox.moodle.complete(asked["courseid"], asked["userid"])
    elif function == GRADES and "usergrades" in answer:
        _grades(sandbox, answer["usergrades"][0])
    elif function == COURSES and "courses" in answer:
        for course in answer["courses"]:
            _course(sandbox, course["id"], course.get("fullname", ""), course["shortname"])
            known = ("startdate", "visible", "enablecompletion", "groupmode", "groupmodeforce")
            values = {key: value for key, value in course.items() if key in known}
            sandbox.moodle.set_course(course["id"], category=1, **values)


def _people(sandbox: Sandbox, course_id: int | None, users: list[dict[str, Any]]) -> None:
    if course_id:
        _course(sandbox, course_id)
    for user in users:
        first, _, last = user["fullname"].partition(" ")
        names = (user.get("firstname", first), user.get("lastname", last))
        _person(sandbox, user["id"], *names, user["email"], suspended=user.get("suspended", False))
        if course_id:
            sandbox.moodle.enrol(course_id, user["id"])
        if re.fullmatch("[0-9a-f]{32}", user["email"]):
            sandbox.moodle.delete_user(user["id"])


def _status(sandbox: Sandbox, course_id: int, user_id: int, status: dict[str, Any]) -> None:
    _course(sandbox, course_id)
    _person(sandbox, user_id)
    moodle = sandbox.moodle
    moodle.set_course(course_id, aggregation=status["aggregation"])
    criteria = [(row["type"], row["timecompleted"]) for row in status["completions"]]
    for row in status["completions"]:
        if row["type"] == 6:
            moodle.set_course(course_id, grade_required=float(row["details"]["requirement"]))
            moodle.set_grade(course_id, user_id, float(row["details"]["status"]))
    moodle.enrol(course_id, user_id)
    moodle.set_criteria(course_id, user_id, criteria)
    if status["completed"]:
        moodle.complete(course_id, user_id)


def _grades(sandbox: Sandbox, grades: dict[str, Any]) -> None:
    course_id, user_id = grades["courseid"], grades["userid"]
    first, _, last = grades["userfullname"].partition(" ")
    _course(sandbox, course_id)
    _person(sandbox, user_id, first, last)
    sandbox.moodle.enrol(course_id, user_id)
    for item in grades["gradeitems"]:
        if item.get("itemtype") == "course" and item["graderaw"] is not None:
            sandbox.moodle.set_grade(course_id, user_id, item["graderaw"], item["grademax"])


def _stored_courses(sandbox: Sandbox) -> None:
    """The courses whose names hold what has to be escaped, as they are stored."""
    for course in recording("escaping_course_names_raw")["response"]["courses"]:
        _course(sandbox, course["id"], course["fullname"], course["shortname"])


def _course(sandbox: Sandbox, course_id: int, fullname: str = "", shortname: str = "") -> None:
    moodle = sandbox.moodle
    if course_id not in moodle.courses:
        moodle.add_course(shortname or f"C{course_id}", fullname or f"Course {course_id}", course_id=course_id)
        moodle.set_course(course_id, category=1)


def _person(
    sandbox: Sandbox,
    user_id: int,
    firstname: str = "Ana",
    lastname: str = "Lee",
    email: str = "ana@lab.example",
    username: str = "",
    suspended: bool = False,
) -> None:
    moodle = sandbox.moodle
    if user_id not in moodle.users:
        moodle.add_learner(firstname, lastname, email, suspended=suspended, username=username, user_id=user_id)
        moodle.set_user(user_id, city="", country="")


def _names_of(name: str) -> dict[int, tuple[str, str]]:
    return {user["id"]: (user["firstname"], user["lastname"]) for user in recording(name)["response"]}


STORED_NAMES = {"escaping_report_numeric_entity": _names_of("escaping_users_by_id_numeric_entity")}


def _site(**settings: Any) -> Callable[[Sandbox], None]:
    return lambda sandbox: sandbox.moodle.set_site(**settings)


def _fault(kind: str, **limits: Any) -> Callable[[Sandbox], None]:
    def on(sandbox: Sandbox) -> None:
        sandbox.faults.on(kind, side=MOODLE, **limits)

    return on


def _tagged(course_id: int, *user_ids: int) -> Callable[[Sandbox], None]:
    """People of a course, of whom the last one's first name holds a tag."""

    def state(sandbox: Sandbox) -> None:
        _course(sandbox, course_id)
        for user_id in user_ids:
            _person(sandbox, user_id, "Siobhán", "O'Connor", "siobhan.o'connor+badge@lab.example")
            sandbox.moodle.enrol(course_id, user_id)
        sandbox.moodle.set_user(user_ids[-1], firstname="Ann <Annie>", lastname="2 < 3 + 4")

    return state


def _cleaned_up(*user_ids: int) -> Callable[[Sandbox], None]:
    """Accounts of which the first is deleted and cleaned up; those that are there already stay as they are."""

    def state(sandbox: Sandbox) -> None:
        for user_id in user_ids:
            _person(sandbox, user_id)
        sandbox.moodle.delete_user(user_ids[0], cleaned_up=True)

    return state


def _deleted_course(sandbox: Sandbox) -> None:
    """Course 42 is deleted, and 43 has its short name."""
    _course(sandbox, 2, "Safeguarding Essentials", "SAFE101")
    _course(sandbox, 42, "Course GONE1", "GONE1")
    sandbox.moodle.delete_course(42)
    _course(sandbox, 43, "Course GONE1", "GONE1")


def _existing(*course_ids: int) -> Callable[[Sandbox], None]:
    """These courses are there."""

    def state(sandbox: Sandbox) -> None:
        for course_id in course_ids:
            _course(sandbox, course_id)

    return state


def _all(*steps: Callable[[Sandbox], None]) -> Callable[[Sandbox], None]:
    """One step after the other."""

    def state(sandbox: Sandbox) -> None:
        for step in steps:
            step(sandbox)

    return state


def _exact_filter(seconds: int) -> Callable[[Sandbox], None]:
    """The state of the Sydney report with the filter that was set before the recording."""

    def state(sandbox: Sandbox) -> None:
        report_rows(sandbox, "timezone_forced_sydney_report")
        values = json.loads(
            recording(f"timezone_forced_sydney_{FILTERS_SET[seconds]}_set")["request"]["params"]["values"]
        )
        assert values["completion:timecompleted_from"] == EXACT[33] + seconds
        send(sandbox, "core_reportbuilder_set_filters", {"reportid": REPORT_ID, "values": json.dumps(values)})

    return state


FILTERS_SET = {0: "filter_exact", 1: "filter_one_second_later", -1: "filter_one_second_earlier"}


def send(sandbox: Sandbox, function: str, params: dict[str, Any]) -> Any:
    """One call, answered in JSON."""
    form = {"wstoken": sandbox.moodle_token, "wsfunction": function, "moodlewsrestformat": "json", **params}
    return requests.post(f"{sandbox.moodle_url}/webservice/rest/server.php", data=form, timeout=10).json()


def _grade_course(course_id: int, **changes: Any) -> Callable[[Sandbox], None]:
    def state(sandbox: Sandbox) -> None:
        _course(sandbox, course_id)
        sandbox.moodle.set_course(course_id, **changes)

    return state


def _life_cycle(sandbox: Sandbox) -> None:
    """What happened to the eleven people of course 39."""
    moodle = sandbox.moodle
    report_rows(sandbox, "lifecycle_report_before")
    moodle.delete_user(3415)
    moodle.suspend(3416)
    moodle.unenrol(39, 3417)
    moodle.uncomplete(39, 3418)
    moodle.enrol(39, 3419, active=False)
    moodle.set_user(3420, firstname="Maxine", email="max.new@lab.example")
    moodle.unenrol(39, 3422)
    moodle.enrol(39, 3422)
    moodle.set_user(3423, auth="nologin")
    moodle.set_user(3424, confirmed=False)
    moodle.enrol(39, 3425, ended=True)


def _unlocked(sandbox: Sandbox) -> None:
    """Course 13 and its learner, completed by an activity; then the completion settings are unlocked."""
    report_rows(sandbox, "reset_course_report_before")
    sandbox.moodle.set_course(13, criteria="activities")
    sandbox.moodle.set_criteria(13, 62, [(4, 1795782171)])
    sandbox.moodle.unlock_completion(13)


def _tasks_ran(sandbox: Sandbox) -> None:
    _unlocked(sandbox)
    sandbox.moodle.run_completion_tasks()


def _unlocked_status(sandbox: Sandbox) -> None:
    sandbox.moodle.uncomplete(13, 62)
    _unlocked(sandbox)


def _tasks_ran_status(sandbox: Sandbox) -> None:
    _unlocked(sandbox)
    sandbox.moodle.run_completion_tasks()


def _separate(sandbox: Sandbox) -> None:
    sandbox.moodle.set_course(20, groupmode=1, groupmodeforce=1)


def _separate_without_right(sandbox: Sandbox) -> None:
    _course(sandbox, 20)
    for user_id in (3, 4, 5):
        _person(sandbox, user_id)
        sandbox.moodle.enrol(20, user_id)
    _separate(sandbox)
    sandbox.faults.on("no_accessallgroups", side=MOODLE)


def _first_page(sandbox: Sandbox) -> None:
    report_rows(sandbox, "agreed_report_page0_50")


SYDNEY, NEW_YORK, LONDON = "Australia/Sydney", "America/New_York", "Europe/London"
# What is set before the recording's own people and courses are there.
BEFORE: dict[str, Callable[[Sandbox], None]] = {
    "agreed_report_page1_50": _first_page,
    "agreed_report_past_end_50": _first_page,
    "course_lifecycle_after_id_deleted": _deleted_course,
    "course_lifecycle_after_ids_existing": _deleted_course,
    "course_lifecycle_after_shortname": _deleted_course,
    "error_course_ids_one_deleted": _deleted_course,
    "error_course_ids_one_unknown": _deleted_course,
    "error_course_ids_one_unknown_50": _existing(2, 3),
    "error_dbconnectionfailed": _fault("dbconnectionfailed"),
    "error_enrolled_users_tag_in_a_name": _tagged(38, 3404, 3407),
    "error_enrolled_users_tag_in_a_name_50": _tagged(40, 404, 407),
    "error_grade_items_tag_in_a_name": _tagged(38, 3407),
    "error_reportbuilder_view_missing_list_reports": _fault("reportbuilder_refused"),
    "error_reportbuilder_view_missing_retrieve_report": _fault("reportbuilder_refused"),
    "error_reportbuilder_view_missing_set_filters": _fault("reportbuilder_refused"),
    "error_users_by_id_deleted_account": _cleaned_up(3415, 3416, 3421),
    "error_users_by_id_deleted_account_50": _cleaned_up(423, 3),
    "error_users_by_id_only_deleted_account": _cleaned_up(3415),
    "error_users_by_id_tag_in_a_name": _tagged(38, 3404, 3407),
    "error_users_by_id_tag_in_a_name_50": _tagged(40, 404, 407),
    "escaping_course_names_multilang_headings_off": _site(filter_headings=False),
    "escaping_course_names_multilang_headings_off_filter_on": _site(filter_headings=False),
    "escaping_course_names_striptags_off": _site(strip_tags=False),
    "escaping_report_multilang_headings_off": _site(filter_headings=False),
    "grade_items_hidden_total": _grade_course(11, hidden_total=True),
    "grade_items_hidden_total_viewhidden": _grade_course(11, hidden_total=True),
    "grade_items_scale_total": _grade_course(10, grade_type="scale"),
    "grade_items_total_type_none": _grade_course(22, grade_type="none"),
    "grade_items_total_with_hidden_work": _grade_course(12, hidden_work=True, grademax=200),
    "grade_items_total_with_hidden_work_viewhidden": _grade_course(12, hidden_work=True, grademax=200),
    "language_customised_24_hour_report": _site(date_form="24_hour"),
    "language_customised_numeric_date_report": _site(date_form="numeric"),
    "language_customised_titles_report": _site(titles="customised"),
    "lifecycle_completion_course_deleted": _deleted_course,
    "lifecycle_enrolled_users_course_deleted": _deleted_course,
    "lifecycle_enrolled_users_after": _life_cycle,
    "lifecycle_report_after": _life_cycle,
    "lifecycle_users_after": _life_cycle,
    "mobile_batch_php_error": _existing(2),
    "mobile_batch_tag_in_a_name": _tagged(38, 3404, 3407),
    "mobile_batch_users_one_by_one": _cleaned_up(3415),
    "report_hidden_total": _grade_course(11, fullname="Hidden grade", shortname="HIDGR", hidden_total=True),
    "report_scale_total": _grade_course(10, fullname="Scale grades", shortname="SCALE", grade_type="scale"),
    "reset_course_report_after_tasks": _tasks_ran,
    "reset_course_report_unlocked": _unlocked,
    "reset_course_status_unlocked": _existing(13),
    "timezone_forced_london_calendar_timestamps": _site(force_timezone=LONDON),
    "timezone_forced_london_mobile_config": _site(force_timezone=LONDON),
    "timezone_forced_london_report": _site(force_timezone=LONDON),
    "timezone_forced_new_york_calendar_timestamps": _site(force_timezone=NEW_YORK),
    "timezone_forced_new_york_mobile_config": _site(force_timezone=NEW_YORK),
    "timezone_forced_new_york_report": _site(force_timezone=NEW_YORK),
    "timezone_forced_sydney_calendar_timestamps": _site(force_timezone=SYDNEY),
    "timezone_forced_sydney_mobile_config": _site(force_timezone=SYDNEY),
    "timezone_forced_sydney_mobile_config_section": _site(force_timezone=SYDNEY),
    "timezone_forced_sydney_report": _site(force_timezone=SYDNEY),
    "usernotfullysetup_site_info_still_works": _fault("usernotfullysetup"),
} | {
    f"error_usernotfullysetup_{call}": _all(_existing(2, 8), _fault("usernotfullysetup"))
    for call in ("completion", "enrolled_users", "grade_items", "list_reports", "retrieve_report")
}
# What happens once they are there.
AFTER: dict[str, Callable[[Sandbox], None]] = {
    "completion_status_tag_in_a_name": lambda sandbox: sandbox.moodle.set_user(3407, firstname="Ann <Annie>"),
    "enrolled_users_page_without_the_tag": _tagged(38, 3407),
    "grade_items_hidden_total": _fault("no_viewhidden"),
    "grade_items_total_with_hidden_work": _all(
        lambda sandbox: sandbox.moodle.set_grade(12, 4, 100, 200), _fault("no_viewhidden")
    ),
    "lifecycle_completion_account_deleted": lambda sandbox: sandbox.moodle.delete_user(3415),
    "lifecycle_completion_account_suspended": lambda sandbox: sandbox.moodle.suspend(3416),
    "lifecycle_completion_enrolment_ended": lambda sandbox: sandbox.moodle.enrol(39, 3425, ended=True),
    "lifecycle_completion_enrolment_suspended": lambda sandbox: sandbox.moodle.enrol(39, 3419, active=False),
    "lifecycle_completion_nologin": lambda sandbox: sandbox.moodle.set_user(3423, auth="nologin"),
    "lifecycle_completion_reenrolled": _all(
        lambda sandbox: sandbox.moodle.unenrol(39, 3422), lambda sandbox: sandbox.moodle.enrol(39, 3422)
    ),
    "lifecycle_completion_unconfirmed": lambda sandbox: sandbox.moodle.set_user(3424, confirmed=False),
    "lifecycle_completion_unenrolled": lambda sandbox: sandbox.moodle.unenrol(39, 3417),
    "report_column_heading_changed": lambda sandbox: setattr(
        sandbox.moodle.reports[REPORT_ID], "headings", {"Username": "Login & <name>"}
    ),
    "reset_course_status_after_tasks": _tasks_ran_status,
    "reset_course_status_unlocked": _unlocked_status,
    "separate_groups_completion_status": _separate_without_right,
    "separate_groups_completion_status_accessallgroups": _separate,
    "separate_groups_course": _fault("no_accessallgroups"),
    "separate_groups_enrolled_users": _separate_without_right,
    "separate_groups_enrolled_users_accessallgroups": _separate,
    "separate_groups_grade_items": _separate_without_right,
    "separate_groups_grade_items_accessallgroups": _separate,
    "separate_groups_report": _separate_without_right,
} | {
    f"timezone_forced_sydney_{named}": _all(_site(force_timezone=SYDNEY), _exact_filter(seconds))
    for seconds, named in FILTERS_SET.items()
}
# Values that are this Moodle's own making and no fact about Moodle: only their type is compared.
INCIDENTAL = {
    COURSES: {"courseimage", "sortorder", "summary", "summaryformat", "enrollmentmethods", "showactivitydates"},
    GRADES: {"id", "iteminstance", "categoryid", "gradedategraded", "itemname"},
    "core_webservice_get_site_info": {"userid", "username", "firstname", "lastname", "fullname", "functions"}
    | {"userprivateaccesskey", "advancedfeatures"},
    "core_reportbuilder_list_reports": {"email", "identity"},
    REPORT: {"email", "identity"},
    STATUS: {"criteria"},
}


def plain(text: str, url: str, recorded: str = "http://moodle.example") -> str:
    """An answer without what differs from site to site: its address, its pictures' revision, a made-up hash."""
    text = text.replace("\\/", "/").replace(url, recorded)
    text = re.sub(r"(/theme/image\.php/boost/core/)\d+(/u/)", r"\1N\2", text)
    return re.sub(r"\b[0-9a-f]{32}\b", "HASH", text)


def disagreements(recorded: Any, ours: Any, incidental: set[str], cut: bool, where: str = "") -> list[str]:
    """Where our answer says anything else than the recorded one. `cut`: keys were left out of the recording."""
    if isinstance(recorded, dict) and isinstance(ours, dict):
        cut = cut or "_trimmed" in recorded
        wanted = recorded.keys() - {"_trimmed"}
        found = [f"{where}: missing {sorted(wanted - ours.keys())}"] if wanted - ours.keys() else []
        if ours.keys() - wanted and not cut:
            found.append(f"{where}: not recorded {sorted(ours.keys() - wanted)}")
        for key in wanted & ours.keys():
            if key in incidental:
                if type(recorded[key]) is not type(ours[key]):
                    found.append(f"{where}.{key}: {type(recorded[key])} recorded, {type(ours[key])} here")
            else:
                found += disagreements(recorded[key], ours[key], incidental, cut, f"{where}.{key}")
        return found
    if isinstance(recorded, list) and isinstance(ours, list):
        shown = [item for item in recorded if not (isinstance(item, dict) and "_trimmed" in item)]
        if len(shown) == len(recorded) != len(ours):
            return [f"{where}: {len(recorded)} items recorded, {len(ours)} here"]
        # Where items were cut out, each that is left must be among ours.
        if len(shown) < len(recorded):
            tried = [[disagreements(item, other, incidental, cut, f"{where}[]") for other in ours] for item in shown]
            return [min(lines, key=len)[0] for lines in tried if lines and all(lines)]
        return [
            line
            for number, (item, other) in enumerate(zip(shown, ours, strict=True))
            for line in disagreements(item, other, incidental, cut, f"{where}[{number}]")
        ]
    same = recorded == ours and (type(recorded) is type(ours) or {type(recorded), type(ours)} == {int, float})
    return [] if same else [f"{where}: {recorded!r} recorded, {ours!r} here"]
