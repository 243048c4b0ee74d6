"""What pages ask Navigatr: the providers of a connection, their badges, one badge.

- Answers are kept for KEPT_FOR seconds in a cache that all processes share. A key is a keyed digest of connection,
  address and token, so that a reconnected connection begins anew. Nothing in it is about a person.
- Failures are not kept: the next page asks again. Only after "too many requests" no page asks with this connection
  until the pause that Navigatr wants is over, not even to save a choice.
- Saving a choice always asks Navigatr (`find_badge`).
- What has to be asked takes a place (`waiting`), keeps to the connection's own limits (`sending.page_calls`), and takes
  LONGEST_WAIT seconds at most for the whole page.
"""

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Generic, Self, TypeVar
from uuid import uuid4

from django.conf import settings
from django.core.cache import caches
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext as _

from navigatr_client import Badge, NavigatrClient, NavigatrError, Page, Provider
from vault.keys import WrongKey

from . import connections, mapping, waiting
from .meanings import Outcome
from .models import NavigatrConnection
from .moments import moment
from .sending.page_calls import page_call

T = TypeVar("T")

# The longest wait of one page, in seconds. A connection's own time-out is for sending: minutes would be too long for a
# person, and for the few threads that serve all pages.
LONGEST_WAIT = 10
# How long an answer is kept, in seconds.
KEPT_FOR = 60
# How many connections one page asks at the same time.
CONNECTIONS_AT_ONCE = 4
# Characters of a badge's description that pages show, and the most of an answer that is kept.
DESCRIPTION = 200
LONGEST_KEPT = 100_000
# The longest pause that pages keep after "too many requests".
LONGEST_PAUSE = timedelta(minutes=10)


class Resting(Exception):
    """Navigatr wants no calls with this connection for a while, so nothing was asked. The text is for people."""


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """One thing to ask, what tells it from others, and how its answer is read back from JSON."""

    key: tuple[object, ...]
    ask: Callable[[NavigatrClient], T]
    read: Callable[[Any], T]


PROVIDERS = Question(
    ("providers",), lambda client: client.providers(), lambda data: [Provider.from_json(row) for row in data]
)


class Catalogue:
    """What one page of one person asks. A context manager, because asking takes a place until the page is done.

    Its methods raise NavigatrError, WrongKey, Resting and `waiting.Busy`.
    """

    def __init__(self, person: Hashable) -> None:
        self._person = person
        self._stack = ExitStack()
        self._until: float | None = None
        self._keys: dict[tuple[object, ...], str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def providers(self, connection: NavigatrConnection) -> list[Provider]:
        """The providers that the connection may issue for."""
        return self._answer(connection, PROVIDERS)

    def providers_of_all(
        self, asked: Sequence[NavigatrConnection]
    ) -> list[tuple[NavigatrConnection, list[Provider] | Exception]]:
        """The providers of each connection, or why they are unknown: one that does not answer hides no other.

        Raises Busy when none of what must be asked can be.
        """
        known = {connection.pk: self._kept_or_error(connection) for connection in asked}
        missing = [connection for connection in asked if known[connection.pk] is None]
        if missing:
            self._take_place()
        with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as threads:
            # Threads use no database. Connections with limits need it, and wait for their turn here meanwhile.
            answers = {row.pk: threads.submit(self._call, row, PROVIDERS) for row in missing if not row.has_limits}
            answers |= {row.pk: self._limited(row) for row in missing if row.has_limits}
        for connection in missing:
            known[connection.pk] = self._received(connection, answers[connection.pk])
        return [(connection, known[connection.pk] or []) for connection in asked]

    def badge_page(
        self, connection: NavigatrConnection, provider_id: int, *, page: int, size: int, words: str
    ) -> Page[Badge]:
        """One page of a provider's badges that can be issued, those whose name has the words."""

        def ask(client: NavigatrClient) -> Page[Badge]:
            found = client.badge_page(provider_id, page=page, size=size, keyword=words)
            return replace(found, items=tuple(map(_shortened, found.items)))

        question = Question(
            ("badges", provider_id, page, size, words), ask, lambda data: Page.from_json(data, Badge.from_json)
        )
        return self._answer(connection, question)

    def choice(self, connection: NavigatrConnection, *, provider_id: int, badge_id: int) -> tuple[Provider, Badge]:
        """The chosen provider and badge, to be looked at before saving. Raises NotMapped as well."""
        badge = Question(("badge", badge_id), lambda client: _shortened(client.badge(badge_id)), Badge.from_json)
        return mapping.choose(
            lambda: self.providers(connection),
            lambda _id: self._answer(connection, badge),
            provider_id=provider_id,
            badge_id=badge_id,
        )

    def find_badge(self, connection: NavigatrConnection, *, provider_id: int, badge_id: int) -> tuple[Provider, Badge]:
        """The chosen provider and badge as Navigatr has them now, to be saved. Raises NotMapped as well."""
        _see_that_it_may_be_asked(connection)
        self._take_place()
        try:
            with page_call(connection, calls=2, longest=timedelta(seconds=2 * LONGEST_WAIT)):
                return mapping.find_badge(
                    connection, provider_id=provider_id, badge_id=badge_id, most_seconds=self._seconds_left()
                )
        except mapping.NotMapped as error:
            if isinstance(error.__cause__, NavigatrError):
                _note_pause(connection, error.__cause__)
            raise

    def _answer(self, connection: NavigatrConnection, question: Question[T]) -> T:
        """The kept answer, or Navigatr's, which is kept then."""
        kept = self._kept(connection, question)
        if kept is not None:
            return kept
        _see_that_it_may_be_asked(connection)
        self._take_place()
        try:
            with page_call(connection, longest=timedelta(seconds=LONGEST_WAIT)):
                answer = self._call(connection, question)
        except NavigatrError as error:
            _note_pause(connection, error)
            raise
        self._keep(connection, question, answer)
        return answer

    def _kept_or_error(self, connection: NavigatrConnection) -> list[Provider] | Exception | None:
        """The kept providers, why they cannot be asked for, or None when they can."""
        try:
            kept = self._kept(connection, PROVIDERS)
            if kept is None:
                _see_that_it_may_be_asked(connection)
            return kept
        except (WrongKey, Resting) as error:
            return error

    def _limited(self, connection: NavigatrConnection) -> "Future[list[Provider]]":
        """Ask with a connection that has limits, in this thread."""
        answer: Future[list[Provider]] = Future()
        try:
            self._seconds_left()
            with page_call(connection, longest=timedelta(seconds=LONGEST_WAIT)):
                answer.set_result(self._call(connection, PROVIDERS))
        except (NavigatrError, waiting.Busy) as error:
            answer.set_exception(error)
        return answer

    def _received(self, connection: NavigatrConnection, answer: "Future[list[Provider]]") -> list[Provider] | Exception:
        try:
            providers = answer.result()
        except (NavigatrError, waiting.Busy) as error:
            if isinstance(error, NavigatrError):
                _note_pause(connection, error)
            return error
        self._keep(connection, PROVIDERS, providers)
        return providers

    def _key(self, connection: NavigatrConnection, question: Question[Any]) -> str:
        """The key of an answer, made once for the page: what is forgotten meanwhile stays forgotten."""
        place = (connection.pk, *question.key)
        if place not in self._keys:
            self._keys[place] = _key(connection, question)
        return self._keys[place]

    def _kept(self, connection: NavigatrConnection, question: Question[T]) -> T | None:
        """The kept answer; None without one. Raises WrongKey."""
        kept = _cache().get(self._key(connection, question))
        try:
            return None if kept is None else question.read(json.loads(kept))
        except ValueError:
            # Kept by another version of the portal, just before an upgrade.
            return None

    def _keep(self, connection: NavigatrConnection, question: Question[Any], answer: Any) -> None:
        """Keep the answer as JSON, unless it is far larger than it should be."""
        plain = [asdict(row) for row in answer] if isinstance(answer, list) else asdict(answer)
        text = json.dumps(plain)
        if len(text) <= LONGEST_KEPT:
            _cache().set(self._key(connection, question), text, KEPT_FOR)

    def _take_place(self) -> None:
        """Take the page's place at its first question. Raises Busy."""
        if self._until is None:
            self._stack.enter_context(waiting.place(self._person))
            self._until = monotonic() + LONGEST_WAIT

    def _seconds_left(self) -> float:
        """How long this page may still wait, but no less than a client's shortest time-out. Raises Busy."""
        left = (self._until or 0.0) - monotonic()
        if left <= 0:
            raise waiting.Busy(_("Navigatr is slow just now, and was not asked any more. Try again in a moment."))
        return max(1.0, left)

    def _call(self, connection: NavigatrConnection, question: Question[T]) -> T:
        """Ask Navigatr. Uses no database: the token was read before, for the key."""
        with connections.navigatr_client_for(connection, most_seconds=self._seconds_left()) as client:
            return question.ask(client)


def forget(connections_to_ask: Iterable[NavigatrConnection]) -> None:
    """Forget all kept answers of these connections, so that pages ask Navigatr again."""
    for connection in connections_to_ask:
        _cache().set(_generation_key(connection), uuid4().hex, 2 * KEPT_FOR)


def _cache() -> Any:
    return caches["navigatr"]


def _digest(connection: NavigatrConnection, *parts: object) -> str:
    """A key of the cache, from which nobody can tell the token."""
    named = json.dumps([connection.pk, connection.base_url, connection.pat, *parts])
    return salted_hmac("badging.catalogue", named, algorithm="sha256").hexdigest()


def _generation_key(connection: NavigatrConnection) -> str:
    return f"generation-{connection.pk}"


def _key(connection: NavigatrConnection, question: Question[Any]) -> str:
    """The key of an answer. `forget` changes the generation, and with it all keys of the connection."""
    return _digest(connection, _cache().get(_generation_key(connection), ""), *question.key)


def _shortened(badge: Badge) -> Badge:
    return replace(badge, description=badge.description[:DESCRIPTION])


def _see_that_it_may_be_asked(connection: NavigatrConnection) -> None:
    """Raises Resting while Navigatr wants a pause, as the senders or a page were told."""
    now = timezone.now()
    told_to_page = _cache().get(_digest(connection, "pause"))
    until = datetime.fromisoformat(told_to_page) if told_to_page else now
    if connection.last_outcome == Outcome.RATE_LIMITED and connection.not_before:
        until = max(until, connection.not_before)
    if until > now:
        raise Resting(
            _("Navigatr has asked for a pause (too many requests) until %(time)s. Try again after that.")
            % {"time": moment(until)}
        )


def _note_pause(connection: NavigatrConnection, error: NavigatrError) -> None:
    """After "too many requests" let no page ask for as long as Navigatr wants, or RETRY_FIRST without its word."""
    if error.status != 429:
        return
    pause = min(error.retry_after or settings.RETRY_FIRST, LONGEST_PAUSE)
    until = timezone.now() + pause
    _cache().set(_digest(connection, "pause"), until.isoformat(), max(1, round(pause.total_seconds())))
