"""Counts of issuances for pages. Each stops where nobody reads on, so that it is quick whatever there is to count."""

from collections.abc import Collection
from typing import Any, NamedTuple

from django.db.models import OuterRef, QuerySet
from django.utils.translation import gettext as _

from moodle_sync.models import Course

from .. import counting
from ..counting import CountUpTo, count_up_to
from ..models import Issuance

State = Issuance.State


class Numbers(NamedTuple):
    """How many badges of a course have failed, and how many are issued; "" for none."""

    failed: str
    issued: str

    def __bool__(self) -> bool:
        return bool(self.failed or self.issued)


NONE = Numbers("", "")


def numbers_of(courses: Collection[int]) -> dict[int, Numbers]:
    """How many have failed and are issued in each of these courses: one query, which reads an index only."""
    counts = {state: CountUpTo(_some_in(state)) for state in (State.FAILED, State.ISSUED)}
    rows = Course.objects.filter(pk__in=courses).order_by()
    found = rows.values_list("pk", counts[State.FAILED], counts[State.ISSUED])
    return {pk: Numbers(_up_to(failed), _up_to(issued)) for pk, failed, issued in found}


def _some_in(state: State) -> QuerySet[Issuance, Any]:
    """Rows of the outer course in this state. The index `issuance_course_state` has all that is asked."""
    return (
        Issuance.objects.filter(course=OuterRef("pk"), state=state)
        .order_by()
        .values("state")[: counting.COUNTED_UP_TO + 1]
    )


def _up_to(count: int) -> str:
    return number(count) if count else ""


def counted(rows: "QuerySet[Any]") -> str:
    """How many rows there are, in words where there are very many."""
    return number(count_up_to(rows))


def number(count: int) -> str:
    """The count, or that it is more than is counted."""
    most = counting.COUNTED_UP_TO
    return _("more than %(count)d") % {"count": most} if count > most else str(count)
