"""The audit trail: what people do, and how each attempt ended, in the transaction of the change itself."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from navigatr_client import NavigatrError

from .meanings import SENT_FIELDS, Outcome
from .models import AttemptWords, AuditedIssuance, AuditEntry, Issuance, IssuanceAttempt
from .scrubbing import scrub


def record(action: AuditEntry.Action, subject: object, *, actor: Any = None, **details: Any) -> AuditEntry:
    """Add one entry, and return it.

    `actor` is a user or None (a command, the portal itself); no personal data in the rest.
    """
    known = actor if getattr(actor, "pk", None) else None
    return AuditEntry.objects.create(
        action=action,
        subject=str(subject)[:255],
        actor=known,
        # The user name of this moment: it stays when the account is renamed or gone.
        actor_name=known.get_username() if known else "",
        details=details,
    )


def name_issuances(entry: AuditEntry, pks: Collection[int]) -> None:
    """Note that the entry is about these issuances."""
    AuditedIssuance.objects.bulk_create(AuditedIssuance(entry=entry, issuance_id=pk) for pk in pks)


class NewAttempt(NamedTuple):
    """One attempt to be written: the row that stays, and the words beside it, if there are any."""

    attempt: IssuanceAttempt
    words: AttemptWords | None


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
) -> NewAttempt:
    """One attempt, not saved.

    The row that stays holds nothing in others' words: of the fields that Navigatr found malformed only those that the
    portal sends, as any other name may be somebody's.
    """
    answer = error if isinstance(error, NavigatrError) else None
    new = IssuanceAttempt(
        issuance=row,
        kind=kind,
        at=at,
        duration=duration,
        status=answer.status if answer else status,
        outcome=outcome,
        fields=", ".join(name for name in answer.fields if name in SENT_FIELDS) if answer else "",
        next_attempt_at=next_at,
        environment=row.environment,
        provider_id=row.provider_id,
        badge_id=row.badge_id,
    )
    detail = answer.detail if answer else type(error).__name__ if error else ""
    if not detail and not looked_up:
        return NewAttempt(new, None)
    return NewAttempt(new, AttemptWords(attempt=new, at=at, detail=scrub(detail, row.learner), looked_up=looked_up))


def write_attempts(attempts: Sequence[NewAttempt], *, without_words: Collection[int] = ()) -> None:
    """Write these attempts with their words, in the caller's transaction.

    `without_words`: the issuances of erased learners, of whom nothing is kept that others said.
    """
    rows = [new.attempt for new in attempts]
    for row in rows:
        # A try before this one may have been rolled back after it got its number.
        row.pk = None
    IssuanceAttempt.objects.bulk_create(rows)
    all_words = []
    for row, words in attempts:
        if words is not None and row.issuance_id not in without_words:
            # The attempt has its number only now.
            words.attempt = row
            all_words.append(words)
    AttemptWords.objects.bulk_create(all_words)
