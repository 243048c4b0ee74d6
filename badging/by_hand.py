"""What people do to single issuances by hand: send again, and cancel."""

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from moodle_sync.models import Completion

from . import audit
from .meanings import Outcome
from .models import AuditEntry, Issuance, IssuanceQuerySet
from .queueing import requeue

State = Issuance.State
Action = AuditEntry.Action

# The admin's actions take no more at once.
MOST_NAMED = 500


@transaction.atomic
def send_again(rows: IssuanceQuerySet, *, actor: Any = None, now: datetime) -> int:
    """Queue failed, not-met and cancelled issuances by hand; returns how many. Issued ones are never sent again.

    What may have been sent is looked up first. Rows whose course has no mapping are left alone. An implausible date is
    accepted by this, and Moodle need not confirm the completion before it is sent.
    """
    movable = Q(state__in=[State.FAILED, State.NOT_MET, State.CANCELLED, State.QUEUED])
    chosen = rows.filter(movable | Q(state=State.HELD, reason=Outcome.IMPLAUSIBLE_DATE))
    numbers = _numbers(chosen)
    _take_their_word(chosen)
    chosen.filter(reason=Outcome.IMPLAUSIBLE_DATE).update(date_accepted=True)
    Completion.objects.filter(pk__in=chosen.order_by().values("completion")).update(confirmed_at=now)
    count = requeue(chosen, now=now)
    _record_by_hand(Action.SENT_AGAIN, numbers, count, actor)
    return count


@transaction.atomic
def cancel(rows: IssuanceQuerySet, *, actor: Any = None) -> int:
    """Cancel by hand what waits or has failed, and cannot have been sent or looked up; returns how many."""
    # Where Navigatr let nobody look, a person has looked.
    rows = rows.unsent() | rows.filter(state=State.FAILED, reason=Outcome.LOOKUP_REFUSED)
    numbers = _numbers(rows)
    count = rows.update(state=State.CANCELLED, reason=Outcome.BY_HAND, next_attempt_at=None)
    _record_by_hand(Action.CANCELLED, numbers, count, actor)
    return count


def _take_their_word(rows: IssuanceQuerySet) -> None:
    """Whoever sends again what could not be looked up has looked, as its page asks, and not found it.

    What can still be looked up is looked up all the same: only what would now be sent as another badge or to another
    address than before is known to be unsent by their word alone.
    """
    stuck = rows.filter(state=State.FAILED, reason=Outcome.LOOKUP_REFUSED, maybe_sent=True)
    unsent = [row.pk for row in stuck.select_related("learner", "mapping") if not row.is_as_sent]
    Issuance.objects.filter(pk__in=unsent, state=State.FAILED).update(maybe_sent=False, lookups_refused=0)


def _numbers(rows: IssuanceQuerySet) -> list[int]:
    """Which they are, as far as an audit entry names them."""
    return list(rows.order_by("pk").values_list("pk", flat=True)[:MOST_NAMED])


def _record_by_hand(action: AuditEntry.Action, numbers: list[int], count: int, actor: Any) -> None:
    """Keep what was done to which issuances; a press that changed nothing leaves no entry."""
    if count:
        told = _("%(count)d issuance(s)") % {"count": count}
        audit.record(action, told, actor=actor, count=count, issuances=numbers)
