"""The pretend Moodle: courses, learners and completions in memory, and what is asked and changed about them.

How it speaks is in `moodle_wire.py`. What a real Moodle does was recorded from Moodle 4.5 and 5.0.
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
# The filters of the agreed report, as its editor's page names them.
FILTERS = ("Time completed", "Select course")
VERSIONS = ("4.5", "5.0")
SEPARATE_GROUPS = 1
STUDENT = "student"
TEACHER = "editingteacher"
# The order of the report: newest first, then course short name, then username, which together are unique.
RowKey = tuple[float, str, str, int, int]


@dataclass(slots=True)
class Site:
    """The settings of the whole site.

    `force_timezone` "" leaves the zone to the caller. `date_form` is one of `DATE_FORMS`; `titles` "customised" calls
    the column Username "Student number" and says "Aye" for Yes. `filter_headings` False: text filters leave names
    alone. `strip_tags` False: the setting "Remove HTML tags from all activity names" is off. `version`: one of
    `VERSIONS`.
    """

    name: str = "Sandbox Moodle"
    timezone: str = "Europe/London"
    force_timezone: str = ""
    date_form: str = DATE_FORMS[0]
    titles: str = "standard"
    filter_headings: bool = True
    strip_tags: bool = True
    version: str = VERSIONS[0]


# What a site's settings may be, where only some words are.
SITE_CHOICES = {"date_form": DATE_FORMS, "titles": ("standard", "customised"), "version": VERSIONS}


@dataclass(slots=True)
class Course:
    """A course.

    `criteria` is what completes it: "self", "grade", "activities", several with commas, or "" for none set;
    `aggregation` is 1 for all of them and 2 for any. `groupmode`: 0 no groups, 1 separate ones, 2 visible ones.
    `grade_type` of the total is "points", "scale" (Fail to Distinction) or "none".
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

    A deleted one keeps its row, with a 32-digit hash in place of its e-mail address; once `cleaned_up` by the hourly
    task, a list that asks for it fails.
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
        """First and last name as Moodle joins them: an empty first name leaves a leading blank."""
        return f"{self.firstname} {self.lastname}"


@dataclass(slots=True)
class Enrolment:
    """That a user takes part in a course: as what, and whether that is active.

    `active` False: suspended; `ended`: its end date has passed. `ways` counts the enrolment methods: each is a row of a
    report that keeps duplicate rows.
    """

    role: str = STUDENT
    active: bool = True
    ended: bool = False
    ways: int = 1

    @property
    def counts(self) -> bool:
        """Whether the user takes part now."""
        return self.active and not self.ended


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
    """A custom report over course participants.

    `columns` are Moodle's own titles, `headings` what its editor has renamed some of them to. `completed_only` is the
    condition Completed = Yes, `unique` the setting "Remove any duplicate rows", `filters` those of `FILTERS` it has.
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
class Oddity:
    """A value that Moodle's answers hold where nobody expects it: `key` of the records with this id (None: of all)."""

    function: str
    key: str
    value: Any
    id: int | None = None


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
        self._site_timezone = site_timezone
        self.changes = 0
        self._token = token
        self.reset()

    def reset(self) -> None:
        """Forget everything but the token and the agreed report, which is there from the start."""
        with self.lock:
            self.site = Site(timezone=self._site_timezone)
            self.categories = {1: "Category 1", 2: "Compliance & Safety"}
            self.oddities: list[Oddity] = []
            self.courses: dict[int, Course] = {}
            self.users: dict[int, User] = {}
            self.reports: dict[int, Report] = {}
            self.ledger: deque[Call] = deque(maxlen=LEDGER_LENGTH)
            self._members: dict[int, _Members] = {}
            self._courses_of: dict[int, set[int]] = {}
            self._completions: dict[tuple[int, int], Completion] = {}
            self._criteria: dict[tuple[int, int], list[tuple[int, int | None]]] = {}
            self._unlocked: dict[tuple[int, int], Completion] = {}
            self._grades: dict[tuple[int, int], Grade] = {}
            self._filters: dict[int, Filter] = {}
            self._rows: list[RowKey] = []
            self._by_email: dict[str, list[int]] = {}
            self._filtered: dict[int, tuple[int, Filter, list[RowKey]]] = {}
            self._others: dict[int, tuple[int, list[RowKey]]] = {}
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

    def set_site(self, **changes: Any) -> None:
        """Change settings of the site: name, timezone, force_timezone, date_form, titles, filter_headings … (`Site`).

        Raises KeyError for an unknown setting and ValueError for a word that it does not take.
        """
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
        """A new course category; returns its id."""
        with self.lock:
            number = max(self.categories) + 1
            self.categories[number] = name
            self.changes += 1
            return number

    def add_course(
        self,
        shortname: str,
        fullname: str,
        enablecompletion: int = 1,
        visible: int = 1,
        grademax: float = 100,
        criteria: str = "self",
        idnumber: str = "",
        course_id: int | None = None,
    ) -> int:
        """A new course; returns its id, the next free one or `course_id`. Raises ValueError when that is taken."""
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
        """Change any value of a course but its id (see `Course`)."""
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
        """Delete a course with its enrolments, completions and grades; its short name is free again."""
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

    def enrol(
        self,
        course_id: int,
        user_id: int,
        role: str = STUDENT,
        active: bool = True,
        ended: bool = False,
        ways: int = 1,
    ) -> None:
        """Enrol a user, or change the enrolment: suspended (`active` False), `ended`, by several `ways`.

        A completion from before shows again, with its old time.
        """
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
        criteria: Iterable[tuple[int, int | None]] | None = None,
    ) -> None:
        """Complete a course for a user, now or `at` some second, enrolling the user first where needed.

        `criteria` are pairs of a type (1 self, 4 activity, 6 grade …) and the second it was met at, None for not met
        or met without a time; `at` need not be one of these seconds. With `time_known` False none has a time.
        Completion is sticky as in Moodle: who has completed keeps the first time until `uncomplete`.
        """
        with self.lock:
            if criteria is not None:
                self.set_criteria(course_id, user_id, criteria)
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

    def set_criteria(self, course_id: int, user_id: int, criteria: Iterable[tuple[int, int | None]]) -> None:
        """What a user has met of a course's criteria, as pairs of type and second (None: not met); completes nothing.

        Nested conditions look like this in Moodle too: of several activities (type 4) of which any suffices, some stay
        unmet although the course is completed.
        """
        with self.lock:
            if course_id not in self.courses or user_id not in self.users:
                raise KeyError(course_id if course_id not in self.courses else user_id)
            self._criteria[course_id, user_id] = [(kind, when) for kind, when in criteria]
            self.changes += 1

    def uncomplete(self, course_id: int, user_id: int) -> None:
        """Undo a completion without a trace, as a manager's reset does; nothing happens if there is none."""
        with self.lock:
            self._drop_row(course_id, user_id)
            self._completions.pop((course_id, user_id), None)
            self._criteria.pop((course_id, user_id), None)
            self.changes += 1

    def unlock_completion(self, course_id: int) -> None:
        """Unlock a course's completion settings, which deletes all its completions; see `run_completion_tasks`."""
        with self.lock:
            if course_id not in self.courses:
                raise KeyError(course_id)
            for pair in [pair for pair in self._completions if pair[0] == course_id]:
                self._drop_row(*pair)
                self._unlocked[pair] = self._completions.pop(pair)
            self.changes += 1

    def run_completion_tasks(self) -> None:
        """Run Moodle's tasks: what `unlock_completion` took comes back with its old time where activities complete."""
        with self.lock:
            for (course_id, user_id), completion in self._unlocked.items():
                if self.courses[course_id].criteria == "activities":
                    self._completions.setdefault((course_id, user_id), completion)
            self._unlocked.clear()
            self._rebuild_rows()
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
        """Suspend an account or bring it back."""
        self.set_user(user_id, suspended=suspended)

    def delete_user(self, user_id: int, cleaned_up: bool = False) -> None:
        """Delete an account: its enrolments end, its address becomes a hash, its row stays until `clean_up_user`."""
        with self.lock:
            user = self.users[user_id]
            for course_id in list(self._courses_of.get(user_id, ())):
                self.unenrol(course_id, user_id)
            user.deleted = True
            user.cleaned_up = cleaned_up
            hashed = hashlib.md5(user.username.encode(), usedforsecurity=False).hexdigest()
            self._change_email(user, hashed)

    def clean_up_user(self, user_id: int) -> None:
        """Run the hourly task "Cleanup contexts" for a deleted account: from now on a list that asks for it fails."""
        with self.lock:
            if not self.users[user_id].deleted:
                raise ValueError(f"user {user_id} is not deleted")
            self.users[user_id].cleaned_up = True
            self.changes += 1

    def double_user(self, user_id: int, email: str = "") -> int:
        """A second account of the same person: same name, courses and completion times; returns its id."""
        with self.lock:
            first = self.users[user_id]
            second = self.add_learner(first.firstname, first.lastname, email or f"second.{first.email}")
            self._copy_courses(user_id, second)
            return second

    def merge_users(self, kept_id: int, merged_id: int) -> None:
        """Merge one account into another as administrators do: its completions move, and it is suspended."""
        with self.lock:
            self._copy_courses(merged_id, kept_id)
            for course_id in list(self._courses_of.get(merged_id, ())):
                self.uncomplete(course_id, merged_id)
                self.unenrol(course_id, merged_id)
            self.suspend(merged_id)

    def rebuild(self, people: str = "same") -> None:
        """Set the site up anew under its address: every id of a person or a course now means another.

        `people` "same": the same people and courses under each other's ids; "new": people and courses never seen.
        Who completed which course when stays with the ids. Raises ValueError for another word.
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
        """Let a function's answers hold this value for `key` in the record with this id, or in all records.

        For a report `key` is a column's title and `id` a user's. A value may be null or a number of any size.
        """
        with self.lock:
            self.oddities.append(Oddity(function, key, value, id))
            self.changes += 1

    def undistort(self) -> None:
        """Take all `distort` back."""
        with self.lock:
            self.oddities.clear()
            self.changes += 1

    def add_report(self, name: str, columns: Iterable[str], unique: bool = True, report_id: int | None = None) -> int:
        """A custom report with these column titles; returns its id. Titles that Moodle does not have stay empty.

        The id is the next free one or `report_id`. Raises ValueError when that is taken.
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
        """Change a report, as somebody who edits it does; its modification time moves.

        Takes name, columns, headings (title to heading), unique, completed_only, filters and shared.
        """
        with self.lock:
            report = self.reports[report_id]
            for name, value in changes.items():
                if name not in ("name", "columns", "headings", "unique", "completed_only", "filters", "shared"):
                    raise KeyError(name)
                setattr(report, name, tuple(value) if name in ("columns", "filters") else value)
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

    def criteria(self, course_id: int, user_id: int) -> list[tuple[int, int | None]] | None:
        """What was told about a user's criteria one by one, if anything was."""
        met = self._criteria.get((course_id, user_id))
        if met is not None and (course_id, user_id) in self._unlocked:
            return [(kind, None) for kind, _when in met]
        return met

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
        """The report's rows in its order, limited as the stored filter says; callers must not change the list.

        The first part of a key is the negative time, minus infinity for who has not completed: PostgreSQL puts empty
        times before all others where the latest come first.
        """
        report = self.reports[report_id]
        stored = self._filters.get(report_id, Filter())
        timed, chosen_courses = (name in report.filters for name in FILTERS)
        chosen = Filter(
            stored.start if timed else 0, stored.end if timed else 0, stored.courses if chosen_courses else frozenset()
        )
        if chosen == Filter():
            return self._all_rows(report)
        changes, kept, rows = self._filtered.get(report_id, (-1, chosen, []))
        if changes == self.changes and kept == chosen:
            return rows
        rows = self._all_rows(report)
        if chosen.start or chosen.end:
            first = bisect_left(rows, (-float(chosen.end or math.inf) - 0.5, "", "", 0, 0))
            # A range leaves out who has no time, also one that is open at its end.
            first = max(first, bisect_left(rows, (-math.inf, "\U0010ffff", "", 0, 0)))
            last = bisect_left(rows, (-chosen.start + 0.5, "", "", 0, 0)) if chosen.start else len(rows)
            rows = rows[first:last]
        if chosen.courses:
            rows = [key for key in rows if key[3] in chosen.courses]
        self._filtered[report_id] = (self.changes, chosen, rows)
        return rows

    def _all_rows(self, report: Report) -> list[RowKey]:
        """The rows of a report before its filters; the agreed report's own are kept in order all the time."""
        if report.completed_only and report.unique:
            return self._rows
        changes, rows = self._others.get(report.id, (-1, []))
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
        self._others[report.id] = (self.changes, rows)
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
        """Take up what `dump` gave. Raises KeyError, TypeError or ValueError for anything else."""
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
            # A file of an earlier version has none of the following.
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
        # Whole seconds, as Moodle stores them: rows of one second are ordered by course and username.
        when = int(completion.time) if completion else math.inf
        return (-when, self.courses[course_id].shortname, self.users[user_id].username, course_id, user_id)

    def _rebuild_rows(self) -> None:
        """Order all rows anew, after names or ids in their keys have changed."""
        self._rows = sorted(
            self._key(*pair, completion)
            for pair, completion in self._completions.items()
            if pair[1] in self._members[pair[0]].by_user
        )

    def _copy_courses(self, source: int, target: int) -> None:
        """Give one user the other's enrolments, completions and grades, where it has none of its own."""
        for course_id in sorted(self._courses_of.get(source, ())):
            if target not in self._members[course_id].by_user:
                enrolment = self._members[course_id].by_user[source]
                self.enrol(course_id, target, enrolment.role, enrolment.active, enrolment.ended)
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
    """Give each row the next one's values, and the last one the first one's."""
    values = [[getattr(rows[number], name) for name in names] for number in numbers]
    for number, held in zip(numbers, [*values[1:], values[0]], strict=True):
        for name, value in zip(names, held, strict=True):
            setattr(rows[number], name, value)
