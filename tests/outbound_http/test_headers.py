"""Dates, waits and the version."""

import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from outbound_http import VERSION, parse_http_date, parse_retry_after

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["version"] == VERSION


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (None, None),
        ("120", timedelta(seconds=120)),
        (" 5 ", timedelta(seconds=5)),
        ("-5", timedelta(0)),
        ("900000", timedelta(days=1)),
        ("999999999", timedelta(days=1)),
        ("Mon, 23 Nov 2026 12:10:00 GMT", timedelta(minutes=10)),
        ("Mon, 23 Nov 2026 12:10:00 -0000", timedelta(minutes=10)),
        ("Mon, 23 Nov 2026 12:10:00", timedelta(minutes=10)),
        ("Mon, 23 Nov 2026 11:00:00 GMT", timedelta(0)),
        ("Mon, 23 Nov 2037 11:00:00 GMT", timedelta(days=1)),
        ("Fri, 31 Dec 9999 23:00:00 -2300", None),
        ("Mon, 99 Nov 2026 12:10:00 GMT", None),
        ("soon", None),
        ("", None),
        ("1_0", None),
        ("٣", None),
        ("9" * 400, timedelta(days=1)),
        ("-" + "9" * 400, timedelta(0)),
        ("9" * 5000, None),
    ],
)
def test_retry_after_is_read_in_both_forms_and_bounded(value: str | None, wait: timedelta | None) -> None:
    assert parse_retry_after(value, NOW) == wait


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("Mon, 23 Nov 2026 12:00:00 GMT", NOW),
        ("Mon, 23 Nov 2026 12:00:00", NOW),
        ("Mon, 23 Nov 2026 13:00:00 +0100", NOW),
        ("Fri, 31 Dec 9999 23:00:00 -2300", None),
        ("no date", None),
        ("", None),
        (None, None),
    ],
)
def test_a_date_is_read_or_is_none(text: str | None, date: datetime | None) -> None:
    assert parse_http_date(text) == date
