"""What an answer does to an issuance, decided without changing anything."""

from datetime import timedelta
from typing import Any

import pytest

from badging.meanings import Outcome
from badging.models import Issuance, Unanswered
from badging.sending.calls import Sent
from badging.sending.lookup import LookUpAnswer
from badging.sending.settling import after_look_up, after_sending
from badging.transitions import Event
from navigatr_client import (
    Assertion,
    NavigatrRejected,
    NavigatrRequirementNotMet,
    NavigatrTokenRefused,
    NavigatrUnavailable,
    NavigatrUnclear,
)
from tests.builders import NOW, make_issuance

pytestmark = pytest.mark.django_db
State = Issuance.State

NOTHING, UNKNOWN, REPEAT, REPEATED = Unanswered
FOUND = Assertion.from_json({"id": 7})
BUSY = NavigatrUnavailable("PUT", "/", status=503)
UNCLEAR = NavigatrUnclear("PUT", "/")


def row_in_hand(unanswered: str, **fields: Any) -> Issuance:
    row = make_issuance(unanswered=unanswered, queued_at=NOW, first_attempt_at=NOW, **fields)
    row.state = State.SENDING
    return row


@pytest.mark.parametrize(
    ("before", "error", "event", "reason", "after"),
    [
        (NOTHING, None, Event.ISSUE, Outcome.ISSUED, NOTHING),
        (REPEAT, None, Event.ISSUE, Outcome.PERHAPS_TWICE, NOTHING),
        (NOTHING, UNCLEAR, Event.TRY_AGAIN, Outcome.UNCLEAR, UNKNOWN),
        (REPEAT, UNCLEAR, Event.TRY_AGAIN, Outcome.UNCLEAR, REPEATED),
        (NOTHING, BUSY, Event.TRY_AGAIN, Outcome.UNAVAILABLE, NOTHING),
        (REPEAT, BUSY, Event.TRY_AGAIN, Outcome.UNAVAILABLE, REPEAT),
        (NOTHING, NavigatrTokenRefused("PUT", "/", status=401), Event.TRY_AGAIN, "", NOTHING),
        (NOTHING, NavigatrRequirementNotMet("PUT", "/", status=202), Event.NOT_MET, Outcome.NOT_MET, NOTHING),
        (NOTHING, NavigatrRejected("PUT", "/", status=403), Event.FAIL, Outcome.FORBIDDEN, NOTHING),
        (NOTHING, RuntimeError(), Event.FAIL, Outcome.OUR_BUG, UNKNOWN),
        (REPEAT, RuntimeError(), Event.FAIL, Outcome.OUR_BUG, REPEATED),
    ],
)
def test_what_sending_does(before: str, error: Exception | None, event: Event, reason: str, after: str) -> None:
    row = row_in_hand(before)
    kept = dict(vars(row))
    sent = Sent(row, NOW, timedelta(seconds=1), assertion=None if error else FOUND, error=error)
    _outcome, change = after_sending(sent, NOW, spread=0)
    assert (change.event, change.reason) == (event, reason)
    assert change.values.get("unanswered", before) == after
    assert dict(vars(row)) == kept


@pytest.mark.parametrize(
    ("before", "outcome", "error", "event", "reason", "after"),
    [
        (UNKNOWN, Outcome.NOT_THERE, None, Event.TRY_AGAIN, Outcome.NOT_THERE, NOTHING),
        (REPEATED, Outcome.NOT_THERE, None, Event.TRY_AGAIN, Outcome.NOT_THERE, NOTHING),
        (UNKNOWN, Outcome.LOOKUP_REFUSED, None, Event.TRY_AGAIN, Outcome.LOOKUP_REFUSED, REPEAT),
        (REPEATED, Outcome.LOOKUP_REFUSED, None, Event.FAIL, Outcome.LOOKUP_REFUSED, REPEATED),
        (UNKNOWN, Outcome.LOOKUP_FAILED, BUSY, Event.TRY_AGAIN, Outcome.LOOKUP_FAILED, UNKNOWN),
        (UNKNOWN, Outcome.LOOKUP_FAILED, NavigatrTokenRefused("GET", "/", status=401), Event.TRY_AGAIN, "", UNKNOWN),
        (UNKNOWN, Outcome.OUR_BUG, RuntimeError(), Event.FAIL, Outcome.OUR_BUG, UNKNOWN),
    ],
)
def test_what_a_look_up_does(
    before: str, outcome: Outcome, error: Exception | None, event: Event, reason: str, after: str
) -> None:
    row = row_in_hand(before)
    kept = dict(vars(row))
    change = after_look_up(row, LookUpAnswer(outcome, ""), error, NOW, spread=0)
    assert (change.event, change.reason) == (event, reason)
    assert change.values.get("unanswered", before) == after
    assert dict(vars(row)) == kept


def test_what_is_found_is_issued_with_its_number() -> None:
    change = after_look_up(row_in_hand(UNKNOWN), LookUpAnswer(Outcome.FOUND, "", FOUND), None, NOW, spread=0)
    assert (change.event, change.reason) == (Event.ISSUE, Outcome.FOUND)
    assert (change.values["assertion_id"], change.values["unanswered"]) == ("7", NOTHING)
