"""Celery's doors: each tick becomes one call of a verb, and a lost broker loses nothing."""

import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import Celery, current_app
from django.db import connection as database
from django.utils import timezone
from kombu.exceptions import OperationalError

from badging import tasks
from badging.models import AttemptWords, Issuance, NavigatrConnection
from sandbox import Sandbox
from tests.builders import (
    BADGE,
    connect,
    make_attempt,
    make_connection,
    make_course,
    make_issuance,
    make_site,
    map_course,
    owe,
)
from tests.worker import take
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
def readers_do_not_wait(transactional_db: None) -> Iterator[None]:
    """SQLite in memory refuses to read a table that another thread writes at this moment; in a file it would not."""
    if database.vendor == "sqlite":
        database.cursor().execute("PRAGMA read_uncommitted = 1")
    yield
    if database.vendor == "sqlite":
        database.cursor().execute("PRAGMA read_uncommitted = 0")


@pytest.mark.usefixtures("readers_do_not_wait")
@pytest.mark.django_db(transaction=True)
def test_the_tick_polls_what_is_due_and_a_poll_that_queues_something_is_followed_by_sending(
    at_once: None, sandbox: Sandbox
) -> None:
    site = make_site(url=sandbox.moodle_url, token=sandbox.moodle_token)
    moodle_id = sandbox.moodle.add_course("C", "Course")
    map_course(sandbox, course=make_course(site, moodle_id=moodle_id), since=timezone.now() - timedelta(days=1))
    sandbox.moodle.complete_many(moodle_id, sandbox.moodle.add_learners(1, course_id=moodle_id))
    tasks.poll_due()
    assert Issuance.objects.get().state == "issued"


@pytest.mark.django_db(transaction=True)
def test_a_site_that_a_person_wants_polled_is_polled_now(at_once: None, sandbox: Sandbox) -> None:
    later = timezone.now() + timedelta(hours=1)
    site = make_site(url=sandbox.moodle_url, token=sandbox.moodle_token, next_poll_at=later)
    tasks.poll_due()
    assert site.state.last_poll_at is None
    assert tasks.nudge_poll(site.pk)
    site.state.refresh_from_db()
    assert site.state.last_poll_at is not None


def test_a_tick_wakes_the_round_that_runs_and_takes_no_second_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    woken: list[bool] = []
    monkeypatch.setattr(tasks.poller, "wake", lambda: woken.append(True))
    monkeypatch.setattr(tasks.poller, "run", None)
    with tasks.alone("polling"):
        tasks.poll_due()
    assert woken == [True]


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_round_whose_turn_is_over_gets_in_line_again(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(tasks, "TURN_SECONDS", seconds)
    monkeypatch.setattr(tasks.poller, "run", lambda **_options: None)
    monkeypatch.setattr(tasks.poll_due, "apply_async", lambda *_arguments, **_options: asked.append(True))
    tasks.poll_due()
    assert asked == ([] if seconds else [True])


def test_a_connection_that_is_gone_is_no_error(at_once: None) -> None:
    tasks.send_due(4711)


def test_the_sweep_takes_back_what_was_left_and_sends_it(at_once: None, sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    take(row).die()
    tasks.send_sweep()
    row.refresh_from_db()
    assert (row.state, row.is_unknown) == ("issued", False)


@pytest.mark.parametrize(("nudge", "arguments"), [(tasks.nudge, ()), (tasks.nudge_poll, (1,))])
def test_a_broker_that_does_not_answer_is_told_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, nudge: Any, arguments: tuple[int, ...]
) -> None:
    def breaks(*_args: Any, **_options: Any) -> None:
        raise OperationalError("redis://user:secret@broker")

    make_issuance(next_attempt_at=timezone.now())
    for task in (tasks.send_due, tasks.poll_due):
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
    tasks.stop_sending()
    try:
        tasks.send_due(row.connection_id)
    finally:
        tasks.stopping.clear()
    row.refresh_from_db()
    assert row.state == "queued"


def test_a_sweep_or_sender_that_takes_long_takes_no_second_thread(at_once: None, sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    with tasks.alone("sweep"):
        tasks.send_sweep()
    with tasks.alone(f"sending {row.connection_id}"):
        tasks.send_sweep()
    row.refresh_from_db()
    assert row.state == "queued"
    tasks.send_sweep()
    row.refresh_from_db()
    assert row.state == "issued"


@pytest.fixture
def nudged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The connections for which a worker has been asked to send."""
    asked: list[int] = []
    monkeypatch.setattr(tasks.send_due, "apply_async", lambda arguments, **_options: asked.extend(arguments))
    return asked


def test_a_turn_that_is_over_hands_back_and_gets_in_line_again(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, nudged: list[int]
) -> None:
    row = owe(map_course(sandbox))
    monkeypatch.setattr(tasks, "TURN_SECONDS", 0)
    tasks.send_due(row.connection_id)
    row.refresh_from_db()
    assert (row.state, sandbox.navigatr.puts, nudged) == ("queued", [], [row.connection_id])


def test_a_queue_that_ends_within_its_turn_needs_no_other(sandbox: Sandbox, nudged: list[int]) -> None:
    row = owe(map_course(sandbox))
    tasks.send_due(row.connection_id)
    row.refresh_from_db()
    assert (row.state, nudged) == ("issued", [])


def test_a_worker_that_shuts_down_asks_for_no_other_turn(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, nudged: list[int]
) -> None:
    row = owe(map_course(sandbox))
    monkeypatch.setattr(tasks, "TURN_SECONDS", 0)
    tasks.stop_sending()
    try:
        tasks.send_due(row.connection_id)
    finally:
        tasks.stopping.clear()
    assert nudged == []


def test_a_turn_that_only_waits_for_its_last_answers_lets_one_other_begin() -> None:
    with tasks.alone("job", until=0) as first, tasks.alone("job", until=0) as second, tasks.alone("job") as third:
        assert (first, second, third) == (True, True, False)
    with tasks.alone("job") as first, tasks.alone("job") as second:
        assert (first, second) == (True, False)


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


def test_old_words_are_deleted_each_day() -> None:
    make_attempt(at=timezone.now() - timedelta(days=91), detail="Ana has it")
    tasks.daily_checks()
    assert not AttemptWords.objects.exists()
