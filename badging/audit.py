"""Writes down what people do, in the transaction of the change itself."""

from typing import Any

from .models import AuditEntry


def record(action: AuditEntry.Action, subject: object, *, actor: Any = None, **details: Any) -> None:
    """Add one entry. `actor` is a user or None (a command, the portal itself); no personal data in the rest."""
    known = actor if getattr(actor, "pk", None) else None
    AuditEntry.objects.create(action=action, subject=str(subject)[:255], actor=known, details=details)
