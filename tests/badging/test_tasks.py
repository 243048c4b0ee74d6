"""Celery's doors: each tick becomes one call of a verb, and a lost broker loses nothing."""

from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.db import connection as database
from django.utils import timezone
from kombu.exceptions import OperationalError

from badging import queueing, tasks
from badging.models import Issuance, NavigatrConnection
from moodle_sync.models import MoodleSite
from moodle_sync.polling import PollResult
from sandbox import Sandbox
from tests.badging.world import BADGE, connect, kill_while_sending, map_course, owe
from tests.builders import make_connection, make_site
from vault.keys import WrongKey

pytestmark = pytest.mark.django_db


@pytest.fixture
def at_once(settings: Any) -> Any:
    """Messages are worked off where they are sent."""
    before = current_app.conf.task_always_eager
    current_app.conf.task_always_eager = True
    yield
    current_app.conf.task_always_eager = before


@pytest.fixture
def polled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sites that a poll was started for; each poll queues one issuance."""
    names: list[str] = []

    def poll(site: MoodleSite, *, now: Any) -> PollResult:
        names.append(site.name)
        return PollResult(site.name, queued=1)

    monkeypatch.setattr(queueing, "poll", poll)
    return names


def test_the_tick_polls_each_site_whose_time_has_come(at_once: None, polled: list[str]) -> None:
    now = timezone.now()
    make_site(name="New")
    make_site(name="Due", next_poll_at=now - timedelta(seconds=1))
    make_site(name="Later", next_poll_at=now + timedelta(minutes=1))
    make_site(name="Being polled", polling_until=now + timedelta(minutes=1))
    make_site(name="Off", enabled=False)
    tasks.poll_due()
    assert polled == ["New", "Due"]


def test_a_poll_that_queues_something_is_followed_by_sending(
    at_once: None, sandbox: Sandbox, polled: list[str]
) -> None:
    row = owe(map_course(sandbox))
    assert tasks.nudge_poll(row.course.site_id)
    row.refresh_from_db()
    assert row.state == "issued"


def test_polls_leave_threads_to_sending_and_a_site_that_was_left_out_is_polled_by_a_later_tick(
    at_once: None, polled: list[str]
) -> None:
    make_site(name="Due")
    with ExitStack() as under_way:
        for _ in range(tasks.POLLS_AT_ONCE):
            under_way.enter_context(tasks._polls)
        tasks.poll_due()
        assert polled == []
    tasks.poll_due()
    assert polled == ["Due"]


def test_a_site_or_connection_that_is_gone_is_no_error(at_once: None, polled: list[str]) -> None:
    tasks.poll_site(4711)
    tasks.send_due(4711)
    assert polled == []


def test_the_sweep_takes_back_what_was_left_and_sends_it(at_once: None, sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    kill_while_sending(row)
    tasks.send_sweep()
    row.refresh_from_db()
    assert (row.state, row.maybe_sent) == ("issued", False)


@pytest.mark.parametrize(("nudge", "arguments"), [(tasks.nudge, ()), (tasks.nudge_poll, (1,))])
def test_a_broker_that_does_not_answer_is_told_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, nudge: Any, arguments: tuple[int, ...]
) -> None:
    def breaks(*_args: Any, **_options: Any) -> None:
        raise OperationalError("redis://user:secret@broker")

    for task in (tasks.send_sweep, tasks.poll_site):
        monkeypatch.setattr(task, "apply_async", breaks)
    assert nudge(*arguments) is False
    assert "the broker does not answer (OperationalError)" in caplog.text
    assert "secret" not in caplog.text


def test_the_daily_checks_look_at_tokens_and_badges(sandbox: Sandbox) -> None:
    mapping = map_course(sandbox)
    refused = connect(sandbox, pat="revoked")
    removed = make_connection(state="removed", pat="")
    sandbox.navigatr.set_badge(BADGE, status="Draft")
    tasks.daily_checks()
    mapping.refresh_from_db()
    assert "is Draft" in mapping.badge_problem
    results = dict(NavigatrConnection.objects.values_list("pk", "test_ok"))
    assert results == {mapping.connection_id: True, refused.pk: False, removed.pk: None}


def test_one_connection_that_fails_does_not_stop_the_daily_checks(
    sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = connect(sandbox, name="A"), connect(sandbox, name="B")
    for connection in (first, second):
        map_course(sandbox, connection)
    sandbox.faults.on("503", call="badge", count=1)
    sandbox.navigatr.set_badge(BADGE, name="Renamed")
    tasks.daily_checks()
    assert "A (Staging): the mapped badges could not be looked at: GET /badge/111: HTTP 503" in caplog.text
    assert list(second.mappings.values_list("badge_name", flat=True)) == ["Renamed"]


def test_a_token_that_cannot_be_read_is_told_and_stops_nothing_else(
    sandbox: Sandbox, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    unreadable = connect(sandbox, name="A")
    readable = connect(sandbox, name="B")
    NavigatrConnection.objects.filter(pk=unreadable.pk).update(test_message="as before")
    with database.cursor() as cursor:
        cursor.execute("UPDATE badging_navigatrconnection SET pat = 'gAAAAgarbage' WHERE name = 'A'")
    tasks.daily_checks()
    readable.refresh_from_db()
    assert readable.test_ok
    assert str(WrongKey()) in caplog.text


def test_a_worker_that_shuts_down_begins_nothing_new(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    tasks._stop_sending()
    try:
        tasks.send_due(row.connection_id)
    finally:
        tasks._stopping.clear()
    row.refresh_from_db()
    assert row.state == "queued"


def test_a_sweep_or_sender_that_takes_long_takes_no_second_thread(at_once: None, sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    with tasks._alone("sweep"):
        tasks.send_sweep()
    with tasks._alone(f"sending {row.connection_id}"):
        tasks.send_sweep()
    row.refresh_from_db()
    assert row.state == "queued"
    tasks.send_sweep()
    row.refresh_from_db()
    assert row.state == "issued"


def test_a_long_queue_is_sent_in_turns_and_goes_on_behind_what_waits(
    sandbox: Sandbox, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SEND_THREADS = 1
    mapping = map_course(sandbox)
    for _ in range(4):
        owe(mapping)
    sandbox.faults.on("slow", seconds=0.1)
    monkeypatch.setattr(tasks, "TURN_SECONDS", 0.05)
    sent: list[tuple[str, int]] = []

    def note(task: Any) -> Any:
        return lambda *_args, **_options: sent.append((task.name, len(sandbox.navigatr.puts)))

    monkeypatch.setattr(tasks.send_sweep, "apply_async", note(tasks.send_sweep))
    tasks.send_due(mapping.connection_id)
    [(name, calls)] = sent
    assert name == "badging.tasks.send_sweep"
    assert 0 < calls < 4
    assert Issuance.objects.filter(state="queued", claim=None).count() == 4 - calls
