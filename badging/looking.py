"""Looking at Moodle now: when a site is read next, and a person's wish to have it read at once."""

from datetime import datetime, timedelta
from typing import NamedTuple

from django.utils.translation import gettext as _

from moodle_sync.models import MoodleSite

from .moments import moment
from .status import Polling, polling_of

# Nobody has a site read more often than this, however often they ask.
LOOK_PAUSE = timedelta(seconds=10)


class Reading(NamedTuple):
    """When Moodle was read and is read next, each a sentence; `may_look` says whether it can be read sooner."""

    last: str
    next: str
    may_look: bool


def reading_of(site: MoodleSite, now: datetime) -> Reading:
    """When the site was read, and is read next."""
    state = site.state
    last = _("Moodle was last read at %(time)s.") % {"time": moment(state.last_poll_at)} if state.last_poll_at else ""
    last = last or _("Moodle has not been read yet.")
    if refusal := why_not_now(site, now):
        return Reading(last, refusal, may_look=False)
    if polling_of(site, now) == Polling.OVERDUE:
        # Where only the scheduler stands still, a worker can still be told to read.
        text = _(
            "It should have been read a while ago, and is not. Tell a site admin: a part of the portal stands still."
        )
        return Reading(last, text, may_look=True)
    if state.next_poll_at is None or state.next_poll_at <= now:
        return Reading(last, _("It is read in a moment."), may_look=False)
    return Reading(last, _("It is read next at %(time)s.") % {"time": moment(state.next_poll_at)}, may_look=True)


def why_not_now(site: MoodleSite, now: datetime) -> str:
    """Why the site cannot be read sooner than it is, or ""."""
    state, polling = site.state, polling_of(site, now)
    if polling == Polling.SWITCHED_OFF:
        return _("It is not read at present, because a site admin has switched it off.")
    if polling == Polling.IN_DOUBT:
        return _("It is read again when a site admin has said whether it is still the same Moodle.")
    if polling == Polling.RUNNING:
        return _("It is being read right now.")
    if polling == Polling.FAILING and state.next_poll_at is not None and state.next_poll_at > now:
        # Moodle is in trouble, or has asked for a pause.
        when = moment(state.next_poll_at)
        return _("It could not be read before, and is tried again at %(time)s.") % {"time": when}
    if state.last_poll_at is not None and state.last_poll_at > now - LOOK_PAUSE:
        return _("It was read just now, and can be read again in a few seconds.")
    return ""
