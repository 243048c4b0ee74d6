"""Claiming: takes what is due into a worker's hands, with a lease, and never one badge twice for one person.

What needs no call to Navigatr is decided here, with an audit row.
"""

import logging
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, groupby
from typing import Any, NamedTuple

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Prefetch
from django.db.models.functions import Coalesce

from vault import digests

from .. import audit, transitions
from ..meanings import HELD_BY_MAPPING, Outcome
from ..models import (
    LOOKED_UP_FIRST,
    AuditedIssuance,
    AuditEntry,
    CourseBadgeMapping,
    Environment,
    Issuance,
    IssuanceAttempt,
    IssuanceQuerySet,
    NavigatrConnection,
    Unanswered,
    recipient_key,
)
from ..privacy import end_erased
from ..queueing import held_by_moodle
from ..transitions import Change, Event
from . import limits
from .leases import lease_of
from .tally import Tally

log = logging.getLogger(__name__)

State = Issuance.State
Kind = IssuanceAttempt.Kind

# How long an issuance steps aside while the same badge is on its way to the same person.
STEP_ASIDE = timedelta(seconds=60)


class SentAs(NamedTuple):
    """To whom, as which badge and with which connection a row is sent: the columns of these names."""

    recipient_key: str
    connection_id: int
    environment: str
    provider_id: int
    badge_id: int
    badge_name: str

    @classmethod
    def of(cls, row: Issuance) -> "SentAs":
        """As the row stands in memory."""
        return cls(*(getattr(row, name) for name in cls._fields))

    def put_back(self, row: Issuance) -> None:
        """Let the row in memory be as it was."""
        for name, value in self._asdict().items():
            setattr(row, name, value)


# The columns that a decision without a call may change.
DECIDED = [*SentAs._fields, "state", "reason", "claim", "leased_until", "next_attempt_at", "score_tried"]

# Learner, state and number of an issuance that is in Navigatr, or may be.
Holder = tuple[int, str, int]


@dataclass
class Claimed:
    """What one claim took: rows to send, and rows to look up first, those of one badge together.

    `tally` counts what was decided without a call. `more`: there may be more to take. `limited`: not before the
    connection's own limits allow it. `begin_at`: when each call may begin, the look-ups first.
    """

    send: list[Issuance] = field(default_factory=list)
    look_up: list[list[Issuance]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    more: bool = True
    limited: bool = False
    begin_at: list[datetime] = field(default_factory=list)

    @property
    def rows(self) -> list[Issuance]:
        """All that was taken."""
        return [*chain.from_iterable(self.look_up), *self.send]


def claim(connection: NavigatrConnection, claim_id: uuid.UUID, *, limit: int, now: datetime) -> Claimed:
    """Take up to `limit` due issuances for the holder of `claim_id`, today's completions before past ones.

    Two workers never get the same row, and never the same badge for the same address: the database's constraint
    `one_badge_per_recipient` has the last word.
    """
    for most in (limit, limit, limit, 1, 1):
        try:
            with transaction.atomic():
                return _claim(connection, claim_id, most, now)
        except IntegrityError:
            # Another worker took the same badge for the same address in this very moment: look again.
            continue
    log.warning("%s: others took the same badges each time; the first issuance steps aside", connection.name)
    with transaction.atomic():
        for row in _due(connection, 1, now):
            Issuance.objects.filter(pk=row.pk).update(next_attempt_at=now + STEP_ASIDE)
    return Claimed()


def _claim(connection: NavigatrConnection, claim_id: uuid.UUID, limit: int, now: datetime) -> Claimed:
    """One claim, in a transaction.

    1. Lock due rows that no other worker holds.
    2. Those whose answer is unknown are looked up, whatever has changed since.
    3. The others take the badge that their course awards now, and what needs no call is decided.
    4. Whoever has the badge, or may get it in this moment, does not get it again.
    5. The rest is sent.
    """
    limit = limits.places(connection, limit, now)
    if not limit:
        return Claimed(limited=True)
    rows = _due(connection, limit, now)
    as_read = {row.pk: SentAs.of(row) for row in rows}
    to_look_up = [row for row in rows if row.is_looked_up_first and row.learner.erased_at is None]
    chosen = {row.pk for row in to_look_up}
    candidates = [row for row in rows if row.pk not in chosen and _takes_award(row, connection)]
    elsewhere = _goes_on_elsewhere(candidates, as_read)
    left_behind = _left_behind(candidates, as_read)
    decisions = {
        row.pk: change
        for row in candidates
        if (change := decide(row, elsewhere=row.pk in elsewhere, left_behind=row.pk in left_behind))
    }
    undecided = [row for row in candidates if row.pk not in decisions]
    # Asked for after the rows were locked: see vault/digests.py.
    made_with = digests.in_use()
    for row in undecided:
        if not row.is_unknown:
            row.recipient_key = recipient_key(row.learner.email, made_with)
    decisions |= _has_it_already(connection, undecided, now)
    claimed = Claimed(more=len(rows) >= limit)
    claimed.send = [row for row in undecided if row.pk not in decisions]
    claimed.look_up = _by_badge([*to_look_up, *_same_look_up(connection, rows, now)])
    claimed.tally = _write_decisions([(row, decisions[row.pk]) for row in candidates if row.pk in decisions], now)
    claimed.begin_at = limits.begin_at(connection, len(claimed.look_up) + len(claimed.send), now)
    transitions.write_rows([row for row in claimed.send if SentAs.of(row) != as_read[row.pk]], SentAs._fields)
    _take(claimed.rows, claim_id, now + lease_of(connection), now)
    return claimed


def _take(rows: Sequence[Issuance], claim_id: uuid.UUID, leased_until: datetime, now: datetime) -> None:
    """Give the rows to the holder of `claim_id`, in the database and in memory."""
    pks = [row.pk for row in rows]
    first_attempt_at = Coalesce(F("first_attempt_at"), now)
    transitions.change(pks, Event.CLAIM, claim=claim_id, leased_until=leased_until, first_attempt_at=first_attempt_at)
    for row in rows:
        first = {"first_attempt_at": row.first_attempt_at or now}
        transitions.change_row(row, Change(Event.CLAIM, values=first))


def _due(connection: NavigatrConnection, limit: int, now: datetime) -> list[Issuance]:
    """What may be taken now, in turn, locked for this transaction, without what others hold.

    Sent and unsent ones take turns together: a probe that only looks up says nothing about issuing.
    """
    unknown = _read(_lock(Issuance.objects.unknown_for(connection), now)[:limit], connection)
    unsent = list(_lock(Issuance.objects.unsent_for(connection), now)[:limit])
    if not unknown:
        return unsent
    return sorted(unknown + unsent, key=lambda row: (row.past, row.next_attempt_at))[:limit]


def _read(unknown: IssuanceQuerySet, connection: NavigatrConnection) -> list[Issuance]:
    """Read rows of this connection, so that the threads that look them up need no database."""
    rows = list(unknown)
    for row in rows:
        row.connection = connection
    return rows


def _lock(rows: IssuanceQuerySet, now: datetime) -> IssuanceQuerySet:
    mappings = CourseBadgeMapping.objects.with_reach().select_related("connection")
    return (
        rows.due(now)
        .confirmed(now)
        .select_related("learner", "completion")
        # A few for many rows: read once, and after the rows are locked, so that a mapping is taken as it is now, and
        # what its connection is open to is asked now.
        .prefetch_related("course__site__state", Prefetch("course__mapping", mappings))
        .select_for_update(skip_locked=True, of=("self",))
        .in_turn()
    )


def _same_look_up(connection: NavigatrConnection, rows: Sequence[Issuance], now: datetime) -> list[Issuance]:
    """Others whose answer is unknown, which the look-ups of these rows can answer as well, however few may be taken."""
    badges = {row.badge_id for row in rows if row.is_looked_up_first}
    if not badges:
        return []
    unknown = _lock(Issuance.objects.unknown_for(connection), now)
    others = unknown.filter(LOOKED_UP_FIRST, badge_id__in=badges, learner__erased_at=None)
    return _read(others.exclude(pk__in=[row.pk for row in rows])[: settings.SEND_BATCH], connection)


def _takes_award(row: Issuance, connection: NavigatrConnection) -> bool:
    """Let a row that has not been sent take what its course awards now (in memory).

    False where the mapping was switched off, removed, closed, or moved to another connection since the row was chosen:
    it is left in the queue.
    """
    mapping = row.mapping
    held = mapping.holds(row) if mapping else None
    if row.is_unknown:
        return row.unanswered != Unanswered.REPEAT or held not in HELD_BY_MAPPING
    if mapping is None or held or mapping.connection_id != connection.pk:
        return False
    row.take_award(mapping)
    return True


def decide(row: Issuance, *, elsewhere: bool = False, left_behind: bool = False) -> Change | None:
    """What can be said of a due issuance without asking Navigatr; None: send it. Changes nothing.

    `elsewhere`: see `_goes_on_elsewhere`. `left_behind`: see `_left_behind`.
    """
    if row.learner.erased_at is not None:
        return Change(Event.ERASE, Outcome.ERASED)
    if elsewhere:
        return Change(Event.CANCEL, Outcome.ELSEWHERE)
    if left_behind:
        return Change(Event.CANCEL, Outcome.WENT_LIVE)
    if row.is_unknown and not row.is_as_sent:
        # Its look-up was refused, and it is not what may have been sent that would be sent now: a person must look.
        return Change(Event.FAIL, Outcome.LOOKUP_REFUSED)
    hold = held_by_moodle(row.completion, row.learner, row.course, date_accepted=row.date_accepted)
    if hold is not None:
        return Change(Event.HOLD, hold)
    if not row.learner.profile_complete:
        hidden = row.learner.names_hidden
        return Change(Event.FAIL, Outcome.NAMES_HIDDEN if hidden else Outcome.PROFILE_INCOMPLETE)
    return _decide_by_score(row)


def _decide_by_score(row: Issuance) -> Change | None:
    """Whether the mapping's minimum score is reached.

    Without a score Navigatr would issue the badge "regardless of score" (docs/navigatr-api.md, "Issuing"), so that it
    is not asked.
    """
    score = row.completion.score
    if row.mapping is None or row.mapping.accepts_score(score):
        return None
    if score is not None:
        reason = Outcome.BELOW_MIN_SCORE
    else:
        reason = Outcome.SCORE_HIDDEN if row.completion.score_hidden else Outcome.NO_SCORE
    return Change(Event.NOT_MET, reason, {"score_tried": score})


def _goes_on_elsewhere(rows: Sequence[Issuance], as_read: dict[int, SentAs]) -> set[int]:
    """The numbers of those whose learner has another issuance for the course in the environment of its mapping.

    There is one issuance for each environment, so these stay in the one that they had.
    """
    moved = [row for row in rows if row.environment != as_read[row.pk].environment]
    if not moved:
        return set()
    learners = {row.learner_id for row in moved}
    others = Issuance.objects.filter(course__in={row.course_id for row in moved}, learner__in=learners)
    known = set(others.values_list("course_id", "learner_id", "environment"))
    elsewhere = [row for row in moved if (row.course_id, row.learner_id, row.environment) in known]
    for row in elsewhere:
        as_read[row.pk].put_back(row)
    return {row.pk for row in elsewhere}


def _left_behind(rows: Sequence[Issuance], as_read: dict[int, SentAs]) -> set[int]:
    """The numbers of those that were on their way to staging when their course went live, and do not count any more.

    They were completed before the course's completions count, so nothing real is sent unless a person does so.
    """
    behind = {row.pk: row for row in rows if _was_tried_in_staging(row, as_read[row.pk].environment)}
    for pk in behind.keys() & _sent_again_live(behind.values()):
        del behind[pk]
    for pk, row in behind.items():
        as_read[pk].put_back(row)
    return set(behind)


def _was_tried_in_staging(row: Issuance, environment: str) -> bool:
    """Whether its sending began in staging, for a completion from before the live course's completions count."""
    mapping = row.mapping
    if (environment, row.environment) != (Environment.STAGING, Environment.PRODUCTION):
        return False
    if mapping is None or mapping.include_past or row.first_attempt_at is None:
        return False
    return mapping.is_past(row.completion)


def _sent_again_live(rows: Collection[Issuance]) -> set[int]:
    """The numbers of those that a person has sent again since the course's completions count.

    The audit trail tells: where an answer is missing, the row keeps the time of its first attempt for the look-up.
    """
    if not rows:
        return set()
    since = {row.pk: row.mapping.since for row in rows if row.mapping}
    acts = AuditedIssuance.objects.filter(issuance__in=since, entry__action=AuditEntry.Action.SENT_AGAIN).order_by()
    return {pk for pk, at in acts.values_list("issuance", "entry__at") if at >= since[pk]}


def _has_it_already(connection: NavigatrConnection, rows: Sequence[Issuance], now: datetime) -> dict[int, Change]:
    """Those whose learner has the badge, or may get it in this moment, through another issuance.

    The person is asked for as well as the address, which may have changed since they got the badge.
    """
    of_learner = _holders(connection, rows, "learner_id", {row.learner_id for row in rows})
    of_address = _holders(connection, rows, "recipient_key", {row.recipient_key for row in rows})
    found = {}
    for row in rows:
        holder = of_learner.get((row.badge_id, row.learner_id))
        if holder is None or holder[2] == row.pk:
            # Of two in this claim the first one is sent.
            own = (row.learner_id, State.SENDING, row.pk)
            holder = of_address.setdefault((row.badge_id, row.recipient_key), own)
        if holder[2] != row.pk:
            found[row.pk] = _beside(row, holder, now)
    return found


def _holders(
    connection: NavigatrConnection, rows: Sequence[Issuance], by: str, values: Collection[Any]
) -> dict[tuple[int, Any], Holder]:
    """The issuances of these rows' badges that are in Navigatr or may be, by badge and a column; issued ones win."""
    badges = {row.badge_id for row in rows}
    held = Issuance.objects.perhaps_sent().filter(environment=connection.environment, badge_id__in=badges)
    # The constraint's index has no rows without a recipient, and is used only for a query that says so.
    held = held.exclude(recipient_key="") if by == "recipient_key" else held
    found = held.filter(**{f"{by}__in": values}).order_by().values_list("badge_id", by, "learner_id", "state", "pk")
    issued_last = sorted(found, key=lambda holder: holder[3] == State.ISSUED)
    return {(badge, value): (learner, state, pk) for badge, value, learner, state, pk in issued_last}


def _beside(row: Issuance, holder: Holder, now: datetime) -> Change:
    """What becomes of an issuance while the same badge is at, or on its way to, the same person.

    It steps aside while that is on its way, and ends once it has arrived. Where a person must find out whether it has
    arrived, this one waits for them as well.
    """
    learner_id, state, _pk = holder
    if state in (State.QUEUED, State.HELD, State.SENDING):
        reason = Outcome(row.reason or Outcome.DUPLICATE_RECIPIENT)
        return Change(Event.STEP_ASIDE, reason, {"next_attempt_at": now + STEP_ASIDE})
    if learner_id != row.learner_id:
        return Change(Event.FAIL, Outcome.DUPLICATE_RECIPIENT)
    if state == State.ISSUED:
        return Change(Event.CANCEL, Outcome.ALREADY_HOLDS)
    return Change(Event.FAIL, Outcome.MAY_HOLD)


def _write_decisions(decided: Sequence[tuple[Issuance, Change]], now: datetime) -> Tally:
    """Write what was decided without a call, with an audit row each but for those that step aside; returns counts."""
    tally = Tally()
    attempts = []
    for row, change in decided:
        transitions.change_row(row, change)
        if change.event != Event.STEP_ASIDE:
            attempts.append(audit.attempt(row, Kind.DECISION, Outcome(row.reason), at=now))
            tally.count(row.state)
    rows = [row for row, _change in decided]
    transitions.write_rows(rows, DECIDED)
    audit.write_attempts(attempts)
    end_erased([row.pk for row in rows if row.reason == Outcome.ERASED])
    return tally


def _by_badge(rows: Sequence[Issuance]) -> list[list[Issuance]]:
    """Those of one badge together: one look-up answers them all."""

    def badge_of(row: Issuance) -> tuple[int, int]:
        return row.badge_id, row.provider_id

    return [list(group) for _badge, group in groupby(sorted(rows, key=badge_of), key=badge_of)]
