"""Where a learner's badges are: for each course what became of its badge, and what to tell the learner.

For whoever is asked "I completed the course: where is my badge?". The sentences are for the learner, without the
portal's own words; what staff can do stands beside them.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import models
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.models import Completion, Course, Learner

from .meanings import AWAITS_ANSWER, MEANINGS, NOTHING, Outcome
from .models import CourseBadgeMapping, Environment, Issuance
from .moments import moment
from .status import OVERDUE, Polling, polling_of

# How many courses are told, the newest first.
MOST_COURSES = 50

State = Issuance.State


class Where(models.TextChoices):
    """Where a badge is, as a person would say it."""

    NOT_COMPLETED = "not_completed", gettext_lazy("Not completed yet")
    NO_BADGE = "no_badge", gettext_lazy("The course awards no badge")
    BEFORE = "before", gettext_lazy("Completed before the course awarded a badge")
    WAITING = "waiting", gettext_lazy("Waiting")
    SENT = "sent", gettext_lazy("Sent, not confirmed yet")
    DELIVERED = "delivered", gettext_lazy("Delivered")
    NOT_MET = "not_met", gettext_lazy("Requirement not met")
    HELD = "held", gettext_lazy("Held")
    FAILED = "failed", gettext_lazy("Failed, needs a person")
    CANCELLED = "cancelled", gettext_lazy("Cancelled")


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What became of a learner's badge for one course."""

    course: Course
    where: Where
    # What to tell the learner, and what staff can do, each a sentence or two.
    tell: str
    todo: str
    badge: str = ""
    environment: str = ""
    completed_at: datetime | None = None
    # The rows behind it, as far as there are any.
    issuance: Issuance | None = None
    mapping: CourseBadgeMapping | None = None


def whereabouts(learner: Learner, now: datetime) -> list[Whereabouts]:
    """The learner's courses with what became of their badges: completed ones first, the newest first.

    Then the courses of the same Moodle that award a badge and are not completed. MOST_COURSES in all.
    """
    issuances: dict[int, list[Issuance]] = {}
    for row in learner.issuances.with_standing().order_by("-pk")[:MOST_COURSES]:
        row.learner = learner
        issuances.setdefault(row.completion_id, []).append(row)
    mappings = CourseBadgeMapping.objects.with_reach().select_related("connection")
    completions = learner.completions.select_related("course__site__state").order_by("-pk")
    told: list[Whereabouts] = []
    for completion in completions.prefetch_related(models.Prefetch("course__mapping", mappings))[:MOST_COURSES]:
        of_course = issuances.get(completion.pk, [])
        told += [_issued(row, completion) for row in of_course] or [_not_queued(completion, now)]
    left = MOST_COURSES - len(told)
    return told[:MOST_COURSES] + (_not_completed(learner, left) if left > 0 else [])


def _not_completed(learner: Learner, most: int) -> list[Whereabouts]:
    """The courses with a badge that Moodle has not told the portal to be completed by this learner."""
    done = learner.completions.order_by().values("course")
    rows = CourseBadgeMapping.objects.filter(course__site=learner.site_id, course__gone_at=None)
    tell = _("Moodle has not told the portal that you completed this course.")
    todo = _("Look in Moodle, at the course's completion report, what the learner still has to do.")
    return [
        Whereabouts(row.course, Where.NOT_COMPLETED, tell, todo, badge=_name_of(row), mapping=row)
        for row in rows.exclude(course__in=done).select_related("course__site").order_by("-pk")[:most]
    ]


def _not_queued(completion: Completion, now: datetime) -> Whereabouts:
    """A completed course without an issuance."""
    course, at = completion.course, completion.last_completed_at
    mapping = getattr(course, "mapping", None)
    if mapping is None:
        tell = _("You completed this course. It awards no badge.")
        todo = _("Choose a badge for the course, and include who has already completed it.")
        return Whereabouts(course, Where.NO_BADGE, tell, todo, completed_at=at)
    known = {"badge": _name_of(mapping), "completed_at": at, "mapping": mapping}
    if completion.undone_at:
        tell, todo = (
            _("Moodle no longer counts this course as completed."),
            str(MEANINGS[Outcome.COMPLETION_UNDONE].todo),
        )
        return Whereabouts(course, Where.NOT_COMPLETED, str(tell), str(todo), **known)
    if mapping.include_past or not mapping.is_past(completion):
        if (todo_at_site := _why_not_read(course, now)) is not None:
            tell = f"{_('You completed this course.')} {_BY_PLACE[Where.HELD]}"
            return Whereabouts(course, Where.HELD, tell, todo_at_site, **known)
        tell = _("You completed this course. Your badge is sent within the next minutes.")
        return Whereabouts(course, Where.WAITING, tell, str(NOTHING), **known)
    tell = _("You completed this course before it awarded a badge, so none was sent to you.")
    todo = _("To include all who completed it earlier, change the course's badge and choose to include them.")
    return Whereabouts(course, Where.BEFORE, tell, todo, **known)


def _why_not_read(course: Course, now: datetime) -> str | None:
    """What staff do where the portal does not get to read the course's Moodle; None where it does."""
    polling = polling_of(course.site, now)
    if polling == Polling.SWITCHED_OFF:
        return _("The portal does not read this Moodle site. A site admin can enable it.")
    if polling == Polling.IN_DOUBT:
        return str(AWAITS_ANSWER.todo)
    if polling == Polling.OVERDUE:
        return f"{OVERDUE}."
    if polling == Polling.FAILING:
        return f"{_('Moodle cannot be read at present.')} {course.site.state.error}".strip()
    return None


def _issued(row: Issuance, completion: Completion) -> Whereabouts:
    """A course whose badge was queued, and perhaps sent."""
    where = _where(row)
    meaning = AWAITS_ANSWER if row.awaits_answer else row.meaning
    return Whereabouts(
        completion.course,
        where,
        _tell(row, where),
        str(meaning.todo) if meaning else str(NOTHING),
        badge=_name_of(row.sent_as),
        environment=row.sent_as.connection.environment,
        completed_at=completion.last_completed_at,
        issuance=row,
        mapping=row.mapping,
    )


def _where(row: Issuance) -> Where:
    """An issuance's place among the words above."""
    if row.standing == State.SENDING or (row.standing == State.QUEUED and row.is_unknown):
        return Where.SENT
    if row.awaits_answer:
        return Where.HELD
    return {
        State.QUEUED: Where.WAITING, State.ISSUED: Where.DELIVERED, State.NOT_MET: Where.NOT_MET,
        State.FAILED: Where.FAILED, State.HELD: Where.HELD, State.CANCELLED: Where.CANCELLED,
    }[row.standing]  # fmt: skip


def _tell(row: Issuance, where: Where) -> str:
    """What to tell the learner. What they can do themselves is said; what they cannot, is being looked after."""
    if where == Where.DELIVERED:
        text = _("Your badge was issued on %(at)s, and Navigatr sent you a mail. Look in your spam folder as well.")
        if row.environment != Environment.PRODUCTION:
            text = _("A test badge was issued on %(at)s. It is no real badge.")
        return text % {"at": moment(row.issued_at) if row.issued_at else ""}
    special = _BY_REASON.get(row.standing_reason)
    if special and where in (Where.HELD, Where.FAILED, Where.NOT_MET, Where.CANCELLED):
        return str(special)
    return str(_BY_PLACE[where])


def _name_of(badge: CourseBadgeMapping | Issuance) -> str:
    return badge.badge_name or f"#{badge.badge_id}"


_BY_PLACE: dict[Where, Any] = {
    Where.WAITING: gettext_lazy("Your badge is on its way: it is sent by itself, mostly within minutes."),
    Where.SENT: gettext_lazy("Your badge was sent, and whether it has arrived is being checked. Please wait a little."),
    Where.NOT_MET: gettext_lazy("The badge asks for more than completing the course, and you have not reached it yet."),
    Where.HELD: gettext_lazy("Your badge waits for something that is being looked after. You need not do anything."),
    Where.FAILED: gettext_lazy("Your badge could not be sent yet. It is being looked after; you need not do anything."),
    Where.CANCELLED: gettext_lazy("Your badge was not sent, and will not be."),
}
_PROFILE = gettext_lazy(
    "Please complete your first name, last name and e-mail address in your Moodle profile. Your badge is then sent by "
    "itself."
)
_BY_REASON: dict[str, Any] = {
    Outcome.PROFILE_INCOMPLETE: _PROFILE,
    Outcome.PROFILE_REFUSED: gettext_lazy(
        "Please correct your name and e-mail address in your Moodle profile. Your badge is then sent by itself."
    ),
    Outcome.BELOW_MIN_SCORE: gettext_lazy("Your score is below what the badge asks for. A better one counts."),
    Outcome.NO_SCORE: gettext_lazy("The badge asks for a minimum score, and you have no grade in this course yet."),
    Outcome.LEARNER_SUSPENDED: gettext_lazy("Your Moodle account is suspended. Your badge is sent once it is active."),
    Outcome.LEARNER_DELETED: gettext_lazy("Your Moodle account was deleted, so no badge is sent to it."),
    Outcome.COMPLETION_UNDONE: gettext_lazy("Moodle no longer counts this course as completed."),
    Outcome.ALREADY_HOLDS: gettext_lazy("You already have this badge from another course. Each person gets it once."),
    Outcome.DUPLICATE_RECIPIENT: gettext_lazy("Another Moodle account with your address already has this badge."),
    Outcome.PAST_WAITS: gettext_lazy(
        "You completed this course before it awarded a badge. Whether you get it is still to be decided."
    ),
    Outcome.MAPPING_REMOVED: gettext_lazy("The course awards no badge any more, so none was sent to you."),
}
