"""The sweep: takes back what dead workers held."""

from datetime import datetime

from django.conf import settings
from django.db import transaction

from .. import audit, transitions
from ..meanings import Outcome
from ..models import Issuance, IssuanceAttempt, Unanswered
from ..privacy import end_erased
from ..transitions import Change, Event

LAPSED = ["state", "claim", "leased_until", "unanswered", "reason", "next_attempt_at"]


def sweep(*, now: datetime) -> int:
    """Queue those whose leases ran out: their answers are unknown, so they are looked up first. Returns how many."""
    count = 0
    while lapsed := list(Issuance.objects.lapsed(now).values_list("pk", flat=True)[: settings.SEND_BATCH]):
        with transaction.atomic():
            rows = list(Issuance.objects.lapsed(now).filter(pk__in=lapsed).order_by("pk").select_for_update())
            for row in rows:
                unknown = Unanswered(row.unanswered).after_another
                values = {"unanswered": unknown, "next_attempt_at": now}
                transitions.change_row(row, Change(Event.LEASE_RUNS_OUT, Outcome.LEASE_RAN_OUT, values))
            transitions.write_rows(rows, LAPSED)
            audit.write_attempts(
                [
                    audit.attempt(row, IssuanceAttempt.Kind.SEND, Outcome.LEASE_RAN_OUT, at=now, next_at=now)
                    for row in rows
                ]
            )
            end_erased(lapsed)
            count += len(rows)
    return count
