"""One learner's badge, followed from the completion in Moodle to the assertion in Navigatr.

`follow` tells in five stages how far a badge has come, how long each stage took, and what to do where it stops. It
reads what stands in the database and asks nobody.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.db.models import Model
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.models import Completion, Course, Learner, MoodleSite

from . import schedule
from .meanings import AWAITS_ANSWER, MEANINGS, NOTHING, Meaning, Outcome
from .models import CourseBadgeMapping, Issuance, IssuanceAttempt
from .moments import moment
from .status import OVERDUE, Polling, connection_reason, polling_of, why_stopped
from .troubles import GONE, UNTRACKED

Kind = IssuanceAttempt.Kind
State = Issuance.State

# How many completions of a course are looked at to find the next one that counts.
MOST_LOOKED_AT = 100


class Key(StrEnum):
    """The stages, in their order."""

    COMPLETED = "completed"
    SEEN = "seen"
    QUEUED = "queued"
    SENT = "sent"
    ISSUED = "issued"


class Progress(StrEnum):
    """How a stage stands: reached, waited for, stopped until somebody acts, or not begun."""

    DONE = "done"
    WAITING = "waiting"
    STOPPED = "stopped"
    AHEAD = "ahead"


TITLES: dict[Key, Promise] = {
    Key.COMPLETED: gettext_lazy("Completed in Moodle"),
    Key.SEEN: gettext_lazy("Seen by the portal"),
    Key.QUEUED: gettext_lazy("Queued"),
    Key.SENT: gettext_lazy("Sent to Navigatr"),
    Key.ISSUED: gettext_lazy("On the Navigatr profile"),
}


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a badge's way.

    `at` is when it was reached, and `took` how long after the stage before; None where that is not known. `text` says
    what happened and `todo` what to do, both "" where there is nothing to say. `about` is the row where that is done,
    and `url` the assertion's page.
    """

    key: Key
    progress: Progress
    at: datetime | None = None
    took: timedelta | None = None
    text: str = ""
    todo: str = ""
    about: Model | None = None
    url: str = ""

    @property
    def title(self) -> str:
        """The name of the stage."""
        return str(TITLES[self.key])


def follow(course: Course, learner: Learner, now: datetime) -> list[Stage]:
    """The five stages of the learner's badge for the course. Eight queries at most.

    Where the learner has issuances in both environments, the one of the present mapping is followed.
    """
    mapping = mapping_of(course)
    completion = Completion.objects.filter(course=course, learner=learner).first()
    if completion is not None:
        completion.course, completion.learner = course, learner
    row = _issuance_of(course, learner, mapping)
    stages: list[Stage] = []
    for stage in _stages(course, mapping, completion, row, now):
        stages.append(_with_time(stage, stages[-1] if stages else None))
        if stage.progress != Progress.DONE:
            break
    reached = len(stages)
    return stages + [Stage(key, Progress.AHEAD) for key in list(Key)[reached:]]


def follow_next(course: Course, after: int, now: datetime) -> tuple[Learner | None, list[Stage]]:
    """The same for whoever completes the course next: who that is, None while it is nobody, and the stages.

    `after` is the key of the last completion that is not to be followed (`last_completion`). Ten queries at most.
    """
    mapping = mapping_of(course)
    completion = next_completion(course, mapping, after) if mapping else None
    if completion is not None:
        return completion.learner, follow(course, completion.learner, now)
    stage = _not_completed(course, mapping, now, _("Nobody has completed the course since then."))
    return None, [stage, *(Stage(key, Progress.AHEAD) for key in list(Key)[1:])]


def is_delivered(stages: Sequence[Stage]) -> bool:
    """Whether the badge is on the learner's profile."""
    return all(stage.progress == Progress.DONE for stage in stages)


def whole_time(stages: Sequence[Stage]) -> timedelta | None:
    """How long it took from the completion to the badge; None before its end, or where Moodle's time is unknown."""
    begin, end = stages[0].at, stages[-1].at
    return end - begin if begin and end and end >= begin else None


def next_completion(course: Course, mapping: CourseBadgeMapping, after: int) -> Completion | None:
    """The first completion of the course that the portal saw after that with the key `after`, and that counts.

    If none counts, the latest of them, so that somebody can be told why.
    """
    rows = Completion.objects.filter(course=course, pk__gt=after).select_related("learner").order_by("pk")
    found = list(rows[:MOST_LOOKED_AT])
    counting = (row for row in found if not _is_too_early(row, mapping))
    return next(counting, None) or max(found, key=lambda row: row.last_completed_at or row.seen_at, default=None)


def last_completion(course: Course) -> int:
    """The key of the course's newest completion, 0 without one."""
    return Completion.objects.filter(course=course).order_by("-pk").values_list("pk", flat=True).first() or 0


def mapping_of(course: Course) -> CourseBadgeMapping | None:
    """The course's mapping with all that `follow` asks of it, or None."""
    return CourseBadgeMapping.objects.with_reach().select_related("connection").filter(course=course).first()


@dataclass(frozen=True, slots=True)
class Reading:
    """When a Moodle site is read next; `stopped` where it is not, with what to do."""

    text: str
    todo: str = ""
    stopped: bool = False
    at: datetime | None = None


def next_reading(site: MoodleSite, now: datetime, troubles: Sequence[schedule.Trouble] | None = None) -> Reading:
    """When the site is read next, or why it is not.

    `troubles` are those of the schedule, where they are known. Without them, two queries where the site should have
    been read by now.
    """
    state, polling = site.state, polling_of(site, now)
    if polling == Polling.SWITCHED_OFF:
        return Reading(_("The portal does not read this Moodle site: it is not enabled."), _("Enable it."), True)
    if polling == Polling.IN_DOUBT:
        return Reading(str(AWAITS_ANSWER.what), str(AWAITS_ANSWER.todo), True)
    if polling == Polling.FAILING:
        at = _at(state.next_poll_at, now)
        return Reading(_("Moodle could not be read; it is tried again %(at)s.") % {"at": at}, state.error, True)
    if polling == Polling.RUNNING:
        return Reading(_("Moodle is being read right now."))
    is_late = polling == Polling.OVERDUE
    if troubles is None and (is_late or state.last_poll_at is None):
        troubles = schedule.problems(now)
    if is_late or (state.last_poll_at is None and troubles):
        todo = str(troubles[0]) if troubles else f"{OVERDUE}."
        return Reading(_("Moodle should have been read by now."), todo, True, state.next_poll_at)
    text = _("Moodle is read next %(at)s.") % {"at": _at(state.next_poll_at, now)}
    return Reading(text, at=state.next_poll_at)


def _at(at: datetime | None, now: datetime) -> str:
    """A time that is soon, in words."""
    if at is None or at <= now + timedelta(seconds=1):
        return _("within seconds")
    if at <= now + timedelta(minutes=2):
        return _("in %(count)d s") % {"count": round((at - now).total_seconds())}
    return _("at %(time)s") % {"time": moment(at)}


def _issuance_of(course: Course, learner: Learner, mapping: CourseBadgeMapping | None) -> Issuance | None:
    # At most one in each environment. Ordered by the database, it would read all of the course's.
    found = Issuance.objects.with_standing().filter(course=course, learner=learner).order_by()
    rows = sorted(found, key=lambda row: row.pk, reverse=True)
    environment = mapping.connection.environment if mapping else ""
    return next((row for row in rows if row.environment == environment), rows[0] if rows else None)


def _with_time(stage: Stage, before: Stage | None) -> Stage:
    """With how long it took after the stage before. Moodle's minutes may lie after the portal's seconds."""
    if before is None or before.at is None or stage.at is None or stage.at < before.at:
        return stage
    return replace(stage, took=stage.at - before.at)


def _stages(
    course: Course,
    mapping: CourseBadgeMapping | None,
    completion: Completion | None,
    row: Issuance | None,
    now: datetime,
) -> Iterator[Stage]:
    """The stages up to the first that is not reached."""
    if completion is None:
        yield _not_completed(course, mapping, now, _("The portal has not seen a completion of this learner."))
        return
    yield _completed(completion, row)
    yield Stage(Key.SEEN, Progress.DONE, _seen_at(completion))
    if row is None:
        yield _not_queued(completion, mapping, now)
        return
    yield Stage(Key.QUEUED, Progress.DONE, row.queued_at, text=_queued_as(row))
    sent = row.attempts.filter(kind=Kind.SEND).order_by("-pk").first()
    if sent or row.state == State.ISSUED:
        yield Stage(Key.SENT, Progress.DONE, sent.at if sent else row.first_attempt_at, text=_answer(sent))
    yield _issued(row) if row.state == State.ISSUED else _on_the_way(row, Key.ISSUED if sent else Key.SENT, now)


def _not_completed(course: Course, mapping: CourseBadgeMapping | None, now: datetime, what: str) -> Stage:
    """What keeps the portal from seeing a completion, or when it looks next; `what` says that there is none."""
    if course.gone_at:
        return _stop(Key.COMPLETED, Meaning(GONE.what, MEANINGS[Outcome.COURSE_GONE].todo))
    if course.completion_enabled is False:
        return _stop(Key.COMPLETED, Meaning(UNTRACKED.what, UNTRACKED.todo), course)
    if mapping is None:
        return _no_badge(Key.COMPLETED, course)
    reading = next_reading(course.site, now)
    if reading.stopped:
        return _stop(Key.COMPLETED, Meaning(f"{what} {reading.text}", reading.todo), course.site)
    if course.error:
        return _stop(Key.COMPLETED, Meaning(f"{what} {course.error}", ""), course)
    todo = _("Complete the course in Moodle. Moodle itself may take some minutes to notice that it is completed.")
    return Stage(Key.COMPLETED, Progress.WAITING, text=f"{what} {reading.text}", todo=todo)


def _no_badge(key: Key, course: Course) -> Stage:
    return _stop(key, Meaning(_("This course awards no badge."), _("Choose a badge for the course.")), course)


def _completed(completion: Completion, row: Issuance | None) -> Stage:
    if completion.undone_at and (row is None or row.state != State.ISSUED):
        return _stop(Key.COMPLETED, MEANINGS[Outcome.COMPLETION_UNDONE])
    at = completion.last_completed_at
    unknown = _("Moodle does not tell when.")
    source = _("Moodle's time: %(source)s.") % {"source": completion.get_time_source_display()}
    text = unknown if at is None else source
    # When the portal first saw it is told by the next stage.
    is_known = completion.time_source != Completion.TimeSource.SEEN or completion.completed_again_at is not None
    return Stage(Key.COMPLETED, Progress.DONE, at if is_known else None, text=text)


def _seen_at(completion: Completion) -> datetime | None:
    """When the portal saw it; of a later completion that is not kept."""
    return None if completion.completed_again_at else completion.seen_at


def _is_too_early(completion: Completion, mapping: CourseBadgeMapping) -> bool:
    """Whether the course was completed before the mapping, which does not include that."""
    return not mapping.include_past and mapping.is_past(completion)


def _not_queued(completion: Completion, mapping: CourseBadgeMapping | None, now: datetime) -> Stage:
    """Why a completion has no issuance."""
    if mapping is None:
        return _no_badge(Key.QUEUED, completion.course)
    if completion.learner.erased_at:
        return _stop(Key.QUEUED, MEANINGS[Outcome.ERASED])
    if _is_too_early(completion, mapping):
        what = _(
            "The course was completed before it awarded this badge: completions count from %(since)s. Moodle may date "
            "a completion earlier than when it shows it."
        ) % {"since": moment(mapping.since)}
        todo = _("To award it all the same, choose the badge again with “Also those who have already completed”.")
        return _stop(Key.QUEUED, Meaning(what, todo), completion.course)
    reading = next_reading(completion.course.site, now)
    text = _("It is queued when Moodle is read the next time.")
    return Stage(Key.QUEUED, Progress.WAITING, text=f"{text} {reading.text}", todo=reading.todo)


def _queued_as(row: Issuance) -> str:
    badge = row.sent_as
    values = {"badge": badge.badge_name or badge.badge_id, "connection": badge.connection}
    return _("“%(badge)s”, with %(connection)s") % values


def _answer(attempt: IssuanceAttempt | None) -> str:
    if attempt is None:
        return ""
    status = _("HTTP %(status)d") % {"status": attempt.status} if attempt.status else ""
    return ": ".join(filter(None, [str(attempt.get_outcome_display()), status]))


def _on_the_way(row: Issuance, key: Key, now: datetime) -> Stage:
    """What keeps a badge from being sent, or from being issued once it was."""
    if row.state == State.SENDING:
        return Stage(key, Progress.WAITING, text=_("It is being sent right now."))
    if row.awaits_answer:
        return _stop(key, AWAITS_ANSWER, row.course.site)
    connection = row.sent_as.connection
    if row.standing not in (State.QUEUED, State.SENDING):
        meaning = row.meaning or Meaning(str(row.standing.label), "")
        if row.standing_reason in (Outcome.CONNECTION_PAUSED, Outcome.CONNECTION_REMOVED):
            meaning = Meaning(f"{connection}: {why_stopped(connection)}.", meaning.todo)
        return _stop(key, meaning, _where(row))
    if reason := connection_reason(connection, now):
        return Stage(key, Progress.WAITING, text=reason, todo=str(NOTHING), about=connection)
    next_try = ""
    if row.next_attempt_at and row.next_attempt_at > now:
        next_try = _("It is tried again %(at)s.") % {"at": _at(row.next_attempt_at, now)}
    if row.meaning:
        return Stage(key, Progress.WAITING, text=f"{row.meaning.what} {next_try}".strip(), todo=str(row.meaning.todo))
    late = now - max(row.queued_at, row.next_attempt_at or row.queued_at) > schedule.SILENT_AFTER
    if late and (trouble := next(iter(schedule.problems(now)), None)):
        return _stop(key, Meaning(trouble.what + ".", trouble.todo))
    return Stage(key, Progress.WAITING, text=next_try or _("It waits for its turn."))


# Where a stop is mended, if not on the issuance's own page.
_AT_CONNECTION = {Outcome.CONNECTION_PAUSED, Outcome.CONNECTION_REMOVED, Outcome.NOT_OPEN, Outcome.TOKEN_REFUSED}
_AT_MAPPING = {
    Outcome.MAPPING_DISABLED, Outcome.PAST_WAITS, Outcome.BELOW_MIN_SCORE, Outcome.NO_SCORE, Outcome.SCORE_HIDDEN,
}  # fmt: skip


def _where(row: Issuance) -> Any:
    """The row whose page mends what stopped the issuance."""
    if row.standing_reason in _AT_CONNECTION:
        return row.sent_as.connection
    if row.standing_reason in _AT_MAPPING and row.mapping:
        return row.mapping
    return row


def _issued(row: Issuance) -> Stage:
    text = str(row.meaning.what) if row.meaning else ""
    todo = str(row.meaning.todo) if row.meaning and row.meaning.todo != NOTHING else ""
    return Stage(Key.ISSUED, Progress.DONE, row.issued_at, text=text, todo=todo, url=row.assertion_url)


def _stop(key: Key, meaning: Meaning, about: Model | None = None) -> Stage:
    return Stage(key, Progress.STOPPED, text=str(meaning.what), todo=str(meaning.todo), about=about)
