"""Where a learner's badge is: the learners of one course that a search means, and why one of them is not in the list.

Only people who have completed the course are found. Who else is known, from another course, is not for its managers.
"""

from collections.abc import Sequence
from typing import NamedTuple

from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import gettext as _

from moodle_sync.models import Completion, Course, Learner
from moodle_sync.plain_letters import has_words

from .meanings import MEANINGS, Meaning, Outcome
from .models import CourseBadgeMapping, Issuance
from .moments import moment

# How many learners one search shows.
MOST_FOUND = 25
# Longer numbers are made up, and too large for the database.
LONGEST_NUMBER = 15


class Whereabouts(NamedTuple):
    """One learner who has completed the course: their issuance, or why there is none and what to do."""

    completion: Completion
    issuance: Issuance | None
    missing: Meaning | None

    @property
    def learner(self) -> Learner:
        """Who it is."""
        return self.completion.learner


class Search(NamedTuple):
    """What a search has found: at most MOST_FOUND learners, and whether there are more."""

    found: list[Whereabouts]
    has_more: bool
    # A participant of the course whom Moodle does not track, by their Moodle user id.
    untracked: bool


def find_in_course(course: Course, mapping: CourseBadgeMapping | None, words: str) -> Search:
    """The learners of a course by the words of a name, in any order and without accents, by address or Moodle id."""
    fitting = _fitting(course, words)
    if fitting is None:
        return Search([], has_more=False, untracked=False)
    rows = list(fitting.select_related("learner").order_by("-pk")[: MOST_FOUND + 1])
    shown = rows[:MOST_FOUND]
    issuances = _issuances_of(course, mapping, shown)
    found = []
    for completion in shown:
        completion.course = course
        issuance = issuances.get(completion.learner_id)
        missing = None if issuance else why_missing(completion, mapping)
        found.append(Whereabouts(completion, issuance, missing))
    untracked = not found and words.isdecimal() and int(words[:LONGEST_NUMBER]) in course.untracked
    return Search(found, len(rows) > MOST_FOUND, untracked)


def _fitting(course: Course, words: str) -> "QuerySet[Completion] | None":
    """The completions of the course whose learners the words mean, or None where they mean nobody."""
    rows = Completion.objects.filter(course=course)
    if words.isascii() and words.isdecimal():
        return rows.filter(learner__moodle_id=words) if len(words) <= LONGEST_NUMBER else None
    if "@" in words:
        return rows.filter(learner__email_key=Learner.key_of(words))
    named = has_words("search_name", words)
    return rows.filter(learner__in=course.site.learners.filter(named).order_by().values("pk")) if named else None


def _issuances_of(
    course: Course, mapping: CourseBadgeMapping | None, completions: Sequence[Completion]
) -> dict[int, Issuance]:
    """The issuance of each learner in this course: that of the present environment first, else the newest."""
    rows = Issuance.objects.filter(course=course, learner__in=[row.learner_id for row in completions])
    present = mapping.connection.environment if mapping else ""
    found: dict[int, Issuance] = {}
    for row in rows.select_related("learner", "completion", "connection").order_by("pk"):
        row.course = course
        known = found.get(row.learner_id)
        if known is None or known.environment != present:
            found[row.learner_id] = row
    return found


def why_missing(completion: Completion, mapping: CourseBadgeMapping | None) -> Meaning:
    """Why somebody who has completed the course has no issuance, and what to do."""
    if completion.learner.erased_at is not None:
        return MEANINGS[Outcome.ERASED]
    if completion.undone_at is not None:
        return MEANINGS[Outcome.COMPLETION_UNDONE]
    if mapping is None:
        return Meaning(_("The course awards no badge."), _("Choose one, and include those who have completed it."))
    completed = completion.last_completed_at
    when = moment(completed) if completed else _("an unknown time")
    if not mapping.is_past(completion):
        return Meaning(
            _("The course was completed on %(when)s.") % {"when": when},
            _("Nothing to do: the badge is queued when the portal next reads Moodle."),
        )
    if mapping.include_past:
        return Meaning(
            _("The course was completed before it awarded this badge. Earlier completions are included."),
            _("Nothing to do: the badge is queued once the portal has read the whole course."),
        )
    values = {"when": when, "since": moment(mapping.since)}
    return Meaning(
        _("The course was completed before it awarded a badge: at %(when)s, and badges count from %(since)s.") % values,
        _("To award it all the same, press “Change badge”, and choose “Also those who have already completed”."),
    )


def completed_without_issuance(course: Course, environment: str) -> "QuerySet[Completion]":
    """Completions that stand, of people who have no issuance for the course in this environment."""
    known = Issuance.objects.filter(course=course, learner=OuterRef("learner"), environment=environment).order_by()
    rows = Completion.objects.filter(course=course, undone_at=None, learner__erased_at=None, learner__deleted=False)
    return rows.exclude(Exists(known)).order_by()
