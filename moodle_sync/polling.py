"""Polling: reads what is new in a Moodle site and writes it down.

Every batch is one transaction: learners and completions are stored, the caller's `on_stored` does with them what it
likes (badging queues issuances), and with the last batch the site's watermark moves. A crash repeats the poll, and
repeating it changes nothing. No transaction is open during a call to Moodle.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F
from django.utils.translation import gettext as _

from vault.keys import WrongKey

from . import learner_feed, report_feed
from .client import MoodleClient
from .client.errors import MoodleError, MoodleNotAllowed, MoodleTokenRefused, MoodleUnavailable
from .models import Course, MoodleSite, MoodleSiteQuerySet
from .site_check import check_is_due, check_site, moodle_client_for, save_check, sync_courses
from .storing import OnStored, Storing, WantedCourse

log = logging.getLogger(__name__)

# A poll that shows no sign of life for so long has died; the next one may start.
POLL_LEASE: timedelta = settings.LEASE
SWEEP_EVERY = timedelta(days=1)


@dataclass
class PollResult:
    """What one poll of one site did. `error` is "" or says in plain words what is wrong and what to do.

    `problems`: single courses or rows that could not be read; the rest of the round went on. `busy`: nothing was done,
    because somebody else is polling the site, or nobody may.
    """

    site: str
    new_completions: int = 0
    queued: int = 0
    calls: int = 0
    error: str = ""
    problems: list[str] = field(default_factory=list)
    busy: bool = False


def poll_site(
    site: MoodleSite,
    wanted: Sequence[WantedCourse],
    *,
    on_stored: OnStored,
    now: datetime,
    should_stop: Callable[[], bool] = lambda: False,
) -> PollResult:
    """Read what is new in these courses of one site. Never raises for what Moodle answers.

    Only one poll of a site runs at a time (the report's filters belong to the token); a second one says so and reads
    nothing. A failure is kept on the site with what to do, and the next poll waits longer. `should_stop` is asked
    between calls; then what has been stored is kept, and the next poll goes on from there. `site` itself is not
    changed: what the poll leaves is in its row.
    """
    result = PollResult(site.name)
    lease = _Lease.take(site, now)
    if lease is None:
        result.busy = True
        result.error = _("This site is being polled right now, is disabled, or has no token.")
        return result
    try:
        # Not refresh_from_db, which would read the token and fail before anything could be noted.
        _poll(MoodleSite.objects.get(pk=site.pk), wanted, on_stored, lease, result, should_stop)
    finally:
        lease.give_back()
    return result


def _poll(
    site: MoodleSite,
    wanted: Sequence[WantedCourse],
    on_stored: OnStored,
    lease: "_Lease",
    result: PollResult,
    should_stop: Callable[[], bool],
) -> None:
    now = lease.now
    courses = {row.course.pk: row for row in wanted}
    # Now that nobody else can be reading them.
    afresh = [row.course for row in wanted if row.afresh]
    for course in afresh:
        course.history_read_at, course.read_at, course.next_offset = None, None, 0
    Course.objects.bulk_update(afresh, ["history_read_at", "read_at", "next_offset"])
    try:
        client = moodle_client_for(site)
    except (WrongKey, ValueError) as error:
        result.error = _(str(error))
        _note_failure(site, result.error, now)
        return

    def heartbeat() -> None:
        if should_stop():
            raise _Stopped
        lease.renew()

    with client:
        storing = Storing(site, client, courses, on_stored, heartbeat, problems=result.problems)
        try:
            _read(site, client, storing, now)
            _note_success(site, result.problems, now)
        except MoodleError as error:
            result.error = f"{error}. {_(error.advice)}"
            _note_failure(site, result.error, now, error)
        except _Stopped:
            result.error = _("The poll was stopped; the next one goes on from there.")
        except _LeaseLost:
            result.error = _("This poll took so long that another one took over.")
        finally:
            result.calls, result.new_completions, result.queued = client.calls, storing.new, storing.queued


def sweep_is_due(site: MoodleSite, now: datetime) -> bool:
    """Whether everything is to be read again: once a day, at the very first poll, and after a change of the feed."""
    return site.swept_at is None or site.swept_at <= now - SWEEP_EVERY


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

    @classmethod
    def take(cls, site: MoodleSite, now: datetime) -> "_Lease | None":
        """One conditional update: whoever's row count is 1 may poll."""
        lease = cls(site, now, now + POLL_LEASE)
        taken = MoodleSite.objects.free(now).filter(pk=site.pk).update(polling_until=lease.until) == 1
        return lease if taken else None

    def renew(self) -> None:
        """Show a sign of life. Raises _LeaseLost."""
        until = self.now + timedelta(seconds=time.monotonic() - self.started) + POLL_LEASE
        if not self._own().update(polling_until=until):
            raise _LeaseLost
        self.until = until

    def give_back(self) -> None:
        """Let the next poll begin, unless it already has."""
        self._own().update(polling_until=None)

    def _own(self) -> MoodleSiteQuerySet:
        return MoodleSite.objects.filter(pk=self.site.pk, polling_until=self.until)


def _read(site: MoodleSite, client: MoodleClient, storing: Storing, now: datetime) -> None:
    """Check the site when that is due, then read with the feed that the check chose. Raises MoodleError."""
    if check_is_due(site, now):
        result = check_site(site, client, now)
        save_check(site)
        if result.failure is not None:
            raise result.failure
        try:
            sync_courses(site, client)
        except (MoodleUnavailable, MoodleTokenRefused):
            raise
        except MoodleError as error:
            # Courses to choose from are not what badges wait for.
            storing.note(f"{error}. {_(error.advice)}")
    if site.strategy == MoodleSite.Strategy.NONE:
        raise MoodleNotAllowed.no_feed()
    courses = [row.course for row in storing.wanted.values()]
    if not courses:
        return
    if site.strategy == MoodleSite.Strategy.REPORT:
        _read_report(site, client, storing, courses, now)
    else:
        _read_per_learner(site, client, storing, courses, now)


def _read_report(
    site: MoodleSite, client: MoodleClient, storing: Storing, courses: Sequence[Course], now: datetime
) -> None:
    sweep = sweep_is_due(site, now)
    new = [course for course in courses if course.history_read_at is None]
    whole = courses if sweep else new

    def mark_read() -> None:
        Course.objects.filter(pk__in=[course.pk for course in whole]).update(history_read_at=now, read_at=now, error="")

    def move_watermark() -> None:
        site.watermark = now
        if sweep:
            site.swept_at = now
            mark_read()
        site.save(update_fields=["watermark", "swept_at"])

    def read(since: datetime | None, of: Sequence[Course], at_the_end: Callable[[], None]) -> None:
        report_feed.read(
            site,
            client,
            storing,
            since=since,
            course_ids=[course.moodle_id for course in of],
            now=now,
            at_the_end=at_the_end,
        )

    for course in new:
        storing.catch_up(course, now)
    if new and not sweep:
        read(None, new, mark_read)
    # Moodle's clock may be ahead of or behind ours.
    since = None if sweep or site.watermark is None else site.watermark + site.clock_skew - report_feed.OVERLAP
    read(since, courses, move_watermark)


def _read_per_learner(
    site: MoodleSite, client: MoodleClient, storing: Storing, courses: Sequence[Course], now: datetime
) -> None:
    all_read = learner_feed.read(
        site,
        client,
        storing,
        now=now,
        most_calls=client.calls + settings.MOODLE_CALLS_PER_ROUND,
    )
    read = [course.read_at for course in courses if course.read_at is not None]
    if len(read) == len(courses):
        # A round that did not reach every course is behind by the one that it left longest.
        site.watermark = min(read)
    if sweep_is_due(site, now):
        site.swept_at = now
    site.save(update_fields=["watermark", "swept_at"])
    if not all_read:
        log.info("%s: the round's calls are used up; the next round goes on from there", site.name)


def _note_success(site: MoodleSite, problems: Sequence[str], now: datetime) -> None:
    MoodleSite.objects.filter(pk=site.pk).update(
        last_poll_at=now, next_poll_at=now + site.poll_interval, failures=0, error="\n".join(problems[:20])
    )


def _note_failure(site: MoodleSite, text: str, now: datetime, error: MoodleError | None = None) -> None:
    """Keep what is wrong, and wait longer each time, or as long as Moodle asked for.

    Unless Moodle was merely out of reach, the next poll checks the site anew: perhaps another feed can be used.
    """
    log.warning("polling %s failed: %s", site.name, text)
    failures = site.failures + 1
    pause = max(site.pause_after(failures), (error and error.retry_after) or timedelta())
    check_again = error is not None and not isinstance(error, MoodleUnavailable)
    MoodleSite.objects.filter(pk=site.pk).update(
        failures=failures,
        next_poll_at=now + pause,
        error=text,
        checked_at=None if check_again else F("checked_at"),
    )
