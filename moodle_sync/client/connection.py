"""One call of a Moodle web-service function: sending it, decoding the answer, and finding the error in it.

See docs/moodle-api.md, "Calling a function" and "Errors".
"""

import logging
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote_plus, urlencode, urlsplit

from outbound_http import (
    Answer,
    AnswerTooLarge,
    ApiClient,
    HttpClient,
    MayConnect,
    NotJson,
    WireFailure,
    decode_json,
    parse_http_date,
    web_address,
)

from .errors import MoodleUnavailable, MoodleUnexpected, from_answer, from_status
from .records import as_list, as_object
from .translation import gettext_noop

T = TypeVar("T")

log = logging.getLogger(__name__)

# Bytes. Larger answers are refused.
LARGEST_ANSWER = 20 * 1024 * 1024
# What people are told of every call without an answer.
NO_ANSWER = "no answer"
ANSWER_TOO_LARGE = "answer over 20 MB"
# Seconds that a caller may set as time-out.
LONGEST_TIMEOUT = 300
# Seconds for connecting, before the time-out begins.
CONNECT_TIMEOUT = 5
# Bytes of one message that PHP prints before the answer.
LONGEST_PHP_MESSAGE = 8192
# The setting of a call that asks for names as they are stored.
RAW = (("moodlewssettingraw", "1"),)
# The setting that asks for names as people see them: filtered, as HTML.
FILTERED = (("moodlewssettingfilter", "1"),)

_SERVER = "/webservice/rest/server.php"
_FORM = "application/x-www-form-urlencoded"
# Ends of addresses as people copy them from the browser.
_COPIED = (_SERVER, "/login/index.php", "/login", "/my/courses.php", "/my/index.php", "/my", "/index.php", "/")

_NOT_MOODLE = gettext_noop(
    "Something that is not Moodle's web service answered. Check that the address is the one of Moodle's front page "
    "and that nothing in front of Moodle, such as a sign-in page, answers in its place."
)
_TOO_LARGE = gettext_noop("Moodle's answer was larger than 20 MB, so it was not read.")
_TOO_MANY_VALUES = gettext_noop("Moodle's answer held more values than the portal reads at once, so it was not read.")
_PHP_PRINTS = gettext_noop(
    "Moodle (PHP) printed a message before its answer. Switch off the display of PHP errors (Site administration, "
    "Development, Debugging: Display debug messages)."
)
_TOO_SLOW = gettext_noop(
    "Moodle answers too slowly for a page to wait for it. Try again at a quieter hour, or let whoever runs the portal "
    "use the command connect_moodle, which waits longer."
)
NO_ADDRESS = gettext_noop("This is not a web address. Copy it from the browser.")
ODD_ROW = gettext_noop("Moodle sent something odd for the {what} {id}, so it was skipped: {reason}.")

# A message that PHP prints before the answer when it displays errors: as HTML, as plain text, or as a table of Xdebug.
# A table without an end leaves no answer to read.
_PHP_MESSAGE = re.compile(
    rb"""\s* (?:<br\ ?/?>\s*)?
    (?: <b>(?:PHP\ )?(?:Notice|Warning|Deprecated|Strict\ Standards)</b>: .*? \ on\ line\ <b>[0-9]+</b> \s*<br\ ?/?>
      | (?:PHP\ )?(?:Notice|Warning|Deprecated|Strict\ Standards):\ [^\n]*\ in\ [^\n]*\ on\ line\ [0-9]+
      | <font\ [^<>]*><table\ class='xdebug-[^<>]*> (?:.*?</table></font>)?
    )\s*""",
    re.VERBOSE | re.DOTALL,
)


def normalise_url(text: str) -> str:
    """The address of a Moodle's front page, from an address that a person pasted.

    Without query, page and slash at the end. Raises ValueError, with a text for that person, if it cannot be the
    address of a Moodle or holds a password.
    """
    text = text.strip()
    if not re.match(r"https?://", text, re.IGNORECASE):
        raise ValueError(gettext_noop("The address must start with https:// (or http://)."))
    try:
        address = urlsplit(text)
        port = address.port
    except ValueError:
        raise ValueError(NO_ADDRESS) from None
    if "@" in address.netloc:
        raise ValueError(gettext_noop("The address must not hold a user name or password."))
    host = (address.hostname or "").lower()
    if not host or not web_address(text):
        raise ValueError(NO_ADDRESS)
    host = f"[{host}]" if ":" in host else host
    path = address.path
    while copied := next((end for end in _COPIED if path.endswith(end)), ""):
        path = path.removesuffix(copied)
    return f"{address.scheme.lower()}://{host}{f':{port}' if port else ''}{path}"


def flatten(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Parameters as PHP reads them from a form: `options[0][name]`. Booleans become 1 and 0, None is left out."""
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


class MoodleConnection(ApiClient):
    """Calls functions of one Moodle site with one token. For one thread at a time.

    An answer may take `timeout` seconds (1 to 300), counted from the end of the request to the last byte. Redirects
    are never followed. Proxies and certificate authorities are taken from the environment, passwords are not. The
    context of `while_waiting` is entered around each call. `may_connect` is asked about each address of the host at
    each connection. With `until`, on the monotonic clock, no call begins later, and none takes longer. Raises
    ValueError for a time-out out of range and for an address that `normalise_url` refuses.

    `calls` counts the requests. `server_time` is the Date header of the last answer, or None. `oddities` are texts for
    people, with their values, about odd answers that did not stop the call; `skipped_rows` counts the skipped rows of
    lists.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout: float,
        may_connect: MayConnect,
        while_waiting: Callable[[], AbstractContextManager[object]] = nullcontext,
        until: float | None = None,
    ) -> None:
        if not 1 <= timeout <= LONGEST_TIMEOUT:
            raise ValueError(f"the time-out must be 1 to {LONGEST_TIMEOUT} seconds")
        self.base_url = normalise_url(base_url)
        self.calls = 0
        self.server_time: datetime | None = None
        self.oddities: list[tuple[str, dict[str, str | int]]] = []
        self.skipped_rows = 0
        self._token = token.strip()
        self._while_waiting = while_waiting
        self._until = until
        try:
            http = HttpClient(
                self.base_url,
                # Reports and lists of courses are large and repeat themselves.
                {"Accept": "application/json", "Accept-Encoding": "gzip"},
                timeout=timeout,
                connect_timeout=CONNECT_TIMEOUT,
                largest_answer=LARGEST_ANSWER,
                may_connect=may_connect,
            )
        except ValueError:
            raise ValueError(NO_ADDRESS) from None
        super().__init__(http)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"

    def ask(
        self,
        function: str,
        params: Mapping[str, Any],
        parse: Callable[[Any], T],
        settings: Sequence[tuple[str, str]] = RAW,
    ) -> T:
        """Call a function and parse its answer. Raises MoodleError."""
        answer = self.call(function, params, settings)
        try:
            return parse(answer)
        except ValueError as error:
            raise wrong_shape(function, str(error)) from None

    def call(self, function: str, params: Mapping[str, Any], settings: Sequence[tuple[str, str]]) -> Any:
        """The decoded answer of one call. Raises MoodleError, by Moodle's errorcode or else by the HTTP status."""
        answer, body = self._send(function, params, settings)
        is_json = "json" in answer.headers.get("Content-Type", "").lower()
        has_php_message, body = _without_php_messages(body)
        data, readable = None, False
        if is_json or has_php_message:
            try:
                data, readable = decode_json(body), True
            except NotJson:
                pass
            except AnswerTooLarge:
                raise too_many_values(function, answer.status) from None
        if has_php_message and readable:
            self.oddities.append((_PHP_PRINTS, {}))
        retry_after = answer.headers.get("Retry-After", "")
        error = from_answer(function, data, answer.status) or from_status(
            function, answer.status, empty=not body, retry_after=retry_after, now=datetime.now(UTC)
        )
        if error:
            error.location = answer.headers.get("Location", "")
            raise error
        if not readable:
            raise _unreadable(function, answer.status, body, is_json=is_json, has_php_message=has_php_message)
        return data

    def _send(
        self, function: str, params: Mapping[str, Any], settings: Sequence[tuple[str, str]]
    ) -> tuple[Answer, bytes]:
        """Send one call; returns the answer and its body."""
        fields = [
            ("wstoken", self._token),
            ("wsfunction", function),
            ("moodlewsrestformat", "json"),
            *settings,
            # Dates in the report's cells come in English and UTC, unless the site forces a zone.
            ("moodlewssettinglang", "en"),
            ("moodlewssettingtimezone", "UTC"),
            *flatten(params),
        ]
        left = None if self._until is None else self._until - time.monotonic()
        if left is not None and left <= 0:
            raise MoodleUnavailable(function, failure=NO_ANSWER, advice=_TOO_SLOW)
        try:
            with self._while_waiting():
                self.calls += 1
                form = urlencode(fields, quote_via=_quoted).encode()
                answer = self._http.send("POST", _SERVER, form, content_type=_FORM, timeout=left)
                self.server_time = parse_http_date(answer.headers.get("Date"))
                return answer, answer.body()
        except AnswerTooLarge:
            raise MoodleUnexpected(
                function, status=answer.status, failure=ANSWER_TOO_LARGE, advice=_TOO_LARGE
            ) from None
        except WireFailure as failure:
            # For the operator only. If people were told, the form for a site's address would be a port scanner.
            log.warning("No answer from Moodle at %s: %s", urlsplit(self.base_url).netloc, failure)
            is_over = self._until is not None and time.monotonic() >= self._until
            advice = _TOO_SLOW if is_over else None
            raise MoodleUnavailable(function, failure=NO_ANSWER, wire=failure, advice=advice) from None

    def skip_row(self, text: str, values: dict[str, str | int]) -> None:
        """Note that a row was skipped, with a text for people and its values."""
        self.oddities.append((text, values))
        self.skipped_rows += 1

    def tolerant(self, key: str | None, what: str, parse: Callable[[Any], T]) -> Callable[[Any], list[T]]:
        """A parser for a list, under `key` if there is one. A row that cannot be parsed is skipped and noted."""

        def read(data: Any) -> list[T]:
            rows = as_list(as_object(data, "the answer").get(key), key) if key else as_list(data, "the answer")
            parsed = []
            for row in rows:
                try:
                    parsed.append(parse(row))
                except ValueError as error:
                    row_id = row.get("id") if isinstance(row, dict) else None
                    if not isinstance(row_id, int) or isinstance(row_id, bool):
                        row_id = "?"
                    self.skip_row(ODD_ROW, {"what": what, "id": row_id, "reason": str(error)})
            return parsed

        return read


@lru_cache(maxsize=1024)
def _quoted(text: str, safe: str | bytes, encoding: str | None, errors: str | None) -> str:
    """Text as forms carry it. Cached, since a batch repeats the same names in hundreds of fields."""
    return quote_plus(text, safe, encoding, errors)


def _without_php_messages(body: bytes) -> tuple[bool, bytes]:
    """Whether PHP printed messages before the answer, and the body without them."""
    end = 0
    while found := _PHP_MESSAGE.match(body, end, end + LONGEST_PHP_MESSAGE):
        end = found.end()
    return end > 0, body[end:]


def _unreadable(function: str, status: int, body: bytes, *, is_json: bool, has_php_message: bool) -> MoodleUnexpected:
    if has_php_message:
        return MoodleUnexpected(function, status=status, failure="a PHP message before the answer", advice=_PHP_PRINTS)
    failure = "unreadable JSON" if is_json else f"not JSON but {_content(body)}"
    return MoodleUnexpected(function, status=status, failure=failure, advice=_NOT_MOODLE)


def too_many_values(function: str, status: int | None = None) -> MoodleUnexpected:
    """The error of an answer whose JSON has too many values to decode."""
    return MoodleUnexpected(function, status=status, failure="answer with too many values", advice=_TOO_MANY_VALUES)


def wrong_shape(function: str, reason: str) -> MoodleUnexpected:
    """The error of an answer that is not built as the function's answers are."""
    return MoodleUnexpected(function, failure=f"answer of a wrong shape, {reason}", advice=_NOT_MOODLE)


def _content(body: bytes) -> str:
    """The kind of a page in a word, without any of its text."""
    start = body[:200].lstrip().lower()
    if not start:
        return "nothing"
    if start.startswith(b"<?xml"):
        return "XML"
    return "an HTML page" if start.startswith((b"<!doctype html", b"<html")) else "something else"
