"""Records of the answers of Moodle's web services, with the fields that the portal uses.

Each `from_json` takes decoded JSON. It raises ValueError if the JSON has another shape; the text names what was
expected and never what was found. Missing optional fields and unknown fields are accepted. Texts are as Moodle sent
them.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_FLOOR, Context, Decimal
from typing import Any, Self

from outbound_http import web_address

from .errors import MoodleError

# Moodle's `aggregation` of a course for which all criteria are needed.
ALL_CRITERIA = 1
# Moodle's `groupmode` of a course whose learners see only their own group.
SEPARATE_GROUPS = 1
# The largest whole number of a database column, for Moodle's ids too.
LARGEST_ID = 2**63 - 1
# Characters of a site's address, as its column has.
LONGEST_SITE_URL = 500
# Seconds since 1970: the year 9000, which is in the calendar of every zone. A time in milliseconds is later.
LATEST_TIME = 221_845_392_000


@dataclass(frozen=True, slots=True)
class SiteInfo:
    """The site, and the functions that this token may call. The account's private access key is not read.

    `siteurl` is a web address: links to courses begin with it, and Navigatr is sent them.
    """

    siteurl: str
    userid: int
    release: str
    version: int
    functions: frozenset[str]
    features: dict[str, bool]

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Parse the answer of functions.SITE_INFO. A version such as "2024100705.01" is cut at its point."""
        site = as_object(data, "site information")
        version = _text(site, "version").partition(".")[0]
        if not (version.isascii() and version.isdigit()):
            raise ValueError("a version number expected")
        siteurl = web_address(_text(site, "siteurl"), longest=LONGEST_SITE_URL)
        if not siteurl:
            raise ValueError("a web address expected")
        features = (as_object(item, "a feature") for item in _optional_list(site, "advancedfeatures"))
        return cls(
            siteurl=siteurl,
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
    """The time zone that the site forces on everybody, "" for none. The report's times are in that zone."""

    forced: str

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Parse the answer of functions.CONFIG, section locationsettings. "99" means that no zone is forced."""
        rows = as_list(as_object(data, "settings").get("settings"), "settings")
        found = {row.get("name"): row.get("value") for row in (as_object(row, "a setting") for row in rows)}
        if not isinstance(found.get("forcetimezone"), str | int):
            raise ValueError("the setting forcetimezone expected")
        forced = str(found["forcetimezone"])
        return cls(forced="" if forced == "99" else forced)


@dataclass(frozen=True, slots=True)
class Course:
    """A course. `completion_enabled` is None if the account has no access to the course.

    `category_id` is that of the course's own category; None for the front page, which is in none.
    """

    id: int
    shortname: str
    fullname: str
    category_id: int | None
    category_name: str
    visible: bool
    completion_enabled: bool | None
    separate_groups: bool
    contact_ids: frozenset[int]
    is_front_page: bool

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Parse one course of functions.COURSES."""
        course = as_object(data, "a course")
        contacts = (as_object(item, "a contact") for item in _optional_list(course, "contacts"))
        completion = course.get("enablecompletion")
        return cls(
            id=_id(course, "id"),
            shortname=_text(course, "shortname"),
            fullname=_text(course, "fullname"),
            category_id=_id(course, "categoryid") if course.get("categoryid") else None,
            category_name=_optional_text(course, "categoryname") or "",
            # Missing without access to the course. A hidden course is then not listed at all.
            visible=_flag(course.get("visible", 1), "visible"),
            completion_enabled=None if completion is None else _flag(completion, "enablecompletion"),
            separate_groups=course.get("groupmode") == SEPARATE_GROUPS,
            contact_ids=frozenset(_integer(contact, "id") for contact in contacts),
            is_front_page=course.get("format") == "site",
        )


@dataclass(frozen=True, slots=True)
class EnrolledUser:
    """A participant of a course, including teachers and suspended ones.

    Names and e-mail address are None if Moodle leaves them out because a capability is missing; "" is a field that is
    empty in Moodle.
    """

    id: int
    firstname: str | None
    lastname: str | None
    email: str | None

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Parse one user of functions.ENROLLED_USERS."""
        user = as_object(data, "a participant")
        return cls(
            id=_id(user, "id"),
            firstname=_optional_text(user, "firstname"),
            lastname=_optional_text(user, "lastname"),
            email=_optional_text(user, "email"),
        )


@dataclass(frozen=True, slots=True)
class User:
    """An account. Names and e-mail address are None if Moodle leaves them out."""

    id: int
    firstname: str | None
    lastname: str | None
    email: str | None
    suspended: bool

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Parse one user of functions.USERS."""
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
    """Whether a learner has completed a course, and between which times.

    Moodle gives no time of the completion itself, only the times of its criteria. The completion is not earlier than
    `earliest` and not later than `latest`; both are None if no criterion has a time, as after an import. `times` are
    the times of all criteria that are met. See docs/moodle-api.md, "Completion of a learner".
    """

    completed: bool
    earliest: datetime | None = None
    latest: datetime | None = None
    times: frozenset[datetime] = frozenset()

    @property
    def is_exact(self) -> bool:
        """Whether the criteria allow only one time."""
        return self.earliest is not None and self.earliest == self.latest

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Parse the answer of functions.COMPLETION."""
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
            # Whether all criteria of one type (such as several activities) were needed or any of them, Moodle does
            # not say. So the first of them may have been enough.
            earliest = max(min(of_type) for of_type in by_type.values())
        else:
            earliest = min(times)
        return cls(completed=True, earliest=earliest, latest=max(times), times=frozenset(times))


@dataclass(frozen=True, slots=True)
class Grade:
    """A learner's course total.

    `share` is the exact percentage (0 to 100) of the learner's own range of grades; None for no grade or a hidden one.
    `hidden` is True if the total is hidden in the gradebook, although the account may see it. `total_missing` is True
    if Moodle shows no course total, as it does when the total is hidden and the account may not see hidden grades. See
    docs/moodle-api.md, "Grades".
    """

    share: Decimal | None
    hidden: bool = False
    total_missing: bool = False

    @classmethod
    def from_json(cls, data: object, *, user_id: int) -> Self:
        """Parse the answer of functions.GRADES for one learner. Raises ValueError if it is about another one."""
        learners = as_list(as_object(data, "grades").get("usergrades"), "usergrades")
        if not learners:
            return cls(share=None, total_missing=True)
        learner = as_object(learners[0], "a learner's grades")
        if _integer(learner, "userid") != user_id:
            raise ValueError("the grades of the right learner expected")
        items = (as_object(item, "a grade item") for item in as_list(learner.get("gradeitems"), "gradeitems"))
        total = next((item for item in items if item.get("itemtype") == "course"), None)
        if total is None:
            return cls(share=None, total_missing=True)
        share = share_in_percent(_number(total, "graderaw"), _number(total, "grademin"), _number(total, "grademax"))
        if _flag(total.get("gradeishidden") or 0, "gradeishidden"):
            return cls(share=None, hidden=True)
        return cls(share=share)


# Rounds down, so that rounding never lifts a score to the minimum score.
_EXACTLY = Context(prec=50, rounding=ROUND_FLOOR)
# The decimals of a score.
_SIX_DECIMALS = Decimal("0.000001")


def share_in_percent(raw: Decimal | None, lowest: Decimal | None, highest: Decimal | None) -> Decimal | None:
    """A grade in percent of its range, rounded down to six decimals; None without a grade or a range.

    The result is from 0 to 100, although bonus points can lift a grade over its maximum.
    """
    lowest = lowest or Decimal(0)
    if raw is None or highest is None or highest <= lowest:
        return None
    points, reachable = _EXACTLY.subtract(raw, lowest), _EXACTLY.subtract(highest, lowest)
    share = _EXACTLY.divide(_EXACTLY.multiply(points, Decimal(100)), reachable)
    return min(max(share, Decimal(0)), Decimal(100)).quantize(_SIX_DECIMALS, context=_EXACTLY)


@dataclass(frozen=True, slots=True)
class LearnerFacts:
    """What Moodle says about one learner in one course: for each fact the answer, or the error in its place.

    None means that it was not asked. A `user` of None may also be an account that the token cannot see.
    """

    status: CompletionStatus | MoodleError | None = None
    user: User | MoodleError | None = None
    grade: Grade | MoodleError | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A custom report that the account is in the audience of.

    `source` is the PHP class that its rows come from. `unique_rows` and `conditions` (Moodle's own keys and
    values) are None if the answer does not hold them.
    """

    id: int
    name: str
    source: str
    timemodified: datetime | None
    unique_rows: bool | None = None
    conditions: dict[str, Any] | None = None

    @classmethod
    def from_json(cls, data: object) -> Self:
        """Parse one report of functions.LIST_REPORTS, or the details of a page."""
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
    """One page of a report. `page` counts from 0, `total` is the number of rows on all pages.

    A cell that is not a text is None. A row that is not a list of cells is empty.
    """

    details: Report
    page: int
    headers: list[str]
    rows: list[list[str | None]]
    total: int

    @classmethod
    def from_json(cls, data: object, *, page: int) -> Self:
        """Parse the answer of functions.RETRIEVE_REPORT. An empty cell may be null."""
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
    """The value, if it is a JSON object. Raises ValueError otherwise, naming `what`."""
    if not isinstance(value, dict):
        raise ValueError(f"an object expected for {what}")
    return value


def as_list(value: object, what: str) -> list[Any]:
    """The value, if it is a JSON list. Raises ValueError otherwise, naming `what`."""
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
    """The cells of a report's row. An odd row is empty, so that the rest of the page can be read."""
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
    """The report's conditions, which are JSON in a text; None without readable ones."""
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
        raise ValueError(f"an id expected for {key}")
    return value


def _flag(value: object, what: str) -> bool:
    """A yes or no, which some functions give as true and false, others as 1 and 0."""
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
        # Python reads JSON's 1e999 as infinity.
        raise ValueError(f"a number expected for {key}")
    return number


def _time(value: object) -> datetime | None:
    """A time in seconds since 1970. Moodle means "never" by 0 and by null."""
    if value is None or value == 0:
        return None
    if not isinstance(value, int) or not 0 < value < LATEST_TIME:
        raise ValueError("a time in seconds expected")
    return datetime.fromtimestamp(value, UTC)


def _time_or_none(value: object) -> datetime | None:
    """The time; None for never and for an unreadable time."""
    try:
        return _time(value)
    except ValueError:
        return None
