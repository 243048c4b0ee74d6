"""The badge of one course: its mapping, and what changing or removing it does to the issuances."""

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from moodle_sync.models import Course

from ..models import CourseBadgeMapping, Issuance

State = Issuance.State

# Counting stops here: a page then says "more than", and the query stays quick.
COUNTED_UP_TO = 1000


def mapping_of(course: Course) -> CourseBadgeMapping | None:
    """The course's mapping with its connection and creator, or None. `course.mapping` is the same from then on."""
    mappings = CourseBadgeMapping.objects.with_reach().select_related("connection", "created_by")
    mapping = mappings.filter(course=course).first()
    if mapping is not None:
        course.mapping = mapping
    return mapping


def effects_of_change(course: Course) -> dict[str, str]:
    """How many issuances a change or removal of the badge concerns, by what happens to them."""
    rows = Issuance.objects.filter(course=course)
    return {
        "issued": _count(rows.filter(state=State.ISSUED)),
        "waiting": _count(rows.unsent().filter(state__in=[State.QUEUED, State.HELD])),
        "stopped": _count(rows.unsent().filter(state__in=[State.FAILED, State.NOT_MET])),
        "unclear": _count(rows.perhaps_sent().exclude(state=State.ISSUED)),
    }


def _count(rows: "QuerySet[Issuance]") -> str:
    count = rows.order_by()[: COUNTED_UP_TO + 1].count()
    return _("more than %(count)d") % {"count": COUNTED_UP_TO} if count > COUNTED_UP_TO else str(count)
