"""The badge of one course: its mapping, and what changing or removing it does to the issuances."""

from datetime import datetime
from typing import NamedTuple

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext as _

from moodle_sync.models import Completion, Course

from ..course_learners import completed_without_issuance
from ..going_live import owed_in
from ..history import last_removal
from ..mapping import goes_live
from ..meanings import Meaning, Outcome
from ..models import (
    PAST_HELD,
    CourseBadgeMapping,
    Issuance,
    IssuanceAttempt,
    IssuanceQuerySet,
    NavigatrConnection,
)
from .notes import for_managers
from .numbers import counted

State = Issuance.State

# How many of a course's newest completions are looked through for a score.
SCORES_LOOKED_FOR = 1000


def mapping_of(course: Course) -> CourseBadgeMapping | None:
    """The course's mapping with its connection and people, or None. `course.mapping` is the same from then on."""
    mappings = CourseBadgeMapping.objects.with_reach().select_related("connection", "created_by", "chosen_by")
    mapping = mappings.filter(course=course).first()
    if mapping is not None:
        course.mapping = mapping
    return mapping


def effects_of_change(course: Course) -> dict[str, str]:
    """How many issuances a change or removal of the badge concerns, by what happens to them."""
    rows = Issuance.objects.filter(course=course)
    return {
        "issued": counted(rows.filter(state=State.ISSUED)),
        "waiting": counted(rows.unsent().filter(state__in=[State.QUEUED, State.HELD])),
        "stopped": counted(rows.unsent().filter(state__in=[State.FAILED, State.NOT_MET])),
        "unclear": counted(rows.perhaps_sent().exclude(state=State.ISSUED)),
    }


class Outgoing(NamedTuple):
    """How many badges are sent once a choice is saved, as far as the portal knows now."""

    # Whatever is chosen about past completions.
    now: str
    # In addition with past completions; None where these are included already.
    past: str | None
    # Why nothing is sent at once, and what to do about it.
    held: Meaning | None


def outgoing(
    course: Course,
    mapping: CourseBadgeMapping | None,
    connection: NavigatrConnection,
    badge_id: int,
    *,
    min_score: int | None,
    now: datetime,
) -> Outgoing:
    """How many badges are sent once this badge is saved for the course.

    Where the course leaves staging, only those who reach `min_score` are counted: see `badging.going_live`.
    """
    past = None
    is_live = goes_live(mapping, connection)
    if is_live:
        past = counted(owed_in(course.pk, since=None, min_score=min_score))
    elif mapping is None or not mapping.include_past:
        past = counted(completed_without_issuance(course, connection.environment))
    reason: str = Outcome.MAPPING_DISABLED if mapping and not mapping.active else connection.hold_reason or ""
    if not reason and connection.not_before and connection.not_before > now:
        reason = connection.last_outcome
    going_on = Issuance.objects.none() if is_live else _going_on(course, mapping, badge_id)
    return Outgoing(counted(going_on), past, for_managers(reason))


def _going_on(course: Course, mapping: CourseBadgeMapping | None, badge_id: int) -> IssuanceQuerySet:
    """What is queued when the badge is saved: see `save_mapping`."""
    rows = Issuance.objects.filter(course=course, learner__erased_at=None)
    if mapping is None:
        sent = IssuanceAttempt.objects.filter(issuance=OuterRef("pk"), kind=IssuanceAttempt.Kind.SEND)
        return rows.filter(Exists(sent), state=State.CANCELLED, reason=Outcome.MAPPING_REMOVED)
    states = [State.QUEUED, State.FAILED]
    if mapping.badge_id != badge_id:
        states.append(State.NOT_MET)
    going_on = rows.unsent().filter(state__in=states)
    return going_on.exclude(past=True) if mapping.past_release in PAST_HELD else going_on


def has_no_scores(course: Course) -> bool:
    """Whether people have completed the course, and none of the newest has a score that the portal can see."""
    newest = Completion.objects.filter(course=course).order_by("-pk")[:SCORES_LOOKED_FOR]
    scores = list(newest.values_list("score", flat=True))
    return bool(scores) and not any(score is not None for score in scores)


def what_changed(course: Course, mapping: CourseBadgeMapping | None, user: User | AnonymousUser) -> str:
    """What somebody did to the course's badge since the user opened a page about it."""
    if mapping is None:
        who = _who_removed(course)
        return _("%(who)s has removed the badge of this course meanwhile.") % {"who": who}
    is_own = mapping.chosen_by_id == user.pk
    who = _("You") if is_own else _name_of(mapping.chosen_by)
    score = _("no minimum score") if mapping.min_score is None else _("minimum score %d %%") % mapping.min_score
    past = _("past completions included") if mapping.include_past else _("without past completions")
    values = {"who": who, "badge": mapping.badge_name or mapping.badge_id, "score": score, "past": past}
    if is_own:
        return _("You have saved the badge “%(badge)s” in another window meanwhile (%(score)s, %(past)s).") % values
    return _("%(who)s has saved the badge “%(badge)s” meanwhile (%(score)s, %(past)s).") % values


def _who_removed(course: Course) -> str:
    newest = last_removal(course.pk)
    # The name of that time stays when the account is gone.
    gone = newest.actor_name if newest and newest.history_user is None else ""
    return gone or _name_of(newest.history_user if newest else None)


def _name_of(user: User | None) -> str:
    return user.get_full_name() or user.get_username() if user else _("Somebody")
