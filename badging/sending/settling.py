"""Writing down what came back: an issuance's new state together with its audit row.

The database may be away for a moment meanwhile; an answer is not lost for that.
"""

import logging
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from time import monotonic, sleep

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db import connection as database

from navigatr_client import Assertion, NavigatrError, NavigatrTokenRefused

from .. import audit, meanings
from ..mapping import web_address
from ..meanings import Outcome
from ..models import ONE_REPEAT, CourseBadgeMapping, Issuance, IssuanceAttempt
from ..privacy import end_erased
from ..queueing import move_to
from ..scrubbing import storable
from .backoff import given_up, next_attempt_at
from .bulk import update_rows
from .calls import LookedUp, Sent, log_fault
from .lookup import LookUpAnswer

log = logging.getLogger(__name__)

State = Issuance.State
Kind = IssuanceAttempt.Kind

# What the database's being away is told by, and how often it is asked again.
DATABASE_AWAY = (OperationalError, InterfaceError)
TRY_THE_DATABASE_EVERY = timedelta(seconds=0.5)

# Failures that may pass.
TRY_AGAIN = {Outcome.UNAVAILABLE, Outcome.UNCLEAR, Outcome.RATE_LIMITED}


def settle(results: Sequence[Sent | LookedUp], now: datetime) -> list[tuple[Issuance, IssuanceAttempt]]:
    """Move every issuance of these results on (in memory), and return each with its audit row."""
    settled: list[tuple[Issuance, IssuanceAttempt]] = []
    for result in results:
        if isinstance(result, Sent):
            settled.append((result.row, settle_sent(result, now)))
        else:
            settled.extend((row, settle_looked_up(row, result, now)) for row in result.rows)
    return settled


def settle_sent(result: Sent, now: datetime) -> IssuanceAttempt:
    """Move the issuance on by what came back (in memory), and return its audit row."""
    row, error = result.row, result.error
    row.score_tried = row.completion.score
    if result.assertion is not None:
        outcome = Outcome.PERHAPS_TWICE if row.lookups_refused else Outcome.ISSUED
        issued(row, result.assertion, outcome, now)
    elif isinstance(error, NavigatrError):
        outcome = meanings.of_error(error)
        if outcome is Outcome.TOKEN_REFUSED:
            # Nobody's fault among the learners: it waits, and its tries are not used up.
            finish(row, State.HELD, Outcome.CONNECTION_PAUSED)
        elif outcome is Outcome.NOT_MET:
            finish(row, State.NOT_MET, outcome)
        elif outcome in TRY_AGAIN:
            if outcome is Outcome.UNCLEAR:
                row.maybe_sent = True
                row.lookups_refused = after_a_repeat(row)
            retry_later(row, outcome, now, error.retry_after)
        else:
            finish(row, State.FAILED, outcome)
    else:
        # Where the fault struck is not known, so neither is whether the request went out.
        outcome = Outcome.OUR_BUG
        row.maybe_sent = True
        finish(row, State.FAILED, outcome)
    return audit.attempt(
        row, Kind.SEND, outcome, at=result.at, duration=result.duration, error=error, status=result.status,
        next_at=row.next_attempt_at,
    )  # fmt: skip


def settle_looked_up(row: Issuance, result: LookedUp, now: datetime) -> IssuanceAttempt:
    """Move one looked-up issuance on (in memory), and return its audit row."""
    finding = result.findings.get(row.pk) or LookUpAnswer(Outcome.OUR_BUG, "")
    outcome, error = finding.outcome, finding.error or result.error
    if finding.assertion is not None:
        issued(row, finding.assertion, Outcome.FOUND, now)
    elif outcome is Outcome.NOT_THERE:
        row.maybe_sent, row.lookups_refused = False, 0
        again_at_once(row, outcome, now)
    elif outcome is Outcome.LOOKUP_REFUSED:
        # It may be in Navigatr all the same, and stays marked so until it is known to be issued.
        row.lookups_refused += 1
        if row.lookups_refused == ONE_REPEAT:
            again_at_once(row, outcome, now)
        else:
            finish(row, State.FAILED, outcome)
    elif isinstance(error, NavigatrTokenRefused):
        finish(row, State.HELD, Outcome.CONNECTION_PAUSED)
    elif isinstance(error, NavigatrError):
        retry_later(row, outcome, now, error.retry_after)
    else:
        finish(row, State.FAILED, Outcome.OUR_BUG)
    return audit.attempt(
        row, Kind.LOOKUP, outcome, at=result.at, duration=result.duration, error=error,
        looked_up=finding.looked_up, next_at=row.next_attempt_at,
    )  # fmt: skip


def issued(row: Issuance, assertion: Assertion, how: Outcome, now: datetime) -> None:
    """Navigatr has it."""
    finish(row, State.ISSUED, how)
    row.maybe_sent = False
    row.assertion_id, row.assertion_url = storable(assertion.id)[:64], web_address(storable(assertion.url))
    row.issued_at = now


def finish(row: Issuance, state: State, reason: Outcome) -> None:
    """Out of the worker's hands, with this state and reason."""
    row.state, row.reason = state, reason
    row.claim = row.leased_until = row.next_attempt_at = None


def again_at_once(row: Issuance, reason: Outcome, now: datetime) -> None:
    """Back into the queue, to be sent in this very moment with all that has changed since."""
    finish(row, State.QUEUED, reason)
    row.next_attempt_at = now


def after_a_repeat(row: Issuance) -> int:
    """What `lookups_refused` is once an answer is unknown again: the one repeat without a look-up is used up."""
    return max(row.lookups_refused, ONE_REPEAT + 1) if row.lookups_refused else 0


def retry_later(row: Issuance, reason: Outcome, now: datetime, retry_after: timedelta | None) -> None:
    """Back into the queue for later, or given up after RETRY_GIVE_UP."""
    row.failures += 1
    at = next_attempt_at(row.failures, now, spread=random.uniform(-1, 1), retry_after=retry_after)
    # What was queued anew, by hand or when its connection was on again, has the whole time again.
    if given_up(max(row.first_attempt_at or row.queued_at, row.queued_at), at):
        finish(row, State.FAILED, Outcome.GAVE_UP)
    else:
        finish(row, State.QUEUED, reason)
        row.next_attempt_at = at


SETTLED_FIELDS = [
    "state", "reason", "claim", "leased_until", "next_attempt_at", "failures", "maybe_sent", "lookups_refused",
    "score_tried", "assertion_id", "assertion_url", "issued_at",
]  # fmt: skip


def write_settled(
    rows: Sequence[Issuance], attempts: Sequence[IssuanceAttempt], claim_id: uuid.UUID, now: datetime
) -> None:
    """Write these outcomes and their audit rows in one transaction.

    A row whose lease ran out meanwhile belongs to somebody else, who looks it up first: only that it *was* issued is
    written over what stands there. The audit row is written in any case.
    """
    with transaction.atomic():
        ours = set(
            Issuance.objects.filter(pk__in=[row.pk for row in rows], claim=claim_id)
            .select_for_update()
            .values_list("pk", flat=True)
        )
        update_rows([row for row in rows if row.pk in ours], SETTLED_FIELDS)
        for row in rows:
            if row.pk not in ours and row.state == State.ISSUED:
                Issuance.objects.filter(pk=row.pk).exclude(state=State.ISSUED).update(
                    **{name: getattr(row, name) for name in SETTLED_FIELDS}
                )
        for attempt in attempts:
            # A try before this one may have been rolled back after it got its number.
            attempt.pk = None
        IssuanceAttempt.objects.bulk_create(attempts)
        # What was refused under a mapping that has been changed since goes on under the new one.
        refused = [
            row
            for row in rows
            if row.pk in ours
            and (row.state in (State.FAILED, State.NOT_MET) or (row.state == State.HELD and not row.maybe_sent))
        ]
        mappings = CourseBadgeMapping.objects.filter(course__in={row.course_id for row in refused})
        current = {mapping.course_id: mapping for mapping in mappings.select_related("connection")} if refused else {}
        for row in refused:
            mapping = current.get(row.course_id)
            if mapping is not None and not mapping.awards(row):
                move_to(mapping, Issuance.objects.filter(pk=row.pk), now=now)
        # Who was erased while a badge was on its way does not come back with the answer.
        end_erased(Issuance.objects.filter(pk__in=[row.pk for row in rows]))


def write_down(
    settled: Sequence[tuple[Issuance, IssuanceAttempt]], claim_id: uuid.UUID, now: datetime
) -> list[tuple[Issuance, IssuanceAttempt]]:
    """Write these outcomes, each alone where together they cannot be written; returns what was written.

    One that cannot be written at all ends as a fault of ours that a person sees, and costs the others nothing. Raises
    the database's error when it stays away.
    """
    rows, attempts = [row for row, _ in settled], [attempt for _, attempt in settled]
    try:
        persist(partial(write_settled, rows, attempts, claim_id, now), is_written=partial(is_written, attempts[0]))
    except DATABASE_AWAY:
        raise
    except (DatabaseError, ValueError) as fault:
        if len(settled) > 1:
            return [written for one in settled for written in write_down([one], claim_id, now)]
        [(row, attempt)] = settled
        log_fault("writing down", row.pk, fault)
        finish(row, State.FAILED, Outcome.OUR_BUG)
        row.maybe_sent, row.issued_at, row.assertion_id, row.assertion_url = True, None, "", ""
        told = audit.attempt(
            row, Kind(attempt.kind), Outcome.OUR_BUG, at=attempt.at, duration=attempt.duration, error=fault,
            status=attempt.status,
        )  # fmt: skip
        persist(partial(write_settled, [row], [told], claim_id, now), is_written=partial(is_written, told))
        return [(row, told)]
    return list(settled)


@contextmanager
def database_may_be_away(*, unless: bool = False) -> Iterator[None]:
    """What happens inside may be left out when the database is away, because it is tried again soon.

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
    """Whether this very audit row stands in the database, and with it all that was written together with it."""
    same = IssuanceAttempt.objects.filter(issuance=attempt.issuance, kind=attempt.kind, at=attempt.at)
    return same.exists()
