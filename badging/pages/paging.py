"""Pages of a long list, and the numbers that links carry."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db.models import Model, QuerySet

Row = TypeVar("Row", bound=Model)

# Longer numbers are made up, and too large for the database.
LONGEST_NUMBER = 15


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """The rows of one page, and whether more follow."""

    rows: list[Row]
    has_more: bool


def page_of(rows: "QuerySet[Row]", size: int, *, start: int = 0) -> Page[Row]:
    """`size` rows from `start` on. Reads one row more than that instead of counting all of them."""
    found = list(rows[start : start + size + 1])
    return Page(found[:size], len(found) > size)


def number_in(text: str | None) -> int | None:
    """The whole number in a link's parameter, or None for anything else."""
    if text and text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER:
        return int(text)
    return None


def page_number(text: str | None) -> int:
    """The number of the page in a link's parameter, 1 for anything else."""
    return max(number_in(text) or 1, 1)
