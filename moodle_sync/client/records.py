"""What Moodle's web services return, as far as the portal uses it.

Each `from_json` takes the decoded JSON and raises ValueError, naming what was expected and never what was found, if
it has another shape. Missing optional fields and unknown fields are fine. Texts stay as Moodle sent them.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Context, Decimal
from typing import Any, Self

from .errors import MoodleError

# Moodle's `aggregation`: all criteria are needed, or any.
ALL_CRITERIA = 1
# Moodle's `groupmode` of a course whose learners see only their own group.
SEPARATE_GROUPS = 1
# What a database's whole numbers end at. Moodle's own ids end there too.
LARGEST_ID = 2**63 - 1
# The year 9000, which every zone's calendar has. A time in milliseconds is later.
LATEST_TIME = 221_845_392_000


@dataclass(frozen=True, slots=True)
class SiteInfo:
    """The site and what this token may call. The account's private access key is left where it is: it is a secret."""

    sitename: str
    siteurl: str
    userid: int
    release: str
    version: int
    functions: frozenset[str]
    features: dict[str, bool]

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read core_webservice_get_site_info; `version` loses what follows its point (2024100705.01)."""
        site = as_object(data, "site information")
        version = _text(site, "version").partition(".")[0]
        if not (version.isascii() and version.isdigit()):
            raise ValueError("a version number expected")
        features = (as_object(item, "a feature") for item in _optional_list(site, "advancedfeatures"))
        return cls(
            sitename=_text(site, "sitename"),
            siteurl=_text(site, "siteurl"),
            userid=_integer(site, "userid"),
            release=_text(site, "release"),
            version=int(version),
            functions=frozenset(
                _text(as_object(item, "a function"), "name") for item in as_list(site.get("functions"), "functions")
            ),
            features={_text(item, "name"): _flag(item.get("value"), "value") for item in features},
        )


@dataclass(frozen=True, slots=True)
class LocationSettings:
    """The site's time zone, and the one that is forced on everybody, which decides how a report's times read."""

    timezone: str
    forced: str

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read tool_mobile_get_config (section locationsettings); "99" means that nothing is forced."""
        rows = as_list(as_object(data, "settings").get("settings"), "settings")
        found = {row.get("name"): row.get("value") for row in (as_object(row, "a setting") for row in rows)}
        if not isinstance(found.get("forcetimezone"), str | int):
            raise ValueError("the setting forcetimezone expected")
        forced = str(found["forcetimezone"])
        return cls(timezone=str(found.get("timezone", "")), forced="" if forced == "99" else forced)


@dataclass(frozen=True, slots=True)
class Course:
    """A course. `completion_enabled` is None where Moodle does not tell, which is without access to the course."""

    id: int
    shortname: str
    fullname: str
    category: str
    visible: bool
    completion_enabled: bool | None
    separate_groups: bool
    contact_ids: frozenset[int]
    is_front_page: bool

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read one course of core_course_get_courses_by_field."""
        course = as_object(data, "a course")
        contacts = (as_object(item, "a contact") for item in _optional_list(course, "contacts"))
        completion = course.get("enablecompletion")
        return cls(
            id=_id(course, "id"),
            shortname=_text(course, "shortname"),
            fullname=_text(course, "fullname"),
            category=_optional_text(course, "categoryname") or "",
            # Left out without access to the course; a hidden one is then not listed at all.
            visible=_flag(course.get("visible", 1), "visible"),
            completion_enabled=None if completion is None else _flag(completion, "enablecompletion"),
            separate_groups=course.get("groupmode") == SEPARATE_GROUPS,
            contact_ids=frozenset(_integer(contact, "id") for contact in contacts),
            is_front_page=course.get("format") == "site",
        )


@dataclass(frozen=True, slots=True)
class EnrolledUser:
    """A participant of a course, teachers and suspended ones included.

    Names and e-mail are None where Moodle leaves them out, which it does without a word when a capability is missing;
    "" is a field that is empty in Moodle.
    """

    id: int
    fullname: str
    firstname: str | None
    lastname: str | None
    email: str | None

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read one user of core_enrol_get_enrolled_users."""
        user = as_object(data, "a participant")
        return cls(
            id=_id(user, "id"),
            fullname=_optional_text(user, "fullname") or "",
            firstname=_optional_text(user, "firstname"),
            lastname=_optional_text(user, "lastname"),
            email=_optional_text(user, "email"),
        )


@dataclass(frozen=True, slots=True)
class User:
    """An account; names and e-mail are None where Moodle leaves them out."""

    id: int
    firstname: str | None
    lastname: str | None
    email: str | None
    suspended: bool

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read one user of core_user_get_users_by_field."""
        user = as_object(data, "a user")
        return cls(
            id=_id(user, "id"),
            firstname=_optional_text(user, "firstname"),
            lastname=_optional_text(user, "lastname"),
            email=_optional_text(user, "email"),
            suspended=_flag(user.get("suspended", 0), "suspended"),
        )


@dataclass(frozen=True, slots=True)
class CompletionStatus:
    """Whether a learner has completed a course, and what is known of when.

    Moodle does not tell the time of the course's completion itself, only those of its criteria. The completion is no
    earlier than `earliest` and no later than `latest`; both are None where no criterion has a time, as after an import.
    `times` are those of all criteria that are met. FACTS-2.md, section 1.4, has what was observed.
    """

    completed: bool
    earliest: datetime | None = None
    latest: datetime | None = None
    times: frozenset[datetime] = frozenset()

    @property
    def is_exact(self) -> bool:
        """Whether the criteria leave no doubt about the time."""
        return self.earliest is not None and self.earliest == self.latest

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read core_completion_get_course_completion_status."""
        status = as_object(as_object(data, "a completion").get("completionstatus"), "completionstatus")
        if not _flag(status.get("completed"), "completed"):
            return cls(completed=False)
        by_type: dict[object, list[datetime]] = {}
        for item in as_list(status.get("completions"), "completions"):
            criterion = as_object(item, "a criterion")
            if time := _time(criterion.get("timecompleted")):
                by_type.setdefault(criterion.get("type"), []).append(time)
        times = [time for of_type in by_type.values() for time in of_type]
        if not times:
            return cls(completed=True)
        if status.get("aggregation") == ALL_CRITERIA:
            # Criteria of one type, such as several activities, may have a rule of their own, all or any of them,
            # which Moodle does not tell: then the first of them may have been enough.
            earliest = max(min(of_type) for of_type in by_type.values())
        else:
            earliest = min(times)
        return cls(completed=True, earliest=earliest, latest=max(times), times=frozenset(times))


@dataclass(frozen=True, slots=True)
class Grade:
    """A learner's course total.

    `share`: its exact share of the learner's own range, in percent from 0 to 100; None without a grade, and None for a
    hidden one. `hidden`: the total is hidden in the gradebook, and the account may see it all the same.
    `total_missing`: Moodle shows no course total at all, as it does with a hidden one to an account that may not see
    hidden grades.
    """

    share: Decimal | None
    hidden: bool = False
    total_missing: bool = False

    @classmethod
    def from_json(cls, data: object, *, user_id: int) -> Self:
        """Read gradereport_user_get_grade_items as asked for one learner, and make sure that it is about that one."""
        learners = as_list(as_object(data, "grades").get("usergrades"), "usergrades")
        if not learners:
            return cls(share=None, total_missing=True)
        learner = as_object(learners[0], "a learner's grades")
        if _integer(learner, "userid") != user_id:
            raise ValueError("the grades of the learner asked for expected")
        items = (as_object(item, "a grade item") for item in as_list(learner.get("gradeitems"), "gradeitems"))
        total = next((item for item in items if item.get("itemtype") == "course"), None)
        if total is None:
            return cls(share=None, total_missing=True)
        share = share_in_percent(_number(total, "graderaw"), _number(total, "grademin"), _number(total, "grademax"))
        if _flag(total.get("gradeishidden") or 0, "gradeishidden"):
            return cls(share=None, hidden=True)
        return cls(share=share)


# Never rounded up: a share must not reach a minimum score that the learner did not reach.
_EXACTLY = Context(prec=50, rounding=ROUND_FLOOR)
_SIX_DECIMALS = Decimal("0.000001")


def share_in_percent(raw: Decimal | None, least: Decimal | None, most: Decimal | None) -> Decimal | None:
    """A grade in percent of its range, rounded down to six decimals; None without a grade or a range.

    Bonus points can lift a total over its maximum. Navigatr's scores end at 100, so that is what such a grade gives.
    """
    least = least or Decimal(0)
    if raw is None or most is None or most <= least:
        return None
    points, reachable = _EXACTLY.subtract(raw, least), _EXACTLY.subtract(most, least)
    share = _EXACTLY.divide(_EXACTLY.multiply(points, Decimal(100)), reachable)
    return min(max(share, Decimal(0)), Decimal(100)).quantize(_SIX_DECIMALS, context=_EXACTLY)


@dataclass(frozen=True, slots=True)
class LearnerFacts:
    """What Moodle says now of one learner in one course: an answer, or the error in its place.

    None was not asked; a `user` of None may also be an account that this token does not see.
    """

    status: CompletionStatus | MoodleError | None = None
    user: User | MoodleError | None = None
    grade: Grade | MoodleError | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A custom report that the account is in the audience of.

    `unique_rows` and `conditions` (Moodle's own keys and values) are None where Moodle does not tell them.
    """

    id: int
    name: str
    source: str
    timemodified: datetime | None
    unique_rows: bool | None = None
    conditions: dict[str, Any] | None = None

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Read one report of core_reportbuilder_list_reports, or the details of a page."""
        report = as_object(data, "a report")
        unique = report.get("uniquerows")
        return cls(
            unique_rows=unique if isinstance(unique, bool) else None,
            conditions=_conditions(report.get("conditiondata")),
            id=_id(report, "id"),
            name=_text(report, "name"),
            source=_text(report, "source"),
            timemodified=_time_or_none(report.get("timemodified")),
        )


@dataclass(frozen=True, slots=True)
class ReportPage:
    """One page of a report as Moodle shows it: `page` counts from 0, `total` is the number of rows in all pages.

    A cell that is no text is None; a row that is no list of cells has none.
    """

    details: Report
    page: int
    headers: list[str]
    rows: list[list[str | None]]
    total: int

    @property
    def name(self) -> str:
        """The report's name, as its editor may have changed it since it was listed."""
        return self.details.name

    @property
    def source(self) -> str:
        """The PHP class that the report's rows come from."""
        return self.details.source

    @property
    def timemodified(self) -> datetime | None:
        """When the report was last edited; if it moves, the columns may have changed."""
        return self.details.timemodified

    @classmethod
    def from_json(cls, data: object, *, page: int) -> Self:
        """Read core_reportbuilder_retrieve_report. An empty cell may come as null."""
        answer = as_object(data, "a report page")
        table = as_object(answer.get("data"), "data")
        return cls(
            details=Report.from_json(answer.get("details")),
            page=page,
            headers=[_title(title) for title in as_list(table.get("headers"), "headers")],
            rows=[_cells(row) for row in as_list(table.get("rows"), "rows")],
            total=_integer(table, "totalrowcount"),
        )


def as_object(value: object, what: str) -> dict[str, Any]:
    """The JSON object that `value` is; raises ValueError if it is something else."""
    if not isinstance(value, dict):
        raise ValueError(f"an object expected for {what}")
    return value


def as_list(value: object, what: str) -> list[Any]:
    """The JSON list that `value` is; raises ValueError if it is something else."""
    if not isinstance(value, list):
        raise ValueError(f"a list expected for {what}")
    return value


def _optional_list(data: dict[str, Any], key: str) -> list[Any]:
    return as_list(data.get(key) or [], key)


def _text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if not isinstance(value, str):
        raise ValueError(f"a text expected for {key}")
    return value


def _optional_text(data: dict[str, Any], key: str) -> str | None:
    return None if data.get(key) is None else _text(data, key)


def _title(value: object) -> str:
    if value is not None and not isinstance(value, str):
        raise ValueError("a text expected for each title")
    return value or ""


def _cells(row: object) -> list[str | None]:
    """The cells of a report's row; one odd row must not cost the page."""
    columns = row.get("columns") if isinstance(row, dict) else None
    if not isinstance(columns, list):
        return []
    return [cell if isinstance(cell, str) else "" if cell is None else None for cell in columns]


def _integer(data: dict[str, Any], key: str) -> int:
    value = data.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"a whole number expected for {key}")
    return value


def _conditions(text: object) -> dict[str, Any] | None:
    """The report's conditions, which come as JSON in a text; None where they are not told."""
    if not isinstance(text, str):
        return None
    try:
        conditions = json.loads(text)
    except ValueError:
        return None
    return conditions if isinstance(conditions, dict) else {}


def _id(data: dict[str, Any], key: str) -> int:
    value = _integer(data, key)
    if not 0 < value <= LARGEST_ID:
        raise ValueError(f"a number of Moodle's expected for {key}")
    return value


def _flag(value: object, what: str) -> bool:
    """Moodle says yes and no as true and false in some functions, as 1 and 0 in others."""
    if value not in (0, 1):
        raise ValueError(f"yes or no expected for {what}")
    return bool(value)


def _number(data: dict[str, Any], key: str) -> Decimal | None:
    value = data.get(key)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"a number expected for {key}")
    number = Decimal(str(value))
    if not number.is_finite():
        # JSON's 1e999 is Python's infinity.
        raise ValueError(f"a number expected for {key}")
    return number


def _time(value: object) -> datetime | None:
    """Seconds since 1970 in UTC; Moodle means "never" by 0 and by null."""
    if value is None or value == 0:
        return None
    if not isinstance(value, int) or not 0 < value < LATEST_TIME:
        raise ValueError("a time in seconds expected")
    return datetime.fromtimestamp(value, UTC)


def _time_or_none(value: object) -> datetime | None:
    """The time, or None for one that cannot be read, where it is only compared."""
    try:
        return _time(value)
    except ValueError:
        return None
