"""What people do to issuances by hand: send again, look up again, and cancel."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils.translation import ngettext

from moodle_sync.models import Completion

from . import audit, transitions
from .meanings import Outcome
from .models import (
    NOTHING_OPEN,
    UNSENT,
    AuditEntry,
    Issuance,
    IssuanceQuerySet,
    Unanswered,
    update_by_pk,
)
from .queueing import lock_mappings, pks_of, requeue

State = Issuance.State
Action = AuditEntry.Action

# How many issuances one audit entry names.
MOST_NAMED = 500

# After these a course manager may have mended the cause: in Navigatr, or by waiting until it was over. Others go on by
# themselves, would end in the same way again, or need somebody who reads Navigatr's words or looks for a double.
MENDED_BY_MANAGERS = [Outcome.UNPUBLISHED, Outcome.FORBIDDEN, Outcome.NOT_MET, Outcome.GAVE_UP, Outcome.MAY_HOLD]

COULD_NOT_LOOK = Q(state=State.FAILED, reason=Outcome.LOOKUP_REFUSED)


def can_send_again() -> Q:
    """Which issuances `send_again` queues."""
    states = Q(state__in=[State.FAILED, State.NOT_MET, State.CANCELLED, State.QUEUED])
    movable = states | Q(state=State.HELD, reason=Outcome.IMPLAUSIBLE_DATE)
    return movable & Q(learner__erased_at=None, course__mapping__isnull=False)


def managers_can_send_again() -> Q:
    """Which issuances of their courses course managers may send again. Only where no answer is missing."""
    stopped = Q(state__in=[State.FAILED, State.NOT_MET], reason__in=MENDED_BY_MANAGERS)
    return NOTHING_OPEN & stopped & can_send_again()


def can_cancel() -> Q:
    """Which issuances `cancel` cancels. Where Navigatr let nobody look, a person has looked."""
    return Q(state__in=UNSENT) & (NOTHING_OPEN | COULD_NOT_LOOK)


def can_look_up() -> Q:
    """Which issuances `look_up_again` has looked up: those of which no answer says whether they are in Navigatr.

    Not what a person has cancelled: what is not found is sent.
    """
    by_hand = Q(state=State.CANCELLED, reason=Outcome.BY_HAND)
    return Q(state__in=[*UNSENT, State.CANCELLED], learner__erased_at=None) & ~NOTHING_OPEN & ~by_hand


@transaction.atomic
def send_again(rows: IssuanceQuerySet, *, actor: Any = None, now: datetime) -> int:
    """Queue waiting, failed, not-met and cancelled issuances; returns how many. Issued ones are never sent again.

    What may have been sent is looked up first. Rows whose course has no mapping are left alone. An implausible date is
    accepted by this, and Moodle need not confirm the completion before it is sent.
    """
    keys = list(rows.filter(can_send_again()).order_by("pk").values_list("pk", "completion", "course"))
    pks = [pk for pk, _completion, _course in keys]
    # Completions, mappings, issuances: a poll locks them in this order as well.
    Completion.objects.filter(pk__in=[completion for _pk, completion, _course in keys]).update(confirmed_at=now)
    lock_mappings({course for _pk, _completion, course in keys})
    chosen = Issuance.objects.filter(can_send_again(), pk__in=pks)
    _take_their_word(chosen)
    update_by_pk(pks, Q(reason=Outcome.IMPLAUSIBLE_DATE), date_accepted=True)
    locked = _locked(pks, can_send_again())
    requeue(Issuance.objects.filter(pk__in=locked), now=now)
    return _record(Action.SENT_AGAIN, locked, actor)


@transaction.atomic
def cancel(rows: IssuanceQuerySet, *, actor: Any = None) -> int:
    """Cancel what waits or has failed, and cannot have been sent or looked up; returns how many."""
    locked = _locked(pks_of(rows.filter(can_cancel())), can_cancel())
    transitions.change(locked, transitions.Event.CANCEL, where=can_cancel(), reason=Outcome.BY_HAND)
    return _record(Action.CANCELLED, locked, actor)


@transaction.atomic
def look_up_again(rows: IssuanceQuerySet, *, actor: Any = None, now: datetime) -> int:
    """Have Navigatr asked again whether these are there; returns how many are looked up.

    What is found is issued, what is not there is sent as usual. Where Navigatr lets nobody look, nothing is sent.
    """
    locked = _locked(pks_of(rows.filter(can_look_up())), can_look_up())
    transitions.look_up(locked, now=now)
    return _record(Action.LOOKED_UP, locked, actor)


def _locked(pks: Sequence[int], where: Q) -> list[int]:
    """Which of these fit now, locked until the end of the transaction: what is done to them is done to all of them.

    A worker may have taken some of them since they were chosen.
    """
    rows = Issuance.objects.filter(where, pk__in=pks).order_by("pk").only("pk")
    return [row.pk for row in rows.select_for_update(no_key=True, of=["self"])]


def _take_their_word(rows: IssuanceQuerySet) -> None:
    """Whoever sends again what could not be looked up has looked, as its page asks, and not found it.

    What can still be looked up is looked up all the same. Their word alone counts where another badge, or to another
    address, would be sent now than may have been sent before.
    """
    stuck = rows.filter(COULD_NOT_LOOK, ~NOTHING_OPEN)
    unsent = [row.pk for row in stuck.select_related("learner", "course__mapping") if not row.is_as_sent]
    update_by_pk(unsent, COULD_NOT_LOOK, unanswered=Unanswered.NOTHING)


def _record(action: AuditEntry.Action, pks: list[int], actor: Any) -> int:
    """Keep what was done to which issuances, and return to how many. Nothing is kept where nothing was changed."""
    if pks:
        subject = ngettext("%(count)d issuance", "%(count)d issuances", len(pks)) % {"count": len(pks)}
        entry = audit.record(action, subject, actor=actor, count=len(pks), issuances=pks[:MOST_NAMED])
        audit.name_issuances(entry, pks)
    return len(pks)
