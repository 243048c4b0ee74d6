"""Polls: reading what is new in a Moodle site and storing it.

Each batch is one transaction: learners and completions are stored, the caller's `on_stored` acts on them (badging
queues issuances), and the site's state moves on. A poll after a crash reads the same again, which changes nothing. No
transaction is open during a call to Moodle.
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

from . import learner_feed, poll_records, report_feed
from .client import MoodleClient
from .client.errors import MoodleError, MoodleNotAllowed, MoodleTokenRefused, MoodleUnavailable
from .client.inspection import inspect
from .completing import Completed, complete_new
from .identity import AnotherMoodle, check_address, check_people, compare_people
from .mapped_courses import check_mapped_courses, follow_renames
from .models import Completion, Feed, MoodleSite, MoodleSiteState, Trouble
from .reading import Batch, OnStored, Poll, WantedCourse, for_people, seen_before
from .site_check import WhileWaiting, check_is_due, keep_inspection, moodle_client_for, sync_courses
from .storing import store

log = logging.getLogger(__name__)

# A poll whose lease was not renewed for this long has died; another one may start.
POLL_LEASE: timedelta = settings.LEASE
# How often a poll renews its lease.
RENEW_EVERY = timedelta(seconds=5)
# Waiting completions in one batch.
ASKED_AT_ONCE = 25
# Seconds that a sender waits for Moodle's answer before it sends.
ASK_AGAIN_TIMEOUT = 10
# Problems of a poll that are stored with the site.
MOST_PROBLEMS = 20
# Errors that unforeseen data may cause in the portal.
ODD_DATA = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)

Waiting = Callable[[Poll], Sequence[Completion]]


@dataclass
class PollResult:
    """The result of one poll of one site.

    - `error`: a text for people with what is wrong and what to do, or "".
    - `problems`: texts about courses or rows that could not be read; the rest was.
    - `busy`: nothing was read, because the site may not be polled now.
    - `feed`: the feed that was used; None if nothing was read.
    """

    site: str
    new_completions: int = 0
    queued: int = 0
    calls: int = 0
    error: str = ""
    problems: list[str] = field(default_factory=list)
    busy: bool = False
    feed: str | None = None


@dataclass(frozen=True, slots=True)
class _Callbacks:
    """The callbacks of `read_site`, which describes them."""

    on_stored: OnStored
    waiting: Waiting
    should_stop: Callable[[], bool]
    while_waiting: WhileWaiting


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
    """Poll one site: read what is new in these courses. Raises nothing for what Moodle answers.

    Only one poll of a site runs at a time, since the report's filters belong to the token; with `if_due` only if the
    next poll is due. Otherwise the result is `busy`. An error is stored with the site, and the next poll waits longer.
    `site` itself is not changed, only its state in the database.

    `on_stored` acts on each stored batch, in its transaction, and returns how many issuances it queued. `waiting`
    returns completions whose badges wait for an answer of Moodle, such as a score; it is called after the feed, and
    Moodle is asked about each. `should_stop` is asked between calls; the next poll goes on from there. `while_waiting`
    is entered around each call to Moodle.
    """
    lease = _Lease.take(site, now, if_due=if_due)
    if lease is None:
        return PollResult(site.name, busy=True, error=_why_busy(site))
    result = PollResult(site.name)
    try:
        _poll(site.pk, wanted, lease, _Callbacks(on_stored, waiting, should_stop, while_waiting), result)
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
    """Ask Moodle about these completions of one site, and store the answers. Returns whether that was possible.

    Learners who seem to be somebody else are left unchanged; a poll finds out whether this is another Moodle. A poll
    of the site may run at the same time, since the report is not read. Raises nothing for what Moodle answers.
    """
    try:
        with moodle_client_for(site, timeout=ASK_AGAIN_TIMEOUT) as client:
            courses = {row.course_id: WantedCourse(row.course) for row in completions}
            poll = Poll(site, site.state, client, courses, timezone.now())
            for batch in _waiting_batches(poll, completions):
                if should_stop():
                    return False
                poll.now = timezone.now()
                completed = complete_new(poll, batch)
                _changed, strangers = compare_people(poll.site, completed)
                same = [seen for seen in completed.seen if seen.user_id not in strangers]
                _store(poll, batch, replace(completed, seen=same), on_stored)
    except (MoodleError, WrongKey, *ODD_DATA) as error:
        log.warning("%s could not be asked about waiting completions: %s", site, type(error).__name__)
        return False
    return True


def look_at_courses(site: MoodleSite, client: MoodleClient, wanted: Sequence[WantedCourse], now: datetime) -> str:
    """Read the site's courses; returns "", or the question to an admin if this may be another Moodle.

    In that case no courses are stored. Raises MoodleError.
    """
    poll = Poll(site, site.state, client, {row.course.pk: row for row in wanted}, now)
    try:
        check_mapped_courses(poll)
        sync_courses(site, client)
    except AnotherMoodle as doubt:
        _note_doubt(site, str(doubt), now)
        return str(doubt)
    return ""


def _why_busy(site: MoodleSite) -> str:
    """Why the site may not be polled now."""
    state = MoodleSiteState.objects.get(site=site.pk)
    return state.doubt or _("This site is being polled right now, is disabled, or has no token.")


def _poll(
    site_id: int, wanted: Sequence[WantedCourse], lease: "_Lease", callbacks: _Callbacks, result: PollResult
) -> None:
    """Poll with the lease taken; fills in the result, and stores it with the site."""
    site = MoodleSite.objects.select_related("state").get(pk=site_id)

    def heartbeat() -> None:
        if callbacks.should_stop():
            raise _Stopped
        lease.renew()

    @contextmanager
    def around_call() -> Iterator[None]:
        heartbeat()
        with callbacks.while_waiting():
            yield

    try:
        client = moodle_client_for(site, while_waiting=around_call)
    except (WrongKey, ValueError) as error:
        result.error = _(str(error))
        _note_failure(site, result.error, lease.now)
        return
    with client:
        courses = {row.course.pk: row for row in wanted}
        poll = Poll(site, site.state, client, courses, lease.now, problems=result.problems)
        try:
            _read(poll, callbacks, heartbeat)
            _note_success(poll, lease)
        except (MoodleError, WrongKey, AnotherMoodle, _Stopped, _LeaseLost, *ODD_DATA) as error:
            result.error = _note_end(poll, error)
        finally:
            result.calls, result.new_completions, result.queued = client.calls, poll.new, poll.queued
            result.feed = poll.state.feed


def _read(poll: Poll, callbacks: _Callbacks, heartbeat: Callable[[], None]) -> None:
    """The steps of one poll. Raises MoodleError, AnotherMoodle, and what `heartbeat` raises.

    1. The site is checked, if that is due.
    2. The feed yields batches of completions, and then come those that wait for an answer of Moodle.
    3. The new completions of each batch are completed: exact names, times and scores.
    4. The batch is stored, the caller acts on it, and the reading moves on, in one transaction.
    """
    _check(poll)
    for batch in chain(_feed(poll), _waiting_for_moodle(poll, callbacks.waiting)):
        _process(poll, batch, callbacks.on_stored)
        heartbeat()
    _forget_doubted_zone(poll)


def _process(poll: Poll, batch: Batch, on_stored: OnStored) -> None:
    """Complete a batch and store it. An empty one, as in most polls, is written at the end of the poll."""
    if batch.is_empty:
        poll.set_state(batch.state)
        poll.pending_state |= batch.state
        return
    follow_renames(poll, batch)
    completed = complete_new(poll, batch)
    check_people(poll, completed)
    _store(poll, batch, completed, on_stored)


def _store(poll: Poll, batch: Batch, completed: Completed, on_stored: OnStored) -> None:
    """Store a batch and let the caller act on it, in one transaction."""
    with transaction.atomic():
        stored = store(poll, batch, completed)
        poll.new += stored.new
        if stored.needs_action:
            poll.queued += on_stored(stored)
    poll.note_oddities()


def _check(poll: Poll) -> None:
    """Check the site if that is due, so that its state names the feed. Raises MoodleError, AnotherMoodle."""
    if not check_is_due(poll.state, poll.client, poll.now):
        return
    inspection = inspect(poll.client, now=poll.now)
    if inspection.info is not None:
        check_address(poll.state, inspection.info.siteurl)
    keep_inspection(poll.state, inspection, poll.now)
    if inspection.failure is not None:
        raise inspection.failure
    try:
        # First the mapped courses: storing the list of all courses would overwrite the names that they are compared by.
        check_mapped_courses(poll)
        sync_courses(poll.site, poll.client)
    except (MoodleUnavailable, MoodleTokenRefused):
        raise
    except MoodleError as error:
        # Badges do not depend on the list of courses to choose from.
        poll.note(for_people(error))
    poll.note_oddities()


def _feed(poll: Poll) -> Iterator[Batch]:
    """The batches of the site's feed. Raises MoodleError, AnotherMoodle."""
    if poll.state.feed == Feed.NONE:
        raise MoodleNotAllowed.no_feed()
    if not poll.wanted:
        return
    reads_report = poll.state.feed == Feed.REPORT
    if not reads_report or report_feed.looks_far_back(poll.state, poll.now):
        check_mapped_courses(poll)
    yield from report_feed.batches(poll) if reads_report else learner_feed.batches(poll)


def _waiting_for_moodle(poll: Poll, waiting: Waiting) -> Iterator[Batch]:
    """Completions that wait for an answer of Moodle: a score, a profile, an account or the completion itself.

    `waiting` is called only when the feed is through.
    """
    yield from _waiting_batches(poll, [row for row in waiting(poll) if row.course_id in poll.wanted])


def _waiting_batches(poll: Poll, completions: Sequence[Completion]) -> Iterator[Batch]:
    for start in range(0, len(completions), ASKED_AT_ONCE):
        part = completions[start : start + ASKED_AT_ONCE]
        yield Batch([seen_before(row, poll.wanted[row.course_id].course) for row in part], ask_all=True)


def _forget_doubted_zone(poll: Poll) -> None:
    """Set the zone of a doubted report to unknown, so that its times are not used until the next check."""
    if not poll.zone_doubted:
        return
    poll.note(
        _(
            "The report's times differ from the exact ones as two time zones do: “Force timezone” may have been "
            "changed in Moodle. The zone is looked up again within the hour; until then exact times are asked for."
        )
    )
    MoodleSiteState.objects.filter(pk=poll.state.pk).update(zone="")


class _Stopped(Exception):
    """The program is being stopped."""


class _LeaseLost(Exception):
    """Another poll of the site has begun, since this one did not renew its lease in time."""


@dataclass
class _Lease:
    """The right to poll one site. Its holder renews it until `until`, counted from `now` on."""

    site: MoodleSite
    now: datetime
    until: datetime
    started: float = field(default_factory=time.monotonic)
    held: bool = True

    @classmethod
    def take(cls, site: MoodleSite, now: datetime, *, if_due: bool) -> "_Lease | None":
        """Take the lease with one conditional UPDATE; None if the site may not be polled, or not yet (`if_due`)."""
        lease = cls(site, now, now + POLL_LEASE)
        states = MoodleSiteState.objects.due(now) if if_due else MoodleSiteState.objects.free(now)
        return lease if states.filter(pk=site.pk).update(polling_until=lease.until) == 1 else None

    def elapsed(self) -> timedelta:
        """How long the poll has taken so far."""
        return timedelta(seconds=time.monotonic() - self.started)

    def renew(self) -> None:
        """Extend the lease, unless that was done a moment ago. Raises _LeaseLost."""
        until = self.now + self.elapsed() + POLL_LEASE
        if until - self.until < RENEW_EVERY:
            return
        if not MoodleSiteState.objects.filter(site=self.site.pk, polling_until=self.until).update(polling_until=until):
            raise _LeaseLost
        self.until = until

    def give_back(self, **state: Any) -> None:
        """End the lease and write values of the site's state, unless another poll has taken over. Once only."""
        if self.held:
            own = MoodleSiteState.objects.filter(site=self.site.pk, polling_until=self.until)
            own.update(polling_until=None, **state)
            self.held = False


def _note_success(poll: Poll, lease: _Lease) -> None:
    """Store how far the poll has read, and when the next one is due."""
    site, state = poll.site, poll.state
    # A poll of the learner feed costs hundreds of calls, so it keeps to the poll interval.
    pace = site.pace_after(state.pace, busy=poll.new > 0) if state.feed == Feed.REPORT else site.poll_interval
    took = lease.elapsed()
    with transaction.atomic():
        poll_records.note_poll(site, began_at=poll.now, took=took, read_up_to=state.last_poll_at, new=poll.new)
        lease.give_back(
            **poll.pending_state,
            last_poll_at=poll.now,
            last_poll_took=took,
            next_poll_at=poll.now + pace,
            pace=pace,
            failures=0,
            trouble=Trouble.NONE,
            error="\n".join(poll.problems[:MOST_PROBLEMS]),
        )


def _note_end(poll: Poll, error: Exception) -> str:
    """Store why a poll ended early, where the site is the cause; returns a text for people."""
    if isinstance(error, _Stopped):
        return _("The poll was stopped; the next one goes on from there.")
    if isinstance(error, _LeaseLost):
        return _("This poll took so long that another one took over.")
    if isinstance(error, AnotherMoodle):
        _note_doubt(poll.site, str(error), poll.now)
        return str(error)
    if isinstance(error, MoodleError):
        text = for_people(error)
        _note_failure(poll.site, text, poll.now, error)
        return text
    if isinstance(error, WrongKey):
        _note_failure(poll.site, str(error), poll.now)
        return str(error)
    # Data that the portal does not expect: one such site must not stop the polls of the others.
    text = _("The portal itself failed while it read this site. Read the server's log, and report it.")
    _log_fault(poll.site, error)
    _note_failure(poll.site, text, poll.now)
    return text


def _note_failure(site: MoodleSite, text: str, now: datetime, error: MoodleError | None = None) -> None:
    """Store what is wrong. The next poll waits longer each time, or as long as Moodle asked for.

    It also checks the site, since another feed may be usable; but not if Moodle was only out of reach.
    """
    log.warning("polling %s failed: %s", site.name, text)
    failures = site.state.failures + 1
    pause = max(site.pause_after(failures), (error and error.retry_after) or timedelta())
    check_again = error is not None and not isinstance(error, MoodleUnavailable)
    MoodleSiteState.objects.filter(site=site).update(
        failures=failures,
        trouble=_trouble(error),
        next_poll_at=now + pause,
        error=text,
        checked_at=None if check_again else F("checked_at"),
    )
    poll_records.note_failure(site, at=now)


def _trouble(error: MoodleError | None) -> Trouble:
    """Why a poll failed, from its error."""
    match error:
        case MoodleTokenRefused():
            return Trouble.TOKEN
        case MoodleUnavailable():
            return Trouble.UNAVAILABLE
        case MoodleNotAllowed():
            return Trouble.NOT_ALLOWED
        case _:
            return Trouble.OTHER


def _note_doubt(site: MoodleSite, text: str, now: datetime) -> None:
    """Store the question whether this is still the same Moodle; until the answer nothing is read or sent."""
    log.warning("%s may be another Moodle; it is not polled until an admin answers", site.name)
    MoodleSiteState.objects.filter(site=site).update(doubt=text, error=text, next_poll_at=now)


def _log_fault(site: MoodleSite, fault: Exception) -> None:
    """Log where an error of the portal was raised, but not its message, which may hold personal data."""
    frames = traceback.extract_tb(fault.__traceback__)
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
    log.error("polling %s failed in the portal itself: %s at %s", site.name, type(fault).__name__, where)
