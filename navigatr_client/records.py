"""Navigatr's answers as typed records, with the fields of docs/navigatr-api.md.

Each `from_json` takes decoded JSON and ignores unknown fields. A missing optional field becomes empty; a missing
required one, or a value of the wrong type, raises ValueError. repr() shows no personal data.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Account:
    """The person a token belongs to."""

    id: int
    firstname: str = field(repr=False)
    lastname: str = field(repr=False)
    email: str = field(repr=False)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read one user. The e-mail address is "" if the token may not see it."""
        record = _object(data)
        return cls(
            id=_number(record.get("id")),
            firstname=_text(record.get("firstname")),
            lastname=_text(record.get("lastname")),
            email=_text(record.get("email")),
        )


@dataclass(frozen=True, slots=True)
class Provider:
    """An organisation that issues badges."""

    id: int
    name: str

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read one provider."""
        record = _object(data)
        return cls(id=_number(record.get("id")), name=_text(record.get("name")))


@dataclass(frozen=True, slots=True)
class Badge:
    """A badge that a provider offers."""

    id: int
    name: str
    description: str
    status: str
    source: str
    type: str
    image_url: str
    url: str
    provider_ids: tuple[int, ...]
    recipient_type: str = "User"

    @property
    def for_learners(self) -> bool:
        """Whether a person can get it. Other badges are for organisations."""
        return self.recipient_type == "User"

    @property
    def issuable(self) -> bool:
        """Whether it can be issued to learners through the API: it is Navigatr's own, published, and for people."""
        return self.status == "Published" and self.source == "Internal" and self.for_learners

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read one badge. Without a source it is Navigatr's own, and without a type of recipient it is for people.

        Providers come as ids or as objects.
        """
        record = _object(data)
        provider_ids = record.get("provider_ids")
        if provider_ids is None:
            provider_ids = [_object(provider).get("id") for provider in _array(record.get("providers") or [])]
        return cls(
            id=_number(record.get("id")),
            name=_text(record.get("name")),
            description=_text(record.get("description")),
            status=_text(record.get("status")),
            source=_text(record.get("source")) or "Internal",
            type=_text(record.get("type")),
            image_url=_text(record.get("image_url")),
            url=_text(record.get("url")),
            provider_ids=tuple(_number(provider_id) for provider_id in _array(provider_ids)),
            recipient_type=_text(record.get("recipient_type")) or "User",
        )


@dataclass(frozen=True, slots=True)
class Assertion:
    """A badge issued to a person. The recipient's fields are None if the token may not see them."""

    id: str
    status: str
    badge_id: int | None
    provider_id: int | None
    recipient_id: int | None = field(repr=False)
    recipient_email: str | None = field(repr=False)
    recipient_firstname: str | None = field(repr=False)
    recipient_lastname: str | None = field(repr=False)
    url: str
    image_url: str
    issuing_method: str
    revocation_reason: str = field(repr=False)
    issue_date: datetime | None
    end_date: datetime | None
    time_created: datetime | None
    time_claimed: datetime | None
    time_verified: datetime | None

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read one assertion. Only the id is required: an answer with an id means that the badge was issued.

        Times are aware and in UTC. A time that is missing or malformed is None, because nothing depends on it.
        """
        record = _object(data)
        return cls(
            id=_identifier(record.get("id")),
            status=_text(record.get("status")),
            badge_id=_optional_number(record.get("badge_id")),
            provider_id=_optional_number(record.get("provider_id")),
            recipient_id=_optional_number(record.get("recipient_id")),
            recipient_email=_optional_text(record.get("recipient_email")),
            recipient_firstname=_optional_text(record.get("recipient_firstname")),
            recipient_lastname=_optional_text(record.get("recipient_lastname")),
            url=_text(record.get("url")),
            image_url=_text(record.get("image_url")),
            issuing_method=_text(record.get("issuing_method")),
            revocation_reason=_text(record.get("revocation_reason")),
            issue_date=_time(record.get("issue_date")),
            end_date=_time(record.get("end_date")),
            time_created=_time(record.get("time_created")),
            time_claimed=_time(record.get("time_claimed")),
            time_verified=_time(record.get("time_verified")),
        )


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list. `page` counts from 1, `total` is the number of items on all `pages`."""

    items: tuple[T, ...]
    total: int
    page: int
    size: int
    pages: int

    @classmethod
    def from_json(cls, data: Any, item: Callable[[Any], T]) -> Self:
        """Read a page, or an array, which is the whole list. `item` reads one entry."""
        if isinstance(data, list):
            return cls(items=tuple(map(item, data)), total=len(data), page=1, size=len(data), pages=1)
        record = _object(data)
        total, size = _number(record.get("total")), _number(record.get("size"))
        pages = record.get("pages")
        return cls(
            items=tuple(map(item, _array(record.get("items")))),
            total=total,
            page=_number(record.get("page")),
            size=size,
            pages=ceil(total / max(size, 1)) if pages is None else _number(pages),
        )


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _array(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError("not a JSON array")
    return value


def _number(value: Any) -> int:
    # Python's bool is a subclass of int.
    if isinstance(value, bool) or not (isinstance(value, int) or isinstance(value, str) and value.isdecimal()):
        raise ValueError("not a whole number")
    return int(value)


def _optional_number(value: Any) -> int | None:
    return None if value is None else _number(value)


def _optional_text(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError("not a text")
    return value


def _text(value: Any) -> str:
    return _optional_text(value) or ""


def _identifier(value: Any) -> str:
    # Navigatr does not document the type of an assertion's id; a number and a UUID are both accepted.
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError("not an id")
    return str(value)


def _time(value: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
