"""Taking what is due into a worker's hands: with a lease, today's completions before past ones, nobody's badge twice.

What needs no call is decided on the way, with its audit row.
"""

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, groupby

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Coalesce

from .. import audit
from ..meanings import Outcome
from ..models import (
    ONE_REPEAT,
    CourseBadgeMapping,
    Issuance,
    IssuanceAttempt,
    IssuanceQuerySet,
    NavigatrConnection,
    recipient_key,
)
from ..privacy import end_erased
from ..queueing import held_by_moodle, move_to
from . import limits
from .bulk import update_rows
from .tally import Tally

log = logging.getLogger(__name__)

State = Issuance.State
Kind = IssuanceAttempt.Kind

# The client's own time-out for making a connection comes before that for the answer.
CONNECTING = timedelta(seconds=5)
# How long an issuance steps aside while the same badge is on its way to the same address.
STEP_ASIDE = timedelta(seconds=60)


@dataclass
class Claimed:
    """What one claim took: rows to send, rows to look up first (together), and what was decided without a call.

    `more`: there may be more to take. `limited`: not before the connection's own limits allow it. `begin_at`: when each
    call may begin, the look-ups first.
    """

    send: list[Issuance]
    look_up: list[list[Issuance]]
    tally: Tally
    more: bool
    limited: bool = False
    begin_at: list[datetime] = field(default_factory=list)

    @property
    def rows(self) -> list[Issuance]:
        """All that was taken."""
        return [*chain.from_iterable(self.look_up), *self.send]


def claim(connection: NavigatrConnection, claim_id: uuid.UUID, *, limit: int, now: datetime) -> Claimed:
    """Take up to `limit` due issuances for the holder of `claim_id`, today's completions before past ones.

    What needs no call is decided on the way, with its audit row. Two workers never get the same row, and never the
    same badge for the same address: the database's constraint has the last word.
    """
    for most in (limit, limit, limit, 1, 1):
        try:
            with transaction.atomic():
                return _claim(connection, claim_id, most, now)
        except IntegrityError:
            # Another worker took the same badge for the same address in this very moment: look again.
            continue
    log.warning("%s: others took the same issuance each time; it steps aside for the next one", connection.name)
    with transaction.atomic():
        first = _due(connection, now).first()
        if first is not None:
            Issuance.objects.filter(pk=first.pk).update(next_attempt_at=now + STEP_ASIDE)
    return Claimed([], [], Tally(), more=True)


def _claim(connection: NavigatrConnection, claim_id: uuid.UUID, limit: int, now: datetime) -> Claimed:
    limit = limits.places(connection, limit, now)
    if not limit:
        return Claimed([], [], Tally(), more=True, limited=True)
    rows = list(_due(connection, now)[:limit])
    rows += _same_look_up(connection, rows, now)
    taken, held = _taken_recipients(connection, rows), _held_badges(connection, rows)
    # Whose mapping was removed while they were in a worker's hands; their course may have been mapped anew.
    orphans = {row.course_id for row in rows if row.mapping is None}
    mapped_anew = {
        mapping.course_id: mapping
        for mapping in CourseBadgeMapping.objects.filter(course__in=orphans).select_related("connection")
    }
    claimed = Claimed([], [], Tally(), more=len(rows) >= limit)
    unknown, readdressed, decided = [], [], []
    for row in rows:
        row.connection = connection
        if _to_be_looked_up(row) and row.learner.erased_at is None:
            # It may be in Navigatr already: that is looked up, whatever has changed since.
            unknown.append(row)
            continue
        current = None if row.maybe_sent else row.mapping or mapped_anew.get(row.course_id)
        if current and row.learner.erased_at is None and not (row.mapping and current.awards(row)):
            # The course was mapped anew while this one was in a worker's hands.
            move_to(current, Issuance.objects.filter(pk=row.pk), now=now)
            claimed.more = True
            continue
        decision = _decide(row)
        if decision is None:
            key = recipient_key(row.learner.email)
            # The person is asked for as well as the address, which may have changed since they got the badge.
            holder = held.get((row.badge_id, row.learner_id))
            if holder is None or holder[2] == row.pk:
                holder = taken.setdefault((row.badge_id, key), (row.learner_id, State.SENDING, row.pk))
            if holder[2] != row.pk:
                decision = _already_taken(row, holder, now)
            elif row.recipient_key != key:
                row.recipient_key = key
                readdressed.append(row)
        if decision is None:
            claimed.send.append(row)
        else:
            row.state, row.reason = decision
            if row.state != State.QUEUED:
                row.next_attempt_at = None
            decided.append(row)
    _write_decisions(decided, claimed.tally, now)
    update_rows(readdressed, ["recipient_key"])
    claimed.look_up = [list(group) for _badge, group in groupby(sorted(unknown, key=badge_of), key=badge_of)]
    claimed.begin_at = limits.begin_at(connection, len(claimed.look_up) + len(claimed.send), now)
    Issuance.objects.filter(pk__in=[row.pk for row in claimed.rows]).update(
        state=State.SENDING,
        claim=claim_id,
        leased_until=now + lease_of(connection),
        first_attempt_at=Coalesce(F("first_attempt_at"), now),
    )
    for row in claimed.rows:
        row.first_attempt_at = row.first_attempt_at or now
    return claimed


def _due(connection: NavigatrConnection, now: datetime) -> IssuanceQuerySet:
    """What may be taken now, today's completions first, locked for this transaction, without what others hold."""
    return (
        # The environment is asked for as well: ids of staging's badges must never be used in production.
        Issuance.objects.due(now)
        .confirmed(now)
        .filter(connection=connection, environment=connection.environment)
        .select_related("learner", "completion")
        # A few for many rows: read once, not with every row.
        .prefetch_related("course__site__state", "mapping__connection")
        .select_for_update(skip_locked=True, of=("self",))
        .order_by("past", "next_attempt_at")
    )


def _to_be_looked_up(row: Issuance) -> bool:
    """Whether it may be in Navigatr, and is not to be repeated once because a look-up was refused."""
    return row.maybe_sent and row.lookups_refused != ONE_REPEAT


def _same_look_up(connection: NavigatrConnection, rows: Sequence[Issuance], now: datetime) -> list[Issuance]:
    """Others whose answer is unknown, which the look-ups of these rows can answer as well, however few may be taken."""
    badges = {row.badge_id for row in rows if _to_be_looked_up(row)}
    if not badges:
        return []
    found = _due(connection, now).filter(maybe_sent=True, badge_id__in=badges).exclude(lookups_refused=ONE_REPEAT)
    return list(found.exclude(pk__in=[row.pk for row in rows])[: settings.SEND_BATCH])


def lease_of(connection: NavigatrConnection) -> timedelta:
    """How long an issuance is a worker's own: what it begins within LEASE has then been answered or given up."""
    return settings.LEASE + timedelta(seconds=connection.timeout) + CONNECTING


def _write_decisions(rows: Sequence[Issuance], tally: Tally, now: datetime) -> None:
    """Keep what was decided without a call, with an audit row each; those that only step aside get none."""
    if not rows:
        return
    update_rows(rows, ["state", "reason", "next_attempt_at", "score_tried"])
    end_erased(Issuance.objects.filter(pk__in=[row.pk for row in rows if row.reason == Outcome.ERASED]))
    ended = [row for row in rows if row.state != State.QUEUED]
    IssuanceAttempt.objects.bulk_create(
        [audit.attempt(row, Kind.DECISION, Outcome(row.reason), at=now) for row in ended]
    )
    for row in ended:
        tally.count(row.state)


def _decide(row: Issuance) -> tuple[State, Outcome] | None:
    """What can be said of a due issuance without asking Navigatr: its new state and why, or None: send it."""
    learner, mapping = row.learner, row.mapping
    if learner.erased_at is not None:
        return State.CANCELLED, Outcome.ERASED
    if row.maybe_sent and not row.is_as_sent:
        # Its look-up was refused, and it is not what may have been sent that would be sent now: a person must look.
        return State.FAILED, Outcome.LOOKUP_REFUSED
    if mapping is None:
        return State.CANCELLED, Outcome.MAPPING_REMOVED
    if not mapping.active:
        return State.HELD, mapping.hold_reason or Outcome.MAPPING_DISABLED
    if by_moodle := held_by_moodle(row.completion, learner, row.course, date_accepted=row.date_accepted):
        return State.HELD, by_moodle
    if not learner.profile_complete:
        return State.FAILED, Outcome.NAMES_HIDDEN if learner.names_hidden else Outcome.PROFILE_INCOMPLETE
    if mapping.min_score is not None:
        row.score_tried = row.completion.score
        # Without a score Navigatr would issue "regardless of score" (its API, "Issuing"), so it is not asked.
        if row.completion.score is None:
            return State.NOT_MET, Outcome.SCORE_HIDDEN if row.completion.score_hidden else Outcome.NO_SCORE
        if row.completion.score < mapping.min_score:
            return State.NOT_MET, Outcome.BELOW_MIN_SCORE
    return None


# Learner, state and issuance of what stands in the way.
Holder = tuple[int, str, int]


def _taken_recipients(connection: NavigatrConnection, rows: Sequence[Issuance]) -> dict[tuple[int, str], Holder]:
    """Which (badge, recipient) stand in Navigatr or may: the issuance, its learner, its state."""
    keys = {recipient_key(row.learner.email) for row in rows}
    holders = (
        Issuance.objects.perhaps_sent()
        .filter(
            environment=connection.environment,
            badge_id__in={row.badge_id for row in rows},
            recipient_key__in=keys,
        )
        .exclude(recipient_key="")
        .values_list("badge_id", "recipient_key", "learner_id", "state", "pk")
    )
    return {(badge, key): (learner, state, pk) for badge, key, learner, state, pk in holders}


def _held_badges(connection: NavigatrConnection, rows: Sequence[Issuance]) -> dict[tuple[int, int], Holder]:
    """Which (badge, learner) stand in Navigatr or may, whatever the learner's address was then; issued ones win."""
    holders = (
        Issuance.objects.perhaps_sent()
        .filter(
            environment=connection.environment,
            badge_id__in={row.badge_id for row in rows},
            learner__in={row.learner_id for row in rows},
        )
        .values_list("badge_id", "learner_id", "state", "pk")
    )
    issued_last = sorted(holders, key=lambda holder: holder[2] == State.ISSUED)
    return {(badge, learner): (learner, state, pk) for badge, learner, state, pk in issued_last}


def _already_taken(row: Issuance, holder: Holder, now: datetime) -> tuple[State, Outcome]:
    """The same badge is at, or on its way to, the same person: step aside, and end where it has arrived.

    Where the other one waits for somebody to find out whether it has arrived, this one waits for them as well.
    """
    learner_id, state, _pk = holder
    if state in (State.QUEUED, State.HELD, State.SENDING):
        row.next_attempt_at = now + STEP_ASIDE
        return State.QUEUED, Outcome(row.reason or Outcome.DUPLICATE_RECIPIENT)
    if learner_id == row.learner_id:
        issued_already = state == State.ISSUED
        return (State.CANCELLED, Outcome.ALREADY_HOLDS) if issued_already else (State.FAILED, Outcome.MAY_HOLD)
    return State.FAILED, Outcome.DUPLICATE_RECIPIENT


def badge_of(row: Issuance) -> tuple[int, int]:
    """What look-ups are grouped by."""
    return row.badge_id, row.provider_id
