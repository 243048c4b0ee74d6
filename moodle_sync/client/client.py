"""Moodle's web services as far as the portal uses them: a method for each question, an error for each thing to do next.

The protocol, the functions and their traps were observed on Moodle 4.5 and are described in WEB_SERVICES.md.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote_plus, urlencode, urlsplit

from outbound_http import VERSION, AnswerTooLarge, HttpClient, NotJson, WireFailure, decode_json, parse_http_date

from . import functions
from .course_names import course_name
from .errors import (
    MoodleError,
    MoodleGone,
    MoodleLearnerGone,
    MoodleNoCriteria,
    MoodleNotAllowed,
    MoodleSomethingGone,
    MoodleTokenRefused,
    MoodleUnavailable,
    MoodleUnexpected,
    MoodleUnreadable,
    from_answer,
    from_status,
    gettext_noop,
)
from .records import (
    CompletionStatus,
    Course,
    EnrolledUser,
    Grade,
    LearnerFacts,
    LocationSettings,
    Report,
    ReportPage,
    SiteInfo,
    User,
    as_list,
    as_object,
)

T = TypeVar("T")
Item = TypeVar("Item")

LARGEST_ANSWER = 20 * 1024 * 1024
LONGEST_TIMEOUT = 300
# Questions in one call: about a second of Moodle's time (FACTS-2.md, section 9).
BATCH = 50
# PHP's max_input_vars bounds the number of form fields (WEB_SERVICES.md, trap 12).
MOST_VALUES = 200
REPORTS_PER_PAGE = 100
# Ten thousand reports: more is a server that makes up pages.
MOST_REPORT_PAGES = 100
LONGEST_PHP_MESSAGE = 8192
# Names as stored; or as people see them: filtered, as HTML.
RAW = (("moodlewssettingraw", "1"),)
FILTERED = (("moodlewssettingfilter", "1"),)

_SERVER = "/webservice/rest/server.php"
_FORM = "application/x-www-form-urlencoded"
# What people copy from the browser along with the address.
_COPIED = (_SERVER, "/login/index.php", "/login", "/my/courses.php", "/my/index.php", "/my", "/index.php", "/")

_NOT_MOODLE = gettext_noop(
    "Something that is not Moodle's web service answered. Check that the address is the one of Moodle's front page "
    "and that nothing in front of Moodle, such as a sign-in page, answers in its place."
)
_CERTIFICATE = gettext_noop(
    "Moodle's TLS certificate is not valid: it may have expired, be for another name, or be self-signed. Renew it, or "
    "let the portal's machine trust its authority."
)
_TOO_LARGE = gettext_noop("Moodle's answer was larger than 20 MB, so it was not read.")
_TOO_MANY_VALUES = gettext_noop("Moodle's answer held more values than the portal reads at once, so it was not read.")
_PHP_PRINTS = gettext_noop(
    "Moodle (PHP) printed a message before its answer. Switch off the display of PHP errors (Site administration, "
    "Development, Debugging: Display debug messages)."
)
_ODD_ROW = gettext_noop("Moodle sent something odd for the {what} {id}, which was passed over: {reason}.")
_ODD_ANSWER = gettext_noop(
    "Moodle answered with something that the portal cannot read. Look at this learner's profile, completion and grades "
    "in Moodle; if they are in order, report it with Moodle's version."
)
_ODD_NAME = gettext_noop(
    "Moodle cannot list participant number {number} of the course {id}, counted by id. Mostly the name holds something "
    "like <Test> that Moodle does not let pass: correct it in the learner's profile."
)
_NO_ADDRESS = gettext_noop("This is not a web address. Copy it from the browser.")

# What PHP prints before an answer when it displays errors: as HTML, as plain text, or as a table of Xdebug's. A table
# without an end leaves no answer to read, but is known for what it is.
_PHP_MESSAGE = re.compile(
    rb"""\s* (?:<br\ ?/?>\s*)?
    (?: <b>(?:PHP\ )?(?:Notice|Warning|Deprecated|Strict\ Standards)</b>: .*? \ on\ line\ <b>[0-9]+</b> \s*<br\ ?/?>
      | (?:PHP\ )?(?:Notice|Warning|Deprecated|Strict\ Standards):\ [^\n]*\ in\ [^\n]*\ on\ line\ [0-9]+
      | <font\ [^<>]*><table\ class='xdebug-[^<>]*> (?:.*?</table></font>)?
    )\s*""",
    re.VERBOSE | re.DOTALL,
)


def normalise_url(text: str) -> str:
    """The address of a Moodle's front page, from what a person pasted: no query, no page, no slash at the end.

    Raises ValueError, with a text for that person, for what cannot be a Moodle's address or holds a password.
    """
    text = text.strip()
    if not re.match(r"https?://", text, re.IGNORECASE):
        raise ValueError(gettext_noop("The address must start with https:// (or http://)."))
    try:
        address = urlsplit(text)
        port = address.port
    except ValueError:
        raise ValueError(_NO_ADDRESS) from None
    if "@" in address.netloc:
        raise ValueError(gettext_noop("The address must not hold a user name or password."))
    host = (address.hostname or "").lower()
    if not host or not text.isprintable() or " " in text:
        raise ValueError(_NO_ADDRESS)
    host = f"[{host}]" if ":" in host else host
    path = address.path
    while copied := next((end for end in _COPIED if path.endswith(end)), ""):
        path = path.removesuffix(copied)
    return f"{address.scheme.lower()}://{host}{f':{port}' if port else ''}{path}"


def flatten(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Parameters as PHP reads them from a form: `options[0][name]`. Booleans are 1 and 0, None is left out."""
    return list(_fields("", params))


def _fields(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _fields(f"{name}[{key}]" if name else str(key), item)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _fields(f"{name}[{index}]", item)
    else:
        yield name, str(int(value) if isinstance(value, bool) else value)


@dataclass(frozen=True, slots=True)
class Question:
    """One call of a function, and how its answer is read. `course_id`: the course that it is about, if it is.

    `settings` say how names are to be written, where the function tells names of courses.
    """

    function: str
    params: Mapping[str, Any]
    parse: Callable[[Any], Any]
    course_id: int | None = None
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def place(self) -> tuple[str, int | None]:
        """What an error that concerns a whole course concerns: the function and the course."""
        return self.function, self.course_id

    @property
    def key(self) -> tuple[str, int | None, Any]:
        """The question among those of one call about learners: the function, the course and the user."""
        return self.function, self.course_id, self.params["userid"]


class MoodleClient:
    """One Moodle site as one token sees it. For one thread at a time.

    `timeout` is how many seconds (1 to 300) an answer may take from the end of the request to the last byte;
    `connect_timeout` comes before it. Redirects are never followed, and answers over 20 MB are refused. Proxies and
    certificate authorities are taken from the environment, passwords are not. Raises ValueError for an address that
    cannot be one (see `normalise_url`) or a time-out out of range; every call raises MoodleError's classes only.

    `calls` counts the requests made; `server_time` is the Date header of the last answer, None if it had none.
    `oddities` are texts for people, with their values, on what was odd and passed over: rows of lists, messages before
    an answer; `passed_over` counts the rows. `language` is the one in which names in several languages are read. The
    context of `while_waiting` is entered for as long as an answer is waited for.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout: float = 30,
        connect_timeout: float = 5,
        language: str = "en",
        version: str = VERSION,
        while_waiting: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        if not 1 <= timeout <= LONGEST_TIMEOUT:
            raise ValueError(f"the time-out must be 1 to {LONGEST_TIMEOUT} seconds")
        self.base_url = normalise_url(base_url)
        self.calls = 0
        self.oddities: list[tuple[str, dict[str, str | int]]] = []
        self.passed_over = 0
        self._language = language
        self._while_waiting = while_waiting
        self.server_time: datetime | None = None
        self._token = token.strip()
        try:
            self._http = HttpClient(
                self.base_url,
                # Reports and lists of courses are large, and mostly the same words.
                {"Accept": "application/json", "Accept-Encoding": "gzip"},
                timeout=timeout,
                connect_timeout=connect_timeout,
                largest_answer=LARGEST_ANSWER,
                version=version,
            )
        except ValueError:
            raise ValueError(_NO_ADDRESS) from None

    def __repr__(self) -> str:
        return f"<MoodleClient {self.base_url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections. The client may still be used, and opens new ones."""
        self._http.close()

    def site_info(self) -> SiteInfo:
        """The site, its version and features, and the functions that this token may call."""
        return self._ask(functions.SITE_INFO, {}, SiteInfo.from_json)

    def location_settings(self) -> LocationSettings:
        """The site's time zone, and the one that it forces on everybody."""
        return self._ask(functions.CONFIG, {"section": "locationsettings"}, LocationSettings.from_json)

    def courses(
        self, ids: Iterable[int] | None = None, shortname: str | None = None, *, batch: bool = False
    ) -> list[Course]:
        """The courses with these ids or this short name; all of them without either.

        By ids, two calls for each course; with `batch` one for 25 of them.

        Names are plain text in one language, as people see them in Moodle; short names come as stored, for they are
        keys. Hidden courses that the account may not see, and deleted ones, are left out without a word. So is the
        front page, which Moodle counts as a course.
        """
        read = self._tolerant("courses", "course", Course.from_json)
        if ids is not None:
            stored, shown = self._courses_by_id(ids, read, size=BATCH if batch else 1)
        else:
            params = {} if shortname is None else {"field": "shortname", "value": shortname}
            stored, shown = (self._ask(functions.COURSES, params, read, settings) for settings in (RAW, FILTERED))
        courses = {course.id: course for course in stored if not course.is_front_page}
        names = {course.id: course.fullname for course in (*stored, *shown)}
        return [
            replace(course, fullname=course_name(names[course.id], course.fullname, language=self._language))
            for course in courses.values()
        ]

    def _courses_by_id(
        self, ids: Iterable[int], read: Callable[[Any], list[Course]], *, size: int
    ) -> tuple[list[Course], list[Course]]:
        """The courses as stored, and as people see them.

        One by one: a list of ids fails whole for one that was deleted (FACTS-2.md, section 1.1).
        """
        questions = [
            Question(functions.COURSES, {"field": "id", "value": course_id}, read, settings=settings)
            for course_id in ids
            for settings in (RAW, FILTERED)
        ]
        stored: list[Course] = []
        shown: list[Course] = []
        for question, answer in zip(questions, self._each(questions, size=size), strict=True):
            if isinstance(answer, MoodleUnreadable):
                values = {
                    "what": "course",
                    "id": question.params["value"],
                    "reason": answer.failure or answer.errorcode,
                }
                self._pass_over(_ODD_ROW, values)
            elif isinstance(answer, MoodleError):
                raise answer
            else:
                (stored if question.settings == RAW else shown).extend(answer)
        return stored, shown

    def enrolled_users(self, course_id: int, offset: int = 0, limit: int = 100) -> list[EnrolledUser]:
        """Up to `limit` participants of a course from number `offset` on, by id; past the end an empty list.

        Without moodle/user:viewdetails most are missing, without moodle/site:viewuseridentity their e-mail is, and
        Moodle tells neither (WEB_SERVICES.md, trap 1). One with a tag in the name makes Moodle refuse the whole list
        (FACTS-2.md, section 1.2), which is then asked for in halves; `oddities` names that one's place.
        """
        users: list[EnrolledUser] = []
        waiting = [(offset, limit)]
        while waiting:
            first, number = waiting.pop()
            try:
                users += self._participants(course_id, first, number)
            except MoodleError as error:
                if not _spoils_list(error):
                    raise
                if number == 1:
                    self._pass_over(_ODD_NAME, {"id": course_id, "number": first + 1})
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
        return self._ask(functions.ENROLLED_USERS, params, self._tolerant(None, "participant", EnrolledUser.from_json))

    def users(self, ids: Iterable[int]) -> dict[int, User | MoodleError]:
        """The accounts with these ids, or the error that concerns one of them; those it may not see are left out.

        In calls of 200. One deleted account, or one with a tag in its name, makes Moodle refuse its whole list
        (FACTS-2.md, section 1.2), which is then asked for in halves.
        """
        found: dict[int, User | MoodleError] = {}
        waiting = [list(chunk) for chunk in _chunks(ids, MOST_VALUES)]
        while waiting:
            asked = waiting.pop()
            params = {"field": "id", "values": asked}
            try:
                users = self._ask(functions.USERS, params, self._tolerant(None, "user", User.from_json))
            except MoodleError as error:
                if not _spoils_list(error):
                    raise
                if len(asked) == 1:
                    found[asked[0]] = error
                else:
                    waiting += [asked[: len(asked) // 2], asked[len(asked) // 2 :]]
            else:
                found.update((user.id, user) for user in users if user.id in asked)
        return found

    def completion_status(self, course_id: int, user_id: int) -> CompletionStatus:
        """Whether and when a learner completed a course."""
        return self._ask(functions.COMPLETION, _pair(course_id, user_id), CompletionStatus.from_json)

    def completion_statuses(
        self, course_id: int, user_ids: Iterable[int], *, batch: bool
    ) -> dict[int, CompletionStatus | MoodleError]:
        """What Moodle says of each learner: a status, or the error that concerns this learner only.

        With `batch` 50 learners go into a call, and each learner with an error costs one call more, because Moodle
        stops there; without it there is a call for each. An error that concerns the whole course or site is raised.
        """
        asked = list(user_ids)
        questions = [
            Question(functions.COMPLETION, _pair(course_id, user_id), CompletionStatus.from_json, course_id)
            for user_id in asked
        ]
        answers = self._each(questions, size=BATCH if batch else 1)
        for answer in answers:
            if isinstance(answer, MoodleError) and _concerns_course(answer):
                raise answer
        return dict(zip(asked, answers, strict=True))

    def learner_facts(
        self, pairs: Iterable[tuple[int, int]], *, available: Collection[str], grades: bool
    ) -> Iterator[dict[tuple[int, int], LearnerFacts]]:
        """All that Moodle knows now of each (course id, user id): status, account and, with `grades`, the total.

        Yields the answers of 25 learners at a time, or of 50 where only one of status and total is asked for: one call
        where Moodle has its batch function (FACTS-2.md, section 9). What is not among the functions `available` is not
        asked and stays None. An error that concerns one learner or course stands in the answer's place; one that
        concerns the whole site is raised.
        """
        per_learner = [functions.COMPLETION, *([functions.GRADES] if grades else [])]
        number = sum(function in available for function in per_learner)
        for asked in _chunks(pairs, BATCH // max(number, 1)):
            questions = [
                _about(function, course_id, user_id)
                for course_id, user_id in asked
                for function in per_learner
                if function in available
            ]
            ids = list(dict.fromkeys(user_id for _, user_id in asked))
            # Last, since a batch ends with the first failure, and one account may spoil the list.
            accounts = [_accounts(ids)] if functions.USERS in available else []
            several = [*questions, *accounts]
            size = BATCH + len(accounts) if functions.BATCH in available else 1
            answers = self._each(several, size=min(size, len(several)))
            users = self._each_account(ids, answers.pop(), size=size) if accounts else {}
            by_question = {question.key: answer for question, answer in zip(questions, answers, strict=True)}
            yield {
                (course_id, user_id): LearnerFacts(
                    status=by_question.get((functions.COMPLETION, course_id, user_id)),
                    user=users.get(user_id),
                    grade=by_question.get((functions.GRADES, course_id, user_id)),
                )
                for course_id, user_id in asked
            }

    def _each_account(
        self, ids: Sequence[int], together: dict[int, User] | MoodleError, *, size: int
    ) -> Mapping[int, User | MoodleError | None]:
        """The account of each id, from the answer to the list of them or, if one of them spoilt it, one by one."""
        if isinstance(together, dict):
            return together
        if len(ids) == 1 or _concerns_course(together):
            return dict.fromkeys(ids, together)
        answers = self._each([_accounts([user_id]) for user_id in ids], size=size)
        return {
            user_id: answer if isinstance(answer, MoodleError) else answer.get(user_id)
            for user_id, answer in zip(ids, answers, strict=True)
        }

    def list_reports(self) -> list[Report]:
        """All custom reports that the account is in the audience of."""
        reports: dict[int, Report] = {}
        read = self._tolerant("reports", "report", Report.from_json)
        for page in range(MOST_REPORT_PAGES):
            known, odd = len(reports), self.passed_over
            found = self._ask(functions.LIST_REPORTS, {"page": page, "perpage": REPORTS_PER_PAGE}, read)
            reports.update((report.id, report) for report in found)
            received = len(found) + self.passed_over - odd
            if received < REPORTS_PER_PAGE or len(reports) == known:
                break
        return list(reports.values())

    def set_report_filters(
        self, report_id: int, *, since: datetime | None = None, course_ids: Sequence[int] = ()
    ) -> None:
        """Limit what this account's next reads of the report return; without arguments, clear all limits.

        Moodle keeps the filters for the account until they are set again, so never let two readers share one. It
        answers "true" even to what it does not understand (WEB_SERVICES.md, section 4).
        """
        values: dict[str, object] = {}
        if since is not None:
            values["completion:timecompleted_operator"] = 3
            values["completion:timecompleted_from"] = int(since.timestamp())
            values["completion:timecompleted_to"] = 0
        if course_ids:
            values["course:courseselector_values"] = list(course_ids)
        params = {"reportid": report_id, "values": json.dumps(values)}
        self._ask(functions.SET_FILTERS, params, _true)

    def report_page(self, report_id: int, page: int, per_page: int = 500) -> ReportPage:
        """One page (from 0) of a report, in English and UTC; past the end, a page without rows."""
        params = {"reportid": report_id, "page": page, "perpage": per_page}
        return self._ask(functions.RETRIEVE_REPORT, params, lambda data: ReportPage.from_json(data, page=page))

    def _each(self, questions: Sequence[Question], *, size: int) -> list[Any]:
        """The parsed answer to each question, or the MoodleError in its place; `size` of them go into one call.

        Errors that every further question would meet are raised. One that concerns a whole course stands for all
        further questions of the same function about it: they would meet the same, at a call for each learner.
        """
        results: list[Any] = [None] * len(questions)
        waiting = list(range(len(questions)))
        while waiting:
            asked = [questions[number] for number in waiting[:size]]
            answers = self._batch(asked) if size > 1 else [self._one(asked[0])]
            for number, answer in zip(waiting, answers, strict=False):
                results[number] = answer
            last, waiting = waiting[len(answers) - 1], waiting[len(answers) :]
            failure = results[last]
            if isinstance(failure, MoodleError) and _concerns_course(failure):
                spoiled = {number for number in waiting if questions[number].place == questions[last].place}
                for number in spoiled:
                    results[number] = failure
                waiting = [number for number in waiting if number not in spoiled]
        return results

    def _one(self, question: Question) -> Any:
        try:
            return _parsed(question, self._call(question.function, question.params, question.settings))
        except MoodleError as error:
            if _concerns_all(error):
                raise
            return error

    def _batch(self, questions: Sequence[Question]) -> list[Any]:
        """Answers to the first questions, up to and with the first that failed, where Moodle stops (trap 10)."""
        requests_ = [
            # The settings of the call itself do not reach the requests in it (FACTS-2.md, section 1.8).
            {
                "function": question.function,
                "arguments": json.dumps(question.params),
                **{name.removeprefix("moodlews"): value for name, value in question.settings},
            }
            for question in questions
        ]
        responses = self._ask(functions.BATCH, {"requests": requests_}, _items("responses", _response))
        stopped = bool(responses) and responses[-1][0]
        if not responses or len(responses) > len(questions) or (len(responses) < len(questions) and not stopped):
            raise _unexpected(functions.BATCH, "an answer to each request expected")
        answers: list[Any] = []
        # Each text is decoded when the one before it has become a record: all at once might take all memory.
        for question, (failed, text) in zip(questions, responses, strict=False):
            answer = _decoded(text)
            if failed:
                unknown = MoodleUnreadable(question.function, advice=_ODD_ANSWER)
                answers.append(from_answer(question.function, answer) or unknown)
            else:
                answers.append(_parsed(question, answer))
            if isinstance(answers[-1], MoodleUnavailable | MoodleTokenRefused):
                raise answers[-1]
        return answers

    def _pass_over(self, text: str, values: dict[str, str | int]) -> None:
        self.oddities.append((text, values))
        self.passed_over += 1

    def _tolerant(self, key: str | None, what: str, parse: Callable[[Any], T]) -> Callable[[Any], list[T]]:
        """Read a list; a row that cannot be read costs only itself, and is named in `oddities`."""

        def read(data: Any) -> list[T]:
            rows = as_list(as_object(data, "the answer").get(key), key) if key else as_list(data, "the answer")
            found = []
            for row in rows:
                try:
                    found.append(parse(row))
                except ValueError as error:
                    named = row.get("id") if isinstance(row, dict) else None
                    values: dict[str, str | int] = {"what": what, "reason": str(error)}
                    values["id"] = named if isinstance(named, int) and not isinstance(named, bool) else "?"
                    self._pass_over(_ODD_ROW, values)
            return found

        return read

    def _ask(
        self,
        function: str,
        params: Mapping[str, Any],
        parse: Callable[[Any], T],
        settings: Sequence[tuple[str, str]] = RAW,
    ) -> T:
        answer = self._call(function, params, settings)
        try:
            return parse(answer)
        except ValueError as error:
            raise _unexpected(function, str(error)) from None

    def _call(self, function: str, params: Mapping[str, Any], settings: Sequence[tuple[str, str]]) -> Any:
        """The decoded answer of one call. Errors are decided by Moodle's errorcode first, then by the HTTP status."""
        fields = [
            ("wstoken", self._token),
            ("wsfunction", function),
            ("moodlewsrestformat", "json"),
            *settings,
            # Dates of report cells in a form that the portal can read, unless the site decides otherwise.
            ("moodlewssettinglang", "en"),
            ("moodlewssettingtimezone", "UTC"),
            *flatten(params),
        ]
        try:
            with self._while_waiting():
                self.calls += 1
                form = urlencode(fields, quote_via=_quoted).encode()
                answer = self._http.send("POST", _SERVER, form, content_type=_FORM)
                self.server_time = parse_http_date(answer.headers.get("Date"))
                body = answer.body()
        except WireFailure as failure:
            if failure.tls:
                raise MoodleUnavailable(function, failure="TLS certificate refused", advice=_CERTIFICATE) from None
            raise MoodleUnavailable(function, failure=str(failure)) from None
        except AnswerTooLarge:
            raise MoodleUnexpected(
                function, status=answer.status, failure="answer over 20 MB", advice=_TOO_LARGE
            ) from None
        is_json = "json" in answer.headers.get("Content-Type", "").lower()
        printed, body = _without_php_messages(body)
        data, readable = None, False
        if is_json or printed:
            try:
                data, readable = decode_json(body), True
            except NotJson:
                pass
            except AnswerTooLarge:
                raise _too_many_values(function, answer.status) from None
        if printed and readable:
            self.oddities.append((_PHP_PRINTS, {}))
        if error := from_answer(function, data, answer.status):
            raise error
        retry_after = answer.headers.get("Retry-After", "")
        refusal = from_status(function, answer.status, empty=not body, retry_after=retry_after, now=datetime.now(UTC))
        if refusal:
            raise refusal
        if not readable:
            raise _unreadable(function, answer.status, body, is_json=is_json, printed=printed)
        return data


@lru_cache(maxsize=1024)
def _quoted(text: str, safe: str | bytes, encoding: str | None, errors: str | None) -> str:
    """Text as forms carry it. Batches have hundreds of fields, most of them of the same names and words."""
    return quote_plus(text, safe, encoding, errors)


def _without_php_messages(body: bytes) -> tuple[bool, bytes]:
    """Whether PHP printed messages before the answer, and the body without them."""
    end = 0
    while found := _PHP_MESSAGE.match(body, end, end + LONGEST_PHP_MESSAGE):
        end = found.end()
    return end > 0, body[end:]


def _unreadable(function: str, status: int, body: bytes, *, is_json: bool, printed: bool) -> MoodleUnexpected:
    if printed:
        return MoodleUnexpected(function, status=status, failure="a PHP message before the answer", advice=_PHP_PRINTS)
    what = "unreadable JSON" if is_json else f"not JSON but {_content(body)}"
    return MoodleUnexpected(function, status=status, failure=what, advice=_NOT_MOODLE)


def _too_many_values(function: str, status: int | None = None) -> MoodleUnexpected:
    return MoodleUnexpected(function, status=status, failure="answer with too many values", advice=_TOO_MANY_VALUES)


def _content(body: bytes) -> str:
    """What kind of page this is, in a word; never any of its text."""
    start = body[:200].lstrip().lower()
    if not start:
        return "nothing"
    if start.startswith(b"<?xml"):
        return "XML"
    return "an HTML page" if start.startswith((b"<!doctype html", b"<html")) else "something else"


def _unexpected(function: str, what: str) -> MoodleUnexpected:
    return MoodleUnexpected(function, failure=f"answer of a wrong shape, {what}", advice=_NOT_MOODLE)


def _parsed(question: Question, answer: Any) -> Any:
    """The parsed answer; one of a wrong shape is an error about this learner only."""
    try:
        return question.parse(answer)
    except ValueError as error:
        return MoodleUnreadable(question.function, failure=f"answer of a wrong shape, {error}", advice=_ODD_ANSWER)


def _pair(course_id: int, user_id: int) -> dict[str, int]:
    return {"courseid": course_id, "userid": user_id}


def _about(function: str, course_id: int, user_id: int) -> Question:
    """What is asked about one learner of one course: the status or the total."""
    parse = (
        CompletionStatus.from_json if function == functions.COMPLETION else partial(Grade.from_json, user_id=user_id)
    )
    return Question(function, _pair(course_id, user_id), parse, course_id)


def _accounts(ids: Sequence[int]) -> Question:
    """The accounts with these ids. The answer lacks those that this token may not see."""
    return Question(functions.USERS, {"field": "id", "values": ids}, partial(_users_among, ids=frozenset(ids)))


def _users_among(data: Any, *, ids: Collection[int]) -> dict[int, User]:
    users = [User.from_json(item) for item in as_list(data, "the answer")]
    return {user.id: user for user in users if user.id in ids}


def _concerns_all(error: MoodleError) -> bool:
    """Whether every further call would meet the same; an errorcode that we do not know may be about one learner."""
    if isinstance(error, MoodleUnexpected):
        return not error.errorcode
    return isinstance(error, MoodleUnavailable | MoodleTokenRefused)


def _concerns_course(error: MoodleError) -> bool:
    """Whether every learner of the same course would meet the same."""
    if isinstance(error, MoodleGone):
        return not isinstance(error, MoodleLearnerGone | MoodleSomethingGone)
    return isinstance(error, MoodleNotAllowed | MoodleNoCriteria)


def _spoils_list(error: MoodleError) -> bool:
    """Whether one person of a list is the cause: deleted, or with a name that Moodle does not let pass."""
    return isinstance(error, MoodleLearnerGone | MoodleSomethingGone) or error.errorcode == "invalidresponse"


def _chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _items(key: str, parse: Callable[[Any], T]) -> Callable[[Any], list[T]]:
    return lambda data: [parse(item) for item in as_list(as_object(data, "the answer").get(key), key)]


def _true(data: Any) -> None:
    if data is not True:
        raise ValueError("true expected")


def _response(data: Any) -> tuple[bool, str]:
    """Whether one request of a batch failed, and the JSON text of its exception or else of its answer."""
    response = as_object(data, "a response")
    failed = bool(response.get("error"))
    text = response.get("exception" if failed else "data")
    if not isinstance(text, str):
        raise ValueError("JSON in a text expected for each response")
    return failed, text


def _decoded(text: str) -> Any:
    """The value of the JSON text in a response of a batch."""
    try:
        return decode_json(text.encode())
    except AnswerTooLarge:
        raise _too_many_values(functions.BATCH) from None
    except ValueError:
        raise _unexpected(functions.BATCH, "JSON in a text expected for each response") from None
