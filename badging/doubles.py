"""Issuances that may belong to one person with two Moodle accounts."""

from moodle_sync.addresses import folded
from moodle_sync.models import Learner
from moodle_sync.times import MINUTE, minute_of

from .models import Issuance

# How many learners are compared with one, and how many doubles a page shows.
MOST_COMPARED = 1000
MOST_SHOWN = 10


def possible_doubles(issuance: Issuance) -> list[Issuance]:
    """Issuances of other learners who have the same name and completed the same course in the same minute.

    Merging two accounts in Moodle, or importing completions twice, leaves such pairs. Makes one query, besides those
    for the issuance's learner and completion where they have not been read yet.
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
    # Unordered: sorting would read all of them, where the index of completion times yields the few that are compared.
    compared = others.order_by().select_related("learner")[:MOST_COMPARED]
    return [other for other in compared if _name_of(other.learner) == name][:MOST_SHOWN]


def _name_of(learner: Learner) -> str:
    """First and last name, normalised for comparing: case folded, accents in one form."""
    return folded(" ".join(f"{learner.firstname} {learner.lastname}".split()))
