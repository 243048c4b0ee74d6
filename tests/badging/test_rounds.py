"""What a round does while calls are out: it looks around, and stops for what concerns all."""

import socket
import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery
from django.db import connection as database
from django.utils import timezone
from kombu.exceptions import OperationalError

from badging import by_hand, connections, tasks
from badging.meanings import Outcome
from badging.models import Issuance, IssuanceAttempt, NavigatrConnection, recipient_key
from badging.sending import circuit, claiming, rounds
from moodle_sync.models import Learner
from sandbox import Sandbox
from tests.badging.world import (
    BADGE,
    OTHER_BADGE,
    PROVIDER,
    attempts,
    bring_forward,
    connect,
    map_anew,
    map_course,
    owe,
    send,
    told,
)
from tests.builders import make_course

pytestmark = pytest.mark.django_db
State = Issuance.State


@pytest.fixture
def looks_around_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The round looks around after each write, and not once a second."""
    monkeypatch.setattr(rounds, "LOOK_EVERY_SECONDS", 0.0)


def lookups(sandbox: Sandbox) -> list[Any]:
    """The look-ups that Navigatr received."""
    return [entry for entry in sandbox.navigatr.ledger if entry.path.endswith("/assertions")]


def test_a_call_that_hangs_holds_up_no_new_completion(
    sandbox: Sandbox, settings: Any, looks_around_each_time: None
) -> None:
    settings.SEND_THREADS = 2
    mapping = map_course(sandbox, connect(sandbox, timeout=5))
    slow = owe(mapping)
    sandbox.faults.plan([slow.learner.email], "slow", seconds=2)
    fresh: list[Issuance] = []

    def completes_meanwhile() -> bool:
        if sandbox.navigatr.puts and not fresh:
            fresh.append(owe(mapping))
        return False

    assert rounds.send_due(mapping.connection, should_stop=completes_meanwhile).issued == 2
    [first], [second] = attempts(slow), attempts(fresh[0])
    assert first.duration is not None
    assert second.at < first.at + first.duration


@pytest.mark.parametrize("what", ["told to wait", "removed"])
def test_a_round_ends_where_its_connection_was_told_to_wait_or_was_removed(
    sandbox: Sandbox, settings: Any, looks_around_each_time: None, what: str
) -> None:
    settings.SEND_THREADS = 1
    mapping = map_course(sandbox)
    for _ in range(8):
        owe(mapping)
    sandbox.faults.on("slow", seconds=0.1)
    done: list[str] = []

    def somebody_else() -> bool:
        if sandbox.navigatr.puts and not done:
            done.append(what)
            if what == "removed":
                connections.remove(NavigatrConnection.objects.get(), actor=None)
            else:
                circuit.rest(mapping.connection, timedelta(minutes=2), Outcome.RATE_LIMITED, now=timezone.now())
        return False

    rounds.send_due(mapping.connection, should_stop=somebody_else)
    assert done
    assert len(sandbox.navigatr.puts) < 8
    assert Issuance.objects.filter(state=State.ISSUED).count() == len(sandbox.navigatr.puts)
    assert not Issuance.objects.filter(state=State.SENDING).exists()


@pytest.mark.parametrize("fault", ["401", "429"])
def test_no_thread_begins_a_call_after_it_was_told_what_concerns_all(
    sandbox: Sandbox, settings: Any, fault: str
) -> None:
    settings.SEND_THREADS = 8
    mapping = map_course(sandbox)
    for _ in range(100):
        owe(mapping)
    sandbox.faults.on(fault, retry_after=60)
    rounds.send_due(mapping.connection)
    assert 1 <= len(sandbox.navigatr.puts) <= settings.SEND_THREADS
    states = set(Issuance.objects.values_list("state", flat=True))
    assert states == ({State.HELD} if fault == "401" else {State.QUEUED})


def test_what_is_decided_without_a_call_is_no_probe(sandbox: Sandbox, settings: Any) -> None:
    connection = connect(sandbox, failures=settings.CIRCUIT_THRESHOLD)
    without_score = map_course(sandbox, connection, min_score=50)
    for _ in range(5):
        owe(without_score, score=None, next_attempt_at=timezone.now() - timedelta(minutes=5))
    row = owe(map_course(sandbox, connection, badge_id=OTHER_BADGE))
    assert send(row).issued == 1
    assert Issuance.objects.filter(state=State.NOT_MET).count() == 5


def test_a_turn_that_only_waits_for_its_last_answers_lets_one_other_begin() -> None:
    with tasks.alone("job", until=0) as first, tasks.alone("job", until=0) as second, tasks.alone("job") as third:
        assert (first, second, third) == (True, True, False)
    with tasks.alone("job") as first, tasks.alone("job") as second:
        assert (first, second) == (True, False)


# Look-ups


def test_a_refused_look_up_is_never_forgotten_however_its_repeat_ends(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    sandbox.faults.plan([row.learner.email], "500_after")
    sandbox.faults.plan([row.learner.email], "422")
    send(row)
    sandbox.faults.on("lookup_403")
    bring_forward(row)
    send(row)
    assert told(row) == [("send", "unclear"), ("lookup", "lookup_refused"), ("send", "unpublished")]
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
    assert told(row) == [
        ("send", "unclear"), ("lookup", "lookup_refused"), ("send", "unclear"), ("lookup", "lookup_refused"),
    ]  # fmt: skip
    assert row.state == State.FAILED


def unknown(mapping: Any, **fields: Any) -> Issuance:
    """An issuance whose answer is unknown."""
    row = owe(mapping, unanswered="unknown", first_attempt_at=timezone.now(), **fields)
    Issuance.objects.filter(pk=row.pk).update(recipient_key=recipient_key(row.learner.email))
    return row


def test_one_look_up_serves_all_however_few_calls_may_run_at_once(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, connect(sandbox, calls_at_once=2))
    rows = [unknown(mapping) for _ in range(12)]
    assert send(rows[0]).issued == 12
    assert len(lookups(sandbox)) == 1


def test_the_pages_of_a_look_up_count_against_the_connections_limit(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, connect(sandbox, calls_per_second=100))
    row = unknown(mapping)
    for number in range(250):
        sandbox.navigatr.issue(BADGE, PROVIDER, recipient_email=f"other{number}@example.org")
    before, space = timezone.now(), timedelta(seconds=0.01)
    assert send(row).issued == 1
    times = [entry.time for entry in lookups(sandbox)]
    assert len(times) == 3
    assert min(later - earlier for earlier, later in zip(times, times[1:], strict=False)) >= space.total_seconds()
    after_the_last = NavigatrConnection.objects.get().next_slot_at
    assert after_the_last is not None
    # Three pages and the issue call.
    assert after_the_last >= before + 4 * space


@pytest.mark.parametrize(("bad", "state"), [("a\x00b", "issued"), ("a\ud800b", "issued"), ("\x00", "failed")])
def test_an_answer_that_cannot_be_stored_costs_the_others_nothing(sandbox: Sandbox, bad: str, state: str) -> None:
    mapping = map_course(sandbox)
    row, other = owe(mapping), owe(mapping)
    sandbox.faults.plan([row.learner.email], "500_after")
    sandbox.faults.plan([other.learner.email], "500_after")
    send(row)
    [assertion] = sandbox.navigatr.assertions_for(row.learner.email)
    assertion.id = bad
    bring_forward(row, other)
    send(row)
    other.refresh_from_db()
    assert (row.state, other.state) == (state, "issued")
    assert row.is_unknown == (state == "failed")
    assert IssuanceAttempt.objects.filter(kind="lookup").count() == 2


def test_a_broker_that_takes_the_connection_and_says_nothing_is_given_up(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = Celery("silent", set_as_current=False)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("CELERY_BROKER_URL", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        app.conf.broker_transport_options = {**settings.CELERY_BROKER_TRANSPORT_OPTIONS, "socket_timeout": 0.1}
        ended: list[type[BaseException]] = []

        def publish() -> None:
            try:
                app.send_task("anything", retry=False)
            except OperationalError as error:
                ended.append(type(error))

        # In a thread, so that a wait without end fails the test and does not hang it.
        publisher = threading.Thread(target=publish, daemon=True)
        publisher.start()
        publisher.join(30)
        assert ended == [OperationalError]
    assert settings.CELERY_BROKER_TRANSPORT_OPTIONS["socket_timeout"] <= 10


# In the one repeat that a refused look-up leaves


def to_be_repeated(mapping: Any, **fields: Any) -> Issuance:
    """Its look-up was refused: it is to be sent once more, though it may stand in Navigatr."""
    return unknown(mapping, lookups_refused=1, reason=Outcome.LOOKUP_REFUSED, **fields)


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


def test_what_cannot_be_taken_steps_aside_for_the_others(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    other = owe(mapping, next_attempt_at=timezone.now() + timedelta(hours=1))
    row = owe(mapping, person={"email": "shared@example.org"}, next_attempt_at=timezone.now() - timedelta(hours=1))
    fine = [owe(mapping) for _ in range(3)]

    def other_worker_is_faster(execute: Any, sql: str, *arguments: Any) -> Any:
        if sql.startswith('UPDATE "badging_issuance"') and '"claim"' in sql and row.pk in arguments[0]:
            Issuance.objects.filter(pk=other.pk).update(
                state=State.ISSUED, assertion_id="1", recipient_key=recipient_key("shared@example.org")
            )
        return execute(sql, *arguments)

    with database.execute_wrapper(other_worker_is_faster):
        assert send(row).issued == len(fine)
    assert row.state == State.QUEUED


def test_repeats_keep_the_limit_of_calls_at_once(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, connect(sandbox, calls_at_once=2))
    for _ in range(5):
        to_be_repeated(mapping)
    taken = claiming.claim(mapping.connection, uuid.uuid4(), limit=500, now=timezone.now())
    assert (len(taken.send), taken.look_up) == (2, [])


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


def test_a_look_up_is_not_gone_on_with_once_the_token_was_refused(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_THREADS = 2
    mapping = map_course(sandbox, connect(sandbox, calls_per_second=4))
    row = unknown(mapping)
    other = owe(mapping)
    for number in range(950):
        sandbox.navigatr.issue(BADGE, PROVIDER, recipient_email=f"other{number}@example.org")
    sandbox.faults.plan([other.learner.email], "401")
    send(row)
    assert len(lookups(sandbox)) < 10
    assert set(Issuance.objects.values_list("state", "failures")) == {(State.HELD, 0)}


def test_calls_that_time_out_at_the_end_of_a_turn_count_as_failures_too(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_THREADS = settings.CIRCUIT_THRESHOLD = 3
    mapping = map_course(sandbox, connect(sandbox, timeout=1))
    for _ in range(6):
        owe(mapping)
    sandbox.faults.on("slow", seconds=3)
    rounds.send_due(mapping.connection, should_stop=lambda: len(sandbox.navigatr.puts) >= 3)
    connection = NavigatrConnection.objects.get()
    assert connection.failures == 3
    assert not circuit.may_send(connection, timezone.now())
