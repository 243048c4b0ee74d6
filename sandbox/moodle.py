"""The pretend Moodle: courses, learners and completions in memory, and what is asked and changed about them.

How it speaks is in `moodle_wire.py`. What a real Moodle does was recorded from Moodle 4.5.
"""

from __future__ import annotations

import hashlib
import threading
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

LEDGER_LENGTH = 50_000
SITE_COURSE_ID = 1
ADMIN_ID = 2
SERVICE_ACCOUNT_ID = 3
FIRST_USER_ID = 101
PARTICIPANTS = "core_course\\reportbuilder\\datasource\\participants"
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
STUDENT = "student"
TEACHER = "editingteacher"
# The order of the report: newest first, then course short name, then username, which together are unique.
RowKey = tuple[float, str, str, int, int]


@dataclass(slots=True)
class Course:
    """A course. `criteria` is what completes it: "self", "grade", "activities", or "" for none set."""

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


@dataclass(slots=True)
class User:
    """An account. A deleted one keeps its row, with a 32-digit hash in place of its e-mail address."""

    id: int
    username: str
    firstname: str
    lastname: str
    email: str
    suspended: bool = False
    deleted: bool = False
    idnumber: str = ""

    @property
    def fullname(self) -> str:
        """First and last name as Moodle joins them: an empty first name leaves a leading blank."""
        return f"{self.firstname} {self.lastname}"


@dataclass(slots=True)
class Enrolment:
    """That a user takes part in a course: as what, and whether that is active."""

    role: str = STUDENT
    active: bool = True


@dataclass(slots=True)
class Completion:
    """A completed course. `time_known` False: the criteria hold no time, as after an import."""

    time: float
    time_known: bool = True


@dataclass(slots=True)
class Grade:
    """A learner's course total in points. `maximum` is this learner's own: ungraded work does not count."""

    raw: float
    maximum: float
    time: float


@dataclass(slots=True)
class Report:
    """A custom report over course participants, limited to completed ones."""

    id: int
    name: str
    columns: tuple[str, ...]
    unique: bool
    timecreated: int
    timemodified: int
    shared: bool = True


@dataclass(frozen=True, slots=True)
class Filter:
    """What a token's user has limited a report to: seconds since the epoch, 0 for an open end, and courses."""

    start: int = 0
    end: int = 0
    courses: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Call:
    """One web-service call received. `errorcode` is what it was refused with, "" if it was not."""

    time: float
    function: str
    errorcode: str
    status: int
    fault: str = ""


@dataclass(slots=True)
class _Members:
    """The participants of one course, with their ids in order for paging."""

    by_user: dict[int, Enrolment] = field(default_factory=dict)
    ids: list[int] = field(default_factory=list)


class Moodle:
    """The state of the pretend Moodle. Every method is safe to call from any thread.

    Completed rows are kept in the report's order, so that a page costs the same with ten rows and with a million.
    Methods raise KeyError for an unknown course, user or report.
    """

    def __init__(
        self, *, token: str, clock: Callable[[], float] = time.time, site_timezone: str = "Europe/London"
    ) -> None:
        self.lock = threading.RLock()
        self.clock = clock
        self.origin = ""
        self.root = "/moodle"
        self.site_timezone = site_timezone
        self.changes = 0
        self._token = token
        self.reset()

    def reset(self) -> None:
        """Forget everything but the token and the agreed report, which is there from the start."""
        with self.lock:
            self.sitename = "Sandbox Moodle"
            self.courses: dict[int, Course] = {}
            self.users: dict[int, User] = {}
            self.reports: dict[int, Report] = {}
            self.ledger: deque[Call] = deque(maxlen=LEDGER_LENGTH)
            self._members: dict[int, _Members] = {}
            self._courses_of: dict[int, set[int]] = {}
            self._completions: dict[tuple[int, int], Completion] = {}
            self._grades: dict[tuple[int, int], Grade] = {}
            self._filters: dict[int, Filter] = {}
            self._rows: list[RowKey] = []
            self._by_email: dict[str, list[int]] = {}
            self._filtered: tuple[int, Filter, list[RowKey]] = (-1, Filter(), [])
            self._next_course = SITE_COURSE_ID + 1
            self._next_user = FIRST_USER_ID
            self._next_report = 2
            self.changes += 1
            self.add_report(AGREED_NAME, AGREED_COLUMNS)

    # What tests, the control calls and the page use

    @property
    def url(self) -> str:
        """The site's address, as the portal is told it and as links carry it."""
        return f"{self.origin}{self.root}"

    @property
    def token(self) -> str:
        """The web-service token that is accepted."""
        return self._token

    @token.setter
    def token(self, value: str) -> None:
        with self.lock:
            self._token = value

    def count(self, function: str = "") -> int:
        """How many calls were received, of one function or of all."""
        with self.lock:
            return sum(function in ("", call.function) for call in self.ledger)

    def add_course(
        self,
        shortname: str,
        fullname: str,
        enablecompletion: int = 1,
        visible: int = 1,
        grademax: float = 100,
        criteria: str = "self",
        idnumber: str = "",
    ) -> int:
        """A new course; returns its id."""
        with self.lock:
            now = self.clock()
            course = Course(
                id=self._next_course,
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
            self._next_course += 1
            self.courses[course.id] = course
            self._members[course.id] = _Members()
            self.changes += 1
            return course.id

    def set_course(self, course_id: int, **changes: Any) -> None:
        """Change fullname, enablecompletion, visible, grademax or criteria."""
        with self.lock:
            course = self.courses[course_id]
            for name, value in changes.items():
                if name not in ("fullname", "enablecompletion", "visible", "grademax", "criteria"):
                    raise KeyError(name)
                setattr(course, name, value)
            self.changes += 1

    def add_learner(
        self,
        firstname: str,
        lastname: str,
        email: str,
        suspended: bool = False,
        deleted: bool = False,
        username: str = "",
        course_id: int | None = None,
        user_id: int | None = None,
    ) -> int:
        """A new account, enrolled in `course_id` when one is given; returns its id.

        The id is the next free one or `user_id`. Raises ValueError when that is taken.
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
        """Many new accounts with different names and addresses, enrolled when a course is given; returns their ids."""
        with self.lock:
            return [
                self.add_learner(f"Learner{n}", "Example", f"learner{n}@example.org", course_id=course_id)
                for n in range(self._next_user, self._next_user + number)
            ]

    def enrol(self, course_id: int, user_id: int, role: str = STUDENT, active: bool = True) -> None:
        """Enrol a user, or change the enrolment. A completion from before shows again, with its old time."""
        with self.lock:
            members = self._members[course_id]
            user = self.users[user_id]
            if user.id not in members.by_user:
                insort(members.ids, user.id)
                self._courses_of.setdefault(user.id, set()).add(course_id)
                if completion := self._completions.get((course_id, user_id)):
                    insort(self._rows, self._key(course_id, user_id, completion))
            members.by_user[user.id] = Enrolment(role, active)
            self.changes += 1

    def unenrol(self, course_id: int, user_id: int) -> None:
        """End an enrolment: the row leaves the report, the completion is remembered."""
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
        grade: float | None = None,
        time_known: bool = True,
    ) -> None:
        """Complete a course for a user, now or `at` some second, enrolling the user first where needed.

        Completion is sticky as in Moodle: who has completed keeps the first time until `uncomplete`.
        """
        self.complete_many(course_id, [user_id], at, grade, time_known)

    def complete_many(
        self,
        course_id: int,
        user_ids: Iterable[int],
        at: float | None = None,
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

    def uncomplete(self, course_id: int, user_id: int) -> None:
        """Undo a completion without a trace, as a manager's reset does; nothing happens if there is none."""
        with self.lock:
            self._drop_row(course_id, user_id)
            self._completions.pop((course_id, user_id), None)
            self.changes += 1

    def set_grade(self, course_id: int, user_id: int, raw: float | None, grademax: float | None = None) -> None:
        """Set the course total in points, or clear it with None. `grademax` is this learner's maximum if it differs."""
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
        with self.lock:
            self.users[user_id].firstname = firstname
            self.users[user_id].lastname = lastname
            self.changes += 1

    def suspend(self, user_id: int, suspended: bool = True) -> None:
        """Suspend an account or bring it back."""
        with self.lock:
            self.users[user_id].suspended = suspended
            self.changes += 1

    def delete_user(self, user_id: int) -> None:
        """Delete an account: its enrolments end, its address becomes a hash, its row stays."""
        with self.lock:
            user = self.users[user_id]
            for course_id in list(self._courses_of.get(user_id, ())):
                self.unenrol(course_id, user_id)
            user.deleted = True
            hashed = hashlib.md5(user.username.encode(), usedforsecurity=False).hexdigest()
            self._change_email(user, hashed)

    def add_report(self, name: str, columns: Iterable[str], unique: bool = True) -> int:
        """A custom report with these column titles; returns its id. Titles that Moodle does not have stay empty."""
        with self.lock:
            now = int(self.clock())
            report = Report(self._next_report, name, tuple(columns), unique, now, now)
            self._next_report += 1
            self.reports[report.id] = report
            self.changes += 1
            return report.id

    def set_report(self, report_id: int, **changes: Any) -> None:
        """Change name, columns or shared, as somebody who edits the report does; its modification time moves."""
        with self.lock:
            report = self.reports[report_id]
            for name, value in changes.items():
                if name not in ("name", "columns", "shared"):
                    raise KeyError(name)
                setattr(report, name, tuple(value) if name == "columns" else value)
            report.timemodified = max(int(self.clock()), report.timemodified + 1)
            self.changes += 1

    # What the wire asks

    def members(self, course_id: int) -> dict[int, Enrolment]:
        """The enrolments of a course by user id."""
        return self._members[course_id].by_user

    def member_ids(self, course_id: int) -> list[int]:
        """The ids of a course's participants, in order."""
        return self._members[course_id].ids

    def courses_of(self, user_id: int) -> list[Course]:
        """The visible courses that a user is enrolled in, newest first as Moodle lists them."""
        found = sorted(self._courses_of.get(user_id, ()), reverse=True)
        return [self.courses[course_id] for course_id in found if self.courses[course_id].visible]

    def completion(self, course_id: int, user_id: int) -> Completion | None:
        """A user's completion of a course, if there is one."""
        return self._completions.get((course_id, user_id))

    def grade(self, course_id: int, user_id: int) -> Grade | None:
        """A user's course total, if there is one."""
        return self._grades.get((course_id, user_id))

    def ids_by_email(self, email: str) -> list[int]:
        """The accounts with exactly this address, case included, in order."""
        return sorted(self._by_email.get(email, ()))

    def set_filter(self, report_id: int, chosen: Filter) -> None:
        """Keep what a report is limited to. It stays until it is replaced."""
        with self.lock:
            self._filters[report_id] = chosen

    def rows(self, report_id: int) -> list[RowKey]:
        """The report's rows in its order, limited as the stored filter says; callers must not change the list."""
        chosen = self._filters.get(report_id, Filter())
        if chosen == Filter():
            return self._rows
        changes, kept, rows = self._filtered
        if changes == self.changes and kept == chosen:
            return rows
        # Keys start with the negative time, so later rows come first.
        last = bisect_left(self._rows, (-chosen.start + 0.5, "", "", 0, 0)) if chosen.start else len(self._rows)
        rows = self._rows[:last]
        if chosen.end:
            rows = rows[bisect_left(rows, (-chosen.end - 0.5, "", "", 0, 0)) :]
        if chosen.courses:
            rows = [key for key in rows if key[3] in chosen.courses]
        self._filtered = (self.changes, chosen, rows)
        return rows

    # The state file

    def dump(self) -> dict[str, Any]:
        """Everything worth keeping; the ledger is not."""
        with self.lock:
            return {
                "courses": [asdict(course) for course in self.courses.values()],
                "users": [asdict(user) for user in self.users.values()],
                "reports": [asdict(report) for report in self.reports.values()],
                "enrolments": [
                    [course_id, user_id, enrolment.role, enrolment.active]
                    for course_id, members in self._members.items()
                    for user_id, enrolment in members.by_user.items()
                ],
                "completions": [[*pair, row.time, row.time_known] for pair, row in self._completions.items()],
                "grades": [[*pair, row.raw, row.maximum, row.time] for pair, row in self._grades.items()],
                "next": [self._next_course, self._next_user, self._next_report],
            }

    def load(self, state: dict[str, Any]) -> None:
        """Take up what `dump` gave. Raises KeyError, TypeError or ValueError for anything else."""
        with self.lock:
            self.reset()
            self.courses = {row["id"]: Course(**row) for row in state["courses"]}
            self.users = {row["id"]: User(**row) for row in state["users"]}
            self.reports = {row["id"]: Report(**{**row, "columns": tuple(row["columns"])}) for row in state["reports"]}
            self._members = {course_id: _Members() for course_id in self.courses}
            for user in self.users.values():
                self._by_email.setdefault(user.email, []).append(user.id)
            for course_id, user_id, role, active in state["enrolments"]:
                self._members[course_id].by_user[user_id] = Enrolment(role, active)
                self._courses_of.setdefault(user_id, set()).add(course_id)
            for members in self._members.values():
                members.ids = sorted(members.by_user)
            for course_id, user_id, when, time_known in state["completions"]:
                completion = self._completions[course_id, user_id] = Completion(when, time_known)
                if user_id in self._members[course_id].by_user:
                    self._rows.append(self._key(course_id, user_id, completion))
            self._rows.sort()
            for course_id, user_id, raw, maximum, when in state["grades"]:
                self._grades[course_id, user_id] = Grade(raw, maximum, when)
            self._next_course, self._next_user, self._next_report = state["next"]
            self.changes += 1

    def _key(self, course_id: int, user_id: int, completion: Completion) -> RowKey:
        # Whole seconds, as Moodle stores them: rows of one second are ordered by course and username.
        when = int(completion.time)
        return (-when, self.courses[course_id].shortname, self.users[user_id].username, course_id, user_id)

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
