"""Polling: reads what is new in a Moodle site and writes it down.

Every batch is one transaction: learners and completions are stored, the caller's `on_stored` does with them what it
likes (badging queues issuances), and the site's state moves on. A crash repeats the poll, and repeating it changes
nothing. No transaction is open during a call to Moodle.
"""

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from vault.keys import WrongKey

from . import learner_feed, mapped_courses, report_feed
from .client import MoodleClient
from .client.errors import MoodleError, MoodleNotAllowed, MoodleTokenRefused, MoodleUnavailable
from .client.inspection import inspect
from .completing import Completed, complete_what_is_new
from .identity import (
    AnotherMoodle,
    compare_people,
    see_that_people_are_the_same,
    see_that_the_address_is_the_same,
)
from .models import Completion, Feed, MoodleSite, MoodleSiteState
from .reading import Batch, OnStored, Poll, WantedCourse, seen_before
from .site_check import WhileWaiting, check_is_due, keep_inspection, moodle_client_for, sync_courses
from .storing import store

log = logging.getLogger(__name__)

# A poll that shows no sign of life for so long has died; the next one may start.
POLL_LEASE: timedelta = settings.LEASE
# How old a sign of life gets before the next one is given.
RENEW_EVERY = timedelta(seconds=5)
ASKED_AT_ONCE = 25
# How long, in seconds, a sender waits for a Moodle that is to confirm what waits.
ASK_AGAIN_TIMEOUT = 10
# What data that nobody has thought of makes a program raise.
ODD_DATA = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)

Waiting = Callable[[Poll], Sequence[Completion]]


@dataclass
class PollResult:
    """What one poll of one site did. `error` is "" or says in plain words what is wrong and what to do.

    `problems`: single courses or rows that could not be read; the rest of the round went on. `busy`: nothing was done,
    because somebody else is polling the site, or nobody may. `feed`: the one that was used; None if nothing was done.
    """

    site: str
    new_completions: int = 0
    queued: int = 0
    calls: int = 0
    error: str = ""
    problems: list[str] = field(default_factory=list)
    busy: bool = False
    feed: str | None = None


def nobody_waits(poll: Poll) -> Sequence[Completion]:
    """The default of `waiting`."""
    return ()


def read_site(
    site: MoodleSite,
    wanted: Sequence[WantedCourse],
    *,
    on_stored: OnStored,
    waiting: Waiting = nobody_waits,
    now: datetime,
    if_due: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    while_waiting: WhileWaiting = nullcontext,
) -> PollResult:
    """Read what is new in these courses of one site. Never raises for what Moodle answers.

    Only one poll of a site runs at a time (the report's filters belong to the token); a second one says so and reads
    nothing. A failure is kept on the site with what to do, and the next poll waits longer. `waiting` is asked at the
    end for completions that wait for Moodle's word, such as a score, and each is asked about. With `if_due` a site
    that somebody else has polled meanwhile is left alone. `should_stop` is asked between calls; then what has been
    stored is kept, and the next poll goes on from there. `while_waiting` surrounds each call to Moodle. `site` itself
    is not changed: what the poll leaves is in its state.
    """
    result = PollResult(site.name)
    lease = _Lease.take(site, now, if_due=if_due)
    if lease is None:
        result.busy = True
        result.error = _why_not(site, now)
        return result
    try:
        _poll(site.pk, wanted, on_stored, waiting, lease, result, should_stop, while_waiting)
    finally:
        lease.give_back()
    return result


def ask_again(
    site: MoodleSite,
    completions: Sequence[Completion],
    *,
    on_stored: OnStored,
    should_stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Ask Moodle about these completions, of one site, and store what it says. False: it could not be asked.

    Whoever seems to be another person now is left as they are: a poll finds out whether that is another Moodle. The
    report is not touched, so a poll of the same site may run meanwhile. Never raises for what Moodle answers.
    """
    try:
        with moodle_client_for(site, timeout=ASK_AGAIN_TIMEOUT) as client:
            courses = {row.course_id: WantedCourse(row.course) for row in completions}
            poll = Poll(site, site.state, client, courses, timezone.now())
            for batch in _look_again(poll, lambda _poll: completions):
                if should_stop():
                    return False
                # Each answer counts from when it was given.
                poll.now = timezone.now()
                _take_known_people(poll, batch, on_stored)
    except (MoodleError, WrongKey, *ODD_DATA) as error:
        log.warning("%s could not be asked about what waits to be sent: %s", site, type(error).__name__)
        return False
    return True


def _take_known_people(poll: Poll, batch: Batch, on_stored: OnStored) -> None:
    """Complete and store a batch, without those who seem to be somebody else."""
    completed = complete_what_is_new(poll, batch)
    _known, strangers = compare_people(poll.site, completed)
    same = [one for one in completed.seen if one.user_id not in strangers]
    _store(poll, batch, replace(completed, seen=same), on_stored)


def look_at_courses(site: MoodleSite, client: MoodleClient, wanted: Sequence[WantedCourse], now: datetime) -> str:
    """Bring the site's courses up to date; returns "", or the question to an admin if they are another Moodle's.

    Nothing is stored then. Raises MoodleError.
    """
    poll = Poll(site, site.state, client, {row.course.pk: row for row in wanted}, now)
    try:
        mapped_courses.look_at(poll)
        sync_courses(site, client)
    except AnotherMoodle as doubt:
        _note_doubt(site, str(doubt), now)
        return str(doubt)
    return ""


def _why_not(site: MoodleSite, now: datetime) -> str:
    """Why the site may not be polled now."""
    state = MoodleSiteState.objects.get(site=site.pk)
    if state.doubt:
        return state.doubt
    return _("This site is being polled right now, is disabled, or has no token.")


def _poll(
    site_id: int,
    wanted: Sequence[WantedCourse],
    on_stored: OnStored,
    waiting: Waiting,
    lease: "_Lease",
    result: PollResult,
    should_stop: Callable[[], bool],
    while_waiting: WhileWaiting,
) -> None:
    """Poll with the lease in hand, and keep on the site what came of it."""
    site = MoodleSite.objects.select_related("state").get(pk=site_id)

    def heartbeat() -> None:
        if should_stop():
            raise _Stopped
        lease.renew()

    @contextmanager
    def calling() -> Iterator[None]:
        heartbeat()
        with while_waiting():
            yield

    try:
        client = moodle_client_for(site, while_waiting=calling)
    except (WrongKey, ValueError) as error:
        result.error = _(str(error))
        _note_failure(site, result.error, lease.now)
        return
    with client:
        courses = {row.course.pk: row for row in wanted}
        poll = Poll(site, site.state, client, courses, lease.now, problems=result.problems)
        try:
            _read(poll, on_stored, waiting, heartbeat)
            _note_success(poll, lease)
        except MoodleError as error:
            result.error = f"{error}. {_(error.advice)}"
            _note_failure(site, result.error, poll.now, error)
        except AnotherMoodle as doubt:
            result.error = str(doubt)
            _note_doubt(site, result.error, poll.now)
        except _Stopped:
            result.error = _("The poll was stopped; the next one goes on from there.")
        except _LeaseLost:
            result.error = _("This poll took so long that another one took over.")
        except ODD_DATA as fault:
            # Whatever Moodle sent: one odd site must not end the round of all others.
            result.error = _("The portal itself failed while it read this site. Read the server's log, and report it.")
            _log_fault(site, fault)
            _note_failure(site, result.error, poll.now)
        finally:
            result.calls, result.new_completions, result.queued = client.calls, poll.new, poll.queued
            result.feed = poll.state.feed


def _read(poll: Poll, on_stored: OnStored, waiting: Waiting, heartbeat: Callable[[], None]) -> None:
    """The story of one poll. Raises MoodleError, and AnotherMoodle.

    The site is checked when that is due. The feed hands over batch after batch of who has completed; who waits for
    Moodle's word is looked at again in the same way. Of each batch, what is new is completed: exact names, times and
    scores. Then it is stored and queued, and the reading moves on, in one transaction.
    `heartbeat` may raise to end the poll.
    """
    _check(poll)
    for batch in chain(_feed(poll), _look_again(poll, waiting)):
        _take(poll, batch, on_stored)
        heartbeat()
    _doubt_the_zone(poll)


def _take(poll: Poll, batch: Batch, on_stored: OnStored) -> None:
    """Complete what is new in a batch, then store it and tell the caller, in one transaction."""
    if batch.is_empty:
        # Most polls: how far they came is written at their end, with all else.
        poll.move(batch.state)
        poll.unwritten |= batch.state
        return
    mapped_courses.follow_renames(poll, batch)
    completed = complete_what_is_new(poll, batch)
    see_that_people_are_the_same(poll, completed)
    _store(poll, batch, completed, on_stored)


def _store(poll: Poll, batch: Batch, completed: Completed, on_stored: OnStored) -> None:
    """Write a batch and tell the caller, in one transaction."""
    with transaction.atomic():
        stored = store(poll, batch, completed)
        poll.new += stored.new
        if stored.is_worth_telling:
            poll.queued += on_stored(stored)
    poll.note_oddities()


def _check(poll: Poll) -> None:
    """Check the site when that is due, so that the state says which feed to use. Raises MoodleError."""
    if not check_is_due(poll.state, poll.client, poll.now):
        return
    inspection = inspect(poll.client, now=poll.now)
    if inspection.info is not None:
        see_that_the_address_is_the_same(poll.state, inspection.info.siteurl)
    keep_inspection(poll.state, inspection, poll.now)
    if inspection.failure is not None:
        raise inspection.failure
    try:
        # Before the list of all courses is stored, which would hide that they are another Moodle's.
        mapped_courses.look_at(poll)
        sync_courses(poll.site, poll.client)
    except (MoodleUnavailable, MoodleTokenRefused):
        raise
    except MoodleError as error:
        # Courses to choose from are not what badges wait for.
        poll.note(f"{error}. {_(error.advice)}")
    poll.note_oddities()


def _feed(poll: Poll) -> Iterator[Batch]:
    """The batches of the feed that the check chose. Raises MoodleError."""
    if poll.state.feed == Feed.NONE:
        raise MoodleNotAllowed.no_feed()
    if not poll.wanted:
        return
    reads_report = poll.state.feed == Feed.REPORT
    if not reads_report or report_feed.looks_far_back(poll.state, poll.now):
        # Unless the check has just looked.
        mapped_courses.look_at(poll)
    yield from report_feed.batches(poll) if reads_report else learner_feed.batches(poll)


def _look_again(poll: Poll, waiting: Waiting) -> Iterator[Batch]:
    """Those who wait for a word of Moodle's about their score, profile, account or completion."""
    rows = [row for row in waiting(poll) if row.course_id in poll.wanted]
    for start in range(0, len(rows), ASKED_AT_ONCE):
        part = rows[start : start + ASKED_AT_ONCE]
        yield Batch([seen_before(row, poll.wanted[row.course_id].course) for row in part], ask_all=True)


def _doubt_the_zone(poll: Poll) -> None:
    """Believe no time of the report until its zone has been measured anew."""
    if not poll.zone_doubted:
        return
    poll.note(
        _(
            "The report's times differ from the exact ones as two time zones do: “Force timezone” may have been "
            "changed in Moodle. The zone is measured anew within the hour; until then the exact times are asked for."
        )
    )
    MoodleSiteState.objects.filter(pk=poll.state.pk).update(zone="")


class _Stopped(Exception):
    """The program that polls is being stopped."""


class _LeaseLost(Exception):
    """Another poll of the same site has begun, as this one gave no sign of life for too long."""


@dataclass
class _Lease:
    """The right to poll one site, which whoever holds it renews while working. Time passes from `now` on."""

    site: MoodleSite
    now: datetime
    until: datetime
    started: float = field(default_factory=time.monotonic)
    held: bool = True

    @classmethod
    def take(cls, site: MoodleSite, now: datetime, *, if_due: bool) -> "_Lease | None":
        """Take it with one conditional update; None if somebody else polls the site, or it may not be polled."""
        lease = cls(site, now, now + POLL_LEASE)
        states = MoodleSiteState.objects.due(now) if if_due else MoodleSiteState.objects.free(now)
        taken = states.filter(pk=site.pk).update(polling_until=lease.until) == 1
        return lease if taken else None

    def elapsed(self) -> timedelta:
        """How long the poll has taken so far."""
        return timedelta(seconds=time.monotonic() - self.started)

    def renew(self) -> None:
        """Show a sign of life, unless the last one is young. Raises _LeaseLost."""
        until = self.now + self.elapsed() + POLL_LEASE
        if until - self.until < RENEW_EVERY:
            return
        if not MoodleSiteState.objects.filter(site=self.site.pk, polling_until=self.until).update(polling_until=until):
            raise _LeaseLost
        self.until = until

    def give_back(self, **noted: Any) -> None:
        """Let the next poll begin and note this of the present one, unless the next one already has begun."""
        if self.held:
            mine = MoodleSiteState.objects.filter(site=self.site.pk, polling_until=self.until)
            mine.update(polling_until=None, **noted)
            self.held = False


def _note_success(poll: Poll, lease: _Lease) -> None:
    """Keep how far the poll came, and when the next one is due."""
    site, state = poll.site, poll.state
    # Without the report each poll costs hundreds of calls, so it is never hurried.
    pace = site.pace_after(state.pace, busy=poll.new > 0) if state.feed == Feed.REPORT else site.poll_interval
    lease.give_back(
        **poll.unwritten,
        last_poll_at=poll.now,
        last_poll_took=lease.elapsed(),
        next_poll_at=poll.now + pace,
        pace=pace,
        failures=0,
        error="\n".join(poll.problems[:20]),
    )


def _note_failure(site: MoodleSite, text: str, now: datetime, error: MoodleError | None = None) -> None:
    """Keep what is wrong, and wait longer each time, or as long as Moodle asked for.

    Unless Moodle was merely out of reach, the next poll checks the site anew: perhaps another feed can be used.
    """
    log.warning("polling %s failed: %s", site.name, text)
    failures = site.state.failures + 1
    pause = max(site.pause_after(failures), (error and error.retry_after) or timedelta())
    check_again = error is not None and not isinstance(error, MoodleUnavailable)
    MoodleSiteState.objects.filter(site=site).update(
        failures=failures,
        next_poll_at=now + pause,
        error=text,
        checked_at=None if check_again else F("checked_at"),
    )


def _note_doubt(site: MoodleSite, text: str, now: datetime) -> None:
    """Ask an admin whether this is still the same Moodle; until the answer nothing is read or sent."""
    log.warning("%s may be another Moodle; it is not polled until an admin has said", site.name)
    MoodleSiteState.objects.filter(site=site).update(doubt=text, error=text, next_poll_at=now)


def _log_fault(site: MoodleSite, fault: Exception) -> None:
    """Log a fault of ours with where it happened, but without its message, which may hold personal data."""
    frames = traceback.extract_tb(fault.__traceback__)
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    log.error("polling %s failed in the portal itself: %s at %s", site.name, type(fault).__name__, where)
