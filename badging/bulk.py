"""Background actions: one action on many issuances, in batches, with progress, and a stop at any time.

A worker takes a run with a lease, and commits each batch together with how far the run is. If the worker dies, the
lease runs out and another one goes on after the last batch that was committed, so that nothing is done twice. After
MOST_FAILURES such workers in a row the run has failed, and a person is told. Each batch calls the same functions as an
action on a few rows (`by_hand`).
"""

import uuid
from bisect import bisect_right
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count
from django.utils.translation import ngettext

from moodle_sync.models import Course

from . import audit, by_hand
from .meanings import Outcome
from .models import AuditEntry, BulkRun, Issuance, IssuanceQuerySet

State = BulkRun.State
Action = AuditEntry.Action

# How many issuances one transaction changes, and how long a worker may take for that before another one takes over.
BATCH = 200
LEASE = timedelta(minutes=2)
# Up to so many chosen issuances an action is done at once, while the person waits.
AT_ONCE = 100
# After so many workers in a row that did not come to the end of a batch the run is given up.
MOST_FAILURES = 3
# How many chosen rows an action takes: Django accepts 1,000 form fields, a person should see what they confirm, and one
# audit entry names them all.
MOST_CHOSEN = by_hand.MOST_NAMED


class NothingToDo(Exception):
    """No issuance is in the run any more; nothing was started."""


def failed_of(course: Course, reason: str = "") -> IssuanceQuerySet:
    """What has failed in a course, for one reason or for any."""
    rows = Issuance.objects.filter(course=course, state=Issuance.State.FAILED)
    return rows.filter(reason=reason) if reason else rows


def reasons_of_failures(course: Course) -> list[tuple[Outcome, int]]:
    """Why issuances of a course have failed, and how many for each reason, the most first."""
    counts = failed_of(course).order_by().values_list("reason").annotate(number=Count("pk"))
    found = [(Outcome(reason), number) for reason, number in counts if reason]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


# Starting and stopping


@transaction.atomic
def start_chosen(*, kind: BulkRun.Kind, chosen: Sequence[int], actor: Any, now: datetime) -> BulkRun:
    """Have an action done to these issuances, at most MOST_CHOSEN. Raises NothingToDo."""
    pks = sorted(chosen)[:MOST_CHOSEN]
    if not pks:
        raise NothingToDo
    return _start(BulkRun(kind=kind, chosen=pks, total=len(pks), last=pks[-1]), actor, now)


@transaction.atomic
def start_failed(*, kind: BulkRun.Kind, course: Course, reason: str = "", actor: Any, now: datetime) -> BulkRun:
    """Have an action done to all that has failed in the course until now, for one reason or any. Raises NothingToDo."""
    # Named by their ids: what fails from now on is not what the person saw and confirmed.
    pks = list(failed_of(course, reason).order_by("pk").values_list("pk", flat=True))
    if not pks:
        raise NothingToDo
    run = BulkRun(kind=kind, course=course, reason=reason, chosen=pks, total=len(pks), last=pks[-1])
    return _start(run, actor, now)


def _start(run: BulkRun, actor: Any, now: datetime) -> BulkRun:
    run.actor, run.created_at = actor, now
    run.save()
    _record(Action.BULK_STARTED, run, actor)
    return run


@transaction.atomic
def stop(run: BulkRun, *, actor: Any, now: datetime) -> bool:
    """Do nothing more of a run; False if it had ended already. What is done stays done."""
    current = BulkRun.objects.select_for_update().get(pk=run.pk)
    if not current.is_open:
        return False
    current.state, current.stopped_by = State.STOPPED, actor
    _end(current, now)
    _record(Action.BULK_STOPPED, current, actor)
    return True


# Working


@transaction.atomic
def take(run_id: int, *, now: datetime) -> uuid.UUID | None:
    """Take a run for one worker, with a lease; None if it has ended, or another worker has it.

    One that its worker did not give back was broken off by a fault: after MOST_FAILURES of them in a row it ends.
    """
    free = BulkRun.objects.to_be_worked_on(now).filter(pk=run_id)
    run = free.select_for_update(no_key=True, of=["self"]).select_related("course").order_by("pk").first()
    if run is None:
        return None
    run.failures += run.state == State.RUNNING
    if run.failures >= MOST_FAILURES:
        run.state = BulkRun.State.FAILED
        _end(run, now)
        _record(Action.BULK_FAILED, run, None)
        return None
    run.state, run.claim, run.leased_until = State.RUNNING, uuid.uuid4(), now + LEASE
    run.started_at = run.started_at or now
    run.save(update_fields=["state", "claim", "leased_until", "started_at", "failures"])
    return run.claim


@transaction.atomic
def do_batch(run_id: int, claim: uuid.UUID, *, now: datetime) -> bool:
    """Do the next batch, and renew the lease; False when the run has ended or is another worker's."""
    run = BulkRun.objects.select_for_update(no_key=True, of=["self"]).select_related("actor").get(pk=run_id)
    if run.state != State.RUNNING or run.claim != claim:
        return False
    pks = _rest_of(run)[:BATCH]
    if not pks:
        run.state = State.DONE
        _end(run, now)
        _record(Action.BULK_ENDED, run, run.actor)
        return False
    # What others have changed meanwhile is left alone.
    rows = failed_of(run.course, run.reason) if run.course else Issuance.objects.all()
    run.changed += _act(run, rows.filter(pk__in=pks), now)
    run.done += len(pks)
    run.after, run.leased_until, run.failures = pks[-1], now + LEASE, 0
    run.save(update_fields=["changed", "done", "after", "leased_until", "failures"])
    return True


def hand_back(run_id: int, claim: uuid.UUID) -> None:
    """Let the next worker go on at once."""
    mine = BulkRun.objects.filter(pk=run_id, claim=claim, state=State.RUNNING)
    mine.update(state=State.WAITING, claim=None, leased_until=None)


def work(run_id: int, *, should_stop: Callable[[], bool], clock: Callable[[], datetime]) -> None:
    """Do batches until the run has ended, or this worker should stop."""
    claim = take(run_id, now=clock())
    if claim is None:
        return
    while do_batch(run_id, claim, now=clock()):
        if should_stop():
            hand_back(run_id, claim)
            return


def _rest_of(run: BulkRun) -> list[int]:
    """The ids of what is still to be done, in order."""
    pks: list[int] = run.chosen
    return pks[bisect_right(pks, run.after) :]


def _act(run: BulkRun, rows: IssuanceQuerySet, now: datetime) -> int:
    """Do to these what the run is for; returns how many were changed."""
    if run.kind == BulkRun.Kind.CANCEL:
        return by_hand.cancel(rows, actor=run.actor)
    act = by_hand.look_up_again if run.kind == BulkRun.Kind.LOOK_UP else by_hand.send_again
    return act(rows, actor=run.actor, now=now)


def _end(run: BulkRun, now: datetime) -> None:
    run.ended_at, run.claim, run.leased_until = now, None, None
    # Ids are needed no more.
    run.chosen = []
    run.save()


def _record(action: AuditEntry.Action, run: BulkRun, actor: Any) -> None:
    """Keep what was asked for, and how far it went."""
    chosen = ngettext("%(count)d chosen issuance", "%(count)d chosen issuances", run.total)
    subject = run.course or chosen % {"count": run.total}
    audit.record(
        action, subject, actor=actor, run=run.pk, kind=run.kind, reason=run.reason, total=run.total, done=run.done,
        changed=run.changed,
    )  # fmt: skip
