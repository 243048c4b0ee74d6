"""What happened to an issuance, from the completion of the course to what comes next, in plain sentences.

The page of an issuance shows it as a list that can be read aloud. It reads a bounded number of rows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from .history import MappingVersion, award_as_of
from .meanings import AWAITS_ANSWER, Outcome
from .models import AuditEntry, CourseBadgeMapping, Issuance, IssuanceAttempt
from .moments import moment

State = Issuance.State
Kind = IssuanceAttempt.Kind
Action = AuditEntry.Action

# How many attempts, and how many acts of people, are told: the newest.
MOST_TOLD = 50
# How far attempts that are not told are counted.
MOST_COUNTED = 1000

_KINDS = {
    Kind.SEND: gettext_lazy("The portal sent it to Navigatr."),
    Kind.LOOKUP: gettext_lazy("The portal asked Navigatr whether it is there already."),
    Kind.DECISION: gettext_lazy("The portal decided without asking Navigatr."),
}
# Within one second.
_ORDER = {"moodle": 0, "person": 1, "queue": 2, "attempt": 3}
_ACTS = {
    Action.SENT_AGAIN: (gettext_lazy("%(who)s had it sent again."), gettext_lazy("It was sent again by a command.")),
    Action.CANCELLED: (gettext_lazy("%(who)s cancelled it."), gettext_lazy("It was cancelled by a command.")),
    Action.LOOKED_UP: (
        gettext_lazy("%(who)s had it looked up again."), gettext_lazy("It was looked up again by a command."),
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: when, a sentence, and further sentences.

    `about` says what sort it is, for its look: moodle, queue, attempt, person or next. `problem`: it did not go well.
    `attempt_id`: the attempt that it tells of, or None.
    """

    at: datetime | None
    text: str
    details: tuple[str, ...] = ()
    about: str = "queue"
    problem: bool = False
    attempt_id: int | None = None


@dataclass(frozen=True, slots=True)
class SentAs:
    """As what a badge was sent, or will be: from the issuance once it was sent, from the mapping before.

    `minimum`: the mapping's minimum score in percent, None for none. Of a badge that was sent it is told, like who had
    chosen it and when, from the mapping's versions; `chosen_at` is None where these do not reach back so far.
    """

    sent: bool
    badge: str
    badge_id: int
    provider: str
    provider_id: int
    connection: str
    environment: str
    minimum: int | None
    chosen_by: str = ""
    chosen_at: datetime | None = None


def timeline_of(row: Issuance) -> list[Event]:
    """What happened to the issuance, oldest first, and what comes next. Two queries, a third where much happened."""
    attempts = list(row.attempts.select_related("words").order_by("-pk")[: MOST_TOLD + 1])
    acts = row.audited.select_related("entry__actor").order_by("-pk")[:MOST_TOLD]
    told = [*map(_attempt, attempts[:MOST_TOLD]), *(_act(one.entry) for one in acts)]
    events = [*_from_moodle(row), _queued(row), *reversed(told)]
    # What has no time was first; a person's act comes before what follows from it.
    events.sort(key=lambda event: (event.at is not None, event.at and int(event.at.timestamp()), _ORDER[event.about]))
    if len(attempts) > MOST_TOLD:
        events.insert(0, _earlier(row))
    return [*events, *_next(row)]


def sent_as(row: Issuance) -> SentAs:
    """As what it was sent, or will be: names and minimum score of what was sent are those of that time.

    Two queries where it was sent.
    """
    badge = row.sent_as
    mapped: CourseBadgeMapping | MappingVersion | None = row.mapping
    version = None
    if not isinstance(badge, CourseBadgeMapping) and row.first_attempt_at is not None:
        version = award_as_of(row.course_id, row.first_attempt_at)
        mapped = version or mapped
    names = {int(number): str(name) for number, name in badge.connection.providers}
    if mapped is not None and mapped.provider_id == badge.provider_id and mapped.provider_name:
        names[badge.provider_id] = mapped.provider_name
    terms = badge if isinstance(badge, CourseBadgeMapping) else version
    return SentAs(
        sent=badge is row and row.first_attempt_at is not None,
        badge=badge.badge_name or str(badge.badge_id),
        badge_id=badge.badge_id,
        provider=names.get(badge.provider_id, ""),
        provider_id=badge.provider_id,
        connection=badge.connection.name,
        environment=str(badge.connection.get_environment_display()),
        minimum=terms.min_score if terms else None,
        chosen_by=version.changed_by if version else "",
        chosen_at=version.changed_at if version else None,
    )


def _from_moodle(row: Issuance) -> Iterator[Event]:
    """What Moodle said of the completion."""
    completion = row.completion
    if completion.completed_at is None:
        yield Event(None, _("The learner completed the course. Moodle does not say when."), about="moodle")
    else:
        score = (_("Score: %(score)s.") % {"score": completion.score_text},) if completion.score_text else ()
        yield Event(completion.completed_at, _("The learner completed the course in Moodle."), score, about="moodle")
    yield Event(completion.seen_at, _("The portal read the completion from Moodle."), about="moodle")
    if completion.completed_again_at:
        text = _("The learner completed the course once more. There is no second badge for that.")
        yield Event(completion.completed_again_at, text, about="moodle")
    if completion.undone_at:
        text = _("Moodle did not have the completion any more.")
        yield Event(completion.undone_at, text, about="moodle", problem=True)


def _queued(row: Issuance) -> Event:
    """When it was put into the queue, or put back last."""
    if row.past:
        return Event(row.queued_at, _("The badge was queued, for a course that was completed before it was mapped."))
    return Event(row.queued_at, _("The badge was queued."))


def _attempt(attempt: IssuanceAttempt) -> Event:
    """One attempt, look-up or decision, with all that is known of it."""
    known = [
        (attempt.status is not None, _("HTTP status %(status)s.") % {"status": attempt.status}),
        (attempt.duration is not None, _took(attempt.duration)),
        (attempt.fields, _("Malformed fields: %(fields)s.") % {"fields": attempt.fields}),
        (attempt.detail, _("Navigatr said: “%(words)s”") % {"words": attempt.detail}),
        (attempt.looked_up, _("Looked at: %(words)s.") % {"words": attempt.looked_up}),
        (
            attempt.next_attempt_at,
            _("Next try: %(time)s.") % {"time": attempt.next_attempt_at and moment(attempt.next_attempt_at)},
        ),
    ]
    return Event(
        attempt.at,
        f"{_KINDS[Kind(attempt.kind)]} {attempt.meaning.what}",
        tuple(text for is_known, text in known if is_known),
        about="attempt",
        problem=attempt.outcome not in (Outcome.ISSUED, Outcome.FOUND, Outcome.NOT_THERE),
        attempt_id=attempt.pk,
    )


def _took(duration: timedelta | None) -> str:
    seconds = number_format(f"{duration.total_seconds():.2g}") if duration is not None else ""
    return _("It took %(seconds)s seconds.") % {"seconds": seconds}


def _act(entry: AuditEntry) -> Event:
    """What a person, or a command, did to it."""
    by_person, by_command = _ACTS[Action(entry.action)]
    who = entry.actor_name
    return Event(entry.at, str(by_person) % {"who": who} if who else str(by_command), about="person")


def _earlier(row: Issuance) -> Event:
    """How many attempts are not told."""
    count = row.attempts.order_by()[: MOST_COUNTED + MOST_TOLD].count() - MOST_TOLD
    text = ngettext(
        "%(count)d earlier attempt is not shown here.", "%(count)d earlier attempts are not shown here.", count
    )
    return Event(None, text % {"count": count}, about="attempt")


def _next(row: Issuance) -> Sequence[Event]:
    """What comes next: the next try, or what keeps it."""
    if row.standing == State.ISSUED:
        return []
    if row.standing == State.SENDING:
        return [Event(None, _("It is being sent in this moment."), about="next")]
    if row.awaits_answer:
        return [Event(None, str(AWAITS_ANSWER.what), (str(AWAITS_ANSWER.todo),), about="next", problem=True)]
    if row.standing == State.QUEUED:
        text = _("Next try: %(time)s.") % {"time": moment(row.next_attempt_at) if row.next_attempt_at else "-"}
        return [Event(None, text, about="next")]
    meaning = row.meaning
    details = (str(meaning.what), str(meaning.todo)) if meaning else ()
    text = _("It stands at “%(state)s” and is not tried again by itself just now.") % {"state": row.standing.label}
    return [Event(None, text, details, about="next", problem=row.standing != State.CANCELLED)]
