"""Polling: reads what is new in a Moodle site and writes it down.

Every batch is one transaction: learners and completions are stored, the caller's `on_stored` does with them what it
likes (badging queues issuances), and with the last batch the site's watermark moves. A crash repeats the poll, and
repeating it changes nothing. No transaction is open during a call to Moodle.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone
from django.utils.translation import gettext as _

from vault.keys import WrongKey

from . import learner_feed, report_feed
from .checking import check_is_due, check_site, client_for, save_check, sync_courses
from .client import MoodleClient
from .errors import MoodleError, MoodleNotAllowed
from .models import Course, MoodleSite
from .storing import OnStored, Storing, WantedCourse

log = logging.getLogger(__name__)

# A poll that shows no sign of life for so long has died; the next one may start.
POLL_LEASE = timedelta(minutes=10)
SWEEP_EVERY = timedelta(days=1)


@dataclass
class PollResult:
    """What one poll of one site did. `error` is "" or says in plain words what is wrong and what to do.

    `problems`: single courses or rows that could not be read; the rest of the round went on.
    """

    site: str
    new_completions: int = 0
    queued: int = 0
    calls: int = 0
    error: str = ""
    problems: list[str] = field(default_factory=list)


def poll_site(site: MoodleSite, wanted: Sequence[WantedCourse], *, on_stored: OnStored, now: datetime) -> PollResult:
    """Read what is new in these courses of one site. Never raises for what Moodle answers.

    Only one poll of a site runs at a time (the report's filters belong to the token); a second one says so and reads
    nothing. A failure is kept on the site with what to do, and the next poll waits longer.
    """
    result = PollResult(site.name)
    if not _take(site, now):
        result.error = _("This site is being polled right now, is disabled, or has no token.")
        return result
    site.refresh_from_db()
    try:
        with client_for(site) as client:
            try:
                storing = Storing(site, client, {row.course.pk: row for row in wanted}, on_stored)
                _read(site, client, storing, now)
            finally:
                result.calls = client.calls
        result.problems = storing.problems
        result.new_completions, result.queued = storing.new, storing.queued
        _note_success(site, result.problems, now)
    except MoodleError as error:
        result.new_completions, result.queued = storing.new, storing.queued
        result.error = f"{error}. {error.advice}"
        _note_failure(site, result.error, now, check_again=isinstance(error, MoodleNotAllowed))
    except WrongKey as error:
        result.error = str(error)
        _note_failure(site, result.error, now)
    finally:
        MoodleSite.objects.filter(pk=site.pk).update(polling_until=None)
    return result


def sweep_is_due(site: MoodleSite, now: datetime) -> bool:
    """Whether everything is to be read again: once a day, and at the very first poll."""
    return site.swept_at is None or site.watermark is None or site.swept_at <= now - SWEEP_EVERY


def _take(site: MoodleSite, now: datetime) -> bool:
    """One conditional update: whoever's row count is 1 may poll."""
    return MoodleSite.objects.free(now).filter(pk=site.pk).update(polling_until=now + POLL_LEASE) == 1


def _heartbeat(site: MoodleSite) -> None:
    MoodleSite.objects.filter(pk=site.pk).update(polling_until=timezone.now() + POLL_LEASE)


def _read(site: MoodleSite, client: MoodleClient, storing: Storing, now: datetime) -> None:
    """Check the site when that is due, then read with the feed that the check chose. Raises MoodleError."""
    if check_is_due(site, now):
        result = check_site(site, client, now)
        save_check(site)
        if result.failure is not None:
            raise result.failure
        sync_courses(site, client)
    courses = [row.course for row in storing.wanted.values()]
    if not courses:
        return
    if site.strategy == MoodleSite.Strategy.REPORT:
        _read_report(site, client, storing, courses, now)
    elif site.strategy == MoodleSite.Strategy.PER_LEARNER:
        _read_per_learner(site, client, storing, now)
    else:
        raise MoodleNotAllowed.no_feed()


def _read_report(
    site: MoodleSite, client: MoodleClient, storing: Storing, courses: Sequence[Course], now: datetime
) -> None:
    sweep = sweep_is_due(site, now)
    unread = courses if sweep else [course for course in courses if course.history_read_at is None]

    def mark_read() -> None:
        Course.objects.filter(pk__in=[course.pk for course in unread]).update(history_read_at=now, read_at=now)

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
            heartbeat=lambda: _heartbeat(site),
            at_the_end=at_the_end,
        )

    if unread and not sweep:
        read(None, unread, mark_read)
    # `sweep` covers a watermark of None. Moodle's clock may be ahead of or behind ours.
    since = None if sweep or site.watermark is None else site.watermark + site.clock_skew - report_feed.OVERLAP
    read(since, courses, move_watermark)


def _read_per_learner(site: MoodleSite, client: MoodleClient, storing: Storing, now: datetime) -> None:
    sweep = sweep_is_due(site, now)
    all_read = learner_feed.read(
        site,
        client,
        storing,
        now=now,
        most_calls=client.calls + settings.MOODLE_CALLS_PER_ROUND,
        forget_untracked=sweep,
        heartbeat=lambda: _heartbeat(site),
    )
    site.watermark = now
    site.swept_at = now if sweep else site.swept_at
    site.save(update_fields=["watermark", "swept_at"])
    if not all_read:
        log.info("%s: the round's calls are used up; the next round goes on from there", site.name)


def _note_success(site: MoodleSite, problems: Sequence[str], now: datetime) -> None:
    MoodleSite.objects.filter(pk=site.pk).update(
        last_poll_at=now, next_poll_at=now + site.poll_interval, failures=0, error="\n".join(problems[:20])
    )


def _note_failure(site: MoodleSite, error: str, now: datetime, *, check_again: bool = False) -> None:
    """Keep what is wrong; wait longer each time. What the account may not do is checked anew at the next poll."""
    log.warning("polling %s failed: %s", site.name, error)
    MoodleSite.objects.filter(pk=site.pk).update(
        failures=site.failures + 1, next_poll_at=now + site.pause_after(site.failures + 1), error=error
    )
    if check_again:
        MoodleSite.objects.filter(pk=site.pk).update(checked_at=None)
