"""Moodle's web services as the portal uses them: one method for each question.

The functions, and what is odd about them, are described in docs/moodle-api.md.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from outbound_http import MayConnect, anywhere

from . import functions
from .connection import FILTERED, ODD_ROW, RAW, MoodleConnection
from .course_names import course_name
from .errors import MoodleError, MoodleUnreadable
from .questions import (
    BATCH_SIZE,
    Question,
    accounts_question,
    ask_each,
    concerns_course,
    learner_question,
    spoils_list,
)
from .records import (
    CompletionStatus,
    Course,
    EnrolledUser,
    LearnerFacts,
    LocationSettings,
    Report,
    ReportPage,
    SiteInfo,
    User,
)
from .translation import gettext_noop

Item = TypeVar("Item")

# Ids in one list: PHP's max_input_vars limits the number of form fields.
MOST_VALUES = 200
# Reports in one page of the list of reports.
REPORTS_PER_PAGE = 100
# A server that lists more pages than this makes them up.
MOST_REPORT_PAGES = 100
# Moodle's number for the filter operator "Date range".
DATE_RANGE = 3

_ODD_NAME = gettext_noop(
    "Moodle cannot list participant number {number} of the course {id}, counted by id. Most likely the name holds "
    "something like <Test> that Moodle does not let pass: correct it in the learner's profile."
)


class MoodleClient(MoodleConnection):
    """One Moodle site as one token sees it. For one thread at a time; see MoodleConnection for its attributes.

    `language` is the one in which names in several languages are read. Every method that calls Moodle raises
    MoodleError.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout: float = 30,
        language: str = "en",
        may_connect: MayConnect = anywhere,
        while_waiting: Callable[[], AbstractContextManager[object]] = nullcontext,
        until: float | None = None,
    ) -> None:
        super().__init__(
            base_url, token, timeout=timeout, may_connect=may_connect, while_waiting=while_waiting, until=until
        )
        self._language = language

    def site_info(self) -> SiteInfo:
        """The site, its version and features, and the functions that this token may call."""
        return self.ask(functions.SITE_INFO, {}, SiteInfo.from_json)

    def location_settings(self) -> LocationSettings:
        """The time zone that the site forces on everybody."""
        return self.ask(functions.CONFIG, {"section": "locationsettings"}, LocationSettings.from_json)

    def courses(
        self, ids: Iterable[int] | None = None, shortname: str | None = None, *, batch: bool = False
    ) -> list[Course]:
        """The courses with these ids or this short name, or all courses.

        Asking by ids takes two calls for each course; with `batch` one call for 25 courses. Full names, and names of
        categories, are plain text in one language. Short names are as stored, since they are keys. The front page,
        which Moodle counts as a course, is left out. Moodle leaves out deleted courses, and hidden ones that the
        account may not see.
        """
        read = self.tolerant("courses", "course", Course.from_json)
        if ids is not None:
            stored, shown = self._courses_by_id(ids, read, size=BATCH_SIZE if batch else 1)
        else:
            params = {} if shortname is None else {"field": "shortname", "value": shortname}
            stored, shown = (self.ask(functions.COURSES, params, read, settings) for settings in (RAW, FILTERED))
        courses = {course.id: course for course in stored if not course.is_front_page}
        as_shown = {course.id: course for course in (*stored, *shown)}
        return [self._with_plain_names(course, as_shown[course.id]) for course in courses.values()]

    def _with_plain_names(self, stored: Course, shown: Course) -> Course:
        """The course with its names as plain text in one language."""
        return replace(
            stored,
            fullname=course_name(shown.fullname, stored.fullname, language=self._language),
            category_name=course_name(shown.category_name, stored.category_name, language=self._language),
        )

    def _courses_by_id(
        self, ids: Iterable[int], read: Callable[[Any], list[Course]], *, size: int
    ) -> tuple[list[Course], list[Course]]:
        """The courses with their names as stored, and with their names as shown.

        Each id is a question of its own: Moodle refuses a list of ids if one of the courses was deleted.
        """
        questions = [
            Question(functions.COURSES, {"field": "id", "value": course_id}, read, settings=settings)
            for course_id in ids
            for settings in (RAW, FILTERED)
        ]
        stored: list[Course] = []
        shown: list[Course] = []
        for question, answer in zip(questions, ask_each(self, questions, size=size), strict=True):
            if isinstance(answer, MoodleUnreadable):
                reason = answer.failure or answer.errorcode
                self.skip_row(ODD_ROW, {"what": "course", "id": question.params["value"], "reason": reason})
            elif isinstance(answer, MoodleError):
                raise answer
            else:
                (stored if question.settings == RAW else shown).extend(answer)
        return stored, shown

    def enrolled_users(self, course_id: int, offset: int = 0, limit: int = 100) -> list[EnrolledUser]:
        """Up to `limit` participants of a course, sorted by id, from place `offset` on; [] past the end.

        Moodle does not say when a capability is missing: without moodle/user:viewdetails most participants are
        missing, without moodle/site:viewuseridentity their e-mail addresses. A participant with a tag in the name makes
        Moodle refuse the whole list; the list is then asked for in halves, and that participant is skipped and noted
        in `oddities` (docs/moodle-api.md, "Participants").
        """
        users: list[EnrolledUser] = []
        waiting = [(offset, limit)]
        while waiting:
            first, number = waiting.pop()
            try:
                users += self._participants(course_id, first, number)
            except MoodleError as error:
                if not spoils_list(error):
                    raise
                if number == 1:
                    self.skip_row(_ODD_NAME, {"id": course_id, "number": first + 1})
                else:
                    half = number // 2
                    waiting += [(first + half, number - half), (first, half)]
        return users

    def _participants(self, course_id: int, offset: int, limit: int) -> list[EnrolledUser]:
        options = {
            "userfields": "id,email,firstname,lastname",
            "sortby": "id",
            "limitfrom": offset,
            "limitnumber": limit,
        }
        params = {
            "courseid": course_id,
            "options": [{"name": name, "value": value} for name, value in options.items()],
        }
        return self.ask(functions.ENROLLED_USERS, params, self.tolerant(None, "participant", EnrolledUser.from_json))

    def users(self, ids: Iterable[int]) -> dict[int, User | MoodleError]:
        """The account of each id, or the error that concerns this account. Invisible accounts are left out.

        200 ids go into one call. A deleted account, or one with a tag in the name, makes Moodle refuse the whole list;
        the list is then asked for in halves.
        """
        found: dict[int, User | MoodleError] = {}
        waiting = [list(chunk) for chunk in _chunks(ids, MOST_VALUES)]
        while waiting:
            chunk = waiting.pop()
            params = {"field": "id", "values": chunk}
            try:
                users = self.ask(functions.USERS, params, self.tolerant(None, "user", User.from_json))
            except MoodleError as error:
                if not spoils_list(error):
                    raise
                if len(chunk) == 1:
                    found[chunk[0]] = error
                else:
                    waiting += [chunk[: len(chunk) // 2], chunk[len(chunk) // 2 :]]
            else:
                found.update((user.id, user) for user in users if user.id in chunk)
        return found

    def completion_status(self, course_id: int, user_id: int) -> CompletionStatus:
        """Whether and when a learner completed a course."""
        question = learner_question(functions.COMPLETION, course_id, user_id)
        return self.ask(question.function, question.params, CompletionStatus.from_json)

    def completion_statuses(
        self, course_id: int, user_ids: Iterable[int], *, batch: bool
    ) -> dict[int, CompletionStatus | MoodleError]:
        """The completion of each learner, or the error that concerns this learner.

        One call for each learner; with `batch` one for 50 learners, and one more for each learner with an error.
        Raises an error that concerns the whole course or site.
        """
        ids = list(user_ids)
        questions = [learner_question(functions.COMPLETION, course_id, user_id) for user_id in ids]
        answers = ask_each(self, questions, size=BATCH_SIZE if batch else 1)
        for answer in answers:
            if isinstance(answer, MoodleError) and concerns_course(answer):
                raise answer
        return dict(zip(ids, answers, strict=True))

    def learner_facts(
        self, pairs: Iterable[tuple[int, int]], *, available: Collection[str], grades: bool
    ) -> Iterator[dict[tuple[int, int], LearnerFacts]]:
        """Completion, account and (with `grades`) course total of each (course id, user id).

        Yields 25 learners at a time, or 50 if only one of completion and total is asked for; each time takes one call
        where the batch function is available. Functions not in `available` are not called, and their facts are None.
        An error that concerns one learner or course is in the place of the answer. Raises an error that concerns the
        whole site.
        """
        wanted = [functions.COMPLETION, functions.GRADES] if grades else [functions.COMPLETION]
        per_learner = [function for function in wanted if function in available]
        for chunk in _chunks(pairs, BATCH_SIZE // max(len(per_learner), 1)):
            questions = [learner_question(function, *pair) for pair in chunk for function in per_learner]
            ids = list(dict.fromkeys(user_id for _course_id, user_id in chunk))
            # Last, since a batch ends with the first failure, and one account may spoil the list.
            accounts = [accounts_question(ids)] if functions.USERS in available else []
            size = BATCH_SIZE + len(accounts) if functions.BATCH in available else 1
            answers = ask_each(self, [*questions, *accounts], size=min(size, len(questions) + len(accounts)))
            users = self._each_account(ids, answers.pop(), size=size) if accounts else {}
            by_question = {question.key: answer for question, answer in zip(questions, answers, strict=True)}
            yield {
                (course_id, user_id): LearnerFacts(
                    status=by_question.get((functions.COMPLETION, course_id, user_id)),
                    user=users.get(user_id),
                    grade=by_question.get((functions.GRADES, course_id, user_id)),
                )
                for course_id, user_id in chunk
            }

    def _each_account(
        self, ids: Sequence[int], answer: dict[int, User] | MoodleError, *, size: int
    ) -> Mapping[int, User | MoodleError | None]:
        """The account of each id, from the answer for all of them; asked one by one if one of them spoilt the list."""
        if isinstance(answer, dict):
            return answer
        if len(ids) == 1 or concerns_course(answer):
            return dict.fromkeys(ids, answer)
        answers = ask_each(self, [accounts_question([user_id]) for user_id in ids], size=size)
        return {
            user_id: single if isinstance(single, MoodleError) else single.get(user_id)
            for user_id, single in zip(ids, answers, strict=True)
        }

    def list_reports(self) -> list[Report]:
        """All custom reports that the account is in the audience of."""
        reports: dict[int, Report] = {}
        read = self.tolerant("reports", "report", Report.from_json)
        for page in range(MOST_REPORT_PAGES):
            known, skipped = len(reports), self.skipped_rows
            found = self.ask(functions.LIST_REPORTS, {"page": page, "perpage": REPORTS_PER_PAGE}, read)
            reports.update((report.id, report) for report in found)
            received = len(found) + self.skipped_rows - skipped
            if received < REPORTS_PER_PAGE or len(reports) == known:
                break
        return list(reports.values())

    def set_report_filters(
        self, report_id: int, *, since: datetime | None = None, course_ids: Sequence[int] = ()
    ) -> None:
        """Limit the rows of this account's next reads of the report; without arguments, remove all limits.

        Moodle keeps the filters for the account, so two readers must never share one. It accepts filters that the
        report does not have, and ignores them (docs/moodle-api.md, "The report").
        """
        values: dict[str, object] = {}
        if since is not None:
            values["completion:timecompleted_operator"] = DATE_RANGE
            values["completion:timecompleted_from"] = int(since.timestamp())
            values["completion:timecompleted_to"] = 0
        if course_ids:
            values["course:courseselector_values"] = list(course_ids)
        params = {"reportid": report_id, "values": json.dumps(values)}
        self.ask(functions.SET_FILTERS, params, _true)

    def report_page(self, report_id: int, page: int, per_page: int = 500) -> ReportPage:
        """One page of a report, counted from 0, in English and UTC. Past the end it has no rows."""
        params = {"reportid": report_id, "page": page, "perpage": per_page}
        return self.ask(functions.RETRIEVE_REPORT, params, lambda data: ReportPage.from_json(data, page=page))


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _true(data: Any) -> None:
    if data is not True:
        raise ValueError("true expected")
