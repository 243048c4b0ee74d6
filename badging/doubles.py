"""Issuances that may belong to one person with two Moodle accounts: merged, or made twice."""

from moodle_sync.addresses import folded
from moodle_sync.models import Learner
from moodle_sync.times import MINUTE, minute_of

from .models import Issuance

MOST_COMPARED = 1000
MOST_TOLD = 10


def possible_doubles(issuance: Issuance) -> list[Issuance]:
    """Issuances of the same course whose learner has the same name, completed in the same minute, and is another one.

    Merging two accounts in Moodle, or importing completions twice, leaves such pairs. One query, which compares at
    most MOST_COMPARED people; the issuance's learner and completion are taken as they were read.
    """
    completed_at, name = issuance.completion.completed_at, _name_of(issuance.learner)
    if completed_at is None or not name:
        return []
    minute = minute_of(completed_at)
    others = Issuance.objects.filter(
        course=issuance.course_id,
        completion__completed_at__gte=minute,
        completion__completed_at__lt=minute + MINUTE,
    ).exclude(learner=issuance.learner_id)
    # In no order: the minute's index finds them, and sorting would read more than the few that are looked at.
    people = others.order_by().select_related("learner")[:MOST_COMPARED]
    return [other for other in people if _name_of(other.learner) == name][:MOST_TOLD]


def _name_of(learner: Learner) -> str:
    """First and last name to be compared, whatever the case and the way accents are written; "" without one."""
    return folded(" ".join(f"{learner.firstname} {learner.lastname}".split()))
