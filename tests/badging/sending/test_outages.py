"""The database away in the middle of a round: no answer is lost, and none is asked for twice."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import requests
from django.db import IntegrityError, OperationalError
from django.db import connection as database
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone
from pytest_django.fixtures import Settings

from badging.models import Issuance, IssuanceAttempt
from badging.sending import circuit, rounds, settling, sweeping
from sandbox import Sandbox
from tests.builders import map_course, owe
from tests.meanwhile import database_away_in
from tests.worker import send, trail

# Each statement is a transaction of its own, as in service: a closed connection takes no test's transaction with it.
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database is asked again without a pause."""
    monkeypatch.setattr(settling, "TRY_THE_DATABASE_EVERY", timedelta(0))


@pytest.mark.parametrize("statement", range(4))
def test_an_answer_that_cannot_be_written_at_once_is_written_when_the_database_is_back(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, statement: int
) -> None:
    row = owe(map_course(sandbox))
    failed = database_away_in(
        monkeypatch, settling, "persist", statement=statement, once=lambda: bool(sandbox.navigatr.puts)
    )
    assert send(row).issued == 1
    assert len(failed) == len(sandbox.navigatr.puts) == 1
    assert trail(row) == [("send", "issued")]


def test_an_answer_whose_commit_was_not_confirmed_is_not_written_twice(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = owe(map_course(sandbox))
    unconfirmed = []
    commit = BaseDatabaseWrapper._commit

    def commit_and_break(connection: BaseDatabaseWrapper) -> None:
        commit(connection)
        if sandbox.navigatr.puts and not unconfirmed:
            unconfirmed.append(1)
            raise OperationalError

    monkeypatch.setattr(BaseDatabaseWrapper, "_commit", commit_and_break)
    assert send(row).issued == 1
    assert unconfirmed
    assert trail(row) == [("send", "issued")]


def test_what_is_in_hand_is_written_though_the_database_was_away_when_more_was_wanted(
    sandbox: Sandbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SEND_BATCH, settings.SEND_THREADS = 4, 1
    sandbox.faults.on("slow", seconds=0.1)
    mapping = map_course(sandbox)
    rows = [owe(mapping) for _ in range(6)]
    failed = database_away_in(monkeypatch, circuit, "may_send", once=lambda: bool(sandbox.navigatr.puts))
    # With nothing in hand any more the round ends, and the next sweep starts another.
    with suppress(OperationalError):
        send(rows[0])
    assert failed
    assert not Issuance.objects.filter(state=Issuance.State.SENDING).exists()
    send(rows[0])
    assert Issuance.objects.filter(state=Issuance.State.ISSUED).count() == len(sandbox.navigatr.puts) == 6


def test_what_stays_unwritten_counts_as_unknown_and_is_found(sandbox: Sandbox, settings: Settings) -> None:
    row = owe(map_course(sandbox))

    def stays_away(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
        if sandbox.navigatr.puts:
            raise OperationalError
        return execute(sql, *arguments)

    # The call is begun within its lease; from its answer on the database is gone.
    settings.LEASE = timedelta(seconds=1)
    with database.execute_wrapper(stays_away), pytest.raises(OperationalError):
        rounds.send_due(row.connection)
    sweeping.sweep(now=timezone.now() + timedelta(minutes=10))
    Issuance.objects.update(next_attempt_at=timezone.now())
    send(row)
    assert trail(row) == [("send", "lease_ran_out"), ("lookup", "found")]
    assert len(sandbox.navigatr.puts) == 1


def test_a_conflict_is_no_outage() -> None:
    def write() -> None:
        raise IntegrityError

    with pytest.raises(IntegrityError):
        settling.persist(write, is_written=lambda: False)


def test_a_thread_that_ends_before_its_time_ends_the_round_and_its_issuance_is_looked_up(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ended(BaseException):
        """What no `except Exception` catches."""

    def end(*_arguments: Any, **_options: Any) -> None:
        raise Ended

    row = owe(map_course(sandbox))
    with monkeypatch.context() as patch:
        patch.setattr(requests.adapters.HTTPAdapter, "send", end)
        with pytest.raises(Ended):
            rounds.send_due(row.connection)
    sweeping.sweep(now=timezone.now() + timedelta(minutes=10))
    Issuance.objects.update(next_attempt_at=timezone.now())
    send(row)
    assert trail(row) == [("send", "lease_ran_out"), ("lookup", "not_there"), ("send", "issued")]
    assert IssuanceAttempt.objects.count() == 3
