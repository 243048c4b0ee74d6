"""What is wrong with a mapping: one list, for the list of mappings, the start page, and the path of setting up."""

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple, Protocol

from django.db.models import QuerySet
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .meanings import MEANINGS
from .models import NOTHING_OPEN, CourseBadgeMapping, Issuance, Past
from .moments import moment


class Facts(Protocol):
    """What is asked of a mapping: of its row and its course's (`facts_of`), or as the overview has read it."""

    @property
    def gone_at(self) -> datetime | None:
        """Since when its course is deleted in Moodle."""

    @property
    def tracks_completion(self) -> bool | None:
        """Whether its course tracks completion, as far as is known."""

    @property
    def badge_problem(self) -> str:
        """Why its badge cannot be issued."""

    @property
    def past_release(self) -> str:
        """How far past completions are awarded."""


class Trouble(NamedTuple):
    """One thing that can be wrong: where it is, what it says, and what to do. `for_all`: nobody gets a badge."""

    applies: Callable[[Facts], bool]
    what: "str | Promise"
    todo: "str | Promise"
    for_all: bool = True


GONE = Trouble(
    lambda facts: facts.gone_at is not None,
    gettext_lazy("The course was deleted in Moodle."),
    gettext_lazy("Choose a badge for the course that took its place."),
)
UNTRACKED = Trouble(
    lambda facts: facts.tracks_completion is False and facts.gone_at is None,
    gettext_lazy("Completion tracking is switched off in this course, so nobody can complete it."),
    gettext_lazy("Switch it on in the course's settings in Moodle, and set the completion criteria."),
)
# The badge's own words say what is wrong and what to do.
BADGE = Trouble(lambda facts: bool(facts.badge_problem), "", "")
OVER = Trouble(
    lambda facts: facts.past_release == Past.OVER,
    gettext_lazy("More past completions than the connection's limit wait for a site admin."),
    gettext_lazy(
        "Look at who chose the badge and how many there are, then use “Release past completions” or “Do not send past "
        "completions” on its page."
    ),
    for_all=False,
)
# Told only where somebody waits.
LOOKED_AT = Trouble(
    lambda facts: facts.past_release == Past.LOOKED_AT,
    gettext_lazy("Past completions wait for a site admin."),
    gettext_lazy(
        "Look at who they are, then use “Release past completions” or “Do not send past completions” on its page."
    ),
    for_all=False,
)
TROUBLES = (GONE, UNTRACKED, BADGE, OVER, LOOKED_AT)


class _OfMapping(NamedTuple):
    gone_at: datetime | None
    tracks_completion: bool | None
    badge_problem: str
    past_release: str


def troubles_of(mapping: CourseBadgeMapping) -> list[Trouble]:
    """What is wrong with the mapping itself, the worst first. What holds it is its `hold_reason`."""
    course = mapping.course
    facts = _OfMapping(course.gone_at, course.completion_enabled, mapping.badge_problem, mapping.past_release)
    found = [trouble for trouble in TROUBLES if trouble.applies(facts)]
    return [trouble for trouble in found if trouble is not LOOKED_AT or _somebody_waits(mapping)]


def health_of(mapping: CourseBadgeMapping) -> list[str]:
    """What keeps badges of this mapping from being sent, a sentence each; none where it is in order.

    As last seen: the badge is looked at once a day, and whenever somebody chooses it.
    """
    found = [_badge_problem(mapping) if trouble is BADGE else str(trouble.what) for trouble in troubles_of(mapping)]
    meaning = MEANINGS[mapping.hold_reason] if mapping.hold_reason else None
    return [*found, *([str(meaning.what)] if meaning else [])]


def wrong_with_mapping(mapping: CourseBadgeMapping) -> str:
    """Why nobody gets a badge under it now, and what to do, or ""."""
    trouble = next((trouble for trouble in troubles_of(mapping) if trouble.for_all), None)
    if trouble is BADGE:
        return mapping.badge_problem
    if trouble is not None:
        return f"{trouble.what} {trouble.todo}"
    return " ".join(map(str, MEANINGS[mapping.hold_reason])) if mapping.hold_reason else ""


def past_waiting() -> QuerySet[Issuance]:
    """The past completions that wait, of all courses."""
    return Issuance.objects.filter(NOTHING_OPEN, state=Issuance.State.QUEUED, past=True).order_by()


def _somebody_waits(mapping: CourseBadgeMapping) -> bool:
    """Whether past completions wait under it: as the list has read it, or as asked now."""
    known: bool | None = getattr(mapping, "past_waits", None)
    return past_waiting().filter(course=mapping.course_id).exists() if known is None else known


def _badge_problem(mapping: CourseBadgeMapping) -> str:
    """What is wrong with the badge, and since when that is known."""
    if mapping.badge_problem_since is None:
        return mapping.badge_problem
    values = {"problem": mapping.badge_problem, "time": moment(mapping.badge_problem_since)}
    return _("%(problem)s Found on %(time)s.") % values
