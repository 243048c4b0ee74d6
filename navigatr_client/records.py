"""Navigatr's answers as typed records.

Each `from_json` takes parsed JSON, ignores fields that it does not know, takes a missing optional field as empty, and
raises ValueError when a field it relies on is missing or of the wrong kind. Personal data stays out of repr().
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
        """Read one user; the e-mail is "" where the token may not see it."""
        known = _object(data)
        return cls(
            id=_number(known.get("id")),
            firstname=_text(known.get("firstname")),
            lastname=_text(known.get("lastname")),
            email=_text(known.get("email")),
        )


@dataclass(frozen=True, slots=True)
class Provider:
    """An organisation that issues badges."""

    id: int
    name: str

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read one provider."""
        known = _object(data)
        return cls(id=_number(known.get("id")), name=_text(known.get("name")))


@dataclass(frozen=True, slots=True)
class Badge:
    """A badge that learners may be given."""

    id: int
    name: str
    description: str
    status: str
    source: str
    type: str
    image_url: str
    url: str
    provider_ids: tuple[int, ...]

    @property
    def issuable(self) -> bool:
        """Whether the API can issue it: Navigatr issues published badges of its own only."""
        return self.status == "Published" and self.source == "Internal"

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read one badge. Without a source it counts as Navigatr's own; providers may come as ids or as objects."""
        known = _object(data)
        provider_ids = known.get("provider_ids")
        if provider_ids is None:
            provider_ids = [_object(provider).get("id") for provider in _array(known.get("providers") or [])]
        return cls(
            id=_number(known.get("id")),
            name=_text(known.get("name")),
            description=_text(known.get("description")),
            status=_text(known.get("status")),
            source=_text(known.get("source")) or "Internal",
            type=_text(known.get("type")),
            image_url=_text(known.get("image_url")),
            url=_text(known.get("url")),
            provider_ids=tuple(_number(provider_id) for provider_id in _array(provider_ids)),
        )


@dataclass(frozen=True, slots=True)
class Assertion:
    """One badge issued to one person. The recipient's fields are None where the token may not see them."""

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
        """Read one assertion. Only its id must be there: an answer with an id says that the badge was issued.

        Times are aware and in UTC; one that is left out or cannot be read is None, because nothing is decided by it.
        """
        known = _object(data)
        return cls(
            id=_identifier(known.get("id")),
            status=_text(known.get("status")),
            badge_id=_optional_number(known.get("badge_id")),
            provider_id=_optional_number(known.get("provider_id")),
            recipient_id=_optional_number(known.get("recipient_id")),
            recipient_email=_optional_text(known.get("recipient_email")),
            recipient_firstname=_optional_text(known.get("recipient_firstname")),
            recipient_lastname=_optional_text(known.get("recipient_lastname")),
            url=_text(known.get("url")),
            image_url=_text(known.get("image_url")),
            issuing_method=_text(known.get("issuing_method")),
            revocation_reason=_text(known.get("revocation_reason")),
            issue_date=_time(known.get("issue_date")),
            end_date=_time(known.get("end_date")),
            time_created=_time(known.get("time_created")),
            time_claimed=_time(known.get("time_claimed")),
            time_verified=_time(known.get("time_verified")),
        )


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, counted from 1. `total` counts the items of all `pages`."""

    items: tuple[T, ...]
    total: int
    page: int
    size: int
    pages: int

    @classmethod
    def from_json(cls, data: Any, item: Callable[[Any], T]) -> Self:
        """Read a page object, or a bare array (which is the whole list), with `item` reading each entry."""
        if isinstance(data, list):
            return cls(items=tuple(map(item, data)), total=len(data), page=1, size=len(data), pages=1)
        known = _object(data)
        total, size = _number(known.get("total")), _number(known.get("size"))
        pages = known.get("pages")
        return cls(
            items=tuple(map(item, _array(known.get("items")))),
            total=total,
            page=_number(known.get("page")),
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
    # bool is an int to Python, never to Navigatr.
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
    # API.md gives no type for an assertion's id: a number and a UUID are both taken.
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError("not an id")
    return str(value)


def _time(value: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(value)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
