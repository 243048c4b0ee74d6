"""The audit trail: what people do, and how each attempt ended, in the transaction of the change itself."""

from datetime import datetime, timedelta
from typing import Any

from navigatr_client import NavigatrError

from .meanings import Outcome
from .models import AuditEntry, Issuance, IssuanceAttempt
from .scrubbing import scrub


def record(action: AuditEntry.Action, subject: object, *, actor: Any = None, **details: Any) -> None:
    """Add one entry. `actor` is a user or None (a command, the portal itself); no personal data in the rest."""
    known = actor if getattr(actor, "pk", None) else None
    AuditEntry.objects.create(action=action, subject=str(subject)[:255], actor=known, details=details)


def attempt(
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
    """The row of one attempt, not saved. The learner's data is taken out of Navigatr's message."""
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
