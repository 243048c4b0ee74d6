"""The calls to Navigatr about an issuance: issue its badge, or ask whether it has been issued. No database."""

import logging
import threading
import traceback
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from django.utils import timezone

from navigatr_client import Assertion, NavigatrClient, NavigatrError

from ..models import Issuance
from .lookup import LookUpAnswer, Question, look_up

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sent:
    """What came back for one issuance: an assertion, or the error that stood in its place."""

    row: Issuance
    at: datetime
    duration: timedelta
    assertion: Assertion | None = None
    error: Exception | None = None
    status: int | None = None
    calls: int = 1


@dataclass(frozen=True, slots=True)
class LookedUp:
    """What a look-up of several issuances of one badge found, by issuance id, and how many calls it took."""

    rows: list[Issuance]
    at: datetime
    duration: timedelta
    findings: dict[int, LookUpAnswer]
    error: Exception | None = None
    calls: int = 1


def payload(row: Issuance, *, now: datetime) -> dict[str, Any]:
    """What is sent to Navigatr: the official plugin's fields, and the date and address that it leaves out.

    Names and address are sent as they are on file, letter by letter. A completion that is dated after `now` is sent
    without its date.
    """
    connection, mapping, completion, learner = row.connection, row.mapping, row.completion, row.learner
    fields: dict[str, Any] = {
        "provider_id": row.provider_id,
        "recipient_email": learner.email,
        "recipient_firstname": learner.firstname,
        "recipient_lastname": learner.lastname,
    }
    if completion.completed_at is not None and completion.completed_at <= now:
        fields["issue_date"] = completion.completed_at
    if connection.send_score:
        # Whole percent, rounded down: the badge may ask for a score that only Navigatr knows, and no score may claim
        # more than was earned. The mapping's own minimum was compared with the exact share when the row was claimed.
        fields["score"] = None if completion.score is None else int(completion.score)
        fields["min_score"] = mapping.min_score if mapping else None
    if connection.send_evidence:
        fields["evidence_text"] = f"Recipient completed course {row.course}"
        fields["evidence_url"] = row.course.url
    return fields


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


class LookUpEnded(Exception):
    """A look-up was not gone on with; nothing is known of what it asked."""


def look_up_rows(rows: list[Issuance], client: NavigatrClient, *, ended: threading.Event) -> LookedUp:
    """Ask Navigatr which of these, all of one badge and provider, it has issued already.

    Pages of a connection with a limit of calls per second are asked for in its pace. Raises LookUpEnded before the
    next page once `ended` is set.
    """
    pace = rows[0].connection.calls_per_second

    def before_next_page() -> None:
        if ended.wait(1 / pace if pace else 0):
            raise LookUpEnded

    calls_before = client.calls
    at, started = timezone.now(), monotonic()
    questions = [Question(row.pk, row.recipient_key, row.first_attempt_at or row.queued_at) for row in rows]
    findings: dict[int, LookUpAnswer] = {}
    error: Exception | None = None
    try:
        findings = look_up(
            client,
            badge_id=rows[0].badge_id,
            provider_id=rows[0].provider_id,
            questions=questions,
            before_next_page=before_next_page,
        )
        error = next((finding.error for finding in findings.values() if finding.error), None)
    except LookUpEnded:
        raise
    except Exception as fault:  # noqa: BLE001 - as above
        error = fault
        log_fault("looking up", rows[0].pk, fault)
    duration = timedelta(seconds=monotonic() - started)
    return LookedUp(rows, at, duration, findings, error, client.calls - calls_before)


def log_fault(doing: str, issuance_id: int, fault: Exception) -> None:
    """Log a fault of ours with where it happened, but without its message, which may hold personal data."""
    frames = traceback.extract_tb(fault.__traceback__)
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    log.error("%s issuance %s failed in the portal itself: %s at %s", doing, issuance_id, type(fault).__name__, where)
