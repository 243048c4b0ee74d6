"""Navigatr's API as far as the portal uses it: a method for each call, an exception class for each thing to do next."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from outbound_http import VERSION, AnswerTooLarge, HttpClient, NotJson, WireFailure, decode_json, parse_retry_after

from .errors import (
    NavigatrError,
    NavigatrRejected,
    NavigatrRequirementNotMet,
    NavigatrTokenMalformed,
    NavigatrTokenRefused,
    NavigatrUnavailable,
    NavigatrUnclear,
    NavigatrUnexpectedAnswer,
    detail_fields,
    detail_text,
)
from .records import Account, Assertion, Badge, Page, Provider

T = TypeVar("T")
Query = dict[str, str | int]

LONGEST_TIMEOUT = 300
LARGEST_PAGE = 100
# Half a million entries: more is a server that makes up pages.
MOST_PAGES = 5000
LARGEST_ANSWER = 2 * 1024 * 1024


class NavigatrClient:
    """Navigatr as one account sees it. Threads may share a client; it keeps up to `pool_size` connections open.

    `base_url` is the API's address with its version, such as `https://api.navigatr.app/v1`. `timeout` is how many
    seconds (1 to 300) an answer may take from the end of the request to the last byte; `connect_timeout` comes before
    it. Proxies and certificate authorities are taken from the environment, passwords are not. Redirects are never
    followed.

    Raises ValueError for an address or time-out that cannot be, and NavigatrTokenMalformed (a ValueError too) for a
    token. Every call raises only NavigatrError's classes; `calls` counts the requests made so far, and
    `last_status` is the HTTP status of the last answer, None without one (for a client that one thread uses).
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout: float = 30,
        connect_timeout: float = 5,
        version: str = VERSION,
        pool_size: int = 10,
    ) -> None:
        address = urlsplit(base_url)
        if address.scheme not in ("http", "https") or not address.hostname or "@" in address.netloc:
            raise ValueError("the address must be http:// or https:// with a host and without a password")
        if address.query or address.fragment:
            raise ValueError("the address must not have a query or fragment")
        if not 1 <= timeout <= LONGEST_TIMEOUT:
            raise ValueError(f"the time-out must be 1 to {LONGEST_TIMEOUT} seconds")
        token = token.strip()
        # Visible ASCII only. Said without the token, because http.client would put it into its message.
        if not token or not all("!" <= character <= "~" for character in token):
            raise NavigatrTokenMalformed("GET", "/user_detail/0", failure="not sent, this cannot be a token")
        self.base_url = base_url.rstrip("/")
        self.calls = 0
        self.last_status: int | None = None
        self._http = HttpClient(
            self.base_url,
            {"X-Access-Token": token, "Accept": "application/json"},
            timeout=timeout,
            connect_timeout=connect_timeout,
            largest_answer=LARGEST_ANSWER,
            pool_size=pool_size,
            version=version,
        )

    def __repr__(self) -> str:
        return f"<NavigatrClient {self.base_url}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections. The client may still be used, and opens new ones."""
        self._http.close()

    def current_user(self) -> Account:
        """The token's owner: the call that tests a connection."""
        return self._get("/user_detail/0", Account.from_json)

    def providers(self) -> list[Provider]:
        """The providers that the token's owner may issue for; none if the account is no provider admin."""
        return self._get("/user_detail/0/providers", _providers)

    def provider(self, provider_id: int) -> Provider:
        """One provider."""
        return self._get(f"/provider/{int(provider_id)}", Provider.from_json)

    def badge(self, badge_id: int) -> Badge:
        """One badge, whatever its status and source."""
        return self._get(f"/badge/{int(badge_id)}", Badge.from_json)

    def badge_page(
        self,
        provider_id: int,
        *,
        page: int = 1,
        size: int = 50,
        keyword: str = "",
        status: str = "Published",
        source: str = "Internal",
        order_by: str = "Name_Asc",
    ) -> Page[Badge]:
        """One page (from 1) of `size` (1 to 100) of a provider's badges; "" leaves a filter out."""
        query: Query = {
            "provider_id": provider_id,
            "status": status,
            "source": source,
            "keyword": keyword,
            "order_by": order_by,
            "page": page,
            "size": size,
        }
        return self._get("/badge/", lambda data: Page.from_json(data, Badge.from_json), query)

    def badges(
        self,
        provider_id: int,
        *,
        keyword: str = "",
        status: str = "Published",
        source: str = "Internal",
        order_by: str = "Name_Asc",
    ) -> list[Badge]:
        """All badges of a provider, from all pages, each once; "" leaves a filter out."""

        def page(number: int) -> Page[Badge]:
            return self.badge_page(
                provider_id,
                page=number,
                size=LARGEST_PAGE,
                keyword=keyword,
                status=status,
                source=source,
                order_by=order_by,
            )

        by_id = {badge.id: badge for found in _all_pages("/badge/", page) for badge in found.items}
        return list(by_id.values())

    def issue(
        self,
        badge_id: int,
        *,
        provider_id: int,
        recipient_email: str,
        recipient_firstname: str,
        recipient_lastname: str,
        score: int | None = None,
        min_score: int | None = None,
        issue_date: datetime | None = None,
        end_date: datetime | None = None,
        evidence_text: str = "",
        evidence_url: str = "",
    ) -> Assertion:
        """Issue a badge to a person, who gets a mail from Navigatr. Scores are in percent, dates must be aware.

        Raises NavigatrRequirementNotMet when Navigatr issued nothing for want of score or evidence, and
        NavigatrUnclear when it may or may not have issued: then look through `assertions` before calling again,
        because Navigatr documents no protection against issuing twice.
        """
        optional = {
            "score": score,
            "min_score": min_score,
            "issue_date": issue_date and _iso(issue_date),
            "end_date": end_date and _iso(end_date),
            "evidence_text": evidence_text,
            "evidence_url": evidence_url,
        }
        payload = {
            "provider_id": provider_id,
            "recipient_email": recipient_email,
            "recipient_firstname": recipient_firstname,
            "recipient_lastname": recipient_lastname,
            **{name: value for name, value in optional.items() if value is not None and value != ""},
        }
        path = f"/badge/{int(badge_id)}/issue"
        return self._call("PUT", path, Assertion.from_json, payload=payload, not_met_status=202)

    def assertions(
        self, badge_id: int, *, provider_id: int, order_by: str = "Time_Created_Desc", tries: int = 1
    ) -> Iterator[Page[Assertion]]:
        """What a provider has issued of a badge, newest first: pages of 100, each asked for only when it is reached.

        A page after the first is asked for up to `tries` times while Navigatr is unavailable.
        """
        path = f"/badge/{int(badge_id)}/assertions"

        def page(number: int) -> Page[Assertion]:
            query: Query = {"provider_id": provider_id, "order_by": order_by, "page": number, "size": LARGEST_PAGE}
            for _failed in range(tries - 1 if number > 1 else 0):
                with suppress(NavigatrUnavailable):
                    return self._get(path, read, query)
            return self._get(path, read, query)

        def read(data: Any) -> Page[Assertion]:
            return Page.from_json(data, Assertion.from_json)

        return _all_pages(path, page)

    def assertion(self, assertion_id: str) -> Assertion:
        """One assertion."""
        return self._get(f"/badge_assertion/{quote(str(assertion_id), safe='')}", Assertion.from_json)

    def revoke(self, assertion_id: str, reason: str = "") -> Assertion:
        """Take a badge back. Raises NavigatrUnclear when it may or may not have been taken back."""
        payload = {"revocation_reason": reason} if reason else {}
        path = f"/badge_assertion/{quote(str(assertion_id), safe='')}/revoke"
        return self._call("PUT", path, Assertion.from_json, payload=payload)

    def _get(self, path: str, read: Callable[[Any], T], query: Query | None = None) -> T:
        filled = {name: value for name, value in (query or {}).items() if value != ""}
        return self._call("GET", path, read, query=f"?{urlencode(filled)}" if filled else "")

    def _call(
        self,
        method: str,
        path: str,
        read: Callable[[Any], T],
        *,
        query: str = "",
        payload: dict[str, Any] | None = None,
        not_met_status: int | None = None,
    ) -> T:
        """Send one request and read its answer with `read`. Here every outside failure becomes one of ours."""
        # A read can be repeated whatever became of it; a change may have been made even if its answer was lost.
        lost: type[NavigatrError] = NavigatrUnavailable if payload is None else NavigatrUnclear
        unreadable: type[NavigatrError] = NavigatrUnexpectedAnswer if payload is None else NavigatrUnclear

        self.calls += 1
        self.last_status = None
        body = None if payload is None else json.dumps(payload).encode()
        try:
            answer = self._http.send(method, path + query, body)
        except WireFailure as failure:
            error = NavigatrUnavailable if failure.undelivered else lost
            raise error(method, path, failure=str(failure)) from None

        status = self.last_status = answer.status
        data, problem = None, ""
        try:
            data = decode_json(answer.body())
        except WireFailure as failure:
            problem, unreadable = str(failure), lost
        except AnswerTooLarge:
            problem = "the answer is too large"
        except NotJson:
            problem = "the answer is not JSON"

        if 200 <= status < 300 and status != not_met_status:
            if problem:
                raise unreadable(method, path, status=status, failure=problem)
            try:
                return read(data)
            except ValueError:
                raise unreadable(method, path, status=status, failure="not the documented answer") from None

        refused = NavigatrRequirementNotMet if status == not_met_status else _refusal(status, lost)
        raise refused(
            method,
            path,
            status=status,
            detail=detail_text(data),
            fields=detail_fields(data),
            retry_after=parse_retry_after(answer.headers.get("Retry-After"), datetime.now(UTC)),
        )


def _refusal(status: int, lost: type[NavigatrError]) -> type[NavigatrError]:
    """What a status other than success means, after API.md's table under "Issuing"."""
    if status == 401:
        return NavigatrTokenRefused
    # 425 and 429 are said before anything is done, and a redirect would have to be followed for anything to happen.
    if status in (425, 429) or 300 <= status < 400:
        return NavigatrUnavailable
    if 400 <= status < 500 and status != 408:
        return NavigatrRejected
    return lost


def _all_pages(path: str, fetch: Callable[[int], Page[T]]) -> Iterator[Page[T]]:
    """Every page from the first to the last, each fetched when it is reached.

    Entries that move to the next page while it is read come twice; the caller counts each id once. Raises
    NavigatrUnexpectedAnswer when the server says that there is more but gives nothing new, because a list that ends
    early would look like "none found" and issue a badge twice.
    """
    seen: set[object] = set()
    for number in range(1, MOST_PAGES + 1):
        page = fetch(number)
        known = len(seen)
        # Their numbers only: the entries hold names and addresses, and may change between two pages.
        seen.update(getattr(item, "id", item) for item in page.items)
        yield page
        if len(seen) == known and (number < page.pages or known < page.total):
            raise NavigatrUnexpectedAnswer("GET", path, status=200, failure=f"page {number} has nothing new")
        if number >= page.pages:
            return
    raise NavigatrUnexpectedAnswer("GET", path, status=200, failure=f"more than {MOST_PAGES} pages")


def _providers(data: Any) -> list[Provider]:
    if not isinstance(data, list):
        raise ValueError("not a JSON array")
    return [Provider.from_json(entry) for entry in data]


def _iso(when: datetime) -> str:
    """ISO 8601 in UTC. Raises ValueError for a naive time, which Navigatr would read in a zone of its own choice."""
    if when.tzinfo is None:
        raise ValueError("the time must be aware")
    return when.astimezone(UTC).isoformat(timespec="seconds")
