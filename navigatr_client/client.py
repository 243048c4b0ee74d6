"""Client for Navigatr's API: one method for each call, one exception class for each thing the caller can do next.

The API is described in docs/navigatr-api.md.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from outbound_http import (
    Answer,
    AnswerTooLarge,
    ApiClient,
    HttpClient,
    NotJson,
    WireFailure,
    decode_json,
    parse_retry_after,
)

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

# Seconds.
LONGEST_TIMEOUT = 300
# The most entries that Navigatr puts on one page.
LARGEST_PAGE = 100
# Half a million entries: a server with more pages is broken.
MOST_PAGES = 5000
# Bytes.
LARGEST_ANSWER = 2 * 1024 * 1024


class NavigatrClient(ApiClient):
    """Navigatr as one account sees it. Threads may share a client.

    - `base_url`: the API's address with its version, such as `https://api.navigatr.app/v1`.
    - `timeout`: seconds (1 to 300) from the sent request to the last byte of the answer.
    - `connect_timeout`: seconds to connect.
    - `pool_size`: idle connections that are kept open.

    Raises ValueError for an invalid address or time-out, and NavigatrTokenMalformed, also a ValueError, for an invalid
    token. A call raises only NavigatrError and its subclasses. `calls` counts the requests. `last_status` is the HTTP
    status of the last answer, or None if there was none; it is of use only if one thread uses the client.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout: float = 30,
        connect_timeout: float = 5,
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
        # Visible ASCII only. Checked here, because http.client would put the token into its error message.
        if not token or not all("!" <= character <= "~" for character in token):
            raise NavigatrTokenMalformed("GET", "/user_detail/0", failure="not sent, this cannot be a token")
        self.base_url = base_url.rstrip("/")
        self.calls = 0
        self.last_status: int | None = None
        super().__init__(
            HttpClient(
                self.base_url,
                {"X-Access-Token": token, "Accept": "application/json"},
                timeout=timeout,
                connect_timeout=connect_timeout,
                largest_answer=LARGEST_ANSWER,
                pool_size=pool_size,
            )
        )

    def __repr__(self) -> str:
        return f"<NavigatrClient {self.base_url}>"

    def current_user(self) -> Account:
        """The token's owner. This call tests a connection."""
        return self._get("/user_detail/0", Account.from_json)

    def providers(self) -> list[Provider]:
        """The providers that the token's owner may issue for. A provider admin has at least one."""
        return self._get("/user_detail/0/providers", _providers)

    def provider(self, provider_id: int) -> Provider:
        """One provider."""
        return self._get(f"/provider/{int(provider_id)}", Provider.from_json)

    def badge(self, badge_id: int) -> Badge:
        """One badge of any status and source."""
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
    ) -> Page[Badge]:
        """One page of a provider's badges, by name; `page` counts from 1, `size` is 1 to 100. "" means no filter."""
        query: Query = {
            "provider_id": provider_id,
            "status": status,
            "source": source,
            "keyword": keyword,
            "order_by": "Name_Asc",
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
    ) -> list[Badge]:
        """All badges of a provider, each once, by name. "" means no filter."""

        def fetch(number: int) -> Page[Badge]:
            return self.badge_page(
                provider_id, page=number, size=LARGEST_PAGE, keyword=keyword, status=status, source=source
            )

        by_id = {badge.id: badge for page in _all_pages("/badge/", fetch) for badge in page.items}
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
        """Issue a badge to a person, who gets an e-mail from Navigatr. Scores are in percent, dates must be aware.

        Raises NavigatrRequirementNotMet if Navigatr did not issue the badge because of the score or the evidence, and
        NavigatrUnclear if it may have issued it. After the latter search `assertions` before you repeat the call:
        Navigatr does not promise to refuse a second one (docs/navigatr-api.md, "Issuing").
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

    def assertions(self, badge_id: int, *, provider_id: int, tries: int = 1) -> Iterator[Page[Assertion]]:
        """The assertions of a badge that a provider issued, newest first, in pages of 100 that are fetched as needed.

        A page after the first is tried up to `tries` times while Navigatr is unavailable.
        """
        path = f"/badge/{int(badge_id)}/assertions"

        def read(data: Any) -> Page[Assertion]:
            return Page.from_json(data, Assertion.from_json)

        def fetch(number: int) -> Page[Assertion]:
            query: Query = {
                "provider_id": provider_id,
                "order_by": "Time_Created_Desc",
                "page": number,
                "size": LARGEST_PAGE,
            }
            for _try in range(tries - 1 if number > 1 else 0):
                with suppress(NavigatrUnavailable):
                    return self._get(path, read, query)
            return self._get(path, read, query)

        return _all_pages(path, fetch)

    def assertion(self, assertion_id: str) -> Assertion:
        """One assertion."""
        return self._get(f"/badge_assertion/{quote(str(assertion_id), safe='')}", Assertion.from_json)

    def revoke(self, assertion_id: str, reason: str = "") -> Assertion:
        """Revoke an assertion. Raises NavigatrUnclear if it may have been revoked."""
        payload = {"revocation_reason": reason} if reason else {}
        path = f"/badge_assertion/{quote(str(assertion_id), safe='')}/revoke"
        return self._call("PUT", path, Assertion.from_json, payload=payload)

    def _get(self, path: str, read: Callable[[Any], T], query: Query | None = None) -> T:
        parameters = {name: value for name, value in (query or {}).items() if value != ""}
        return self._call("GET", path, read, query=f"?{urlencode(parameters)}" if parameters else "")

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
        """Send one request and return what `read` makes of the answer. Every failure becomes a NavigatrError."""
        # A GET can be repeated whatever happened. A PUT may have been carried out although its answer was lost.
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
        if status == not_met_status:
            raise _explained(NavigatrRequirementNotMet, method, path, answer)
        if not 200 <= status < 300:
            raise _explained(_refusal(status, lost), method, path, answer)
        try:
            return read(decode_json(answer.body()))
        except WireFailure as failure:
            unreadable, problem = lost, str(failure)
        except AnswerTooLarge:
            problem = "the answer is too large"
        except NotJson:
            problem = "the answer is not JSON"
        except ValueError:
            problem = "not the documented answer"
        raise unreadable(method, path, status=status, failure=problem)


def _refusal(status: int, lost: type[NavigatrError]) -> type[NavigatrError]:
    """The error for a status other than success; docs/navigatr-api.md, "Issuing", lists the documented ones."""
    if status == 401:
        return NavigatrTokenRefused
    # Nothing was done: 425 and 429 refuse a request before it is handled, and redirects are not followed.
    if status in (425, 429) or 300 <= status < 400:
        return NavigatrUnavailable
    if 400 <= status < 500 and status != 408:
        return NavigatrRejected
    return lost


def _explained(error: type[NavigatrError], method: str, path: str, answer: Answer) -> NavigatrError:
    """The error with Navigatr's own explanation, if its body has one."""
    data = None
    with suppress(WireFailure, AnswerTooLarge, NotJson):
        data = decode_json(answer.body())
    return error(
        method,
        path,
        status=answer.status,
        detail=detail_text(data),
        fields=detail_fields(data),
        retry_after=parse_retry_after(answer.headers.get("Retry-After"), datetime.now(UTC)),
    )


def _all_pages(path: str, fetch: Callable[[int], Page[T]]) -> Iterator[Page[T]]:
    """Yield all pages, each fetched when it is needed.

    An entry that moves to the next page meanwhile comes twice. Raises NavigatrUnexpectedAnswer if the server promises
    more entries but sends no new ones: if the list just ended, a badge on it would count as not issued and be issued
    twice.
    """
    seen_ids: set[object] = set()
    for number in range(1, MOST_PAGES + 1):
        page = fetch(number)
        seen_before = len(seen_ids)
        # Only ids: the other fields are personal data and may change between two pages.
        seen_ids.update(getattr(item, "id", item) for item in page.items)
        yield page
        if len(seen_ids) == seen_before and (number < page.pages or seen_before < page.total):
            raise NavigatrUnexpectedAnswer("GET", path, status=200, failure=f"page {number} has nothing new")
        if number >= page.pages:
            return
    raise NavigatrUnexpectedAnswer("GET", path, status=200, failure=f"more than {MOST_PAGES} pages")


def _providers(data: Any) -> list[Provider]:
    if not isinstance(data, list):
        raise ValueError("not a JSON array")
    return [Provider.from_json(entry) for entry in data]


def _iso(when: datetime) -> str:
    """ISO 8601 in UTC. Raises ValueError for a naive time, which Navigatr would read in an unknown zone."""
    if when.tzinfo is None:
        raise ValueError("the time must be aware")
    return when.astimezone(UTC).isoformat(timespec="seconds")
