"""The schedule: what site admins may change, and that nothing else goes unseen."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from celery.beat import SchedulingError
from django.contrib.auth.models import User
from django.db import DatabaseError
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask
from kombu.exceptions import OperationalError

from badging import schedule, tasks
from badging.beat import PortalScheduler
from badging.models import AuditEntry, Heartbeat, ScheduledTask
from tests.builders import NOW, let_everything_run

pytestmark = pytest.mark.django_db

POLL, SWEEP, DAILY, COUNT = (entry.task for entry in schedule.SCHEDULE)


@pytest.fixture(autouse=True)
def running() -> None:
    """Everything gave a sign of life at NOW."""
    Heartbeat.objects.all().delete()
    let_everything_run(NOW)


def row_of(task: str) -> Any:
    return ScheduledTask._default_manager.get(task=task)


def change(task: str, **fields: Any) -> None:
    """As SQL or a superuser's shell would: past all checks."""
    PeriodicTask.objects.filter(task=task).update(**fields)


def every(number: int, period: str) -> IntervalSchedule:
    return IntervalSchedule.objects.create(every=number, period=period)


def told(now: Any = NOW) -> list[str]:
    return [str(trouble) for trouble in schedule.problems(now)]


def test_a_portal_that_runs_has_nothing_to_tell() -> None:
    assert told() == []


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"enabled": False}, "it is switched off"),
        ({"one_off": True}, "only once more"),
        ({"expires": NOW - timedelta(days=1)}, "ends at a set time"),
        ({"start_time": NOW + timedelta(days=1)}, "does not begin before"),
        ({"expire_seconds": 0}, "expire before a worker"),
        ({"queue": "nobody"}, "a queue that no worker reads"),
        ({"args": "[1]"}, "arguments"),
    ],
)
@pytest.mark.parametrize("task", [POLL, SWEEP, DAILY, COUNT])
def test_whatever_keeps_a_task_from_running_is_told_with_what_to_do(
    task: str, fields: dict[str, Any], words: str
) -> None:
    change(task, **fields)
    (text,) = told()
    assert words in text
    assert "Put right" in text


def test_a_task_every_microsecond_is_told() -> None:
    change(SWEEP, interval=every(1, IntervalSchedule.MICROSECONDS))
    (text,) = told()
    assert "every 1e-06 s, and must run every 1 to 60 s" in text


def test_a_task_once_a_year_and_one_by_another_kind_of_schedule_are_told() -> None:
    change(POLL, interval=every(365, IntervalSchedule.DAYS))
    change(SWEEP, interval=None, crontab=CrontabSchedule.objects.create(minute="0"))
    slow, other = told()
    assert "must run every 1 to 60 s" in slow
    assert "a schedule of another kind" in other


@pytest.mark.parametrize(("number", "period"), [(2_000_000_000, "days"), (5, "fortnights"), (-5, "seconds")])
def test_an_interval_that_is_none_is_told_and_breaks_nothing(number: int, period: str) -> None:
    change(SWEEP, interval=every(number, period))
    (text,) = told()
    assert "Put right" in text
    assert "Send what is due" in json.dumps(schedule.as_status(NOW))
    schedule.put_right(row_of(SWEEP), actor=None, now=NOW)
    assert told() == []


def test_a_second_row_does_not_hide_that_a_task_is_silent() -> None:
    PeriodicTask.objects.create(name="again", task=SWEEP, interval=every(5, "seconds"))
    later = NOW + timedelta(minutes=3)
    for name in (schedule.BEAT, POLL):
        schedule.note(name, later)
    again, silent = told(later)
    assert again.startswith("again: it is not the portal's")
    assert "Send what is due: it has not run since" in silent


def test_a_missing_task_is_told_and_the_set_up_adds_it_again() -> None:
    ScheduledTask.objects.filter(task=SWEEP).delete()
    (text,) = told()
    assert "Send what is due: it is missing from the schedule" in text
    assert "setup_portal" in text
    schedule.create_missing(NOW)
    assert told() == []


def test_a_second_row_of_a_task_and_a_strange_task_are_told_only_while_they_are_on() -> None:
    seconds = every(1, IntervalSchedule.MICROSECONDS)
    PeriodicTask.objects.create(name="again", task=SWEEP, interval=seconds)
    PeriodicTask.objects.create(name="mine", task="os.system", interval=seconds)
    PeriodicTask.objects.create(name="cleanup", task=schedule.CELERYS_OWN, interval=seconds)
    assert [text.partition(":")[0] for text in told()] == ["again", "mine"]
    for name in ("again", "mine"):
        schedule.put_right(ScheduledTask._default_manager.get(name=name), actor=None, now=NOW)
    assert told() == []
    assert row_of_name("again").enabled is False
    assert PeriodicTask.objects.get(name="Send what is due").enabled


def row_of_name(name: str) -> Any:
    return PeriodicTask.objects.get(name=name)


def test_many_strange_rows_hide_none_of_ours(django_assert_num_queries: Any) -> None:
    seconds = every(5, IntervalSchedule.SECONDS)
    change(DAILY, enabled=False)
    rows = [PeriodicTask(name=f"strange {n}", task="strange", interval=seconds) for n in range(200)]
    PeriodicTask.objects.bulk_create(rows)
    with django_assert_num_queries(2):
        texts = told()
    assert any("Check connections, sites and badges: it is switched off" in text for text in texts)
    assert len(texts) <= schedule.MOST_ROWS


@pytest.mark.parametrize("later", [timedelta(minutes=1), timedelta(minutes=2)])
def test_a_while_of_silence_is_no_trouble(later: timedelta) -> None:
    assert told(NOW + later) == []


def test_silence_of_beat_of_the_worker_and_of_the_broker_are_told_apart() -> None:
    later = NOW + timedelta(minutes=3)
    (text,) = told(later)
    assert "The scheduler (beat) has given no sign of life" in text
    schedule.note(schedule.BEAT, later)
    (text,) = told(later)
    assert "No worker has run a task since" in text
    schedule.note_broker(away=True, now=later)
    (text,) = told(later)
    assert "The broker does not answer" in text
    schedule.note_broker(away=False, now=later)
    schedule.note(SWEEP, later)
    (text,) = told(later)
    assert "Poll Moodle sites that are due: it has not run since" in text


def test_a_task_that_runs_once_a_day_may_be_late_by_half_a_day() -> None:
    for hours, count in ((35, 0), (37, 1)):
        later = NOW + timedelta(hours=hours)
        for name in (schedule.BEAT, POLL, SWEEP, COUNT):
            schedule.note(name, later)
        assert len(told(later)) == count


def test_a_fresh_portal_has_a_while_to_begin() -> None:
    Heartbeat.objects.all().delete()
    schedule.create_missing(NOW)
    assert told(NOW + timedelta(minutes=1)) == []
    assert told(NOW + timedelta(minutes=3)) != []


def test_an_interval_is_changed_within_bounds_and_audited() -> None:
    user = User.objects.create_user("ada")
    schedule.change_interval(row_of(SWEEP), 30, actor=user)
    row = row_of(SWEEP)
    assert (schedule.seconds_of(row), row.expire_seconds, row.enabled) == (30, 30, True)
    assert schedule.seconds_of(row_of(POLL)) == 5
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor, entry.subject) == ("schedule_changed", user, "Send what is due")
    assert entry.details == {"seconds_before": 5.0, "seconds": 30}
    for seconds in (0, 61):
        with pytest.raises(schedule.OutOfBounds, match="Enter 1 to 60 seconds"):
            schedule.change_interval(row, seconds, actor=user)
    assert AuditEntry.objects.count() == 1


def test_putting_right_undoes_all_that_keeps_a_task_from_running() -> None:
    change(SWEEP, enabled=False, one_off=True, queue="nobody", args="[1]", start_time=NOW + timedelta(days=1))
    change(SWEEP, interval=every(1, IntervalSchedule.MICROSECONDS), expire_seconds=0, last_run_at=None)
    schedule.put_right(row_of(SWEEP), actor=None, now=NOW)
    assert told() == []
    row = row_of(SWEEP)
    assert schedule.seconds_of(row) == 5
    # It is due at once, even if it runs once a day.
    assert row.last_run_at == NOW - timedelta(seconds=5)
    assert AuditEntry.objects.get().details == {"switched": "on", "seconds_before": 1e-06, "seconds": 5}


def test_putting_right_keeps_an_interval_that_may_be() -> None:
    change(SWEEP, interval=every(1, IntervalSchedule.MINUTES), enabled=False)
    schedule.put_right(row_of(SWEEP), actor=None, now=NOW)
    assert schedule.seconds_of(row_of(SWEEP)) == 60


# Signs of life


@pytest.mark.django_db(transaction=True)
def test_each_task_notes_that_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    Heartbeat.objects.all().delete()
    monkeypatch.setattr(tasks.poller, "run", lambda **_options: None)
    for task in (tasks.poll_due, tasks.send_sweep, tasks.daily_checks, tasks.count_days):
        task()
    assert set(Heartbeat.objects.values_list("name", flat=True)) == {POLL, SWEEP, DAILY, COUNT}


def test_a_sign_of_life_is_written_every_15_seconds_at_most(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(1):
        schedule.note(SWEEP, NOW + timedelta(seconds=14))
    assert schedule.heartbeats()[SWEEP] == NOW
    schedule.note(SWEEP, NOW + timedelta(seconds=15))
    assert schedule.heartbeats()[SWEEP] == NOW + timedelta(seconds=15)
    # A clock that was wrong is put right.
    schedule.note(SWEEP, NOW)
    assert schedule.heartbeats()[SWEEP] == NOW


def test_a_database_that_is_away_stops_neither_beat_nor_the_tasks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_arguments: Any, **_fields: Any) -> Any:
        raise DatabaseError("secret")

    monkeypatch.setattr(Heartbeat.objects, "filter", away)
    schedule.note(SWEEP, NOW)
    schedule.note_broker(away=False, now=NOW)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "secret" not in caplog.text


@pytest.fixture
def beat() -> Iterator[PortalScheduler]:
    """Beat's scheduler; at the end of the process it writes nothing."""
    scheduler = PortalScheduler(current_app, lazy=True)
    yield scheduler
    scheduler._finalize.cancel()


# Beat closes connections and ends transactions, as it should in a process of its own.
@pytest.mark.django_db(transaction=True)
def test_beat_notes_each_tick_and_whether_the_broker_takes_its_tasks(
    beat: PortalScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    Heartbeat.objects.all().delete()
    beat.tick()
    assert set(schedule.heartbeats()) == {schedule.BEAT}
    entry = beat.schedule["Send what is due"]

    def refuse(*_arguments: Any, **_options: Any) -> None:
        raise OperationalError

    with monkeypatch.context() as patch:
        patch.setattr(tasks.send_sweep, "apply_async", refuse)
        with pytest.raises(SchedulingError):
            beat.apply_async(entry)
    assert "The broker does not answer" in told(timezone.now())[0]
    monkeypatch.setattr(tasks.send_sweep, "apply_async", lambda *_arguments, **_options: None)
    beat.apply_async(entry)
    assert schedule.BROKER_AWAY not in schedule.heartbeats()


@pytest.mark.django_db(transaction=True)
def test_what_beat_counts_does_not_undo_a_change(beat: PortalScheduler) -> None:
    beat.reserve(beat.schedule["Send what is due"])
    schedule.change_interval(row_of(SWEEP), 30, actor=None)
    beat.schedule["Send what is due"].save()
    row = row_of(SWEEP)
    assert (schedule.seconds_of(row), row.total_run_count) == (30, 1)
