"""Moodle's web services as far as the portal uses them: a method for each question, an error for each thing to do next.

The protocol, the functions and their traps were observed on Moodle 4.5 and are described in WEB_SERVICES.md.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlencode, urlsplit

from outbound_http import VERSION, AnswerTooLarge, HttpClient, NotJson, WireFailure, decode_json, parse_http_date

from .errors import (
    MoodleError,
    MoodleGone,
    MoodleLearnerGone,
    MoodleNoCriteria,
    MoodleNotAllowed,
    MoodleTokenRefused,
    MoodleUnavailable,
    MoodleUnexpected,
    from_errorcode,
    from_status,
    gettext_noop,
)
from .records import (
    CompletionStatus,
    Course,
    EnrolledUser,
    Grade,
    Report,
    ReportPage,
    SiteInfo,
    User,
    as_list,
    as_object,
)

T = TypeVar("T")
K = TypeVar("K")

LARGEST_ANSWER = 20 * 1024 * 1024
LONGEST_TIMEOUT = 300
BATCH = 50
# PHP's max_input_vars bounds the number of form fields (WEB_SERVICES.md, trap 12).
MOST_VALUES = 200
REPORTS_PER_PAGE = 100
# Ten thousand reports: more is a server that makes up pages.
MOST_REPORT_PAGES = 100

_SERVER = "/webservice/rest/server.php"
_FORM = "application/x-www-form-urlencoded"
# What people copy from the browser along with the address.
_COPIED = (_SERVER, "/login/index.php", "/login", "/my/courses.php", "/my/index.php", "/my", "/index.php", "/")
_COMPLETION = "core_completion_get_course_completion_status"
_GRADES = "gradereport_user_get_grade_items"
_MANY = "tool_mobile_call_external_functions"

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
    "Moodle (PHP) printed a message before its answer, so the answer cannot be read. Switch off the display of PHP "
    "errors (Site administration, Development, Debugging: Display debug messages)."
)
_NO_ADDRESS = gettext_noop("This is not a web address. Copy it from the browser.")

# What PHP prints into a page when it displays errors, as HTML or as plain text, and with Xdebug.
_PHP_MESSAGE = re.compile(
    rb"""\s* (?:<br\ ?/?>\s*)?
    (?: <b>(?:PHP\ )?(?:Notice|Warning|Deprecated|Strict\ Standards)</b>:
      | (?:PHP\ )?(?:Notice|Warning|Deprecated|Strict\ Standards):\ [^\n]*\ in\ [^\n]*\ on\ line\ [0-9]
      | <font\ size='1'><table\ class='xdebug-error
    )""",
    re.VERBOSE,
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


class MoodleClient:
    """One Moodle site as one token sees it. For one thread at a time.

    `timeout` is how many seconds (1 to 300) an answer may take from the end of the request to the last byte;
    `connect_timeout` comes before it. Redirects are never followed, and answers over 20 MB are refused. Proxies and
    certificate authorities are taken from the environment, passwords are not. Raises ValueError for an address that
    cannot be one (see `normalise_url`) or a time-out out of range; every call raises MoodleError's classes only.

    `calls` counts the requests made; `server_time` is the Date header of the last answer, None if it had none.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout: float = 30,
        connect_timeout: float = 5,
        version: str = VERSION,
    ) -> None:
        if not 1 <= timeout <= LONGEST_TIMEOUT:
            raise ValueError(f"the time-out must be 1 to {LONGEST_TIMEOUT} seconds")
        self.base_url = normalise_url(base_url)
        self.calls = 0
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
        return self._ask("core_webservice_get_site_info", {}, SiteInfo.from_json)

    def courses(self, ids: Sequence[int] | None = None, shortname: str | None = None) -> list[Course]:
        """The courses with these ids (in calls of 200) or this short name; all of them without either.

        Hidden courses that the account may not see are left out without a word. The front page, which Moodle counts
        as a course, is left out too. Names come as stored, which may be with HTML.
        """
        if ids is not None:
            chunks = _chunks(ids, MOST_VALUES)
            questions = [{"field": "ids", "value": ",".join(str(course_id) for course_id in chunk)} for chunk in chunks]
        elif shortname is not None:
            questions = [{"field": "shortname", "value": shortname}]
        else:
            questions = [{}]
        function = "core_course_get_courses_by_field"
        answers = [self._ask(function, question, _items("courses", Course.from_json)) for question in questions]
        return [course for answer in answers for course in answer if not course.is_front_page]

    def enrolled_users(self, course_id: int, offset: int = 0, limit: int = 100) -> list[EnrolledUser]:
        """Up to `limit` participants of a course from number `offset` on, by id; past the end an empty list.

        Without moodle/user:viewdetails most are missing, without moodle/site:viewuseridentity their e-mail is, and
        Moodle tells neither (WEB_SERVICES.md, trap 1).
        """
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
        return self._ask("core_enrol_get_enrolled_users", params, _each(EnrolledUser.from_json))

    def users(self, ids: Sequence[int]) -> list[User]:
        """The accounts with these ids, in calls of 200; those that the account may not see are left out."""
        chunks = [self._users(chunk) for chunk in _chunks(ids, MOST_VALUES)]
        return [user for chunk in chunks for user in chunk]

    def _users(self, ids: list[int]) -> list[User]:
        return self._ask("core_user_get_users_by_field", {"field": "id", "values": ids}, _each(User.from_json))

    def completion_status(self, course_id: int, user_id: int) -> CompletionStatus:
        """Whether and when a learner completed a course."""
        return self._ask(_COMPLETION, {"courseid": course_id, "userid": user_id}, CompletionStatus.from_json)

    def completion_statuses(
        self, course_id: int, user_ids: Iterable[int], *, batch: bool
    ) -> dict[int, CompletionStatus | MoodleError]:
        """What Moodle says of each learner: a status, or the error that concerns this learner only.

        With `batch` 50 learners go into a call, and each learner with an error costs one call more, because Moodle
        stops there; without it there is a call for each. An error that concerns the whole course or site is raised.
        """
        questions = {user_id: {"courseid": course_id, "userid": user_id} for user_id in user_ids}
        results = self._many(_COMPLETION, questions, lambda data, _: CompletionStatus.from_json(data), batch)
        for result in results.values():
            if isinstance(result, MoodleError) and _concerns_course(result):
                raise result
        return results

    def grades(self, pairs: Iterable[tuple[int, int]], *, batch: bool) -> dict[tuple[int, int], Grade | MoodleError]:
        """The course total for each (course id, user id), or the error that concerns this course and learner only.

        Calls and raised errors are as in `completion_statuses`, except that a bad course stops none of the others.
        """
        questions = {pair: {"courseid": pair[0], "userid": pair[1]} for pair in pairs}
        return self._many(_GRADES, questions, lambda data, pair: Grade.from_json(data, user_id=pair[1]), batch)

    def list_reports(self) -> list[Report]:
        """All custom reports that the account is in the audience of."""
        reports: dict[int, Report] = {}
        for page in range(MOST_REPORT_PAGES):
            params = {"page": page, "perpage": REPORTS_PER_PAGE}
            found = self._ask("core_reportbuilder_list_reports", params, _items("reports", Report.from_json))
            known = len(reports)
            reports.update((report.id, report) for report in found)
            if len(found) < REPORTS_PER_PAGE or len(reports) == known:
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
        self._ask("core_reportbuilder_set_filters", params, _true)

    def report_page(self, report_id: int, page: int, per_page: int = 500) -> ReportPage:
        """One page (from 0) of a report, in English and UTC; past the end, a page without rows."""
        params = {"reportid": report_id, "page": page, "perpage": per_page}
        return self._ask(
            "core_reportbuilder_retrieve_report", params, lambda data: ReportPage.from_json(data, page=page)
        )

    def _many(
        self,
        function: str,
        questions: Mapping[K, Mapping[str, int]],
        parse: Callable[[Any, K], T],
        batch: bool,
    ) -> dict[K, T | MoodleError]:
        """Ask many questions of one function, each about one `courseid` and `userid`.

        Errors that every further question would meet are raised; one that concerns a course stands for all its rest.
        """
        results: dict[K, T | MoodleError] = {}
        waiting = list(questions)
        while waiting:
            if batch:
                answers = self._batch(function, {key: questions[key] for key in waiting[:BATCH]}, parse)
            else:
                answers = [self._one(function, questions[waiting[0]], waiting[0], parse)]
            results.update(zip(waiting, answers, strict=False))
            last, waiting = waiting[len(answers) - 1], waiting[len(answers) :]
            failure = results[last]
            if isinstance(failure, MoodleError) and _concerns_course(failure):
                # The rest of this course would meet the same, at a call for each learner.
                spoiled = {key for key in waiting if questions[key]["courseid"] == questions[last]["courseid"]}
                results.update(dict.fromkeys(spoiled, failure))
                waiting = [key for key in waiting if key not in spoiled]
        return results

    def _one(self, function: str, params: Mapping[str, int], key: K, parse: Callable[[Any, K], T]) -> T | MoodleError:
        try:
            return _parsed(function, parse, self._call(function, params), key)
        except MoodleError as error:
            if _concerns_all(error):
                raise
            return error

    def _batch(
        self, function: str, questions: Mapping[K, Mapping[str, int]], parse: Callable[[Any, K], T]
    ) -> list[T | MoodleError]:
        """Answers to the first questions, up to and with the first that failed, where Moodle stops (trap 10)."""
        requests_ = [{"function": function, "arguments": json.dumps(question)} for question in questions.values()]
        responses = self._ask(_MANY, {"requests": requests_}, _items("responses", _response))
        stopped = bool(responses) and responses[-1][0]
        if len(responses) > len(questions) or (len(responses) < len(questions) and not stopped):
            raise _unexpected(_MANY, "an answer to each request expected")
        # Each text is decoded when the one before it has become a record: all at once might take all memory.
        answers: list[T | MoodleError] = []
        for key, (failed, text) in zip(questions, responses, strict=False):
            data = _decoded(text)
            if not failed:
                answers.append(_parsed(function, parse, data, key))
                continue
            error = from_errorcode(function, data.get("errorcode") if isinstance(data, dict) else None)
            if _concerns_all(error):
                raise error
            answers.append(error)
        return answers

    def _ask(self, function: str, params: Mapping[str, Any], parse: Callable[[Any], T]) -> T:
        answer = self._call(function, params)
        try:
            return parse(answer)
        except ValueError as error:
            raise _unexpected(function, str(error)) from None

    def _call(self, function: str, params: Mapping[str, Any]) -> Any:
        """The decoded answer of one call. Errors are decided by Moodle's errorcode first, then by the HTTP status."""
        fields = [
            ("wstoken", self._token),
            ("wsfunction", function),
            ("moodlewsrestformat", "json"),
            # Names as stored; dates of report cells in a form that the portal can read.
            ("moodlewssettingraw", "1"),
            ("moodlewssettinglang", "en"),
            ("moodlewssettingtimezone", "UTC"),
            *flatten(params),
        ]
        self.calls += 1
        try:
            answer = self._http.send("POST", _SERVER, urlencode(fields).encode(), content_type=_FORM)
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
        data, readable = None, False
        if is_json:
            try:
                data, readable = decode_json(body), True
            except NotJson:
                pass
            except AnswerTooLarge:
                raise _too_many_values(function, answer.status) from None
        if isinstance(data, dict) and "errorcode" in data:
            raise from_errorcode(function, data["errorcode"], answer.status)
        retry_after = answer.headers.get("Retry-After", "")
        refusal = from_status(function, answer.status, empty=not body, retry_after=retry_after, now=datetime.now(UTC))
        if refusal:
            raise refusal
        if not readable:
            raise _unreadable(function, answer.status, body, is_json)
        return data


def _unreadable(function: str, status: int, body: bytes, is_json: bool) -> MoodleUnexpected:
    if _PHP_MESSAGE.match(body[:4096]):
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


def _parsed(function: str, parse: Callable[[Any, K], T], answer: Any, key: K) -> T | MoodleUnexpected:
    try:
        return parse(answer, key)
    except ValueError as error:
        return _unexpected(function, str(error))


def _concerns_all(error: MoodleError) -> bool:
    """Whether every further call would meet the same; an errorcode that we do not know may be about one learner."""
    if isinstance(error, MoodleUnexpected):
        return not error.errorcode
    return isinstance(error, MoodleUnavailable | MoodleTokenRefused)


def _concerns_course(error: MoodleError) -> bool:
    """Whether every learner of the same course would meet the same."""
    if isinstance(error, MoodleGone):
        return not isinstance(error, MoodleLearnerGone)
    return isinstance(error, MoodleNotAllowed | MoodleNoCriteria)


def _chunks(items: Iterable[int], size: int) -> Iterator[list[int]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _each(parse: Callable[[Any], T]) -> Callable[[Any], list[T]]:
    return lambda data: [parse(item) for item in as_list(data, "the answer")]


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
        raise _too_many_values(_MANY) from None
    except ValueError:
        raise _unexpected(_MANY, "JSON in a text expected for each response") from None
