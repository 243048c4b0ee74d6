"""Settling: what an answer does to an issuance, written together with its audit row.

The database may be away for a moment meanwhile; no answer is lost for that.
"""

import logging
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from time import monotonic, sleep
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db import connection as database

from navigatr_client import Assertion, NavigatrError, NavigatrTokenRefused
from outbound_http import web_address

from .. import audit, meanings, transitions
from ..meanings import TROUBLE, Outcome
from ..models import CourseBadgeMapping, Issuance, IssuanceAttempt, Unanswered
from ..privacy import end_erased, erased_among
from ..queueing import cancel_unmapped, lock_mappings
from ..scrubbing import storable
from ..transitions import Change, Event
from .backoff import given_up, next_attempt_at
from .calls import LookedUp, Sent, log_fault
from .claiming import SentAs
from .lookup import LookUpAnswer

log = logging.getLogger(__name__)

State = Issuance.State
Kind = IssuanceAttempt.Kind

# Errors of a database that is away, and how often it is asked again.
DATABASE_AWAY = (OperationalError, InterfaceError)
TRY_THE_DATABASE_EVERY = timedelta(seconds=0.5)

# Failures that may pass.
TRY_AGAIN = TROUBLE | {Outcome.RATE_LIMITED}

# The columns that an answer may change.
SETTLED = [
    "state", "reason", "claim", "leased_until", "next_attempt_at", "failures", "unanswered", "score_tried",
    "assertion_id", "assertion_url", "issued_at",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Settled:
    """One issuance with what was decided about it (in memory), and the attempt that tells so."""

    row: Issuance
    new_attempt: audit.NewAttempt

    @property
    def attempt(self) -> IssuanceAttempt:
        """The audit row."""
        return self.new_attempt.attempt


def settle(results: Sequence[Sent | LookedUp], now: datetime) -> list[Settled]:
    """Move every issuance of these results on (in memory), each with its audit row."""
    settled: list[Settled] = []
    for result in results:
        if isinstance(result, Sent):
            settled.append(_settle_sent(result, now))
        else:
            settled.extend(_settle_looked_up(row, result, now) for row in result.rows)
    return settled


def _settle_sent(result: Sent, now: datetime) -> Settled:
    row, error = result.row, result.error
    outcome, change = after_sending(result, now, spread=random.uniform(-1, 1))
    transitions.change_row(row, change)
    attempt = audit.attempt(
        row, Kind.SEND, outcome, at=result.at, duration=result.duration, error=error, status=result.status,
        next_at=row.next_attempt_at,
    )  # fmt: skip
    return Settled(row, attempt)


def _settle_looked_up(row: Issuance, result: LookedUp, now: datetime) -> Settled:
    finding = result.findings.get(row.pk) or LookUpAnswer(Outcome.OUR_BUG, "")
    error = finding.error or result.error
    transitions.change_row(row, after_look_up(row, finding, error, now, spread=random.uniform(-1, 1)))
    attempt = audit.attempt(
        row, Kind.LOOKUP, finding.outcome, at=result.at, duration=result.duration, error=error,
        looked_up=finding.looked_up, next_at=row.next_attempt_at,
    )  # fmt: skip
    return Settled(row, attempt)


def after_sending(result: Sent, now: datetime, *, spread: float) -> tuple[Outcome, Change]:
    """How a request to issue ended, and what that does to the issuance. Changes nothing. `spread`: see backoff.py."""
    row, error = result.row, result.error
    tried: dict[str, Any] = {"score_tried": row.completion.score}
    if result.assertion is not None:
        unseen = row.unanswered in (Unanswered.REPEAT, Unanswered.REPEATED)
        outcome = Outcome.PERHAPS_TWICE if unseen else Outcome.ISSUED
        return outcome, _issued(result.assertion, outcome, now, tried)
    if not isinstance(error, NavigatrError):
        # Where the fault struck is not known, so neither is whether the request went out.
        unknown = Unanswered(row.unanswered).after_another
        return Outcome.OUR_BUG, Change(Event.FAIL, Outcome.OUR_BUG, tried | {"unanswered": unknown})
    outcome = meanings.of_error(error)
    if outcome is Outcome.TOKEN_REFUSED:
        # No fault of the learner's: it waits until the connection has a new token, and its tries are not used up.
        return outcome, Change(Event.TRY_AGAIN, "", tried | {"next_attempt_at": now})
    if outcome is Outcome.NOT_MET:
        return outcome, Change(Event.NOT_MET, outcome, tried)
    if outcome not in TRY_AGAIN:
        return outcome, Change(Event.FAIL, outcome, tried)
    if outcome is Outcome.UNCLEAR:
        tried["unanswered"] = Unanswered(row.unanswered).after_another
    return outcome, _later(row, outcome, error, now, spread=spread, **tried)


def after_look_up(
    row: Issuance, finding: LookUpAnswer, error: Exception | None, now: datetime, *, spread: float
) -> Change:
    """What the answer of a look-up does to the issuance. Changes nothing. `spread`: see backoff.py."""
    outcome = finding.outcome
    if finding.assertion is not None:
        return _issued(finding.assertion, Outcome.FOUND, now, {})
    at_once = {"next_attempt_at": now}
    if outcome is Outcome.NOT_THERE:
        return Change(Event.TRY_AGAIN, outcome, at_once | {"unanswered": Unanswered.NOTHING})
    if outcome is Outcome.LOOKUP_REFUSED:
        # It may be in Navigatr all the same, and is marked so until it is known to be issued.
        if row.unanswered == Unanswered.UNKNOWN:
            return Change(Event.TRY_AGAIN, outcome, at_once | {"unanswered": Unanswered.REPEAT})
        return Change(Event.FAIL, outcome)
    if isinstance(error, NavigatrTokenRefused):
        return Change(Event.TRY_AGAIN, "", at_once)
    if isinstance(error, NavigatrError):
        return _later(row, outcome, error, now, spread=spread)
    return Change(Event.FAIL, Outcome.OUR_BUG)


def _issued(assertion: Assertion, how: Outcome, now: datetime, values: dict[str, Any]) -> Change:
    found = {
        "unanswered": Unanswered.NOTHING,
        "assertion_id": storable(assertion.id)[:64],
        "assertion_url": web_address(storable(assertion.url)),
        "issued_at": now,
    }
    return Change(Event.ISSUE, how, values | found)


def _later(
    row: Issuance, reason: Outcome, error: NavigatrError, now: datetime, *, spread: float, **values: Any
) -> Change:
    """Try again later, or give up after RETRY_GIVE_UP."""
    failures = row.failures + 1
    at = next_attempt_at(failures, now, spread=spread, retry_after=error.retry_after)
    values["failures"] = failures
    if given_up(_trying_since(row), at):
        return Change(Event.FAIL, Outcome.GAVE_UP, values)
    return Change(Event.TRY_AGAIN, reason, values | {"next_attempt_at": at})


def _trying_since(row: Issuance) -> datetime:
    """When RETRY_GIVE_UP starts: at the first attempt, the last queueing, or the end of the last hold."""
    mapping = row.mapping
    moments = [row.first_attempt_at, row.connection.resumed_at, mapping and mapping.resumed_at]
    return max(row.queued_at, *(moment for moment in moments if moment))


def write_settled(settled: Sequence[Settled], claim_id: uuid.UUID, now: datetime) -> None:
    """Write these outcomes and their audit rows in one transaction.

    A row whose lease ran out meanwhile belongs to somebody else, who looks it up first: only that it *was* issued is
    written over what stands there. The audit row is written in any case.
    """
    rows = [one.row for one in settled]
    pks = [row.pk for row in rows]
    with transaction.atomic():
        mappings = lock_mappings({row.course_id for row in rows if row.is_unsent})
        # All are locked, so that none of their learners is erased between being asked for below and the end.
        locked = Issuance.objects.filter(pk__in=pks).order_by("pk").select_for_update()
        ours = {pk for pk, claim in locked.values_list("pk", "claim") if claim == claim_id}
        erased = erased_among(pks)
        transitions.write_rows([row for row in rows if row.pk in ours], SETTLED)
        for row in rows:
            if row.pk not in ours and row.state == State.ISSUED:
                columns = [name for name in (*SETTLED, *SentAs._fields) if name not in ("state", "reason")]
                written = {name: getattr(row, name) for name in columns}
                transitions.change([row.pk], Event.ISSUE_LATE, reason=Outcome(row.reason), **written)
        audit.write_attempts([one.new_attempt for one in settled], without_words=erased)
        _follow_mappings([row for row in rows if row.pk in ours and row.is_unsent], mappings, now)
        # Who was erased while a badge was on its way does not come back with the answer.
        end_erased(erased)


def _follow_mappings(rows: Sequence[Issuance], mappings: dict[int, CourseBadgeMapping], now: datetime) -> None:
    """Cancel what has no mapping any more, and queue what was refused as a badge that is not awarded any more."""
    if not rows:
        return
    cancel_unmapped(Issuance.objects.filter(pk__in=[row.pk for row in rows]))
    refused = [row for row in rows if row.state in (State.FAILED, State.NOT_MET) and row.course_id in mappings]
    transitions.requeue([row.pk for row in refused if not mappings[row.course_id].awards(row)], now=now)


def write_down(settled: Sequence[Settled], claim_id: uuid.UUID, now: datetime) -> list[Settled]:
    """Write these outcomes, each alone where together they cannot be written; returns what was written.

    One that cannot be written at all ends as a fault of ours that a person sees, and costs the others nothing. Raises
    the database's error when it stays away.
    """
    try:
        persist(partial(write_settled, settled, claim_id, now), is_written=partial(is_written, settled[0].attempt))
    except DATABASE_AWAY:
        raise
    except (DatabaseError, ValueError) as fault:
        if len(settled) > 1:
            return [written for one in settled for written in write_down([one], claim_id, now)]
        return [_write_fault(settled[0], fault, claim_id, now)]
    return list(settled)


def _write_fault(one: Settled, fault: Exception, claim_id: uuid.UUID, now: datetime) -> Settled:
    """Write that an answer could not be written."""
    row, attempt = one.row, one.attempt
    log_fault("writing down", row.pk, fault)
    # As it stands in the database: taken, without what could not be written.
    row.refresh_from_db(fields=SETTLED)
    unknown = Unanswered(row.unanswered).after_another
    if row.claim == claim_id:
        transitions.change_row(row, Change(Event.FAIL, Outcome.OUR_BUG, {"unanswered": unknown}))
    failed = audit.attempt(
        row, Kind(attempt.kind), Outcome.OUR_BUG, at=attempt.at, duration=attempt.duration, error=fault,
        status=attempt.status,
    )  # fmt: skip
    instead = Settled(row, failed)
    persist(partial(write_settled, [instead], claim_id, now), is_written=partial(is_written, failed.attempt))
    return instead


@contextmanager
def database_may_be_away(*, unless: bool = False) -> Iterator[None]:
    """Leave out what is inside while the database is away, because it is tried again soon.

    `unless`: nobody would try again, so raise.
    """
    try:
        yield
    except DATABASE_AWAY as error:
        if unless:
            raise
        log.warning("the database is away (%s); going on without it for a moment", type(error).__name__)
        database.close()


def persist(write: Callable[[], None], *, is_written: Callable[[], bool]) -> None:
    """Write what Navigatr answered, again and again while the database is away, for half a lease at the most.

    `is_written` tells whether a write whose confirmation was lost had been done. Raises the database's error after
    that; then the answers count as unknown and are looked up.
    """
    until = monotonic() + settings.LEASE.total_seconds() / 2
    tries = 0
    while True:
        try:
            if not tries or not is_written():
                write()
        except DATABASE_AWAY:
            if monotonic() > until:
                raise
            tries += 1
            database.close()
            sleep(TRY_THE_DATABASE_EVERY.total_seconds())
        else:
            return


def is_written(attempt: IssuanceAttempt) -> bool:
    """Whether this audit row stands in the database, and with it all that was written together with it."""
    same = IssuanceAttempt.objects.filter(issuance=attempt.issuance, kind=attempt.kind, at=attempt.at)
    return same.exists()
