"""Sending: takes what is due, issues it in Navigatr, and writes down what became of each.

The story of one issuance: `claim` takes it with a lease; what may have been sent before is looked up first; a thread
sends it, with no transaction and no lock held; `write_settled` writes its new state and its audit row together. A
worker that dies leaves a lease that runs out, and `sweep` then marks the answer unknown. Each learner gets each badge
once.
"""

import logging
import random
import traceback
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, groupby
from queue import Empty, SimpleQueue
from time import monotonic, sleep
from typing import Any

from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db import connection as database
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from navigatr_client import Assertion, NavigatrClient, NavigatrError, NavigatrTokenRefused
from vault.keys import WrongKey

from . import connections, limits, meanings
from .backoff import circuit_pause, given_up, next_attempt_at
from .bulk import update_rows
from .connections import client_for
from .lookup import Finding, Question, look_up
from .mapping import web_address
from .meanings import Outcome
from .models import CourseBadgeMapping, Issuance, IssuanceAttempt, NavigatrConnection, recipient_key
from .privacy import end_erased
from .queueing import move_to, release_held
from .scrubbing import scrub, storable

log = logging.getLogger(__name__)

State = Issuance.State
Kind = IssuanceAttempt.Kind

# Results are written together: at most so many, at most so long after they came.
WRITE_EVERY = 250
WRITE_AFTER_SECONDS = 0.25
# The client's own time-out for making a connection comes before that for the answer.
CONNECTING = timedelta(seconds=5)
# How long an issuance steps aside while the same badge is on its way to the same address.
STEP_ASIDE = timedelta(seconds=60)

# Outcomes that say that Navigatr is in trouble; those that are tried again; those that may end
# the round; and a look-up's that send at once.
TROUBLE = {Outcome.UNAVAILABLE, Outcome.UNCLEAR}
TRY_AGAIN = {Outcome.UNAVAILABLE, Outcome.UNCLEAR, Outcome.RATE_LIMITED}
STOPS_OTHERS = {*TRY_AGAIN, Outcome.TOKEN_REFUSED}
SEND_AT_ONCE = {Outcome.NOT_THERE, Outcome.LOOKUP_REFUSED}


@dataclass
class Tally:
    """What a round of sending came to."""

    attempts: int = 0
    issued: int = 0
    not_met: int = 0
    failed: int = 0
    retry: int = 0
    held: int = 0

    def count(self, state: str) -> None:
        """Count one issuance by the state that it came to."""
        name = {State.ISSUED: "issued", State.NOT_MET: "not_met", State.FAILED: "failed", State.HELD: "held"}.get(
            State(state), "retry" if state == State.QUEUED else ""
        )
        if name:
            setattr(self, name, getattr(self, name) + 1)

    def add(self, other: "Tally") -> None:
        """Count another round in."""
        for name, count in asdict(other).items():
            setattr(self, name, getattr(self, name) + count)


@dataclass(frozen=True, slots=True)
class Sent:
    """What came back for one issuance: an assertion, or the error that stood in its place."""

    row: Issuance
    at: datetime
    duration: timedelta
    assertion: Assertion | None = None
    error: Exception | None = None
    status: int | None = None


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What a look-up of several issuances of one badge found, by issuance id."""

    rows: list[Issuance]
    at: datetime
    duration: timedelta
    findings: dict[int, Finding]
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class NotBegun:
    """A thread did not begin with these, because they may belong to another worker by now."""

    rows: list[Issuance]
    error: None = None


@dataclass(frozen=True, slots=True)
class Task:
    """Something for a thread to ask Navigatr, the issuances that it is about, and the moment when it may begin."""

    rows: list[Issuance]
    ask: Callable[[NavigatrClient], Sent | LookedUp]
    begin_at: datetime


def never() -> bool:
    """The default of `should_stop`."""
    return False


def send_all_due(*, should_stop: Callable[[], bool] = never) -> Tally:
    """Send all that is due, connection after connection, in the foreground; needs no worker and no broker.

    Raises WrongKey, at the end, when a connection's token cannot be read.
    """
    tally = Tally()
    sweep(now=timezone.now())
    unreadable: WrongKey | None = None
    for connection in due_connections(timezone.now()):
        if should_stop():
            break
        try:
            tally.add(send_due(connection, should_stop=should_stop))
        except WrongKey as error:
            # The others are sent all the same.
            unreadable = error
    if unreadable is not None:
        raise unreadable
    return tally


def send_due(connection: NavigatrConnection, *, should_stop: Callable[[], bool] = never) -> Tally:
    """Send what is due of one connection until nothing is, the connection rests, or `should_stop` says so.

    Any number of these may run at the same time, in any number of processes: `claim` gives each issuance to one.
    Raises WrongKey, before anything is taken, when the stored token cannot be read.
    """
    try:
        client_for(connection).close()
    except NavigatrTokenRefused:
        connections.pause(connection, now=timezone.now(), asked_at=timezone.now())
        return Tally()
    return _Round(connection, should_stop).run()


def sweep(*, now: datetime) -> int:
    """Take back what workers left behind: their leases ran out, so the answers are unknown. Returns how many.

    Also holds what was queued for a connection in the moment when it was paused, and releases what was held in the
    moment when what it waited for was on again.
    """
    count = 0
    while lapsed := list(Issuance.objects.lapsed(now).values_list("pk", flat=True)[: settings.SEND_BATCH]):
        with transaction.atomic():
            rows = list(Issuance.objects.lapsed(now).filter(pk__in=lapsed).select_for_update())
            for row in rows:
                row.state, row.claim, row.leased_until = State.QUEUED, None, None
                row.maybe_sent, row.reason, row.next_attempt_at = True, Outcome.LEASE_RAN_OUT, now
            update_rows(rows, ["state", "claim", "leased_until", "maybe_sent", "reason", "next_attempt_at"])
            IssuanceAttempt.objects.bulk_create(
                [audit_row(row, Kind.SEND, Outcome.LEASE_RAN_OUT, at=now, next_at=now) for row in rows]
            )
            end_erased(Issuance.objects.filter(pk__in=lapsed))
            count += len(rows)
    for connection in NavigatrConnection.objects.exclude(state=NavigatrConnection.State.ACTIVE):
        Issuance.objects.filter(connection=connection, state=State.QUEUED).update(
            state=State.HELD, reason=connection.hold_reason or ""
        )
    # A poll, a claim or an answer of that very moment had still seen it off, and wrote so after the others had gone on.
    active = NavigatrConnection.State.ACTIVE
    held = Issuance.objects.filter(state=State.HELD, connection__state=active)
    held = held.exclude(reason=Outcome.LEARNER_SUSPENDED)
    # From the few mappings to their held rows, not through all rows that are held for good reason.
    switched_on = CourseBadgeMapping.objects.filter(active=True, connection__state=active)
    forgotten = list(switched_on.filter(Exists(held.filter(mapping=OuterRef("pk")))).values_list("pk", flat=True))
    if forgotten or held.filter(mapping=None).exists():
        release_held(held.filter(Q(mapping=None) | Q(mapping__in=forgotten)), now=now)
    return count


def due_connections(now: datetime) -> list[NavigatrConnection]:
    """The connections that have something to send and may send it."""
    return [
        connection
        for connection in NavigatrConnection.objects.sendable(now)
        if Issuance.objects.due(now).filter(connection=connection).exists()
    ]


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
    """Take up to `limit` due issuances for the holder of `claim_id`, today's completions before a back-fill.

    What needs no call is decided on the way, with its audit row. Two workers never get the same row, and never the
    same badge for the same address: the database's constraint has the last word.
    """
    for _try in range(5):
        try:
            with transaction.atomic():
                return _claim(connection, claim_id, limit, now)
        except IntegrityError:
            # Another worker took the same badge for the same address in this very moment: look again.
            continue
    log.warning("%s: others took the same issuances each time; the next sweep tries again", connection.name)
    return Claimed([], [], Tally(), more=False)


def _claim(connection: NavigatrConnection, claim_id: uuid.UUID, limit: int, now: datetime) -> Claimed:
    limit = limits.places(connection, limit, now)
    if not limit:
        return Claimed([], [], Tally(), more=True, limited=True)
    # The environment is asked for as well: ids of staging's badges must never be used in production.
    rows = list(
        Issuance.objects.due(now)
        .filter(connection=connection, environment=connection.environment)
        .select_related("learner", "completion")
        # A few for many rows: read once, not with every row.
        .prefetch_related("course__site", "mapping__connection")
        .select_for_update(skip_locked=True, of=("self",))
        .order_by("backfill", "next_attempt_at")[:limit]
    )
    taken, held = _taken_recipients(connection, rows), _held_badges(connection, rows)
    # Whose mapping was removed while they were in a worker's hands; their course may have been mapped anew.
    orphans = {row.course_id for row in rows if row.mapping is None}
    mapped_anew = {
        mapping.course_id: mapping
        for mapping in CourseBadgeMapping.objects.filter(course__in=orphans).select_related("connection")
    }
    claimed = Claimed([], [], Tally(), more=len(rows) == limit)
    unknown, readdressed, decided = [], [], []
    for row in rows:
        row.connection = connection
        if row.maybe_sent and row.learner.erased_at is None:
            # It may be in Navigatr already: that is looked up, whatever has changed since.
            unknown.append(row)
            continue
        current = row.mapping or mapped_anew.get(row.course_id)
        if current and row.learner.erased_at is None and not (row.mapping and current.awards(row)):
            # The course was mapped anew while this one was in a worker's hands.
            move_to(current, Issuance.objects.filter(pk=row.pk), now=now)
            claimed.more = True
            continue
        decision = _decide(row)
        if decision is None:
            key = recipient_key(row.learner.email)
            # The person is asked for as well as the address, which may have changed since they got the badge.
            holder = held.get((row.badge_id, row.learner_id)) or taken.setdefault(
                (row.badge_id, key), (row.learner_id, State.SENDING, row.pk)
            )
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
    IssuanceAttempt.objects.bulk_create([audit_row(row, Kind.DECISION, Outcome(row.reason), at=now) for row in ended])
    for row in ended:
        tally.count(row.state)


def _decide(row: Issuance) -> tuple[State, Outcome] | None:
    """What can be said of a due issuance without asking Navigatr: its new state and why, or None: send it."""
    learner, mapping = row.learner, row.mapping
    if learner.erased_at is not None:
        return State.CANCELLED, Outcome.ERASED
    if mapping is None:
        return State.CANCELLED, Outcome.MAPPING_REMOVED
    if not mapping.active:
        return State.HELD, mapping.hold_reason or Outcome.MAPPING_DISABLED
    if learner.deleted:
        return State.FAILED, Outcome.LEARNER_DELETED
    if learner.suspended and not row.course.site.send_suspended:
        return State.HELD, Outcome.LEARNER_SUSPENDED
    if not learner.profile_complete:
        return State.FAILED, Outcome.PROFILE_INCOMPLETE
    if mapping.min_score is not None:
        row.score_tried = row.completion.score
        # Without a score Navigatr would issue "regardless of score" (its API, "Issuing"), so it is not asked.
        if row.completion.score is None:
            return State.NOT_MET, Outcome.NO_SCORE
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
    if state not in (State.ISSUED, State.FAILED):
        row.next_attempt_at = now + STEP_ASIDE
        return State.QUEUED, Outcome(row.reason or Outcome.DUPLICATE_RECIPIENT)
    if learner_id == row.learner_id:
        issued_already = state == State.ISSUED
        return (State.CANCELLED, Outcome.ALREADY_HOLDS) if issued_already else (State.FAILED, Outcome.MAY_HOLD)
    return State.FAILED, Outcome.DUPLICATE_RECIPIENT


def badge_of(row: Issuance) -> tuple[int, int]:
    """What look-ups are grouped by."""
    return row.badge_id, row.provider_id


def payload(row: Issuance) -> dict[str, Any]:
    """What is sent to Navigatr: the official plugin's fields, and the date and address that it leaves out."""
    connection, mapping, completion, learner = row.connection, row.mapping, row.completion, row.learner
    fields: dict[str, Any] = {
        "provider_id": row.provider_id,
        "recipient_email": learner.email.strip(),
        "recipient_firstname": learner.firstname.strip(),
        "recipient_lastname": learner.lastname.strip(),
        "issue_date": completion.completed_at,
    }
    if connection.send_score:
        fields["score"] = completion.score
        fields["min_score"] = mapping.min_score if mapping else None
    if connection.send_evidence:
        fields["evidence_text"] = f"Recipient completed course {row.course.fullname or row.course.shortname}"
        fields["evidence_url"] = row.course.url
    return fields


def audit_row(
    row: Issuance,
    kind: IssuanceAttempt.Kind,
    outcome: Outcome,
    *,
    at: datetime,
    duration: timedelta | None = None,
    error: Exception | None = None,
    status: int | None = None,
    looked_up: str = "",
    next_at: datetime | None = None,
) -> IssuanceAttempt:
    """The audit row of one attempt, with Navigatr's own words scrubbed of the learner's data."""
    detail = error.detail if isinstance(error, NavigatrError) else type(error).__name__ if error else ""
    return IssuanceAttempt(
        issuance=row,
        kind=kind,
        at=at,
        duration=duration,
        status=error.status if isinstance(error, NavigatrError) else status,
        outcome=outcome,
        detail=scrub(detail, row.learner) if detail else "",
        looked_up=looked_up,
        next_attempt_at=next_at,
        environment=row.environment,
        provider_id=row.provider_id,
        badge_id=row.badge_id,
    )


def send(row: Issuance, fields: dict[str, Any], client: NavigatrClient) -> Sent:
    """Ask Navigatr to issue one badge. Every failure, even a fault of ours, comes back in the result."""
    at, started = timezone.now(), monotonic()
    assertion: Assertion | None = None
    error: Exception | None = None
    try:
        assertion = client.issue(row.badge_id, **fields)
    except NavigatrError as refused:
        error = refused
    except Exception as fault:  # noqa: BLE001 - an unknown error must end in a row that a person sees
        error = fault
        log_fault("issuing", row.pk, fault)
    return Sent(row, at, timedelta(seconds=monotonic() - started), assertion, error, client.last_status)


def look_up_rows(rows: list[Issuance], client: NavigatrClient) -> LookedUp:
    """Ask Navigatr which of these, all of one badge and provider, it has issued already."""
    at, started = timezone.now(), monotonic()
    questions = [Question(row.pk, row.recipient_key, row.first_attempt_at or row.queued_at) for row in rows]
    findings: dict[int, Finding] = {}
    error: Exception | None = None
    try:
        findings = look_up(client, badge_id=rows[0].badge_id, provider_id=rows[0].provider_id, questions=questions)
        error = next((finding.error for finding in findings.values() if finding.error), None)
    except Exception as fault:  # noqa: BLE001 - as above
        error = fault
        log_fault("looking up", rows[0].pk, fault)
    return LookedUp(rows, at, timedelta(seconds=monotonic() - started), findings, error)


def log_fault(doing: str, issuance_id: int, fault: Exception) -> None:
    """Log a fault of ours with where it happened, but without its message, which may hold personal data."""
    frames = traceback.extract_tb(fault.__traceback__)
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    log.error("%s issuance %s failed in the portal itself: %s at %s", doing, issuance_id, type(fault).__name__, where)


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
            row.maybe_sent = outcome is Outcome.UNCLEAR
            retry_later(row, outcome, now, error.retry_after)
        else:
            finish(row, State.FAILED, outcome)
    else:
        # Where the fault struck is not known, so neither is whether the request went out.
        outcome = Outcome.OUR_BUG
        row.maybe_sent = True
        finish(row, State.FAILED, outcome)
    return audit_row(
        row, Kind.SEND, outcome, at=result.at, duration=result.duration, error=error, status=result.status,
        next_at=row.next_attempt_at,
    )  # fmt: skip


def settle_looked_up(row: Issuance, result: LookedUp, now: datetime) -> IssuanceAttempt:
    """Move one looked-up issuance on (in memory), and return its audit row."""
    finding = result.findings.get(row.pk) or Finding(Outcome.OUR_BUG, "")
    outcome, error = finding.outcome, finding.error or result.error
    if finding.assertion is not None:
        issued(row, finding.assertion, Outcome.FOUND, now)
    elif outcome is Outcome.NOT_THERE:
        again_at_once(row, outcome, now)
    elif outcome is Outcome.LOOKUP_REFUSED:
        row.lookups_refused += 1
        if row.lookups_refused == 1:
            again_at_once(row, outcome, now)
        else:
            finish(row, State.FAILED, outcome)
    elif isinstance(error, NavigatrTokenRefused):
        finish(row, State.HELD, Outcome.CONNECTION_PAUSED)
    elif isinstance(error, NavigatrError):
        retry_later(row, outcome, now, error.retry_after)
    else:
        finish(row, State.FAILED, Outcome.OUR_BUG)
    return audit_row(
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
    """Out of the worker's hands, and not coming back by itself."""
    row.state, row.reason = state, reason
    row.claim = row.leased_until = row.next_attempt_at = None


def again_at_once(row: Issuance, reason: Outcome, now: datetime) -> None:
    """Back into the queue, to be sent with all that has changed since; it is known not to have been issued yet."""
    finish(row, State.QUEUED, reason)
    row.maybe_sent = False
    row.next_attempt_at = now


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


DATABASE_AWAY = (OperationalError, InterfaceError)
TRY_THE_DATABASE_EVERY = timedelta(seconds=0.5)


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
    """Write what Navigatr answered, again and again while the database is away, for as long as the leases hold.

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


class _Round:
    """One run of `send_due`: threads talk to Navigatr; this thread claims, writes results and renews the leases."""

    def __init__(self, connection: NavigatrConnection, should_stop: Callable[[], bool]) -> None:
        self.connection = connection
        self.should_stop = should_stop
        self.claim_id = uuid.uuid4()
        self.tally = Tally()
        # What may not begin yet; tasks for the threads, None to end one; what comes back; and the claimed rows that
        # are not settled yet.
        self.scheduled: deque[Task] = deque()
        self.tasks: SimpleQueue[Task | None] = SimpleQueue()
        self.results: SimpleQueue[Sent | LookedUp | NotBegun] = SimpleQueue()
        self.unsettled: dict[int, Issuance] = {}
        self.threads: list[Future[None]] = []
        self.more = True
        self.halted = False
        self.failures = connection.failures
        self.probe: datetime | None = None
        # Nothing is begun from then on: without a renewal its lease may run out before the answer comes.
        self.begin_until = timezone.now() + settings.LEASE

    def run(self) -> Tally:
        """Claim, send and settle until nothing is due, the connection rests, or it is told to stop."""
        with ThreadPoolExecutor(settings.SEND_THREADS, thread_name_prefix="send") as pool:
            try:
                self._claim_more(pool)
                while self.unsettled:
                    self._begin_what_may()
                    self._settle(self._collect())
                    self._raise_what_ended_a_thread()
                    if not self.halted and self.should_stop():
                        self._halt()
                    with database_may_be_away(unless=not self.unsettled):
                        if not self.halted and self._has_room():
                            self._claim_more(pool)
                        self._renew_leases()
            finally:
                try:
                    self._halt()
                finally:
                    for _thread in self.threads:
                        self.tasks.put(None)
        return self.tally

    @property
    def probing(self) -> bool:
        """After a run of failures one issuance goes first, to see whether Navigatr is back."""
        tripped: bool = self.failures >= settings.CIRCUIT_THRESHOLD
        return tripped

    def _has_room(self) -> bool:
        """Whether to take more: the threads soon have nothing to do, and a crash would leave few answers unknown."""
        few = self.tasks.qsize() < settings.SEND_BATCH // 2 and len(self.unsettled) < 2 * settings.SEND_BATCH
        return self.more and few

    def _claim_more(self, pool: ThreadPoolExecutor) -> None:
        """Take more into hand; several claims in a row when one only decided things without a call."""
        now = timezone.now()
        while self.more and not self.should_stop():
            if not connections.may_send(self.connection, now):
                self.more = False
                return
            limit = 1 if self.probing else settings.SEND_BATCH
            claimed = claim(self.connection, self.claim_id, limit=limit, now=now)
            self.tally.add(claimed.tally)
            self.more = claimed.more and not self.probing
            rows = claimed.rows
            self.unsettled.update((row.pk, row) for row in rows)
            asks: list[tuple[list[Issuance], Callable[[NavigatrClient], Sent | LookedUp]]] = [
                *((together, partial(look_up_rows, together)) for together in claimed.look_up),
                *(([row], partial(send, row, payload(row))) for row in claimed.send),
            ]
            self.scheduled.extend(Task(*ask, at) for ask, at in zip(asks, claimed.begin_at, strict=True))
            if rows and self.probing:
                self.probe = connections.take_probe(self.connection, self.failures, now=now)
                if self.probe is None:
                    # Another worker's probe is on its way, and one is enough.
                    self._halt()
                    return
            self._begin_what_may()
            while len(self.threads) < min(len(self.unsettled), settings.SEND_THREADS):
                self.threads.append(pool.submit(self._work))
            if self.unsettled or claimed.limited:
                return

    def _begin_what_may(self) -> None:
        """Hand the threads those tasks whose time has come."""
        now = timezone.now()
        while self.scheduled and self.scheduled[0].begin_at <= now:
            self.tasks.put(self.scheduled.popleft())

    def _work(self) -> None:
        """One thread: a client of its own, task after task, until told to end."""
        with client_for(self.connection) as client:
            while (task := self.tasks.get()) is not None:
                in_time = timezone.now() < self.begin_until
                self.results.put(task.ask(client) if in_time else NotBegun(task.rows))

    def _raise_what_ended_a_thread(self) -> None:
        """A thread that ended before it was told to has failed; what it had in hand is looked up after the lease."""
        for thread in self.threads:
            if thread.done():
                thread.result()

    def _collect(self) -> list[Sent | LookedUp | NotBegun]:
        """The results that came within a moment, up to one write's worth; at once when one may concern the others."""
        until = monotonic() + WRITE_AFTER_SECONDS
        results: list[Sent | LookedUp | NotBegun] = []
        outstanding = len(self.unsettled)
        while len(results) < min(WRITE_EVERY, outstanding) and (left := until - monotonic()) > 0:
            with suppress(Empty):
                results.append(self.results.get(timeout=left))
                error = results[-1].error
                if isinstance(error, NavigatrError) and meanings.of_error(error) in STOPS_OTHERS:
                    break
        return results

    def _settle(self, collected: Sequence[Sent | LookedUp | NotBegun]) -> None:
        """Write new states and audit rows of these results in one transaction, then see how the connection does."""
        not_begun = [result for result in collected if isinstance(result, NotBegun)]
        if not_begun:
            self._halt()
            self._hand_back(not_begun)
        results = [result for result in collected if not isinstance(result, NotBegun)]
        if not results:
            return
        now = timezone.now()
        settled: list[tuple[Issuance, IssuanceAttempt]] = []
        for result in results:
            if isinstance(result, Sent):
                settled.append((result.row, settle_sent(result, now)))
            else:
                settled.extend((row, settle_looked_up(row, result, now)) for row in result.rows)
        rows, attempts = [row for row, _ in settled], [attempt for _, attempt in settled]
        persist(partial(write_settled, rows, attempts, self.claim_id, now), is_written=partial(is_written, attempts[0]))
        for row, attempt in settled:
            del self.unsettled[row.pk]
            self.tally.attempts += 1
            self.tally.count(row.state)
            # What was looked up and is not there goes out again in this very round.
            self.more = self.more or attempt.outcome in SEND_AT_ONCE
        with database_may_be_away():
            self._see_how_the_connection_does(results, now)

    def _see_how_the_connection_does(self, results: Sequence[Sent | LookedUp], now: datetime) -> None:
        """Failures that concern everybody stop the round: a refused token, a pause asked for, a run of failures."""
        for result in results:
            error = result.error
            if error is not None and not isinstance(error, NavigatrError):
                # A fault of ours says nothing about Navigatr.
                continue
            outcome = meanings.of_error(error) if error is not None else None
            if outcome is Outcome.TOKEN_REFUSED:
                self._halt()
                connections.pause(self.connection, now=now, asked_at=result.at)
            elif outcome is Outcome.RATE_LIMITED and error is not None:
                self._halt()
                connections.rest(self.connection, error.retry_after or settings.RETRY_FIRST, outcome, now=now)
            elif outcome not in TROUBLE:
                # An answer, whatever it said: Navigatr is there.
                self.more = self.more or self.probing
                self._count_failures(0)
            elif not self.halted:
                self._count_failures(self.failures + 1)
                if self.probing:
                    self._halt()
                    connections.rest(self.connection, circuit_pause(self.failures), outcome, now=now)

    def _count_failures(self, failures: int) -> None:
        if failures != self.failures:
            self.failures = failures
            connections.count_failures(self.connection, failures, probe=self.probe)

    def _halt(self) -> None:
        """Begin nothing more, and hand back at once what no thread has begun."""
        if self.halted:
            return
        self.halted = True
        back = [*self.scheduled]
        self.scheduled.clear()
        with suppress(Empty):
            while (task := self.tasks.get_nowait()) is not None:
                back.append(task)
        self._hand_back(back)

    def _hand_back(self, unbegun: Sequence[Task | NotBegun]) -> None:
        """Let others take these; those that others have taken already stay theirs."""
        back = [row.pk for task in unbegun for row in task.rows]
        for pk in back:
            del self.unsettled[pk]
        # Without the database their leases run out, and they are looked up for nothing.
        with database_may_be_away():
            mine = Issuance.objects.filter(pk__in=back, claim=self.claim_id, state=State.SENDING)
            # What was never begun has not begun its week.
            mine.filter(failures=0, maybe_sent=False).update(first_attempt_at=None)
            mine.update(state=State.QUEUED, claim=None, leased_until=None)

    def _renew_leases(self) -> None:
        """Keep what is in hand ours while Navigatr is slow.

        What could not be renewed in time, as the database was away or this machine stood still, may be another's: then
        nothing more is begun.
        """
        now = timezone.now()
        if now >= self.begin_until:
            self._halt()
        elif now > self.begin_until - settings.LEASE * 2 / 3:
            Issuance.objects.filter(pk__in=list(self.unsettled), claim=self.claim_id, state=State.SENDING).update(
                leased_until=now + lease_of(self.connection)
            )
            self.begin_until = now + settings.LEASE
