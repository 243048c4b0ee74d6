"""A look-up that Navigatr refuses is followed by one more call without it, and then by a person."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from badging import by_hand
from badging.meanings import Outcome
from badging.models import Issuance
from badging.sending import rounds
from moodle_sync.models import Learner
from sandbox import Sandbox
from tests.builders import (
    BADGE,
    NOW,
    OTHER_BADGE,
    connect,
    make_course,
    make_issuance,
    make_mapping,
    map_anew,
    map_course,
    owe,
)
from tests.worker import Worker, attempts, bring_forward, lookups, send, trail

pytestmark = pytest.mark.django_db
State = Issuance.State
MINUTE = timedelta(minutes=1)


def test_a_refused_look_up_is_followed_by_one_more_try_and_no_third(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.on("lookup_403")
    sandbox.faults.plan(row.learner.email, "500_before", times=2)
    send(row)
    bring_forward(row)
    send(row)
    assert trail(row) == [("send", "unclear"), ("lookup", "lookup_refused"), ("send", "unclear")]
    assert attempts(row)[1].status == 403
    bring_forward(row)
    send(row)
    assert (row.state, row.reason, row.is_unknown) == (State.FAILED, Outcome.LOOKUP_REFUSED, True)
    assert len(sandbox.navigatr.puts) == 2


def test_hidden_recipients_count_as_a_refused_look_up(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.on("no_recipients")
    sandbox.faults.plan(row.learner.email, "500_after")
    send(row)
    bring_forward(row)
    send(row)
    assert trail(row) == [("send", "unclear"), ("lookup", "lookup_refused"), ("send", "perhaps_twice")]
    assert "recipients are hidden" in attempts(row)[1].looked_up


def test_a_refused_look_up_is_never_forgotten_however_its_repeat_ends(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan([row.learner.email], "500_after")
    sandbox.faults.plan([row.learner.email], "422")
    send(row)
    sandbox.faults.on("lookup_403")
    bring_forward(row)
    send(row)
    assert trail(row) == [("send", "unclear"), ("lookup", "lookup_refused"), ("send", "unpublished")]
    assert (row.state, row.is_unknown) == (State.FAILED, True)
    sandbox.faults.clear()
    by_hand.send_again(Issuance.objects.all(), now=timezone.now())
    send(row)
    assert (row.state, row.reason) == (State.ISSUED, Outcome.FOUND)
    assert len(sandbox.navigatr.assertions) == 1


def stopped_between_a_refused_look_up_and_its_repeat(sandbox: Sandbox) -> Issuance:
    """The badge stands in Navigatr, of which the portal knows nothing for certain."""
    row = owe(map_course(sandbox))
    sandbox.faults.plan([row.learner.email], "500_after")
    send(row)
    sandbox.faults.on("lookup_403")
    bring_forward(row)
    rounds.send_due(row.connection, should_stop=lambda: bool(lookups(sandbox)))
    row.refresh_from_db()
    assert (row.state, row.reason, row.is_unknown) == (State.QUEUED, Outcome.LOOKUP_REFUSED, True)
    return row


def test_between_a_refused_look_up_and_its_repeat_it_cannot_be_cancelled(sandbox: Sandbox) -> None:
    row = stopped_between_a_refused_look_up_and_its_repeat(sandbox)
    assert by_hand.cancel(Issuance.objects.all()) == 0
    send(row)
    assert (row.state, row.reason) == (State.ISSUED, Outcome.PERHAPS_TWICE)


def test_a_badge_that_may_stand_in_navigatr_unseen_is_not_followed_by_another_one(sandbox: Sandbox) -> None:
    row = stopped_between_a_refused_look_up_and_its_repeat(sandbox)
    map_anew(row, OTHER_BADGE)
    for _round in range(3):
        bring_forward(row)
        send(row)
    assert (row.state, row.reason, row.badge_id) == (State.FAILED, Outcome.LOOKUP_REFUSED, BADGE)
    assert len(sandbox.navigatr.puts) == 1


def test_the_repeat_without_a_look_up_happens_once(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan([row.learner.email], "500_before", times=2)
    sandbox.faults.on("lookup_403")
    for _round in range(4):
        send(row)
        bring_forward(row)
    assert trail(row) == [
        ("send", "unclear"), ("lookup", "lookup_refused"), ("send", "unclear"), ("lookup", "lookup_refused"),
    ]  # fmt: skip
    assert row.state == State.FAILED


def to_be_repeated(mapping: Any, **fields: Any) -> Issuance:
    """Its look-up was refused: it is to be sent once more, though it may stand in Navigatr."""
    return owe(mapping, unanswered="repeat", reason=Outcome.LOOKUP_REFUSED, **fields)


def moves_to(row: Issuance, email: str) -> None:
    """The learner has another address from now on."""
    Learner.objects.filter(pk=row.learner_id).update(email=email, email_key=email)


def test_one_issuance_never_stops_its_connection(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    holder = owe(mapping)
    send(holder)
    row = to_be_repeated(mapping)
    moves_to(row, holder.learner.email)
    others = [owe(mapping) for _ in range(3)]
    assert send(row).issued == len(others)
    assert (row.state, row.reason) == (State.FAILED, Outcome.LOOKUP_REFUSED)


def test_repeats_keep_the_limit_of_calls_at_once(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, connect(sandbox, calls_at_once=2))
    for _ in range(5):
        to_be_repeated(mapping)
    worker = Worker(mapping.connection).claim()
    assert (len(worker.to_send), worker.to_look_up) == (2, [])


def test_where_nobody_could_look_a_person_has_the_last_word(sandbox: Sandbox) -> None:
    row = stopped_between_a_refused_look_up_and_its_repeat(sandbox)
    map_anew(row, OTHER_BADGE)
    bring_forward(row)
    send(row)
    assert row.state == State.FAILED
    assert by_hand.cancel(Issuance.objects.all()) == 1
    assert by_hand.send_again(Issuance.objects.all(), now=timezone.now()) == 1
    send(row)
    assert row.state == State.FAILED
    assert by_hand.send_again(Issuance.objects.all(), now=timezone.now()) == 1
    send(row)
    assert (row.state, row.badge_id) == (State.ISSUED, OTHER_BADGE)


def test_an_end_that_may_have_been_sent_keeps_no_other_course_waiting(sandbox: Sandbox) -> None:
    connection = connect(sandbox)
    first = map_course(sandbox, connection)
    row = owe(first)
    sandbox.faults.plan([row.learner.email], "500_before")
    sandbox.faults.plan([row.learner.email], "202")
    sandbox.faults.on("lookup_403")
    send(row)
    bring_forward(row)
    send(row)
    assert (row.state, row.is_unknown) == (State.NOT_MET, True)
    other = owe(map_course(sandbox, connection, make_course(first.course.site)), row.learner)
    send(other)
    assert (other.state, other.reason) == (State.FAILED, Outcome.MAY_HOLD)


def test_a_repeat_never_goes_to_another_address(sandbox: Sandbox) -> None:
    row = stopped_between_a_refused_look_up_and_its_repeat(sandbox)
    moves_to(row, "new@example.org")
    bring_forward(row)
    send(row)
    assert (row.state, row.reason) == (State.FAILED, Outcome.LOOKUP_REFUSED)
    assert len(sandbox.navigatr.puts) == 1


def test_what_a_person_has_cancelled_is_not_looked_up_and_sent_after_all() -> None:
    row = make_issuance(state="cancelled", reason=Outcome.BY_HAND, unanswered="unknown", next_attempt_at=None)
    gone = {"state": "cancelled", "reason": Outcome.MAPPING_REMOVED, "next_attempt_at": None}
    removed = make_issuance(make_mapping(badge_id=OTHER_BADGE), unanswered="unknown", **gone)
    assert by_hand.look_up_again(Issuance.objects.filter(pk__in=[row.pk, removed.pk]), now=NOW) == 1
    row.refresh_from_db()
    assert row.state == "cancelled"
