"""A connection's own limits, which hold over all workers together."""

from datetime import timedelta

import pytest
from django.utils import timezone

from badging.models import Issuance, IssuanceAttempt, NavigatrConnection
from badging.sending import rounds
from sandbox import Sandbox
from tests.builders import connect, map_course, owe
from tests.worker import Worker

pytestmark = pytest.mark.django_db
State = Issuance.State


def test_no_more_are_taken_than_calls_may_run_at_once_whoever_takes_them(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, connect(sandbox, calls_at_once=3))
    for _ in range(5):
        owe(mapping)
    now = timezone.now()
    one = Worker(mapping.connection).claim(limit=2, now=now)
    other = Worker(mapping.connection).claim(now=now)
    third = Worker(mapping.connection).claim(now=now)
    assert [len(worker.to_send) for worker in (one, other, third)] == [2, 1, 0]
    assert third.limited


def test_calls_are_spaced_over_all_workers_and_not_promised_far_ahead(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, connect(sandbox, calls_per_second=4))
    for _ in range(9):
        owe(mapping)
    now = timezone.now()
    one = Worker(mapping.connection).claim(limit=3, now=now)
    other = Worker(NavigatrConnection.objects.get()).claim(now=now)
    third = Worker(NavigatrConnection.objects.get()).claim(now=now)
    quarter = timedelta(seconds=0.25)
    assert one.begin_at == [now, now + quarter, now + 2 * quarter]
    assert other.begin_at == [now + 3 * quarter]
    assert (third.to_send, third.limited) == ([], True)
    later = Worker(NavigatrConnection.objects.get()).claim(now=now + timedelta(minutes=1))
    assert len(later.to_send) == 4


def test_a_limited_connection_sends_all_that_is_due_in_one_round(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, connect(sandbox, calls_at_once=2, calls_per_second=50))
    for _ in range(20):
        owe(mapping)
    before, space = timezone.now(), timedelta(seconds=0.02)
    assert rounds.send_due(mapping.connection).issued == 20
    assert len(sandbox.navigatr.puts) == 20
    begun = IssuanceAttempt.objects.order_by("at").values_list("at", flat=True)
    # One each 20 ms, and none before its time.
    assert [number for number, at in enumerate(begun) if at < before + number * space] == []


def test_a_stop_hands_back_what_waits_for_its_moment(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox, connect(sandbox, calls_per_second=1))
    rows = [owe(mapping) for _ in range(3)]
    stops = iter([False, False, True])
    tally = rounds.send_due(mapping.connection, should_stop=lambda: next(stops, True))
    assert tally.issued <= 1
    assert not Issuance.objects.filter(state=State.SENDING).exists()
    assert Issuance.objects.filter(state=State.QUEUED).count() == len(rows) - tally.issued
