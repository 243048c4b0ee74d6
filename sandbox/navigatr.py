"""The pretend Navigatr: providers, badges and assertions in memory, and the API (docs/navigatr-api.md)."""

from __future__ import annotations

import json
import re
import threading
import time
import unicodedata
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from html import escape
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from .faults import NAVIGATR, Fault, Faults
from .wire import Reply, Request, html_reply, json_reply

Row = TypeVar("Row")
# The requests that are remembered.
LEDGER_LENGTH = 200_000
# What a proxy answers.
PROXY_PAGE = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1><hr>proxy</body></html>"
# The values of order_by.
ORDERS = ("Name_Asc", "Name_Desc", "Time_Created_Asc", "Time_Created_Desc", "Time_Updated_Asc", "Time_Updated_Desc")
# Status and detail of the faults that answer with JSON. `_fault_reply` has the others.
FAULT_ANSWERS: dict[str, tuple[int, str]] = {
    "202": (202, "Badge not issued: the minimum score or the required evidence was not met"),
    "400": (400, "Badges of this source cannot be issued through the API"),
    "401": (401, "Invalid or expired access token"),
    "403": (403, "You do not have permission to issue this badge"),
    "404": (404, "Badge not found"),
    "422": (422, "Badge is not published"),
    "429": (429, "Too many requests"),
    "500_before": (500, "Internal Server Error"),
    "500_after": (500, "Internal Server Error"),
}
# Faults that happen after the call has been carried out.
AFTER = frozenset({"500_after", "drop_after", "timeout_after", "html_after"})


@dataclass(slots=True)
class Provider:
    """An organisation that issues badges. `admin`: the token's owner may issue for it."""

    id: int
    name: str
    active: bool = True
    admin: bool = True


@dataclass(slots=True)
class Badge:
    """A badge. `min_score` and `needs_evidence` are requirements; if they are not met, issuing answers 202."""

    id: int
    provider_id: int
    name: str
    description: str
    status: str
    source: str
    type: str
    min_score: int | None
    needs_evidence: bool
    time_created: float
    time_updated: float
    recipient_type: str = "User"


@dataclass(slots=True)
class Assertion:
    """An issued badge."""

    id: int
    badge_id: int
    provider_id: int
    recipient_id: int
    recipient_email: str
    recipient_firstname: str
    recipient_lastname: str
    score: int | None
    issue_date: str
    end_date: str | None
    evidence_text: str
    evidence_url: str
    time_created: float
    status: str = "Pending"
    revocation_reason: str | None = None


@dataclass(slots=True)
class Entry:
    """A request that was received.

    `status` is that of the reply, 0 if the connection was closed instead. `assertion_id` is the issued assertion, even
    if the reply did not arrive.
    """

    time: float
    method: str
    path: str
    query: str
    body: Any
    status: int = 0
    fault: str = ""
    assertion_id: int | None = None


class ApiError(Exception):
    """A request is answered with an error. `detail` has FastAPI's format."""

    def __init__(self, status: int, detail: str | list[dict[str, Any]]) -> None:
        super().__init__(status)
        self.status = status
        self.detail = detail


class Navigatr:
    """One Navigatr environment. All methods are safe to call from any thread.

    It does not prevent duplicates: each accepted issue call creates an assertion. Ids start from `first_id`, so that
    two environments share none.
    """

    def __init__(
        self,
        *,
        pat: str,
        faults: Faults,
        side: str = NAVIGATR,
        first_id: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.lock = threading.RLock()
        self.side = side
        self.root = f"/{side}"
        self.origin = ""
        self.clock = clock
        self.faults = faults
        self.changes = 0
        self.pat = pat
        self._first_id = first_id
        self.reset()

    def reset(self) -> None:
        """Delete everything except the token."""
        with self.lock:
            # Different kinds of records share no ids either, so that an id of the wrong kind is not found.
            first = self._first_id
            self._next = {"provider": first, "badge": first + 100, "recipient": first + 500, "assertion": first + 900}
            self.account = {
                "id": first + 400,
                "firstname": "Priya",
                "lastname": "Admin",
                "email": "priya@example.org",
            }
            self.providers: dict[int, Provider] = {}
            self.badges: dict[int, Badge] = {}
            self.assertions: dict[int, Assertion] = {}
            self._of_badge: dict[int, list[Assertion]] = {}
            self._of_email: dict[str, list[Assertion]] = {}
            self._recipients: dict[str, int] = {}
            self.ledger: deque[Entry] = deque(maxlen=LEDGER_LENGTH)
            self.changes += 1

    # For tests, the control calls and the page.

    @property
    def url(self) -> str:
        """The API's address."""
        return f"{self.origin}{self.root}/v1"

    @property
    def puts(self) -> list[Entry]:
        """All issue calls that were received, oldest first."""
        with self.lock:
            return [entry for entry in self.ledger if entry.method == "PUT" and entry.path.endswith("/issue")]

    def add_provider(self, name: str, *, active: bool = True, admin: bool = True) -> int:
        """Add a provider and return its id."""
        with self.lock:
            provider = Provider(self._take("provider"), name, active, admin)
            self.providers[provider.id] = provider
            return provider.id

    def set_provider(self, provider_id: int, **changes: Any) -> None:
        """Change name, active or admin. Raises KeyError for an unknown provider or field."""
        with self.lock:
            _change(self.providers[provider_id], changes, ("name", "active", "admin"))
            self.changes += 1

    def add_badge(
        self,
        provider_id: int,
        name: str,
        *,
        description: str = "",
        status: str = "Published",
        source: str = "Internal",
        type: str = "Badge",
        min_score: int | None = None,
        needs_evidence: bool = False,
        recipient_type: str = "User",
    ) -> int:
        """Add a badge and return its id. Raises KeyError for an unknown provider."""
        with self.lock:
            now = self.clock()
            badge = Badge(
                id=self._take("badge"),
                provider_id=self.providers[provider_id].id,
                name=name,
                description=description or f"Awarded for {name}.",
                status=status,
                source=source,
                type=type,
                min_score=min_score,
                needs_evidence=needs_evidence,
                time_created=now,
                time_updated=now,
                recipient_type=recipient_type,
            )
            self.badges[badge.id] = badge
            return badge.id

    def set_badge(self, badge_id: int, **changes: Any) -> None:
        """Change what a badge is, asks for or belongs to. Raises KeyError for an unknown badge or field."""
        with self.lock:
            fields = (
                "name", "description", "status", "source", "min_score", "needs_evidence", "provider_id",
                "recipient_type",
            )  # fmt: skip
            _change(self.badges[badge_id], changes, fields)
            self.badges[badge_id].time_updated = self.clock()
            self.changes += 1

    def delete_badge(self, badge_id: int) -> None:
        """Delete a badge but not its assertions. Raises KeyError if unknown."""
        with self.lock:
            del self.badges[badge_id]
            self.changes += 1

    def assertions_for(self, email: str, badge_id: int | None = None) -> list[Assertion]:
        """All assertions of a recipient, also revoked ones, oldest first. The case of the address is ignored."""
        with self.lock:
            found = self._of_email.get(email.casefold(), [])
            return [assertion for assertion in found if badge_id in (None, assertion.badge_id)]

    def newest(self, limit: int) -> list[Assertion]:
        """The newest assertions, newest first."""
        with self.lock:
            keys = list(self.assertions)[-limit:]
            return [self.assertions[key] for key in reversed(keys)]

    def revoke(self, assertion_id: int, reason: str = "") -> None:
        """Revoke an assertion. Raises KeyError if unknown."""
        with self.lock:
            assertion = self.assertions[assertion_id]
            assertion.status = "Revoked"
            assertion.revocation_reason = reason or None
            self.changes += 1

    def set_assertion_status(self, assertion_id: int, status: str) -> None:
        """Set Pending, Claimed, Failed, Complained or Expired. Raises KeyError if the assertion is unknown."""
        with self.lock:
            self.assertions[assertion_id].status = status
            self.changes += 1

    def issue(
        self,
        badge_id: int,
        provider_id: int,
        *,
        recipient_email: str,
        recipient_firstname: str = "",
        recipient_lastname: str = "",
        score: int | None = None,
        issue_date: str = "",
        end_date: str | None = None,
        evidence_text: str = "",
        evidence_url: str = "",
    ) -> Assertion:
        """Create an assertion without any checks."""
        with self.lock:
            folded = recipient_email.casefold()
            if folded not in self._recipients:
                self._recipients[folded] = self._take("recipient")
            now = self.clock()
            assertion = Assertion(
                id=self._take("assertion"),
                badge_id=badge_id,
                provider_id=provider_id,
                recipient_id=self._recipients[folded],
                recipient_email=recipient_email,
                recipient_firstname=recipient_firstname,
                recipient_lastname=recipient_lastname,
                score=score,
                issue_date=issue_date or _iso(now),
                end_date=end_date,
                evidence_text=evidence_text,
                evidence_url=evidence_url,
                time_created=now,
            )
            self._keep(assertion)
            return assertion

    def dump(self) -> dict[str, Any]:
        """The state without the ledger."""
        with self.lock:
            return {
                "next": dict(self._next),
                "recipients": dict(self._recipients),
                "providers": [asdict(provider) for provider in self.providers.values()],
                "badges": [asdict(badge) for badge in self.badges.values()],
                "assertions": [asdict(assertion) for assertion in self.assertions.values()],
            }

    def load(self, state: dict[str, Any]) -> None:
        """Restore what `dump` returned. Raises KeyError or TypeError for anything else."""
        with self.lock:
            self.reset()
            self.providers = {row["id"]: Provider(**row) for row in state["providers"]}
            self.badges = {row["id"]: Badge(**row) for row in state["badges"]}
            for row in state["assertions"]:
                self._keep(Assertion(**row))
            self._recipients = dict(state["recipients"])
            self._next = dict(state["next"])

    # The API.

    def handle(self, request: Request) -> Reply:
        """Answer a request below `/<side>/`, or let a fault do so."""
        path = request.path.removeprefix(self.root)
        if not path.startswith("/v1/"):
            return self._public(path)
        path = path.removeprefix("/v1")
        body = _parsed(request.body)
        route, ids = _route(request.method, path)
        recipient = ""
        if self.faults.planned and route.call == "issue" and isinstance(body, dict):
            recipient = str(body.get("recipient_email", ""))
        draw = self.faults.draw(self.side, route.call, recipient)
        kind = draw.fault.kind if draw.fault else ("slow" if draw.delay else "")
        with self.lock:
            logged_body = None if body is NOT_JSON else body
            entry = Entry(self.clock(), request.method, path, request.query, logged_body, fault=kind)
            self.ledger.append(entry)
            if draw.fault is None:
                reply = self._answer(request, route, ids, body, entry)
            elif kind in AFTER and route.changes:
                reply = self._answer(request, route, ids, body, entry)
                # Otherwise the call was refused and not carried out.
                if reply.status in (200, 201):
                    reply = _fault_reply(draw.fault, body)
            else:
                reply = _fault_reply(draw.fault, body)
            entry.status = 0 if reply.drop else reply.status
        return reply.later(draw.delay)

    def _answer(self, request: Request, route: Route, ids: list[int], body: Any, entry: Entry) -> Reply:
        try:
            if request.headers.get("x-access-token") != self.pat:
                raise ApiError(401, "Invalid or expired access token")
            return route.answer(self, Exchange(ids, request.params() if request.query else {}, body, entry))
        except ApiError as problem:
            return json_reply({"detail": problem.detail}, problem.status)

    def _public(self, path: str) -> Reply:
        """The pictures and pages that need no token."""
        picture = re.fullmatch(r"/images/(\d+)\.svg", path)
        with self.lock:
            if picture and (badge := self.badges.get(int(picture[1]))):
                return Reply(200, _picture(badge).encode(), "image/svg+xml")
            page = re.fullmatch(r"/(badge|assertion)/(\d+)", path)
            if page:
                assertion = self.assertions.get(int(page[2])) if page[1] == "assertion" else None
                badge = self.badges.get(assertion.badge_id if assertion else int(page[2]))
                if badge and (assertion or page[1] == "badge"):
                    return html_reply(self._page(badge, assertion))
        return html_reply("<!DOCTYPE html><html lang=en><title>Not found</title><h1>Not found</h1>", 404)

    def _page(self, badge: Badge, assertion: Assertion | None) -> str:
        issued = ""
        if assertion:
            name = f"{assertion.recipient_firstname} {assertion.recipient_lastname}"
            issued = f"<p>Issued to {escape(name)} on {escape(assertion.issue_date)}. Status: {assertion.status}.</p>"
        return (
            f'<!DOCTYPE html><html lang="en"><meta name="viewport" content="width=device-width">'
            f"<title>{escape(badge.name)}</title><h1>{escape(badge.name)}</h1>"
            f'<img src="{self.root}/images/{badge.id}.svg" width="160" height="160" alt="">'
            f'<p>{escape(badge.description)}</p>{issued}<p><a href="/">Back to the sandbox</a></p></html>'
        )

    # The calls. ROUTES has their addresses.

    def _account(self, _exchange: Exchange) -> Reply:
        return json_reply({**self.account, "providers": self._own_providers()})

    def _providers(self, _exchange: Exchange) -> Reply:
        return json_reply(self._own_providers())

    def _provider(self, exchange: Exchange) -> Reply:
        provider = self._known_provider(exchange.ids[0])
        return json_reply({**_provider_record(provider), "is_active": provider.active})

    def _badge_list(self, exchange: Exchange) -> Reply:
        query = exchange.query
        if not query.get("provider_id") and not query.get("community_id"):
            raise ApiError(422, [_missing("query", "provider_id")])
        provider_id = _whole(query, "provider_id")
        order = _order(query, "Name_Asc")
        keyword = query.get("keyword", "").casefold()
        found = [
            badge
            for badge in self.badges.values()
            if badge.provider_id == provider_id
            and query.get("status") in (None, "", badge.status)
            and query.get("source") in (None, "", badge.source)
            and keyword in badge.name.casefold()
        ]
        found.sort(key=_BADGE_ORDER[order.rpartition("_")[0]], reverse=order.endswith("_Desc"))
        return _paged(query, found, self._badge_record)

    def _badge(self, exchange: Exchange) -> Reply:
        return json_reply(self._badge_record(self._known_badge(exchange.ids[0])))

    def _badge_assertions(self, exchange: Exchange) -> Reply:
        self._may_look_up()
        badge = self._known_badge(exchange.ids[0])
        return self._assertion_page(exchange.query, self._of_badge.get(badge.id, []))

    def _assertion_list(self, exchange: Exchange) -> Reply:
        self._may_look_up()
        query = exchange.query
        if email := query.get("recipient_email"):
            found = self._of_email.get(email.casefold(), [])
        elif query.get("badge_id"):
            found = self._of_badge.get(_whole(query, "badge_id"), [])
        else:
            found = list(self.assertions.values())
        if query.get("badge_id"):
            badge_id = _whole(query, "badge_id")
            found = [assertion for assertion in found if assertion.badge_id == badge_id]
        return self._assertion_page(query, found)

    def _assertion(self, exchange: Exchange) -> Reply:
        return json_reply(self._assertion_record(self._known_assertion(exchange.ids[0])))

    def _revoke_call(self, exchange: Exchange) -> Reply:
        assertion = self._known_assertion(exchange.ids[0])
        body = exchange.body if isinstance(exchange.body, dict) else {}
        if assertion.status == "Revoked":
            raise ApiError(422, "The badge assertion is already revoked")
        self.revoke(assertion.id, str(body.get("revocation_reason") or ""))
        return json_reply(self._assertion_record(assertion))

    def _issue_call(self, exchange: Exchange) -> Reply:
        fields = _issue_fields(exchange.body)
        badge = self._known_badge(exchange.ids[0])
        provider = self._known_provider(fields["provider_id"])
        if badge.provider_id != provider.id:
            raise ApiError(404, "Provider not found for this badge")
        if not provider.admin:
            raise ApiError(403, "You do not have permission to issue this badge")
        if badge.source != "Internal":
            raise ApiError(400, f"{badge.source} badges cannot be issued through the API")
        if not provider.active:
            raise ApiError(422, "Provider is deactivated")
        if badge.status != "Published":
            raise ApiError(422, "Badge is not published")
        if badge.recipient_type != "User":
            raise ApiError(422, [_missing("body", "recipient_organisation")])
        score = fields["score"]
        if score is not None and fields["min_score"] is not None and score < fields["min_score"]:
            raise ApiError(*FAULT_ANSWERS["202"])
        if badge.min_score is not None and (score is None or score < badge.min_score):
            raise ApiError(*FAULT_ANSWERS["202"])
        if badge.needs_evidence and not (fields["evidence_text"] or fields["evidence_url"]):
            raise ApiError(*FAULT_ANSWERS["202"])
        del fields["provider_id"], fields["min_score"]
        assertion = self.issue(badge.id, provider.id, **fields)
        exchange.entry.assertion_id = assertion.id
        return json_reply(self._assertion_record(assertion), 201)

    def _unknown(self, exchange: Exchange) -> Reply:
        known = any(route.pattern.fullmatch(exchange.entry.path) for route in ROUTES)
        raise ApiError(*((405, "Method Not Allowed") if known else (404, "Not Found")))

    def _take(self, what: str) -> int:
        self._next[what] += 1
        self.changes += 1
        return self._next[what] - 1

    def _keep(self, assertion: Assertion) -> None:
        self.assertions[assertion.id] = assertion
        self._of_badge.setdefault(assertion.badge_id, []).append(assertion)
        self._of_email.setdefault(assertion.recipient_email.casefold(), []).append(assertion)

    def _known_badge(self, badge_id: int) -> Badge:
        if badge_id not in self.badges:
            raise ApiError(404, "Badge not found")
        return self.badges[badge_id]

    def _known_provider(self, provider_id: int) -> Provider:
        if provider_id not in self.providers:
            raise ApiError(404, "Provider not found")
        return self.providers[provider_id]

    def _known_assertion(self, assertion_id: int) -> Assertion:
        if assertion_id not in self.assertions:
            raise ApiError(404, "Badge assertion not found")
        return self.assertions[assertion_id]

    def _may_look_up(self) -> None:
        if self.faults.meets(self.side, "lookup_403"):
            raise ApiError(403, "You do not have permission to see these assertions")

    def _own_providers(self) -> list[dict[str, Any]]:
        return [_provider_record(provider) for provider in self.providers.values() if provider.admin]

    def _assertion_page(self, query: dict[str, str], found: list[Assertion]) -> Reply:
        """A page of assertions. `found` has the oldest first."""
        order = _order(query, "Time_Created_Desc")
        if query.get("provider_id"):
            provider_id = _whole(query, "provider_id")
            found = [assertion for assertion in found if assertion.provider_id == provider_id]
        if status := query.get("status"):
            found = [assertion for assertion in found if assertion.status == status]
        if keyword := query.get("keyword", "").casefold():
            found = [assertion for assertion in found if keyword in _search_text(assertion)]
        if order.startswith("Name"):
            found = sorted(found, key=lambda assertion: assertion.recipient_lastname.casefold())
        if order.endswith("_Desc"):
            found = found[::-1]
        return _paged(query, found, self._assertion_record)

    def _badge_record(self, badge: Badge) -> dict[str, Any]:
        provider = _provider_record(self.providers[badge.provider_id])
        return {
            "id": badge.id,
            "name": badge.name,
            "description": badge.description,
            "status": badge.status,
            "source": badge.source,
            "type": badge.type,
            "recipient_type": badge.recipient_type,
            "image_url": f"{self.origin}{self.root}/images/{badge.id}.svg",
            "url": f"{self.origin}{self.root}/badge/{badge.id}",
            "issuer": provider["name"],
            "provider_ids": [badge.provider_id],
            "providers": [provider],
            "time_created": _iso(badge.time_created),
            "time_updated": _iso(badge.time_updated),
        }

    def _assertion_record(self, assertion: Assertion) -> dict[str, Any]:
        badge = self.badges.get(assertion.badge_id)
        record = {
            "id": assertion.id,
            "status": assertion.status,
            "badge_id": assertion.badge_id,
            "badge": {"id": assertion.badge_id, "name": badge.name if badge else ""},
            "provider_id": assertion.provider_id,
            "recipient_id": assertion.recipient_id,
            "recipient_email": assertion.recipient_email,
            "recipient_firstname": assertion.recipient_firstname,
            "recipient_lastname": assertion.recipient_lastname,
            "issue_date": assertion.issue_date,
            "end_date": assertion.end_date,
            "url": f"{self.origin}{self.root}/assertion/{assertion.id}",
            "image_url": f"{self.origin}{self.root}/images/{assertion.badge_id}.svg",
            "issuing_method": "Api",
            "time_created": _iso(assertion.time_created),
            "time_claimed": None,
            "time_verified": None,
            "revocation_reason": assertion.revocation_reason,
        }
        if self.faults.meets(self.side, "no_recipients"):
            return {name: value for name, value in record.items() if not name.startswith("recipient_")}
        return record


@dataclass(frozen=True, slots=True)
class Exchange:
    """A call's ids from the address, its query, its decoded body and its entry in the ledger."""

    ids: list[int]
    query: dict[str, str]
    body: Any
    entry: Entry


@dataclass(frozen=True, slots=True)
class Route:
    """A call of the API. `changes`: it changes something, so faults of AFTER apply to it."""

    method: str
    pattern: re.Pattern[str]
    call: str
    answer: Callable[[Navigatr, Exchange], Reply]
    changes: bool = False


# The issue call comes first, because it has to be the fastest.
ROUTES = (
    Route("PUT", re.compile(r"/badge/(\d+)/issue"), "issue", Navigatr._issue_call, changes=True),
    Route("GET", re.compile(r"/badge/(\d+)/assertions"), "lookup", Navigatr._badge_assertions),
    Route("GET", re.compile(r"/badge_assertion/?"), "lookup", Navigatr._assertion_list),
    Route("GET", re.compile(r"/badge_assertion/(\d+)"), "lookup", Navigatr._assertion),
    Route("PUT", re.compile(r"/badge_assertion/(\d+)/revoke"), "revoke", Navigatr._revoke_call, changes=True),
    Route("GET", re.compile(r"/user_detail/0"), "account", Navigatr._account),
    Route("GET", re.compile(r"/user_detail/0/providers"), "account", Navigatr._providers),
    Route("GET", re.compile(r"/badge/?"), "badges", Navigatr._badge_list),
    Route("GET", re.compile(r"/badge/(\d+)"), "badge", Navigatr._badge),
    Route("GET", re.compile(r"/provider/(\d+)"), "provider", Navigatr._provider),
)
NO_ROUTE = Route("", re.compile(""), "unknown", Navigatr._unknown)
# A body that is not JSON, in contrast to no body.
NOT_JSON = object()
# Sort keys of badges by the start of order_by.
_BADGE_ORDER: dict[str, Callable[[Badge], Any]] = {
    "Name": lambda badge: (badge.name.casefold(), badge.id),
    "Time_Created": lambda badge: (badge.time_created, badge.id),
    "Time_Updated": lambda badge: (badge.time_updated, badge.id),
}


def _route(method: str, path: str) -> tuple[Route, list[int]]:
    for route in ROUTES:
        if route.method == method and (match := route.pattern.fullmatch(path)):
            return route, [int(group) for group in match.groups()]
    return NO_ROUTE, []


def _fault_reply(fault: Fault, body: Any) -> Reply:
    """The reply of a fault to a call with this body."""
    kind = fault.kind
    if kind == "down" or kind.startswith("drop_"):
        return Reply(drop="close")
    if kind == "refuse":
        return Reply(drop="reset")
    if kind.startswith("timeout"):
        return Reply(drop="close", delay=fault.seconds)
    retry = () if fault.retry_after is None else (("Retry-After", str(fault.retry_after)),)
    if kind in ("502", "503"):
        title = "502 Bad Gateway" if kind == "502" else "503 Service Unavailable"
        return replace(html_reply(PROXY_PAGE.format(title), int(kind)), headers=retry)
    if kind.startswith("html_"):
        return html_reply(PROXY_PAGE.format("Welcome"))
    if kind == "422_recipient":
        address = body.get("recipient_email") if isinstance(body, dict) else None
        problem = _wrong(("body", "recipient_email"), "value_error", f"value is not a valid email address: {address}")
        return json_reply({"detail": [problem]}, 422, retry)
    if kind == "422_quotes":
        return json_reply({"detail": _quotes(body)}, 422, retry)
    status, detail = FAULT_ANSWERS[kind]
    return json_reply({"detail": detail}, status, retry)


def _quotes(body: Any) -> str:
    """An explanation that names the recipient in many spellings, one of them wrong."""
    fields = body if isinstance(body, dict) else {}
    first, last, email = (str(fields.get(f"recipient_{name}") or "-") for name in ("firstname", "lastname", "email"))
    apart = unicodedata.normalize("NFD", f"{first} {last}")
    bare = "".join(letter for letter in apart if not unicodedata.combining(letter))
    name, local = f"{first} {last}", email.partition("@")[0]
    spellings = [
        name, f"{last}, {first}", name.upper(), apart, bare, bare.replace("-", " "), bare.replace(" ", "-"),
        f"{bare}'s",
        name.encode("ascii", "xmlcharrefreplace").decode(), quote(name), email.replace("@", " at "), local,
        f"{first[0]}. {last}", f"{first}h",
    ]  # fmt: skip
    return f"Known already: {'; '.join(spellings)}"


def _parsed(body: bytes) -> Any:
    if not body:
        return None
    try:
        return json.loads(body)
    except ValueError:
        return NOT_JSON


def _change(row: Provider | Badge, changes: dict[str, Any], allowed: tuple[str, ...]) -> None:
    for name, value in changes.items():
        if name not in allowed:
            raise KeyError(name)
        setattr(row, name, value)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _provider_record(provider: Provider) -> dict[str, Any]:
    return {"id": provider.id, "name": provider.name}


def _search_text(assertion: Assertion) -> str:
    """What a keyword is searched in: the recipient's names and address."""
    names = f"{assertion.recipient_firstname} {assertion.recipient_lastname}"
    return f"{names} {assertion.recipient_email}".casefold()


def _missing(*loc: str) -> dict[str, Any]:
    return {"type": "missing", "loc": list(loc), "msg": "Field required", "input": None}


def _wrong(loc: tuple[str, ...], kind: str, message: str) -> dict[str, Any]:
    return {"type": kind, "loc": list(loc), "msg": message}


def _whole(query: dict[str, str], name: str, least: int = 0, most: int | None = None) -> int:
    """A whole number from the query, 0 if it is missing. Raises ApiError 422 for anything else."""
    text = query.get(name, "0")
    if not re.fullmatch(r"-?\d+", text):
        raise ApiError(422, [_wrong(("query", name), "int_parsing", "Input should be a valid integer")])
    value = int(text)
    if value < least:
        message = f"Input should be greater than or equal to {least}"
        raise ApiError(422, [_wrong(("query", name), "greater_than_equal", message)])
    if most is not None and value > most:
        raise ApiError(
            422, [_wrong(("query", name), "less_than_equal", f"Input should be less than or equal to {most}")]
        )
    return value


def _order(query: dict[str, str], default: str) -> str:
    order = query.get("order_by") or default
    if order not in ORDERS:
        raise ApiError(422, [_wrong(("query", "order_by"), "enum", f"Input should be one of {', '.join(ORDERS)}")])
    return order


def _paged(query: dict[str, str], found: list[Row], record: Callable[[Row], dict[str, Any]]) -> Reply:
    if query.get("paginated", "").lower() in ("false", "0"):
        return json_reply([record(row) for row in found])
    page = _whole({"page": "1", **query}, "page", 1)
    size = _whole({"size": "50", **query}, "size", 1, 100)
    items = [record(row) for row in found[(page - 1) * size : page * size]]
    pages = -(-len(found) // size)
    return json_reply({"items": items, "total": len(found), "page": page, "size": size, "pages": pages})


def _issue_fields(body: Any) -> dict[str, Any]:
    """The fields of an issue call. Raises ApiError 422 with an entry for each malformed field, as FastAPI does."""
    if body is NOT_JSON:
        raise ApiError(422, [_wrong(("body", "0"), "json_invalid", "JSON decode error")])
    if not isinstance(body, dict):
        raise ApiError(422, [_missing("body")])
    numbers = {name: body.get(name) for name in NUMBERS}
    texts = {name: body.get(name) or "" for name in TEXTS}
    problems = [_number_problem(name, value) for name, value in numbers.items()]
    problems += [_text_problem(name, value) for name, value in texts.items()]
    if errors := [problem for problem in problems if problem is not None]:
        raise ApiError(422, errors)
    return {**numbers, **texts, "end_date": texts["end_date"] or None}


def _number_problem(name: str, value: Any) -> dict[str, Any] | None:
    if value is None:
        return _missing("body", name) if name == "provider_id" else None
    if not isinstance(value, int) or isinstance(value, bool):
        return _wrong(("body", name), "int_type", "Input should be a valid integer")
    if name != "provider_id" and not 0 <= value <= 100:
        return _wrong(("body", name), "less_than_equal", "Input should be from 0 to 100")
    return None


def _text_problem(name: str, value: Any) -> dict[str, Any] | None:
    if value == "":
        return _missing("body", name) if name in REQUIRED else None
    if not isinstance(value, str):
        return _wrong(("body", name), "string_type", "Input should be a valid string")
    if name in CHECKS and not CHECKS[name](value):
        return _wrong(("body", name), "value_error", f"Input should be a valid {name.rpartition('_')[2]}")
    return None


def _date_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _address(text: str) -> bool:
    return urlsplit(text).scheme in ("http", "https") and bool(urlsplit(text).netloc)


def _email(text: str) -> bool:
    # As FastAPI's check, this refuses a dot at the beginning and a domain of one label.
    return re.fullmatch(r"(?!\.)[^@\s]+@[^@\s.]+(\.[^@\s.]+)+", text) is not None


# The fields of an issue call.
NUMBERS = ("provider_id", "score", "min_score")
REQUIRED = ("recipient_email", "recipient_firstname", "recipient_lastname")
TEXTS = (*REQUIRED, "issue_date", "end_date", "evidence_text", "evidence_url")
# Further checks of texts.
CHECKS: dict[str, Callable[[str], bool]] = {
    "recipient_email": _email,
    "issue_date": _date_time,
    "end_date": _date_time,
    "evidence_url": _address,
}


def _picture(badge: Badge) -> str:
    """A picture whose colour depends on the badge's id."""
    hue = badge.id * 47 % 360
    initials = escape("".join(word[0] for word in badge.name.split()[:2]).upper())
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="160" height="160" viewBox="0 0 160 160" role="img">'
        f'<circle cx="80" cy="80" r="76" fill="hsl({hue} 55% 32%)"/>'
        f'<circle cx="80" cy="80" r="62" fill="none" stroke="hsl({hue} 60% 80%)" stroke-width="4"/>'
        f'<text x="80" y="98" font-family="sans-serif" font-size="52" text-anchor="middle" fill="#fff">{initials}'
        "</text>"
        "</svg>"
    )
