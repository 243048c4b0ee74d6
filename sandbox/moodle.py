"""The state of the pretend Moodle: courses, learners and completions in memory. `moodle_wire.py` has its functions.

It behaves as was recorded from Moodle 4.5 and 5.0 (docs/moodle-api.md).
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from .moodle_text import DATE_FORMS

# The calls that are remembered.
LEDGER_LENGTH = 50_000
# Moodle's front page is a course, too.
SITE_COURSE_ID = 1
# Users who are not in `Moodle.users`.
ADMIN_ID = 2
SERVICE_ACCOUNT_ID = 3
FIRST_USER_ID = 101
# The source of the reports: Moodle's "Course participants".
PARTICIPANTS = "core_course\\reportbuilder\\datasource\\participants"
# The name and the columns of the report that the portal expects.
AGREED_NAME = "Navigatr badge feed"
AGREED_COLUMNS = (
    "Course full name with link",
    "Course short name",
    "Full name with link",
    "Username",
    "First name",
    "Last name",
    "Email address",
    "Completed",
    "Time completed",
    "Grade",
)
# The filters of the agreed report, as Moodle's report editor names them.
FILTERS = ("Time completed", "Select course")
# The versions of Moodle that can be played.
VERSIONS = ("4.5", "5.0")
# A course's group mode.
SEPARATE_GROUPS = 1
# Short names of roles.
STUDENT = "student"
TEACHER = "editingteacher"
# Sorts the rows of a report: negative time, course short name, username, course id, user id.
RowKey = tuple[float, str, str, int, int]


@dataclass(slots=True)
class Site:
    """The settings of the site.

    - `force_timezone`: the zone of all dates; if "", the caller chooses it.
    - `date_form`: one of DATE_FORMS.
    - `titles`: "customised" changes the title of the column Username to "Student number" and "Yes" to "Aye".
    - `filter_headings`: whether text filters apply to names.
    - `strip_tags`: the setting "Remove HTML tags from all activity names".
    - `version`: one of VERSIONS.
    """

    name: str = "Sandbox Moodle"
    timezone: str = "Europe/London"
    force_timezone: str = ""
    date_form: str = DATE_FORMS[0]
    titles: str = "standard"
    filter_headings: bool = True
    strip_tags: bool = True
    version: str = VERSIONS[0]


# The valid values of settings that have a list of them.
SITE_CHOICES = {"date_form": DATE_FORMS, "titles": ("standard", "customised"), "version": VERSIONS}


@dataclass(slots=True)
class Course:
    """A course.

    - `criteria`: "self", "grade", "activities", several of them with commas, or "" for none.
    - `aggregation`: 1 if all criteria are required, 2 if any is enough.
    - `groupmode`: 0 for no groups, 1 for separate groups, 2 for visible groups.
    - `grade_type`: the total is in "points", on a "scale" from Fail to Distinction, or "none".
    - `hidden_total`: the course total is hidden. `hidden_work`: a grade that counts for it is hidden.
    """

    id: int
    shortname: str
    fullname: str
    enablecompletion: int
    visible: int
    grademax: float
    criteria: str
    idnumber: str
    startdate: int
    timecreated: float
    aggregation: int = 1
    category: int = 2
    groupmode: int = 0
    groupmodeforce: int = 0
    grade_required: float | None = None
    grade_type: str = "points"
    hidden_total: bool = False
    hidden_work: bool = False


@dataclass(slots=True)
class User:
    """An account.

    A deleted account still exists, with a hash of 32 digits as its e-mail address. After Moodle's hourly task has
    `cleaned_up` the account, calls that ask for it fail.
    """

    id: int
    username: str
    firstname: str
    lastname: str
    email: str
    suspended: bool = False
    deleted: bool = False
    idnumber: str = ""
    confirmed: bool = True
    auth: str = "manual"
    cleaned_up: bool = False
    city: str = "Leeds"
    country: str = "GB"

    @property
    def fullname(self) -> str:
        """First and last name as Moodle joins them, with a leading blank if there is no first name."""
        return f"{self.firstname} {self.lastname}"


@dataclass(slots=True)
class Enrolment:
    """A user's enrolment in a course.

    - `active`: False if it is suspended.
    - `ended`: its end date has passed.
    - `ways`: the number of enrolment methods. A report that keeps duplicate rows has a row for each.
    """

    role: str = STUDENT
    active: bool = True
    ended: bool = False
    ways: int = 1

    @property
    def counts(self) -> bool:
        """Whether the enrolment is active and has not ended."""
        return self.active and not self.ended


@dataclass(slots=True)
class Completion:
    """A completed course. If `time_known` is False, the criteria have no times, as after an import."""

    time: float
    time_known: bool = True


@dataclass(slots=True)
class Grade:
    """A learner's course total in points. Ungraded work does not count, so each learner has a `maximum`."""

    raw: float
    maximum: float
    time: float


@dataclass(slots=True)
class Report:
    """A custom report with the source "Course participants".

    - `columns`: Moodle's titles. `headings`: the titles that the report's editor has changed.
    - `unique`: the setting "Remove any duplicate rows".
    - `shared`: whether the service account may see the report.
    - `completed_only`: the condition Completed = Yes.
    - `filters`: those of FILTERS that it has.
    """

    id: int
    name: str
    columns: tuple[str, ...]
    unique: bool
    timecreated: int
    timemodified: int
    shared: bool = True
    completed_only: bool = True
    filters: tuple[str, ...] = FILTERS
    headings: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Filter:
    """The filter values of a report: seconds since the epoch, 0 for an open end, and course ids, none for all."""

    start: int = 0
    end: int = 0
    courses: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Call:
    """A web-service call that was received. `errorcode` is "" if it succeeded."""

    time: float
    function: str
    errorcode: str
    status: int
    fault: str = ""


@dataclass(slots=True)
class Oddity:
    """An unexpected `value` for `key` in a function's answer, in the record with this id or, for None, in all."""

    function: str
    key: str
    value: Any
    id: int | None = None


@dataclass(slots=True)
class _Members:
    """The participants of a course. `ids` are sorted."""

    by_user: dict[int, Enrolment] = field(default_factory=dict)
    ids: list[int] = field(default_factory=list)


class Moodle:
    """The state of the pretend Moodle. All methods are safe to call from any thread.

    The completed rows are kept sorted, so that a page of the report takes the same time with ten rows and a million.
    Methods raise KeyError for an unknown course, user or report.
    """

    def __init__(self, *, token: str, clock: Callable[[], float] = time.time) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.token = token
        self.origin = ""
        self.root = "/moodle"
        # Counts the changes of the state. Caches and the state file compare it.
        self.changes = 0
        self.reset()

    def reset(self) -> None:
        """Delete everything except the token, and add the agreed report."""
        with self.lock:
            self.site = Site()
            self.categories = {1: "Category 1", 2: "Compliance & Safety"}
            self.oddities: list[Oddity] = []
            self.courses: dict[int, Course] = {}
            self.users: dict[int, User] = {}
            self.reports: dict[int, Report] = {}
            self.ledger: deque[Call] = deque(maxlen=LEDGER_LENGTH)
            self._members: dict[int, _Members] = {}
            self._courses_of: dict[int, set[int]] = {}
            # By course id and user id.
            self._completions: dict[tuple[int, int], Completion] = {}
            self._criteria: dict[tuple[int, int], list[tuple[int, int | None]]] = {}
            self._unlocked: dict[tuple[int, int], Completion] = {}
            self._grades: dict[tuple[int, int], Grade] = {}
            self._filters: dict[int, Filter] = {}
            # The rows of a report with the agreed settings.
            self._rows: list[RowKey] = []
            self._by_email: dict[str, list[int]] = {}
            # Caches by report id, each valid for one value of `changes`: filtered rows, and rows of other reports.
            self._filtered: dict[int, tuple[int, Filter, list[RowKey]]] = {}
            self._other_rows: dict[int, tuple[int, list[RowKey]]] = {}
            self._next_course = SITE_COURSE_ID + 1
            self._next_user = FIRST_USER_ID
            self._next_report = 2
            self.changes += 1
            self.add_report(AGREED_NAME, AGREED_COLUMNS)

    # For tests, the control calls and the page.

    @property
    def url(self) -> str:
        """The site's address."""
        return f"{self.origin}{self.root}"

    def count(self, function: str = "") -> int:
        """The number of calls of one function, or of all."""
        with self.lock:
            return sum(function in ("", call.function) for call in self.ledger)

    def set_site(self, **changes: Any) -> None:
        """Change fields of `Site`. Raises KeyError for an unknown field and ValueError for an invalid value."""
        with self.lock:
            for name, value in changes.items():
                if name not in Site.__dataclass_fields__:
                    raise KeyError(name)
                if name in SITE_CHOICES and value not in SITE_CHOICES[name]:
                    raise ValueError(f"{name} must be one of {', '.join(SITE_CHOICES[name])}")
            for name, value in changes.items():
                setattr(self.site, name, value)
            self.changes += 1

    def add_category(self, name: str) -> int:
        """Add a course category and return its id."""
        with self.lock:
            number = max(self.categories) + 1
            self.categories[number] = name
            self.changes += 1
            return number

    def add_course(
        self,
        shortname: str,
        fullname: str,
        *,
        enablecompletion: int = 1,
        visible: int = 1,
        grademax: float = 100,
        criteria: str = "self",
        idnumber: str = "",
        course_id: int | None = None,
    ) -> int:
        """Add a course and return its id: `course_id`, or the next free one. Raises ValueError if it is in use."""
        with self.lock:
            now = self.clock()
            number = self._next_course if course_id is None else course_id
            if number in self.courses:
                raise ValueError(f"course id {number} is taken")
            course = Course(
                id=number,
                shortname=shortname,
                fullname=fullname,
                enablecompletion=enablecompletion,
                visible=visible,
                grademax=grademax,
                criteria=criteria,
                idnumber=idnumber,
                startdate=int(now) - 86_400 * 30,
                timecreated=now,
            )
            self._next_course = max(self._next_course, number + 1)
            self.courses[course.id] = course
            self._members[course.id] = _Members()
            self.changes += 1
            return course.id

    def set_course(self, course_id: int, **changes: Any) -> None:
        """Change fields of a `Course`, except its id."""
        with self.lock:
            course = self.courses[course_id]
            for name in changes:
                if name == "id" or name not in Course.__dataclass_fields__:
                    raise KeyError(name)
            for name, value in changes.items():
                setattr(course, name, value)
            if "shortname" in changes:
                self._rebuild_rows()
            self.changes += 1

    def delete_course(self, course_id: int) -> None:
        """Delete a course with its enrolments, completions and grades."""
        with self.lock:
            del self.courses[course_id]
            for user_id in self._members.pop(course_id).by_user:
                self._courses_of[user_id].discard(course_id)
            for kept in (self._completions, self._grades, self._criteria, self._unlocked):
                for pair in [pair for pair in kept if pair[0] == course_id]:
                    kept.pop(pair)
            self._rebuild_rows()
            self.changes += 1

    def add_learner(
        self,
        firstname: str,
        lastname: str,
        email: str,
        *,
        suspended: bool = False,
        deleted: bool = False,
        username: str = "",
        course_id: int | None = None,
        user_id: int | None = None,
    ) -> int:
        """Add an account, enrol it in `course_id` if that is given, and return its id.

        The id is `user_id`, or the next free one. Raises ValueError if it is in use.
        """
        with self.lock:
            number = self._next_user if user_id is None else user_id
            if number in self.users:
                raise ValueError(f"user id {number} is taken")
            user = User(number, username or f"learner{number}", firstname, lastname, email, suspended)
            self._next_user = max(self._next_user, number + 1)
            self.users[user.id] = user
            self._by_email.setdefault(email, []).append(user.id)
            self.changes += 1
            if course_id is not None:
                self.enrol(course_id, user.id)
            if deleted:
                self.delete_user(user.id)
            return user.id

    def add_learners(self, number: int, course_id: int | None = None) -> list[int]:
        """Add many accounts with different names and addresses, enrol them if a course is given, return their ids."""
        with self.lock:
            return [
                self.add_learner(f"Learner{n}", "Example", f"learner{n}@example.org", course_id=course_id)
                for n in range(self._next_user, self._next_user + number)
            ]

    def enrol(
        self,
        course_id: int,
        user_id: int,
        *,
        role: str = STUDENT,
        active: bool = True,
        ended: bool = False,
        ways: int = 1,
    ) -> None:
        """Enrol a user, or change the user's `Enrolment`. An earlier completion is visible again, with its old time."""
        with self.lock:
            members = self._members[course_id]
            user = self.users[user_id]
            if user.id not in members.by_user:
                insort(members.ids, user.id)
                self._courses_of.setdefault(user.id, set()).add(course_id)
                if completion := self._completions.get((course_id, user_id)):
                    insort(self._rows, self._key(course_id, user_id, completion))
            members.by_user[user.id] = Enrolment(role, active, ended, ways)
            self.changes += 1

    def unenrol(self, course_id: int, user_id: int) -> None:
        """End an enrolment. The completion is kept, but reports do not show it."""
        with self.lock:
            members = self._members[course_id]
            del members.by_user[user_id]
            members.ids.remove(user_id)
            self._courses_of[user_id].discard(course_id)
            self._drop_row(course_id, user_id)
            self.changes += 1

    def complete(
        self,
        course_id: int,
        user_id: int,
        at: float | None = None,
        *,
        grade: float | None = None,
        time_known: bool = True,
        criteria: Iterable[tuple[int, int | None]] | None = None,
    ) -> None:
        """Complete a course for a user, now or `at` another time, and enrol the user if necessary.

        `criteria` are as for `set_criteria`. If `time_known` is False, the criteria have no times. As in Moodle, a
        completed course keeps its first time until `uncomplete`.
        """
        with self.lock:
            if criteria is not None:
                self.set_criteria(course_id, user_id, criteria)
            self.complete_many(course_id, [user_id], at, grade=grade, time_known=time_known)

    def complete_many(
        self,
        course_id: int,
        user_ids: Iterable[int],
        at: float | None = None,
        *,
        grade: float | None = None,
        time_known: bool = True,
    ) -> None:
        """Complete a course for many users at once."""
        with self.lock:
            members = self._members[course_id]
            new: list[RowKey] = []
            when = self.clock() if at is None else at
            for user_id in user_ids:
                if user_id not in members.by_user:
                    self.enrol(course_id, user_id)
                if grade is not None:
                    self.set_grade(course_id, user_id, grade)
                if (course_id, user_id) in self._completions:
                    continue
                completion = self._completions[course_id, user_id] = Completion(when, time_known)
                new.append(self._key(course_id, user_id, completion))
            if len(new) == 1:
                insort(self._rows, new[0])
            else:
                self._rows.extend(new)
                self._rows.sort()
            self.changes += 1

    def set_criteria(self, course_id: int, user_id: int, criteria: Iterable[tuple[int, int | None]]) -> None:
        """Set which criteria of a course a user has met, without completing the course.

        `criteria` are pairs of a type (1 self, 4 activity, 6 grade …) and the time, None for a criterion that is not
        met or has no time. A completed course may have criteria that are not met, because any of several may be enough.
        """
        with self.lock:
            if course_id not in self.courses or user_id not in self.users:
                raise KeyError(course_id if course_id not in self.courses else user_id)
            self._criteria[course_id, user_id] = [(kind, when) for kind, when in criteria]
            self.changes += 1

    def uncomplete(self, course_id: int, user_id: int) -> None:
        """Delete a completion, if there is one, as a manager's reset does."""
        with self.lock:
            self._drop_row(course_id, user_id)
            self._completions.pop((course_id, user_id), None)
            self._criteria.pop((course_id, user_id), None)
            self.changes += 1

    def unlock_completion(self, course_id: int) -> None:
        """Unlock the completion settings, which deletes all completions; see `run_completion_tasks`."""
        with self.lock:
            if course_id not in self.courses:
                raise KeyError(course_id)
            for pair in [pair for pair in self._completions if pair[0] == course_id]:
                self._drop_row(*pair)
                self._unlocked[pair] = self._completions.pop(pair)
            self.changes += 1

    def run_completion_tasks(self) -> None:
        """Run Moodle's tasks: in courses with activities, completions deleted by `unlock_completion` come back."""
        with self.lock:
            for (course_id, user_id), completion in self._unlocked.items():
                if self.courses[course_id].criteria == "activities":
                    self._completions.setdefault((course_id, user_id), completion)
            self._unlocked.clear()
            self._rebuild_rows()
            self.changes += 1

    def set_grade(self, course_id: int, user_id: int, raw: float | None, grademax: float | None = None) -> None:
        """Set the course total in points, or delete it with None. `grademax` is the learner's maximum if it differs."""
        with self.lock:
            course = self.courses[course_id]
            if raw is None:
                self._grades.pop((course_id, user_id), None)
            else:
                self._grades[course_id, user_id] = Grade(raw, grademax or course.grademax, self.clock())
            self.changes += 1

    def set_email(self, user_id: int, email: str) -> None:
        """Change an e-mail address."""
        with self.lock:
            self._change_email(self.users[user_id], email)

    def set_name(self, user_id: int, firstname: str, lastname: str) -> None:
        """Change a name."""
        self.set_user(user_id, firstname=firstname, lastname=lastname)

    def set_user(self, user_id: int, **changes: Any) -> None:
        """Change username, firstname, lastname, email, idnumber, suspended, confirmed, auth, city or country."""
        with self.lock:
            user = self.users[user_id]
            for name in changes:
                if name in ("id", "deleted", "cleaned_up") or name not in User.__dataclass_fields__:
                    raise KeyError(name)
            for name, value in changes.items():
                if name == "email":
                    self._change_email(user, value)
                else:
                    setattr(user, name, value)
            if "username" in changes:
                self._rebuild_rows()
            self.changes += 1

    def suspend(self, user_id: int, suspended: bool = True) -> None:
        """Suspend an account, or end that."""
        self.set_user(user_id, suspended=suspended)

    def delete_user(self, user_id: int, cleaned_up: bool = False) -> None:
        """Delete an account: its enrolments end, and its address becomes a hash."""
        with self.lock:
            user = self.users[user_id]
            for course_id in list(self._courses_of.get(user_id, ())):
                self.unenrol(course_id, user_id)
            user.deleted = True
            user.cleaned_up = cleaned_up
            hashed = hashlib.md5(user.username.encode(), usedforsecurity=False).hexdigest()
            self._change_email(user, hashed)

    def clean_up_user(self, user_id: int) -> None:
        """Run the hourly task "Cleanup contexts" for a deleted account. After that, calls that ask for it fail."""
        with self.lock:
            if not self.users[user_id].deleted:
                raise ValueError(f"user {user_id} is not deleted")
            self.users[user_id].cleaned_up = True
            self.changes += 1

    def double_user(self, user_id: int, email: str = "") -> int:
        """Add a second account with the same name, courses and completion times, and return its id."""
        with self.lock:
            first = self.users[user_id]
            second = self.add_learner(first.firstname, first.lastname, email or f"second.{first.email}")
            self._copy_courses(user_id, second)
            return second

    def merge_users(self, kept_id: int, merged_id: int) -> None:
        """Move the courses of an account to another one and suspend it, as administrators merge accounts."""
        with self.lock:
            self._copy_courses(merged_id, kept_id)
            for course_id in list(self._courses_of.get(merged_id, ())):
                self.uncomplete(course_id, merged_id)
                self.unenrol(course_id, merged_id)
            self.suspend(merged_id)

    def rebuild(self, people: str = "same") -> None:
        """Replace the site by another one at the same address, in which every id means another person or course.

        With `people` "same" they are the same people and courses with other ids, with "new" they are new ones. The
        completions stay with the ids. Raises ValueError for another word.
        """
        if people not in ("same", "new"):
            raise ValueError("people must be same or new")
        with self.lock:
            users, courses = sorted(self.users), sorted(self.courses)
            if people == "same" and len(users) > 1 and len(courses) > 1:
                _rotate(self.users, users, ("username", "firstname", "lastname", "email", "idnumber"))
                _rotate(self.courses, courses, ("shortname", "fullname", "idnumber", "timecreated"))
            else:
                for number in users:
                    user = self.users[number]
                    user.username, user.firstname, user.lastname = f"new{number}", "New", f"Person{number}"
                    user.email, user.idnumber = f"new{number}@example.net", ""
                for number in courses:
                    course = self.courses[number]
                    course.shortname, course.fullname, course.idnumber = f"NEW{number}", f"New course {number}", ""
            self._by_email = {}
            for user in self.users.values():
                self._by_email.setdefault(user.email, []).append(user.id)
            self._rebuild_rows()
            self.changes += 1

    def distort(self, function: str, key: str, value: Any, id: int | None = None) -> None:  # noqa: A002
        """Put a value into a function's answers, as `key` of the record with this id, or of all records.

        For a report, `key` is a column's title and `id` the user's id.
        """
        with self.lock:
            self.oddities.append(Oddity(function, key, value, id))
            self.changes += 1

    def undistort(self) -> None:
        """Undo all calls of `distort`."""
        with self.lock:
            self.oddities.clear()
            self.changes += 1

    def add_report(self, name: str, columns: Iterable[str], unique: bool = True, report_id: int | None = None) -> int:
        """Add a custom report and return its id. Columns with unknown titles are empty.

        The id is `report_id`, or the next free one. Raises ValueError if it is in use.
        """
        with self.lock:
            now = int(self.clock())
            number = self._next_report if report_id is None else report_id
            if number in self.reports:
                raise ValueError(f"report id {number} is taken")
            report = Report(number, name, tuple(columns), unique, now, now)
            self._next_report = max(self._next_report, number + 1)
            self.reports[report.id] = report
            self.changes += 1
            return report.id

    def set_report(self, report_id: int, **changes: Any) -> None:
        """Edit a report: name, columns, headings (by title), unique, completed_only, filters, shared."""
        with self.lock:
            report = self.reports[report_id]
            for name, value in changes.items():
                if name not in ("name", "columns", "headings", "unique", "completed_only", "filters", "shared"):
                    raise KeyError(name)
                setattr(report, name, tuple(value) if name in ("columns", "filters") else value)
            report.timemodified = max(int(self.clock()), report.timemodified + 1)
            self.changes += 1

    # For moodle_wire.py.

    def members(self, course_id: int) -> dict[int, Enrolment]:
        """The enrolments of a course by user id."""
        return self._members[course_id].by_user

    def member_ids(self, course_id: int) -> list[int]:
        """The sorted ids of a course's participants."""
        return self._members[course_id].ids

    def courses_of(self, user_id: int) -> list[Course]:
        """The visible courses that a user is enrolled in, in Moodle's order: newest first."""
        found = sorted(self._courses_of.get(user_id, ()), reverse=True)
        return [self.courses[course_id] for course_id in found if self.courses[course_id].visible]

    def completion(self, course_id: int, user_id: int) -> Completion | None:
        """A user's completion of a course, if there is one."""
        return self._completions.get((course_id, user_id))

    def criteria(self, course_id: int, user_id: int) -> list[tuple[int, int | None]] | None:
        """A user's criteria, if `set_criteria` was called."""
        met = self._criteria.get((course_id, user_id))
        if met is not None and (course_id, user_id) in self._unlocked:
            return [(kind, None) for kind, _when in met]
        return met

    def grade(self, course_id: int, user_id: int) -> Grade | None:
        """A user's course total, if there is one."""
        return self._grades.get((course_id, user_id))

    def ids_by_email(self, email: str) -> list[int]:
        """The sorted ids of the accounts with exactly this address, case included."""
        return sorted(self._by_email.get(email, ()))

    def set_filter(self, report_id: int, values: Filter) -> None:
        """Store the filter values of a report until they are replaced."""
        with self.lock:
            self._filters[report_id] = values

    def rows(self, report_id: int) -> list[RowKey]:
        """The sorted rows of a report that pass its stored filter. Callers must not change the list.

        Rows without a completion have the time infinity: PostgreSQL sorts empty times first in descending order.
        """
        report = self.reports[report_id]
        stored = self._filters.get(report_id, Filter())
        has_time_filter, has_course_filter = (name in report.filters for name in FILTERS)
        applied = Filter(
            stored.start if has_time_filter else 0,
            stored.end if has_time_filter else 0,
            stored.courses if has_course_filter else frozenset(),
        )
        if applied == Filter():
            return self._all_rows(report)
        changes, cached_filter, rows = self._filtered.get(report_id, (-1, applied, []))
        if changes == self.changes and cached_filter == applied:
            return rows
        rows = self._all_rows(report)
        if applied.start or applied.end:
            first = bisect_left(rows, (-float(applied.end or math.inf) - 0.5, "", "", 0, 0))
            # Rows without a time are not in a range, even if it has no end.
            first = max(first, bisect_left(rows, (-math.inf, "\U0010ffff", "", 0, 0)))
            last = bisect_left(rows, (-applied.start + 0.5, "", "", 0, 0)) if applied.start else len(rows)
            rows = rows[first:last]
        if applied.courses:
            rows = [key for key in rows if key[3] in applied.courses]
        self._filtered[report_id] = (self.changes, applied, rows)
        return rows

    def _all_rows(self, report: Report) -> list[RowKey]:
        """The sorted rows of a report before its filter."""
        if report.completed_only and report.unique:
            return self._rows
        changes, rows = self._other_rows.get(report.id, (-1, []))
        if changes == self.changes:
            return rows
        rows = []
        for course_id, members in self._members.items():
            for user_id, enrolment in members.by_user.items():
                completion = self._completions.get((course_id, user_id))
                if completion or not report.completed_only:
                    key = self._key(course_id, user_id, completion)
                    rows += [key] * (1 if report.unique else enrolment.ways)
        rows.sort()
        self._other_rows[report.id] = (self.changes, rows)
        return rows

    # The state file.

    def dump(self) -> dict[str, Any]:
        """The state without the ledger."""
        with self.lock:
            return {
                "courses": [asdict(course) for course in self.courses.values()],
                "users": [asdict(user) for user in self.users.values()],
                "reports": [asdict(report) for report in self.reports.values()],
                "enrolments": [
                    [course_id, user_id, enrolment.role, enrolment.active, enrolment.ended, enrolment.ways]
                    for course_id, members in self._members.items()
                    for user_id, enrolment in members.by_user.items()
                ],
                "completions": [[*pair, row.time, row.time_known] for pair, row in self._completions.items()],
                "grades": [[*pair, row.raw, row.maximum, row.time] for pair, row in self._grades.items()],
                "criteria": [[*pair, met] for pair, met in self._criteria.items()],
                "unlocked": [[*pair, row.time, row.time_known] for pair, row in self._unlocked.items()],
                "site": asdict(self.site),
                "categories": list(self.categories.items()),
                "oddities": [asdict(oddity) for oddity in self.oddities],
                "next": [self._next_course, self._next_user, self._next_report],
            }

    def load(self, state: dict[str, Any]) -> None:
        """Restore what `dump` returned. Raises KeyError, TypeError or ValueError for anything else."""
        with self.lock:
            self.reset()
            self.courses = {row["id"]: Course(**row) for row in state["courses"]}
            self.users = {row["id"]: User(**row) for row in state["users"]}
            self.reports = {row["id"]: Report(**row) for row in state["reports"]}
            for report in self.reports.values():
                report.columns, report.filters = tuple(report.columns), tuple(report.filters)
            self._members = {course_id: _Members() for course_id in self.courses}
            for user in self.users.values():
                self._by_email.setdefault(user.email, []).append(user.id)
            for course_id, user_id, *enrolment in state["enrolments"]:
                self._members[course_id].by_user[user_id] = Enrolment(*enrolment)
                self._courses_of.setdefault(user_id, set()).add(course_id)
            for members in self._members.values():
                members.ids = sorted(members.by_user)
            for course_id, user_id, when, time_known in state["completions"]:
                self._completions[course_id, user_id] = Completion(when, time_known)
            # Files of earlier versions do not have all of the following.
            for course_id, user_id, met in state.get("criteria", ()):
                self._criteria[course_id, user_id] = [(kind, when) for kind, when in met]
            for course_id, user_id, when, time_known in state.get("unlocked", ()):
                self._unlocked[course_id, user_id] = Completion(when, time_known)
            self.site = Site(**state.get("site", asdict(self.site)))
            self.categories = dict(state.get("categories", self.categories.items()))
            self.oddities = [Oddity(**oddity) for oddity in state.get("oddities", ())]
            self._rebuild_rows()
            for course_id, user_id, raw, maximum, when in state["grades"]:
                self._grades[course_id, user_id] = Grade(raw, maximum, when)
            self._next_course, self._next_user, self._next_report = state["next"]
            self.changes += 1

    def _key(self, course_id: int, user_id: int, completion: Completion | None) -> RowKey:
        # Moodle stores whole seconds.
        when = int(completion.time) if completion else math.inf
        return (-when, self.courses[course_id].shortname, self.users[user_id].username, course_id, user_id)

    def _rebuild_rows(self) -> None:
        """Sort all rows again after a change of names or ids."""
        self._rows = sorted(
            self._key(*pair, completion)
            for pair, completion in self._completions.items()
            if pair[1] in self._members[pair[0]].by_user
        )

    def _copy_courses(self, source: int, target: int) -> None:
        """Copy enrolments, completions and grades that the target does not have."""
        for course_id in sorted(self._courses_of.get(source, ())):
            if target not in self._members[course_id].by_user:
                enrolment = self._members[course_id].by_user[source]
                self.enrol(course_id, target, role=enrolment.role, active=enrolment.active, ended=enrolment.ended)
            if grade := self._grades.get((course_id, source)):
                self._grades.setdefault((course_id, target), grade)
            if met := self._criteria.get((course_id, source)):
                self._criteria.setdefault((course_id, target), met)
            if completion := self._completions.get((course_id, source)):
                self.complete(course_id, target, completion.time, time_known=completion.time_known)

    def _drop_row(self, course_id: int, user_id: int) -> None:
        completion = self._completions.get((course_id, user_id))
        if completion is None:
            return
        key = self._key(course_id, user_id, completion)
        position = bisect_left(self._rows, key)
        if position < len(self._rows) and self._rows[position] == key:
            del self._rows[position]

    def _change_email(self, user: User, email: str) -> None:
        self._by_email[user.email].remove(user.id)
        user.email = email
        self._by_email.setdefault(email, []).append(user.id)
        self.changes += 1


def _rotate(rows: dict[int, Any], numbers: list[int], names: tuple[str, ...]) -> None:
    """Give each row the values of the next one, and the last row those of the first."""
    values = [[getattr(rows[number], name) for name in names] for number in numbers]
    for number, new_values in zip(numbers, [*values[1:], values[0]], strict=True):
        for name, value in zip(names, new_values, strict=True):
            setattr(rows[number], name, value)
