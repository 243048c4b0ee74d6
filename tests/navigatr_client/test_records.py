"""Navigatr's JSON as records: tolerant of what is missing, strict about what is relied on."""

from datetime import UTC, datetime
from typing import Any

import pytest

from navigatr_client import Account, Assertion, Badge, Page, Provider
from tests.navigatr_client.replies import reply


def test_account_is_read_and_keeps_personal_data_out_of_its_repr() -> None:
    account = Account.from_json(reply("account"))

    assert (account.id, account.firstname, account.lastname) == (12, "Grace", "Hopper")
    assert account.email == "grace@example.org"
    assert repr(account) == "Account(id=12)"


def test_badge_is_read() -> None:
    badge = Badge.from_json(reply("badge"))

    assert (badge.id, badge.name, badge.type) == (51, "First Aid", "Skill")
    assert badge.provider_ids == (7, 8)
    assert badge.issuable


def test_badge_providers_may_come_as_objects_or_not_at_all() -> None:
    assert Badge.from_json({"id": "51", "providers": [{"id": 7}]}).provider_ids == (7,)
    assert Badge.from_json({"id": 51}).provider_ids == ()


@pytest.mark.parametrize(
    ("fields", "issuable"),
    [
        ({"status": "Published"}, True),
        ({"status": "Published", "source": None}, True),
        ({"status": "Published", "source": "Credly"}, False),
        ({"status": "Draft", "source": "Internal"}, False),
        ({}, False),
    ],
)
def test_only_published_badges_of_navigatr_itself_are_issuable(fields: dict[str, Any], issuable: bool) -> None:
    assert Badge.from_json({"id": 51, **fields}).issuable is issuable


def test_assertion_is_read_with_aware_times_and_no_person_in_its_repr() -> None:
    assertion = Assertion.from_json(reply("assertion"))

    assert (assertion.id, assertion.status, assertion.badge_id, assertion.provider_id) == ("90210", "Pending", 51, 7)
    assert assertion.recipient_email == "ada@example.org"
    assert assertion.issue_date == datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
    assert assertion.time_created == datetime(2026, 11, 23, 13, 0, 0, 250000, tzinfo=UTC)
    assert assertion.time_claimed is None
    assert not any(word in repr(assertion) for word in ("ada", "Ada", "Lovelace", "3001"))


def test_assertion_needs_nothing_but_its_id() -> None:
    assertion = Assertion.from_json({"id": "5f0c-uuid", "time_created": "yesterday", "issue_date": 17})

    assert assertion.id == "5f0c-uuid"
    assert assertion.recipient_email is None
    assert assertion.badge_id is None
    assert assertion.time_created is None
    assert assertion.issue_date is None


def test_time_with_an_offset_becomes_utc() -> None:
    assertion = Assertion.from_json({"id": 1, "issue_date": "2026-11-20T10:00:00+02:00"})

    assert assertion.issue_date == datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
    assert assertion.issue_date.tzinfo is UTC


@pytest.mark.parametrize(
    ("record", "data"),
    [
        (Account, None),
        (Account, {}),
        (Account, {"id": True}),
        (Account, {"id": 1, "email": 5}),
        (Provider, {"id": "seven"}),
        (Provider, [1]),
        (Badge, {"id": 1.5}),
        (Badge, {"id": 1, "provider_ids": 7}),
        (Badge, {"id": 1, "providers": ["x"]}),
        (Assertion, {}),
        (Assertion, {"id": ""}),
        (Assertion, {"id": False}),
        (Assertion, {"id": {}}),
        (Assertion, {"id": 1, "recipient_email": ["a"]}),
    ],
)
def test_wrong_shape_is_refused(record: type[Account], data: object) -> None:
    with pytest.raises(ValueError, match="not a"):
        record.from_json(data)


def test_page_object_and_bare_array_are_both_pages() -> None:
    entries = [{"id": 7, "name": "A"}, {"id": 8, "name": "B"}]

    page = Page.from_json({"items": entries, "total": 230, "page": 2, "size": 100, "pages": 3}, Provider.from_json)
    array = Page.from_json(entries, Provider.from_json)

    assert page == Page((Provider(7, "A"), Provider(8, "B")), total=230, page=2, size=100, pages=3)
    assert array == Page((Provider(7, "A"), Provider(8, "B")), total=2, page=1, size=2, pages=1)


def test_page_count_left_out_follows_from_the_total() -> None:
    assert Page.from_json({"items": [], "total": 230, "page": 1, "size": 100}, Provider.from_json).pages == 3


@pytest.mark.parametrize("data", [None, "none", {}, {"items": []}, {"items": {}, "total": 0, "page": 1, "size": 50}])
def test_anything_else_is_no_page(data: object) -> None:
    with pytest.raises(ValueError, match="not a"):
        Page.from_json(data, Provider.from_json)
