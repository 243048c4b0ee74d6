"""How a Moodle site is doing, in a sentence: when it was read, when it is read next, and otherwise why not."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from django.db.models import Count, QuerySet
from django.utils.translation import gettext as _

from moodle_sync.models import Course, Feed, MoodleSite, Trouble

from .counting import COUNTED_UP_TO, count_up_to
from .models import NOTHING_OPEN, CourseBadgeMapping, Issuance
from .moments import in_words, moment
from .status import OVERDUE, Polling, polling_of, slow_feed

Tone = Literal["good", "waiting", "bad"]


@dataclass(frozen=True, slots=True)
class SiteState:
    """`text` is one or two sentences; `todo` says what to do, or is ""."""

    tone: Tone
    text: str
    todo: str = ""


@dataclass(frozen=True, slots=True)
class CourseCounts:
    """How many courses of a site there are of each kind, counted to COUNTED_UP_TO."""

    mapped: int
    unmapped: int
    gone: int


def state_of_site(site: MoodleSite, now: datetime) -> SiteState:
    """How the site is doing. Asks nothing of the database."""
    state, polling = site.state, polling_of(site, now)
    if polling == Polling.SWITCHED_OFF:
        return SiteState(
            "waiting", f"{_unread(site)}: {_('it is switched off.')}", _("Tick “enabled” to read it again.")
        )
    if polling == Polling.IN_DOUBT:
        return SiteState("bad", f"{_unread(site)}: {_('it may be another Moodle.')}", state.doubt)
    if polling == Polling.RUNNING:
        return SiteState("good", _("Being read now."))
    if polling == Polling.OVERDUE:
        return SiteState("bad", f"{_unread(site)}: {_('nobody polls.')}", f"{OVERDUE}.")
    if polling == Polling.FAILING or (not state.feed and state.error):
        reason = state.get_trouble_display() if state.trouble else Trouble.OTHER.label
        return SiteState("bad", f"{_unread(site)}: {reason}. {_next(site, now)}", state.error)
    if state.last_poll_at is None:
        return SiteState("waiting", f"{_('Not read yet.')} {_next(site, now)}", state.error or slow_feed(site))
    tone: Tone = "waiting" if state.error or state.feed == Feed.PER_LEARNER else "good"
    return SiteState(tone, _read(site, now), state.error or slow_feed(site))


def _read(site: MoodleSite, now: datetime) -> str:
    """When it was read and how, and when it is read next."""
    state = site.state
    assert state.last_poll_at is not None
    values = {"ago": in_words(now - state.last_poll_at), "next": _when(site, now)}
    if state.feed == Feed.PER_LEARNER:
        return _("Read %(ago)s ago, learner by learner (slower); next %(next)s.") % values
    return _("Read %(ago)s ago by the report; next %(next)s.") % values


def _unread(site: MoodleSite) -> str:
    at = site.state.last_poll_at
    return _("Not read since %(at)s") % {"at": moment(at)} if at else _("Not read yet")


def _next(site: MoodleSite, now: datetime) -> str:
    return _("Next try: %(next)s.") % {"next": _when(site, now)}


def _when(site: MoodleSite, now: datetime) -> str:
    """When the next poll is: "now", or "in 18 s"."""
    at = site.state.next_poll_at
    return _("in %(time)s") % {"time": in_words(at - now)} if at and at > now else _("now")


def badges_waiting(site: MoodleSite) -> int:
    """How many badges of the site's learners are queued, counted to COUNTED_UP_TO."""
    return _counted(Issuance.objects.filter(NOTHING_OPEN, course__site=site, state=Issuance.State.QUEUED))


def count_courses(site: MoodleSite) -> CourseCounts:
    """How many courses award a badge, award none, and are deleted in Moodle."""
    courses = Course.objects.filter(site=site)
    there = courses.filter(gone_at=None)
    return CourseCounts(
        mapped=_counted(there.filter(mapping__isnull=False)),
        unmapped=_counted(there.filter(mapping__isnull=True)),
        gone=_counted(courses.filter(gone_at__isnull=False)),
    )


def _counted(rows: QuerySet[Any]) -> int:
    return min(count_up_to(rows), COUNTED_UP_TO)


def count_mapped(sites: Iterable[MoodleSite]) -> dict[int, int]:
    """How many courses of each site award a badge, by the site's number. One query."""
    rows = CourseBadgeMapping.objects.filter(course__site__in=[site.pk for site in sites], course__gone_at=None)
    return dict(rows.order_by().values_list("course__site").annotate(Count("pk")))
