"""The one place where an issuance changes its state.

`TABLE` names each event, the states in which it may happen, and the state that it leads to. docs/architecture.md shows
it. `change` lets an event happen to rows in the database, `change_row` to a row in a worker's hands, which is written
later. Both set the other columns that a state needs as well: a lease, or a time for the next attempt.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from django.db import connection
from django.db.models import Q

from .meanings import Outcome
from .models import NOTHING_OPEN, UNSENT, Issuance, Unanswered, update_by_pk

State = Issuance.State

EVERY = Q()


class Event(StrEnum):
    """What can happen to an issuance."""

    CLAIM = "claim"
    STEP_ASIDE = "step aside"
    HAND_BACK = "hand back"
    LEASE_RUNS_OUT = "lease runs out"
    TRY_AGAIN = "try again"
    ISSUE = "issue"
    ISSUE_LATE = "issue late"
    NOT_MET = "requirement not met"
    FAIL = "fail"
    HOLD = "hold"
    REQUEUE = "requeue"
    LOOK_UP = "look up"
    CANCEL = "cancel"
    ERASE = "erase"
    ERASE_ISSUED = "erase issued"


class Transition(NamedTuple):
    """From which states an event leads to which, and what it stands for."""

    sources: frozenset[State]
    target: State
    meaning: str


TABLE: dict[Event, Transition] = {
    Event.CLAIM: Transition(frozenset({State.QUEUED}), State.SENDING, "A worker takes it, with a lease."),
    Event.STEP_ASIDE: Transition(
        frozenset({State.QUEUED}), State.QUEUED, "The same badge is on its way to the same person in this moment."
    ),
    Event.HAND_BACK: Transition(frozenset({State.SENDING}), State.QUEUED, "The worker stopped before it began."),
    Event.LEASE_RUNS_OUT: Transition(
        frozenset({State.SENDING}), State.QUEUED, "The worker died, so the answer is unknown: it is looked up first."
    ),
    Event.TRY_AGAIN: Transition(
        frozenset({State.SENDING}), State.QUEUED, "The answer allows another try, now or after a while."
    ),
    Event.ISSUE: Transition(frozenset({State.SENDING}), State.ISSUED, "Navigatr has issued it."),
    Event.ISSUE_LATE: Transition(
        frozenset(State) - {State.ISSUED},
        State.ISSUED,
        "Navigatr has issued it; the answer came after the worker's lease had run out.",
    ),
    Event.NOT_MET: Transition(
        frozenset({State.QUEUED, State.SENDING}),
        State.NOT_MET,
        "The score is too low or missing, or Navigatr says that the badge's requirement is not met.",
    ),
    Event.FAIL: Transition(
        frozenset({State.QUEUED, State.SENDING}), State.FAILED, "A person must act; the reason says how."
    ),
    Event.HOLD: Transition(
        frozenset({State.QUEUED}), State.HELD, "Moodle says that it is not to be sent now, or its date is implausible."
    ),
    Event.REQUEUE: Transition(
        frozenset(State) - {State.SENDING, State.ISSUED},
        State.QUEUED,
        "Its reason has passed, its course has another badge, or a person sends it again.",
    ),
    Event.LOOK_UP: Transition(
        frozenset(State) - {State.SENDING, State.ISSUED},
        State.QUEUED,
        "A person has Navigatr asked again whether it is there; only where an answer is missing.",
    ),
    Event.CANCEL: Transition(
        UNSENT,
        State.CANCELLED,
        "The mapping was removed, the learner has the badge already, or a person cancels it.",
    ),
    Event.ERASE: Transition(
        frozenset(State) - {State.SENDING, State.ISSUED, State.CANCELLED},
        State.CANCELLED,
        "The learner's data was erased.",
    ),
    Event.ERASE_ISSUED: Transition(
        frozenset({State.ISSUED}),
        State.ISSUED,
        "The learner's data was erased, and with it the number and the page of the assertion.",
    ),
}


class Change(NamedTuple):
    """What was decided about one issuance: the event, its reason (None: as it was), and further columns."""

    event: Event
    reason: Outcome | Literal[""] | None = None
    values: dict[str, Any] = {}


class NotAllowed(Exception):
    """The event may not happen to an issuance in this state; nothing was changed."""


def change(
    pks: Sequence[int], event: Event, *, where: Q = EVERY, reason: Outcome | Literal[""] | None = None, **values: Any
) -> int:
    """Let an event happen to the issuances with these primary keys; returns to how many it did.

    Those in a state in which it may not happen are left alone, and those that do not fit `where` (see `update_by_pk`).
    Without a `reason` the old one stays.
    """
    return update_by_pk(pks, Q(where, state__in=TABLE[event].sources), **_columns(event, reason) | values)


def change_row(row: Issuance, decided: Change) -> None:
    """Let what was decided happen to a row in memory, which the caller writes. Raises NotAllowed."""
    if row.state not in TABLE[decided.event].sources:
        raise NotAllowed(f"{decided.event}: an issuance that is {row.state}")
    for name, value in (_columns(decided.event, decided.reason) | decided.values).items():
        setattr(row, name, value)


def write_rows(rows: Sequence[Issuance], fields: Collection[str]) -> None:
    """Write these columns of rows that stand in the database, as they are in memory.

    One prepared UPDATE for each row. Django's `bulk_create(update_conflicts=True)` takes twice the processor time of
    this process, whose threads send meanwhile: see docs/decisions/batch-not-task.md.
    """
    if not rows:
        return
    columns = [column for column in Issuance._meta.concrete_fields if {column.name, column.attname} & set(fields)]
    quote = connection.ops.quote_name
    assignments = ", ".join(f"{quote(str(column.column))} = %s" for column in columns)
    # Names of our own columns only; the values are parameters.
    statement = f"UPDATE {quote(Issuance._meta.db_table)} SET {assignments} WHERE {quote('id')} = %s"  # noqa: S608
    values = [
        [*(column.get_db_prep_save(getattr(row, column.attname), connection) for column in columns), row.pk]
        for row in rows
    ]
    with connection.cursor() as cursor:
        cursor.executemany(statement, values)


def requeue(pks: Sequence[int], *, now: datetime) -> int:
    """Put the issuances with these primary keys back into the queue as if they were new; returns how many.

    What may have been sent is looked up first, from the time of its first attempt on.
    """
    afresh = _afresh(now)
    count = change(pks, Event.REQUEUE, where=NOTHING_OPEN, first_attempt_at=None, **afresh)
    return count + change(pks, Event.REQUEUE, where=~NOTHING_OPEN, unanswered=Unanswered.UNKNOWN, **afresh)


def look_up(pks: Sequence[int], *, now: datetime) -> int:
    """Have Navigatr asked again about those of these whose answer is missing; returns how many.

    REPEATED, so that nothing is sent unseen where Navigatr lets nobody look: that was done once already, or a person
    must look first.
    """
    return change(pks, Event.LOOK_UP, where=~NOTHING_OPEN, unanswered=Unanswered.REPEATED, **_afresh(now))


def _afresh(now: datetime) -> dict[str, Any]:
    """The columns of an issuance that is put into the queue as if it were new."""
    return {"reason": "", "queued_at": now, "next_attempt_at": now, "failures": 0}


def _columns(event: Event, reason: Outcome | Literal[""] | None) -> dict[str, Any]:
    """The columns that the event sets: only `sending` keeps a lease, and only `sending` and `queued` a next attempt."""
    target = TABLE[event].target
    columns: dict[str, Any] = {"state": target}
    if reason is not None:
        columns["reason"] = reason
    if target != State.SENDING:
        columns |= {"claim": None, "leased_until": None}
    if target not in (State.SENDING, State.QUEUED):
        columns["next_attempt_at"] = None
    return columns
