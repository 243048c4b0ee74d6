"""A round sends what is due, looks around while calls are out, and stops for what concerns all."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import close_old_connections
from django.db import connection as database
from django.db import connections as databases
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from badging import connections
from badging.meanings import Outcome
from badging.models import Issuance, NavigatrConnection
from badging.sending import circuit, rounds, tally
from moodle_sync.models import Learner
from sandbox import Sandbox
from tests.builders import (
    connect,
    make_course,
    map_course,
    owe,
)
from tests.worker import attempts, send

pytestmark = pytest.mark.django_db
State = Issuance.State
MINUTE = timedelta(minutes=1)


@pytest.fixture
def looks_around_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The round looks around after each write, and not once a second."""
    monkeypatch.setattr(rounds, "LOOK_EVERY_SECONDS", 0.0)


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


@pytest.mark.parametrize("what", ["resting", "removed"])
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
                connections.remove(NavigatrConnection.objects.get(), actor=None, now=timezone.now())
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
    standings = {row.standing for row in Issuance.objects.all()}
    assert standings == ({State.HELD} if fault == "401" else {State.QUEUED})


def test_a_request_to_stop_hands_back_what_was_not_begun(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_THREADS = 2
    mapping = map_course(sandbox)
    rows = [owe(mapping) for _ in range(30)]
    sandbox.faults.on("slow", seconds=0.1)
    tally = rounds.send_due(rows[0].connection, should_stop=lambda: len(sandbox.navigatr.puts) > 0)
    done = len(sandbox.navigatr.assertions)
    assert 0 < done < 30
    assert tally.issued == done == Issuance.objects.filter(state=State.ISSUED).count()
    assert Issuance.objects.filter(state=State.QUEUED, claim=None, leased_until=None).count() == 30 - done


def test_a_stop_that_comes_first_begins_nothing(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    assert rounds.send_all_due(should_stop=lambda: True) == tally.Tally()
    row.refresh_from_db()
    assert row.state == State.QUEUED


def test_few_are_in_hand_at_once_however_many_one_call_is_about(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_BATCH, settings.SEND_THREADS = 8, 1
    mapping = map_course(sandbox)
    for _ in range(48):
        owe(mapping, unanswered="unknown")
    sandbox.faults.on("slow", call="lookup", seconds=0.05)
    in_hand: list[int] = []

    def count() -> bool:
        in_hand.append(Issuance.objects.filter(state=State.SENDING).count())
        return False

    assert rounds.send_due(mapping.connection, should_stop=count).issued == 48
    assert max(in_hand) < 3 * settings.SEND_BATCH


def test_more_than_one_batch_is_sent_in_a_round_today_before_a_back_fill(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_BATCH = 3
    settings.SEND_THREADS = 1
    mapping = map_course(sandbox)
    past = [owe(mapping, past=True) for _ in range(4)]
    today = [owe(mapping) for _ in range(4)]
    assert send(past[0]).issued == 8
    sent = [put.body["recipient_email"] for put in sandbox.navigatr.puts]
    assert set(sent[:4]) == {row.learner.email for row in today}


def test_all_connections_are_sent_in_the_foreground(sandbox: Sandbox) -> None:
    staging = owe(map_course(sandbox))
    production = connect(sandbox, environment="production", pat=sandbox.production_pat)
    mapping = map_course(
        sandbox, production, provider_id=min(sandbox.production.providers), badge_id=min(sandbox.production.badges)
    )
    other = owe(mapping)
    assert rounds.send_all_due().issued == 2
    assert len(sandbox.navigatr.assertions_for(staging.learner.email)) == 1
    assert len(sandbox.production.assertions_for(other.learner.email)) == 1


def test_sending_threads_do_no_database_work(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[str] = set()
    ensure = BaseDatabaseWrapper.ensure_connection

    def noted(self: BaseDatabaseWrapper) -> None:
        threads.add(threading.current_thread().name)
        ensure(self)

    monkeypatch.setattr(BaseDatabaseWrapper, "ensure_connection", noted)
    mapping = map_course(sandbox)
    rows = [owe(mapping) for _ in range(10)] + [owe(mapping, unanswered="unknown")]
    send(rows[0])
    assert Issuance.objects.filter(state=State.ISSUED).count() == 11
    assert threads == {threading.current_thread().name}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_rounds_at_the_same_time_never_send_one_twice(sandbox: Sandbox, settings: Any) -> None:
    settings.SEND_BATCH = 7
    mapping = map_course(sandbox)
    for _ in range(60):
        owe(mapping)
    twin = map_course(sandbox, mapping.connection, make_course(mapping.course.site))
    for learner in Learner.objects.all()[:20]:
        owe(twin, learner)

    def one_round(_number: int) -> None:
        close_old_connections()
        try:
            rounds.send_due(NavigatrConnection.objects.get())
        finally:
            databases.close_all()

    # SQLite has one writer at a time, so there the rounds come one after the other.
    with ThreadPoolExecutor(4 if database.vendor == "postgresql" else 1) as pool:
        list(pool.map(one_round, range(4)))
    assert len(sandbox.navigatr.puts) == len(sandbox.navigatr.assertions) == 60
    assert len({assertion.recipient_email for assertion in sandbox.navigatr.assertions.values()}) == 60
    assert Issuance.objects.filter(state=State.ISSUED).count() == 60
