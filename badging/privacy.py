"""Everything held about a person: shown to them, and erased for good.

`PERSONAL_RELATIONS` lists the tables that point to a learner. The export walks it, and a test fails when a model gains
a relation to Learner that is not in it. Erasure blanks the learner, and in issuances the digest of the address; the
other rows name nobody.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import models, transaction

from moodle_sync.models import Completion, Learner

from . import audit, transitions
from .meanings import Outcome
from .models import AuditEntry, Issuance, IssuanceAttempt, IssuanceQuerySet, Unanswered

State = Issuance.State


class NobodyFound(Exception):
    """Nobody is known under this address."""


def find_learners(email: str) -> list[Learner]:
    """Everybody known under the address, in any Moodle site. Raises NobodyFound."""
    found = list(Learner.objects.with_email(email).select_related("site").order_by("pk")) if email.strip() else []
    if not found:
        raise NobodyFound
    return found


def export_learners(learners: Iterable[Learner], *, actor: Any = None) -> dict[str, Any]:
    """All that is held about these people, as plain data for JSON. Times are ISO 8601, UTC."""
    people = []
    for learner in learners:
        person: dict[str, Any] = {"moodle_site": learner.site.name, **fields_of(learner)}
        for name, rows in PERSONAL_RELATIONS.items():
            person[name] = [rows.show(row) for row in rows.of(learner)]
        people.append(person)
        audit.record(AuditEntry.Action.LEARNER_EXPORTED, f"learner {learner.pk}", actor=actor)
    return {"learners": people}


@transaction.atomic
def erase_learner(learner: Learner, *, actor: Any = None, now: datetime) -> int:
    """Blank the person for good; returns how many waiting issuances were cancelled.

    The Moodle user id stays, so that the next poll recognises the person and does not bring them back; audit rows
    stay, they hold no personal data. What is on its way to Navigatr in this moment may still arrive there, and badges
    already issued live in Navigatr: erase them there too.
    """
    learner = Learner.objects.select_for_update().get(pk=learner.pk)
    learner.firstname = learner.lastname = learner.email = learner.email_key = ""
    learner.erased_at = learner.erased_at or now
    learner.save(update_fields=["firstname", "lastname", "email", "email_key", "erased_at"])
    own = Issuance.objects.filter(learner=learner)
    # Locked, so that none of them comes back from a worker between the changes made here.
    list(own.order_by("pk").select_for_update().values_list("pk", flat=True))
    cancelled = end_erased(own)
    audit.record(
        AuditEntry.Action.LEARNER_ERASED, f"learner {learner.pk}", actor=actor, moodle_id=learner.moodle_id,
        cancelled=cancelled,
    )  # fmt: skip
    return cancelled


def end_erased(rows: IssuanceQuerySet) -> int:
    """End those of these issuances whose learner is erased and that no worker has in hand; returns how many waited.

    What may have been sent can no longer be looked up without the address's digest, and is not sent again.
    """
    gone = list(rows.filter(learner__erased_at__isnull=False).exclude(state=State.SENDING).values_list("pk", flat=True))
    if not gone:
        return 0
    cancelled = transitions.change(gone, transitions.Event.ERASE, reason=Outcome.ERASED)
    ended = Issuance.objects.filter(pk__in=gone).exclude(state=State.SENDING)
    ended.update(recipient_key="", unanswered=Unanswered.NOTHING)
    return cancelled


def fields_of(row: models.Model) -> dict[str, Any]:
    """Every column of a row but the pointers to others, ready for JSON."""
    values = {}
    for column in row._meta.concrete_fields:
        if not column.is_relation:
            value = getattr(row, column.name)
            values[column.name] = value if isinstance(value, (str, int, bool, type(None))) else plain(value)
    return values


def plain(value: Any) -> Any:
    """Times as ISO 8601, scores as numbers (80, 59.5), the rest as text."""
    if isinstance(value, Decimal):
        return int(value) if value == int(value) else float(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


@dataclass(frozen=True)
class Relation:
    """One table that points to learners: how to find a learner's rows, and how to show one."""

    of: Callable[[Learner], Iterable[Any]]
    show: Callable[[Any], dict[str, Any]]


def _show_completion(row: Completion) -> dict[str, Any]:
    return {"course": str(row.course), **fields_of(row)}


def _show_issuance(row: Issuance) -> dict[str, Any]:
    attempts = IssuanceAttempt.objects.filter(issuance=row).order_by("pk")
    return {"course": str(row.course), **fields_of(row), "attempts": [fields_of(attempt) for attempt in attempts]}


PERSONAL_RELATIONS: dict[str, Relation] = {
    "completions": Relation(
        lambda learner: learner.completions.select_related("course").order_by("pk"), _show_completion
    ),
    "issuances": Relation(lambda learner: learner.issuances.select_related("course").order_by("pk"), _show_issuance),
}
