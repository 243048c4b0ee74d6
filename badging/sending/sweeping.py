"""Taking up what was left behind: by workers that died, and in the very moment in which a switch was turned."""

from datetime import datetime

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q

from .. import audit
from ..connections import hold_queued
from ..meanings import Outcome
from ..models import CourseBadgeMapping, Issuance, IssuanceAttempt, NavigatrConnection
from ..privacy import end_erased
from ..queueing import release_held
from .bulk import update_rows
from .settling import after_a_repeat

State = Issuance.State
ACTIVE = NavigatrConnection.State.ACTIVE


def sweep(*, now: datetime) -> int:
    """Set right whatever nobody else comes back to; returns how many issuances were taken back from dead workers."""
    taken_back = take_back_lapsed(now)
    hold_what_is_off()
    release_forgotten(now)
    return taken_back


def take_back_lapsed(now: datetime) -> int:
    """Queue those whose leases ran out: their answers are unknown, so they are looked up first. Returns how many."""
    count = 0
    while lapsed := list(Issuance.objects.lapsed(now).values_list("pk", flat=True)[: settings.SEND_BATCH]):
        with transaction.atomic():
            rows = list(Issuance.objects.lapsed(now).filter(pk__in=lapsed).select_for_update())
            for row in rows:
                row.state, row.claim, row.leased_until = State.QUEUED, None, None
                row.maybe_sent, row.reason, row.next_attempt_at = True, Outcome.LEASE_RAN_OUT, now
                row.lookups_refused = after_a_repeat(row)
            update_rows(
                rows,
                ["state", "claim", "leased_until", "maybe_sent", "lookups_refused", "reason", "next_attempt_at"],
            )
            told = [
                audit.attempt(row, IssuanceAttempt.Kind.SEND, Outcome.LEASE_RAN_OUT, at=now, next_at=now)
                for row in rows
            ]
            IssuanceAttempt.objects.bulk_create(told)
            end_erased(Issuance.objects.filter(pk__in=lapsed))
            count += len(rows)
    return count


def hold_what_is_off() -> None:
    """Hold what was queued for a connection in the moment in which it was paused or removed."""
    for connection in NavigatrConnection.objects.exclude(state=ACTIVE):
        if connection.hold_reason is not None:
            hold_queued(connection, connection.hold_reason)


def release_forgotten(now: datetime) -> None:
    """Queue what was held in the moment in which what it waited for was on again.

    A poll, a claim or an answer of that very moment had still seen it off, and wrote so after the others had gone on.
    """
    held = Issuance.objects.switched_off().filter(connection__state=ACTIVE)
    # From the few mappings to their held rows, not through all rows that are held for good reason.
    switched_on = CourseBadgeMapping.objects.filter(active=True, connection__state=ACTIVE)
    forgotten = list(switched_on.filter(Exists(held.filter(mapping=OuterRef("pk")))).values_list("pk", flat=True))
    if forgotten or held.filter(mapping=None).exists():
        release_held(held.filter(Q(mapping=None) | Q(mapping__in=forgotten)), now=now)
