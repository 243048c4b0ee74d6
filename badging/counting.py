"""Counts that stop where nobody reads on, so that they are quick whatever there is to count."""

from typing import Any

from django.db.models import IntegerField, QuerySet, Subquery

# A count that is larger than this is shown as more than this.
COUNTED_UP_TO = 1000


class CountUpTo(Subquery):
    """How many rows a query that ends somewhere (a slice) has, for each row of another one."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) AS counted)"
    output_field = IntegerField()


def count_up_to(rows: QuerySet[Any], most: int | None = None) -> int:
    """How many rows there are, counted no further than one more than `most`, else COUNTED_UP_TO."""
    # Read when called, because tests lower it.
    most = COUNTED_UP_TO if most is None else most
    return rows.order_by().values("pk")[: most + 1].count()


def capped(count: int) -> str:
    """The count in digits, or that it is more than is counted."""
    return f"{COUNTED_UP_TO:,}+" if count > COUNTED_UP_TO else f"{count:,}"
