"""Checks with a few learners whether their names, addresses, completions and grades can be read.

Moodle leaves out what an account may not see and reports no error, so the check looks at the contents of answers (see
docs/moodle-api.md, "Participants").
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, timedelta

from . import functions
from .client import MoodleClient
from .errors import (
    MoodleError,
    MoodleLearnerGone,
    MoodleNoCriteria,
    MoodleNotTracked,
    MoodleSomethingGone,
    MoodleTokenRefused,
    MoodleUnavailable,
    MoodleUnreadable,
)
from .findings import MoodleFinding, refusal
from .records import CompletionStatus, Course, EnrolledUser, Grade, SiteInfo, User
from .report_cells import ReportRow
from .translation import gettext_noop

# Courses whose participants are listed.
SAMPLE_COURSES = 3
# Courses from the report's rows; fewer, since each takes two calls.
SAMPLE_COURSES_BY_ID = 2
# Participants of a course that are listed.
SAMPLE_USERS = 100
# Rows of the report whose times are compared with exact times, if the time zone of the report is unknown.
SAMPLE_TIMES = 3
# Errorcodes for a course with separate groups, if the account is in none of them.
_GROUPS_REFUSED = ("accessdenied", "notingroup")
# Errorcodes for a course that the account may not see.
_COURSE_REFUSED = ("requireloginerror", "errorcoursecontextnotvalid")

_NO_TIMES = gettext_noop(
    "Completions can be read from the report, but Moodle refuses their exact times, and whether they were undone."
)
_NO_ACCOUNTS = gettext_noop(
    "Moodle refuses to show learners' accounts, so names and addresses may not be exact, and suspended and deleted "
    "accounts are not noticed."
)
_NO_SCORES = gettext_noop("Moodle refuses to show grades, so badges are issued without a score.")
_VIEW = gettext_noop("Give the role of the portal's account moodle/course:view, in the system context.")
_VIEW_HIDDEN = gettext_noop(
    "The course is hidden. Give the role of the portal's account moodle/course:viewhiddencourses, in the system "
    "context, or show the course."
)


_TOTAL_HIDDEN = gettext_noop(
    "The course total of the course {id} is hidden in the gradebook, and hidden totals are never sent, so its badges "
    "carry no score. Show the total (Course, Grades, Gradebook setup) if they should."
)
_TOTAL_MISSING = gettext_noop(
    "Moodle shows no course total for the learner looked at in the course {id}. Most likely it is hidden in the "
    "gradebook; the course's badges then carry no score. Show the total (Course, Grades, Gradebook setup) if they "
    "should. Without moodle/grade:viewhidden, hidden and missing totals look the same, and totals over hidden work are "
    "missing too. Whether the portal may have that right is for the college to decide; hidden totals are never sent."
)


class PeopleCheck:
    """Checks learners in `run`, and then holds the findings.

    `findings` are about what the learner feed needs, `extras` about what neither feed needs. `usable` says whether the
    learner feed can work: it is False after a refusal, and True where Moodle only leaves something out. `failure` is
    the error that stopped the check, if the whole site failed. `offsets` are the differences between clock times of
    the report and UTC, one for each time that was compared.
    """

    def __init__(self, client: MoodleClient, info: SiteInfo, rows: Sequence[ReportRow], *, compare_times: bool) -> None:
        self._client = client
        self._info = info
        self._rows = rows
        self._compare_times = compare_times
        self._hidden_ids: set[int] = set()
        self.findings: list[MoodleFinding] = []
        self.extras: list[MoodleFinding] = []
        self.usable = False
        self.failure: MoodleError | None = None
        self.offsets: list[timedelta] = []

    def run(self) -> None:
        """Check a few courses, their participants, and one learner. Takes up to 11 calls."""
        courses = self._courses() if functions.COURSES in self._info.functions else []
        # Preferably a row of a course that the account can see.
        row = min(self._rows, key=lambda row: row.course_id in self._hidden_ids, default=None)
        learner = (row.course_id, row.user_id) if row else None
        if self._info.functions >= functions.LEARNER_FUNCTIONS and not self.failure:
            listed = self._learners(courses)
            learner = learner or listed
        if learner:
            self._completion(*learner)
            self._account(*learner)
            self._grade(*learner)

    def _may_ask(self, function: str) -> bool:
        return function in self._info.functions and not self.failure

    def _refused(self, slug: str, error: MoodleError, course_id: int | None = None, lost: str = "") -> MoodleFinding:
        """The finding of a call that failed. An error that concerns the whole site also becomes the failure."""
        advice = ""
        if isinstance(error, MoodleUnavailable | MoodleTokenRefused):
            self.failure, lost = error, ""
        elif course_id is not None and error.errorcode in _COURSE_REFUSED:
            advice = _VIEW_HIDDEN if course_id in self._hidden_ids else _VIEW
        return refusal(slug, error, lost=lost, advice=advice)

    def _add(self, finding: MoodleFinding) -> None:
        """Add a finding about what the learner feed needs, unless the same check has one already."""
        if finding.check not in [earlier.check for earlier in self.findings]:
            self.findings.append(finding)

    def _courses(self) -> list[Course]:
        """A few visible courses with completion tracking: those of the report's rows, or else any."""
        ids = list(dict.fromkeys(row.course_id for row in self._rows))[:SAMPLE_COURSES_BY_ID]
        try:
            courses = self._client.courses(ids=ids or None)
        except MoodleError as error:
            self._extra(self._refused("courses", error))
            return []
        self._hidden_ids = set(ids) - {course.id for course in courses}
        if self._hidden_ids:
            message = gettext_noop(
                "The report shows learners of courses that the account cannot see because they are hidden: {ids}. Give "
                "the role of the portal's account moodle/course:viewhiddencourses, in the system context, or show them."
            )
            values = {"ids": ", ".join(str(course_id) for course_id in sorted(self._hidden_ids))}
            self._extra(MoodleFinding("courses", False, message, values))
        elif not courses:
            message = gettext_noop(
                "The account sees no course at all. If there are any, give its role moodle/course:view, and for hidden "
                "courses moodle/course:viewhiddencourses."
            )
            self._extra(MoodleFinding("courses", False, message))
        else:
            self._extra(MoodleFinding("courses", True, gettext_noop("Courses can be chosen.")))
        tracked = [course for course in courses if course.visible and course.completion_enabled is not False]
        # Courses with separate groups first, since they may show nobody where others show everybody.
        return sorted(tracked, key=lambda course: not course.separate_groups)[:SAMPLE_COURSES]

    def _extra(self, finding: MoodleFinding) -> None:
        """Add a finding about what neither feed needs."""
        self.extras.append(replace(finding, needed=False))

    def _learners(self, courses: Sequence[Course]) -> tuple[int, int] | None:
        """Decide whether the feed is usable; returns (course id, user id) of a learner in the courses, or None."""
        self.usable = True
        most_seen = -1
        for course in courses:
            skipped_before = self._client.skipped_rows
            try:
                users = self._client.enrolled_users(course.id, 0, SAMPLE_USERS)
            except MoodleError as error:
                self._add(self._refused("participants", self._cause(error, course.id), course.id))
                self.usable = False
                return None
            # Participants are skipped because of their names, not because of a missing capability.
            skipped = self._client.skipped_rows - skipped_before
            learners = [user for user in users if user.id not in course.contact_ids | {self._info.userid}]
            if learners:
                self._add(_participants(course, len(users), self._missing(course, users) - skipped))
                self._add(_emails(users))
                self._add(_names(users))
                return course.id, learners[0].id
            if course.separate_groups and not users:
                self._groups(course.id)
            elif not skipped:
                most_seen = max(most_seen, len(users))
        if most_seen >= 0:
            message = gettext_noop(
                "No learner can be seen in the courses looked at, at most {count} participants such as teachers. If "
                "learners are enrolled there, give the role of the portal's account moodle/user:viewdetails, in the "
                "system context."
            )
            self._add(MoodleFinding("participants", False, message, {"count": most_seen}))
        return None

    def _cause(self, error: MoodleError, course_id: int) -> MoodleError:
        """The cause of an error of the list of participants, which has one errorcode for several causes.

        The completion status answers with the real one, such as a profile that lacks a required field.
        """
        if error.errorcode != "errorcoursecontextnotvalid":
            return error
        try:
            self._client.completion_status(course_id, self._info.userid)
        except (MoodleTokenRefused, MoodleUnavailable) as cause:
            return cause
        except MoodleError:
            pass
        return error

    def _missing(self, course: Course, users: Sequence[EnrolledUser]) -> int:
        """How many learners of the report are missing from the list of participants, if that list is complete."""
        if len(users) >= SAMPLE_USERS:
            return 0
        return len({row.user_id for row in self._rows if row.course_id == course.id} - {user.id for user in users})

    def _groups(self, course_id: int) -> None:
        message = gettext_noop(
            "The course {id} uses separate groups and the portal's account is in none of them, so Moodle shows it no "
            "learner, completion or grade there; only the report does. Give the role of the portal's account "
            "moodle/site:accessallgroups, in the system context."
        )
        self._add(MoodleFinding("groups", False, message, {"id": course_id}))

    def _completion(self, course_id: int, user_id: int) -> None:
        if not self._may_ask(functions.COMPLETION):
            return
        try:
            status = self._client.completion_status(course_id, user_id)
        except (MoodleNotTracked, MoodleNoCriteria, MoodleLearnerGone):
            # These errors concern the learner or course. Moodle checks the account's rights before.
            status = None
        except MoodleError as error:
            if error.errorcode in _GROUPS_REFUSED:
                self._groups(course_id)
                return
            lost = _NO_TIMES if self._rows else ""
            self._add(self._refused("completion-status", error, course_id, lost))
            self.usable = False
            return
        self._add(MoodleFinding("completion-status", True, gettext_noop("Learners' completions can be read.")))
        if self._compare_times:
            self._compare(course_id, user_id, status)

    def _compare(self, course_id: int, user_id: int, status: CompletionStatus | None) -> None:
        """Compare times of the report with exact ones, for this learner and a few more."""
        self._note_offset(course_id, user_id, status)
        others = [row for row in self._rows if (row.course_id, row.user_id) != (course_id, user_id)]
        for row in [row for row in others if row.course_id not in self._hidden_ids][: SAMPLE_TIMES - 1]:
            try:
                status = self._client.completion_status(row.course_id, row.user_id)
            except MoodleError:
                continue
            self._note_offset(row.course_id, row.user_id, status)

    def _note_offset(self, course_id: int, user_id: int, status: CompletionStatus | None) -> None:
        if status is None or not status.is_exact or status.earliest is None:
            return
        exact = status.earliest.astimezone(UTC).replace(second=0, microsecond=0, tzinfo=None)
        for row in self._rows:
            if (row.course_id, row.user_id) == (course_id, user_id) and row.clock_time:
                self.offsets.append(row.clock_time - exact)

    def _account(self, course_id: int, user_id: int) -> None:
        """Check that accounts can be looked up: only they have exact names, and say who is suspended or deleted."""
        if not self._may_ask(functions.USERS):
            return
        try:
            user = self._client.users([user_id]).get(user_id)
        except MoodleError as error:
            self._extra(self._refused("people", error, lost=_NO_ACCOUNTS))
            return
        if isinstance(user, MoodleLearnerGone | MoodleSomethingGone | MoodleUnreadable):
            # These errors concern this account only.
            return
        if not isinstance(user, User):
            message = gettext_noop(
                "Moodle does not show the account of a learner whom it shows in the course {id}, so names and "
                "addresses may not be exact, and suspended and deleted accounts are not noticed. Give the role of the "
                "portal's account moodle/user:viewdetails, in the system context."
            )
            self._extra(MoodleFinding("people", False, message, {"id": course_id}))
            return
        self._extra(MoodleFinding("people", True, gettext_noop("Learners' accounts can be looked up.")))
        if user.email is None:
            self._add(_emails([user]))
        if user.firstname is None or user.lastname is None:
            self._add(_names([user]))

    def _grade(self, course_id: int, user_id: int) -> None:
        if not self._may_ask(functions.GRADES):
            return
        result: object = None
        try:
            pair = (course_id, user_id)
            for answers in self._client.learner_facts([pair], available={functions.GRADES}, grades=True):
                result = answers[pair].grade
        except MoodleError as error:
            result = error
        if isinstance(result, MoodleError):
            if result.errorcode in _GROUPS_REFUSED:
                self._groups(course_id)
            else:
                self._extra(self._refused("grades", result, course_id, _NO_SCORES))
            return
        self._extra(MoodleFinding("grades", True, gettext_noop("Grades can be read.")))
        if isinstance(result, Grade) and (result.hidden or result.total_missing):
            message = _TOTAL_MISSING if result.total_missing else _TOTAL_HIDDEN
            self._extra(MoodleFinding("grades-hidden", False, message, {"id": course_id}))


def _participants(course: Course, seen: int, missing: int) -> MoodleFinding:
    """Whether the list of a course's participants holds all learners of the report."""
    if missing <= 0:
        return MoodleFinding("participants", True, gettext_noop("Participants can be listed."))
    message = gettext_noop(
        "Only {count} participants of the course {id} can be seen, and learners are missing. Give the role of the "
        "portal's account moodle/user:viewdetails, in the system context."
    )
    return MoodleFinding("participants", False, message, {"count": seen, "id": course.id})


def _emails(users: Sequence[EnrolledUser | User]) -> MoodleFinding:
    without = sum(user.email is None for user in users)
    if not without:
        return MoodleFinding("emails", True, gettext_noop("Participants' e-mail addresses can be seen."))
    message = gettext_noop(
        "{without} of {count} participants looked at come without e-mail address. Give the role of the portal's "
        'account moodle/site:viewuseridentity, and let the site setting "Show user identity" contain the e-mail '
        "address."
    )
    return MoodleFinding("emails", False, message, {"without": without, "count": len(users)})


def _names(users: Sequence[EnrolledUser | User]) -> MoodleFinding:
    without = sum(user.firstname is None or user.lastname is None for user in users)
    if not without:
        return MoodleFinding("names", True, gettext_noop("Participants' first and last names can be seen."))
    message = gettext_noop(
        "{without} of {count} participants looked at come without first or last name, as Moodle leaves them out where "
        "an account may not see full names. Give the role of the portal's account moodle/site:viewfullnames, in the "
        "system context."
    )
    return MoodleFinding("names", False, message, {"without": without, "count": len(users)})
