"""The schedule: which tasks run how often, who may change it, and whether it is alive.

Beat sends the tasks, a worker runs them, and both note that they live in `Heartbeat`: beat's own `last_run_at` reaches
the database only every three minutes. `problems` compares all of this with what should be. It is shown first in the
admin, and `status` tells it to monitors, because without the schedule nothing is polled and nothing is sent.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models import Case, When
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop
from django_celery_beat.models import IntervalSchedule

from . import audit
from .models import AuditEntry, Heartbeat, ScheduledTask
from .moments import moment

log = logging.getLogger(__name__)

# django-celery-beat has no types.
_tasks: Any = ScheduledTask._default_manager

MINUTE, HOUR, DAY = 60, 60 * 60, 24 * 60 * 60
# Who notes that it lives, besides the tasks.
BEAT, WORKER, BROKER_AWAY = "beat", "worker", "broker away"
# A sign of life is written at most this often.
NOTED_EVERY = timedelta(seconds=15)
# How long beat or a frequent task may be silent. A worker whose threads are all busy is late by one or two turns.
SILENT_AFTER = timedelta(minutes=2)
# Celery adds this one by itself.
CELERYS_OWN = "celery.backend_cleanup"
# How many rows of the schedule are looked at: there should be four.
MOST_ROWS = 50
# A message that no worker took in time may expire: the next one does the same.
LEAST_EXPIRY_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Entry:
    """A task of the schedule: its usual interval, and the bounds within which site admins may change it, in seconds."""

    name: str
    task: str
    what: str | Promise
    every: int
    least: int
    most: int


# Each polling round polls the sites that are due by their own intervals.
SCHEDULE = [
    Entry(
        gettext_noop("Poll Moodle sites that are due"),
        "badging.tasks.poll_due",
        gettext_lazy("Looks which Moodle sites are due by their own intervals, and polls them."),
        every=5,
        least=1,
        most=60,
    ),
    Entry(
        gettext_noop("Send what is due"),
        "badging.tasks.send_sweep",
        gettext_lazy("Takes back what a dead worker held, and sends the badges that are due."),
        every=5,
        least=1,
        most=60,
    ),
    Entry(
        gettext_noop("Check connections, sites and badges"),
        "badging.tasks.daily_checks",
        gettext_lazy(
            "Tests each connection's token, looks whether its mapped badges can still be issued, and deletes what is "
            "too old."
        ),
        every=DAY,
        least=HOUR,
        # What is deleted by age is promised to go within a day.
        most=DAY,
    ),
    Entry(
        gettext_noop("Count what happened each day"),
        "badging.tasks.count_days",
        gettext_lazy("Adds up what was issued and what failed on past days, for the charts of the start page."),
        every=HOUR,
        least=MINUTE,
        # The start page counts today and yesterday itself.
        most=6 * HOUR,
    ),
]
BY_TASK = {entry.task: entry for entry in SCHEDULE}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something about the schedule that needs a person: what is wrong, and what to do.

    `about` is a task's name, BEAT or WORKER; `row` is the row of the schedule, or None.
    """

    about: str
    what: str
    todo: str
    row: Any = None

    def __str__(self) -> str:
        return f"{self.what}. {self.todo}"


class OutOfBounds(ValueError):
    """The interval is too short or too long; nothing was changed. The text is for people."""


# Signs of life


def note(name: str, now: datetime) -> None:
    """Note that beat lives, or that a worker runs a task. A database that is away stops neither."""
    try:
        if not Heartbeat.objects.filter(name=name, at__gt=now - NOTED_EVERY, at__lte=now).exists():
            Heartbeat.objects.update_or_create(name=name, defaults={"at": now})
    except DatabaseError as error:
        log.warning("the sign of life of %s could not be written (%s)", name, type(error).__name__)


def note_broker(*, away: bool, now: datetime) -> None:
    """Note whether beat could hand a task to the broker. A database that is away stops nothing."""
    if away:
        note(BROKER_AWAY, now)
        return
    try:
        if Heartbeat.objects.filter(name=BROKER_AWAY).exists():
            Heartbeat.objects.filter(name=BROKER_AWAY).delete()
    except DatabaseError as error:
        log.warning("that the broker answers could not be written (%s)", type(error).__name__)


# Creating and changing


def create_missing(now: datetime) -> None:
    """Add the tasks that are missing, and change none that exists. What is new has a while to give a sign of life."""
    for entry in SCHEDULE:
        if not _tasks.filter(task=entry.task).exists():
            _tasks.create(
                name=_free_name(entry),
                task=entry.task,
                interval=_interval(entry.every),
                expire_seconds=_expiry(entry.every),
            )
            Heartbeat.objects.update_or_create(name=entry.task, defaults={"at": now})
    for name in [BEAT, *BY_TASK]:
        Heartbeat.objects.get_or_create(name=name, defaults={"at": now})


@transaction.atomic
def change_interval(row: Any, seconds: int, *, actor: Any) -> None:
    """Run one of our tasks every so many seconds. Raises OutOfBounds."""
    see_that_it_is_within(row, seconds)
    before = seconds_of(row)
    row.interval, row.expire_seconds = _interval(seconds), _expiry(seconds)
    row.crontab = row.solar = row.clocked = None
    row.save()
    audit.record(AuditEntry.Action.SCHEDULE_CHANGED, row.name, actor=actor, seconds_before=before, seconds=seconds)


def see_that_it_is_within(row: Any, seconds: int) -> None:
    """Raises OutOfBounds for an interval that one of our tasks may not have."""
    entry = BY_TASK[row.task]
    if not _is_within(entry, seconds):
        raise OutOfBounds(_("Enter %(least)d to %(most)d seconds.") % {"least": entry.least, "most": entry.most})


@transaction.atomic
def put_right(row: Any, *, actor: Any, now: datetime) -> None:
    """Make a row of the schedule what it should be: one of ours runs again as usual, any other is switched off.

    An interval within the bounds is kept. A task that was off runs at once.
    """
    entry = BY_TASK.get(row.task)
    if entry is None or row.pk not in {kept.pk for kept in _kept_rows(rows())}:
        row.enabled = False
        row.save()
        audit.record(AuditEntry.Action.SCHEDULE_CHANGED, row.name, actor=actor, switched="off")
        return
    before = seconds_of(row)
    seconds = int(before) if before is not None and _is_within(entry, before) else entry.every
    row.crontab = row.solar = row.clocked = row.expires = row.start_time = None
    row.queue = row.exchange = row.routing_key = row.priority = None
    row.args, row.kwargs, row.headers, row.one_off = "[]", "{}", "{}", False
    row.interval, row.expire_seconds = _interval(seconds), _expiry(seconds)
    row.enabled, row.last_run_at = True, now - timedelta(seconds=seconds)
    row.save()
    audit.record(
        AuditEntry.Action.SCHEDULE_CHANGED, row.name, actor=actor, switched="on", seconds_before=before, seconds=seconds
    )


def _free_name(entry: Entry) -> str:
    """The entry's name, or its task's where another row has that name."""
    return entry.task if _tasks.filter(name=entry.name).exists() else entry.name


def _interval(seconds: int) -> Any:
    """The row for every so many seconds."""
    found = IntervalSchedule.objects.filter(every=seconds, period=IntervalSchedule.SECONDS).first()
    return found or IntervalSchedule.objects.create(every=seconds, period=IntervalSchedule.SECONDS)


def _expiry(seconds: int) -> int:
    return max(seconds, LEAST_EXPIRY_SECONDS)


# Looking


def rows() -> list[Any]:
    """The rows of the schedule, ours and those that others have added, at most MOST_ROWS; in one query."""
    related = ("interval", "crontab", "solar", "clocked")
    found = _tasks.exclude(task=CELERYS_OWN).select_related(*related)
    return list(found.order_by(Case(When(task__in=list(BY_TASK), then=0), default=1), "pk")[:MOST_ROWS])


def seconds_of(row: Any) -> float | None:
    """How often a row runs, in seconds; None for what has no interval, or one that is none."""
    if row.interval is None:
        return None
    try:
        return timedelta(**{row.interval.period: row.interval.every}).total_seconds()
    except OverflowError:
        return timedelta.max.total_seconds()
    except TypeError:
        # SQL can write any word as the period.
        return None


def heartbeats() -> dict[str, datetime]:
    """When beat, and a worker with each task, last gave a sign of life; in one query."""
    return dict(Heartbeat.objects.values_list("name", "at"))


def problems(now: datetime) -> list[Trouble]:
    """What is wrong with the schedule, with beat and with the workers. Two queries."""
    return problems_of(rows(), heartbeats(), now)


def problems_of(found: Sequence[Any], beats: dict[str, datetime], now: datetime) -> list[Trouble]:
    """The same for rows and signs of life that were read already."""
    kept = {row.task: row for row in _kept_rows(found)}
    troubles = [trouble for row in found if (trouble := _row_trouble(row, kept, now))]
    troubles += [_missing(entry) for entry in SCHEDULE if entry.task not in kept]
    # A second row of a task says nothing about the first.
    wrong = {trouble.about for trouble in troubles if trouble.row is None or trouble.row is kept.get(trouble.about)}
    silent = [
        entry
        for entry in SCHEDULE
        if entry.task not in wrong and _is_silent(kept[entry.task], beats.get(entry.task), now)
    ]
    # With beat silent nothing can run, and with beat alive a frequent task that does not run lacks a worker.
    if program := _beat_trouble(beats, now) or _worker_trouble(silent, beats, now):
        return [program, *troubles]
    return [*troubles, *(_not_run(entry, kept[entry.task], beats.get(entry.task)) for entry in silent)]


def as_status(now: datetime) -> dict[str, Any]:
    """The keys `schedule`, `worker` and `beat` of `status`, ready for JSON. Two queries."""
    found, beats = rows(), heartbeats()
    troubles = problems_of(found, beats, now)
    programs = {trouble.about: str(trouble) for trouble in troubles if trouble.about in (BEAT, WORKER)}
    of_row = {trouble.row.pk: str(trouble) for trouble in troubles if trouble.row is not None}
    lines = [
        _status_line(row.task, row.name, seconds_of(row), row.enabled, beats.get(row.task), of_row.get(row.pk, ""))
        for row in found
    ]
    lines += [
        _status_line(trouble.about, _(BY_TASK[trouble.about].name), None, False, beats.get(trouble.about), str(trouble))
        for trouble in troubles
        if trouble.row is None and trouble.about in BY_TASK
    ]
    seen = {BEAT: beats.get(BEAT), WORKER: worker_seen(beats)}
    return {
        "schedule": lines,
        **{name: {"last_seen": _iso(at), "problem": programs.get(name, "")} for name, at in seen.items()},
    }


def _status_line(  # noqa: PLR0917 - one for each key
    task: str, name: str, seconds: float | None, enabled: bool, last_run: datetime | None, problem: str
) -> dict[str, Any]:
    return {
        "task": task,
        "name": name,
        "every_seconds": seconds,
        "enabled": enabled,
        "last_run": _iso(last_run),
        "problem": problem,
    }


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _beat_trouble(beats: dict[str, datetime], now: datetime) -> Trouble | None:
    """That beat is silent, or cannot reach the broker; None when it does its work."""
    at, away = beats.get(BEAT), beats.get(BROKER_AWAY)
    if at is None or now - at > SILENT_AFTER:
        return Trouble(
            BEAT,
            _("The scheduler (beat) has given no sign of life since %(time)s") % {"time": _seen(at)},
            _(
                "Nothing is polled, and little is sent. Whoever runs the server must look at its log: the portal does "
                "not run, or beat reaches neither broker nor database. Starting the portal again often helps."
            ),
        )
    if away is not None and now - away <= SILENT_AFTER:
        return Trouble(
            BEAT,
            _("The broker does not answer the scheduler (beat)"),
            _(
                "Nothing is polled until it is back. Whoever runs the server must look whether Valkey or Redis runs "
                "(CELERY_BROKER_URL), and at the log."
            ),
        )
    return None


def worker_seen(beats: dict[str, datetime]) -> datetime | None:
    """When a worker last ran a task of the schedule."""
    return max((beats[entry.task] for entry in SCHEDULE if entry.task in beats), default=None)


def _worker_trouble(silent: Sequence[Entry], beats: dict[str, datetime], now: datetime) -> Trouble | None:
    """That no worker runs what beat sends; None while one ran anything lately."""
    at = worker_seen(beats)
    if not silent or (at is not None and now - at <= SILENT_AFTER):
        return None
    return Trouble(
        WORKER,
        _("No worker has run a task since %(time)s") % {"time": _seen(at)},
        _(
            "Nothing is polled and nothing is sent. The scheduler (beat) lives, so the worker does not run, hangs, or "
            "does not reach the broker. Whoever runs the server must look at its log, and start the portal again."
        ),
    )


def _row_trouble(row: Any, kept: dict[str, Any], now: datetime) -> Trouble | None:
    """What is wrong with one row of the schedule, None for one that is as it should be."""
    entry = BY_TASK.get(row.task)
    if entry is None or kept[row.task].pk != row.pk:
        return _foreign(row) if row.enabled else None
    why = _why_wrong(row, entry, now)
    if not why:
        return None
    todo = _("Press “Put right” on its page, and find out who changed it.")
    return Trouble(row.task, f"{row.name}: {why}", todo, row)


def _why_wrong(row: Any, entry: Entry, now: datetime) -> str:
    """Why a task of ours does not run as it should, or ""."""
    seconds = seconds_of(row)
    expires_at_once = row.expire_seconds is not None and row.expire_seconds < LEAST_EXPIRY_SECONDS
    wrong = [
        (not row.enabled, _("it is switched off, so it never runs")),
        (
            row.crontab_id or row.solar_id or row.clocked_id or seconds is None,
            _("it runs by a schedule of another kind"),
        ),
        (row.one_off, _("it is to run only once more")),
        (row.expires is not None, _("it ends at a set time")),
        (row.start_time is not None and row.start_time > now, _("it does not begin before a set time")),
        (seconds is not None and not _is_within(entry, seconds), _every_too(entry, seconds)),
        (expires_at_once, _("its messages expire before a worker takes them")),
        (row.queue or row.exchange or row.routing_key, _("it is sent to a queue that no worker reads")),
        (
            _is_filled(row.args, "[]") or _is_filled(row.kwargs, "{}"),
            _("it is called with arguments that it does not take"),
        ),
    ]
    return next((text for is_wrong, text in wrong if is_wrong), "")


def _every_too(entry: Entry, seconds: float | None) -> str:
    values = {"seconds": f"{seconds:g}" if seconds is not None else "", "least": entry.least, "most": entry.most}
    return _("it runs every %(seconds)s s, and must run every %(least)d to %(most)d s") % values


def _is_filled(json: str | None, empty: str) -> bool:
    return (json or "").strip() not in ("", empty)


def _is_within(entry: Entry, seconds: float) -> bool:
    return entry.least <= seconds <= entry.most


def _kept_rows(found: Sequence[Any]) -> list[Any]:
    """The first row of each of our tasks, one that is switched on before one that is off."""
    first: dict[str, Any] = {}
    for row in sorted(found, key=lambda row: (not row.enabled, row.pk)):
        if row.task in BY_TASK:
            first.setdefault(row.task, row)
    return list(first.values())


def _is_silent(row: Any, ran_at: datetime | None, now: datetime) -> bool:
    """Whether a task of ours should have run by now: half an interval is allowed besides, at least SILENT_AFTER."""
    every = timedelta(seconds=seconds_of(row) or 0)
    return ran_at is None or now - ran_at > every + max(SILENT_AFTER, every / 2)


def _missing(entry: Entry) -> Trouble:
    return Trouble(
        entry.task,
        _("%(task)s: it is missing from the schedule") % {"task": _(entry.name)},
        _("Whoever runs the server must run “manage.py setup_portal”, which adds it again."),
    )


def _foreign(row: Any) -> Trouble:
    return Trouble(
        row.task,
        _("%(task)s: it is not the portal's, or is in the schedule twice") % {"task": row.name},
        _("Press “Put right” on its page, which switches it off, and find out who added it."),
        row,
    )


def _not_run(entry: Entry, row: Any, ran_at: datetime | None) -> Trouble:
    return Trouble(
        entry.task,
        _("%(task)s: it has not run since %(time)s") % {"task": row.name, "time": _seen(ran_at)},
        _("Beat and a worker live. Whoever runs the server must look at its log for what this task says."),
        row,
    )


def _seen(at: datetime | None) -> str:
    """Since when nothing was seen, for people."""
    return moment(at) if at else _("the portal was set up")
