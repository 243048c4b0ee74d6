"""How the portal is doing, in numbers."""

from collections import Counter
from datetime import datetime, timedelta
from enum import Enum
from typing import Any

from django.db.models import Count
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.models import Feed, MoodleSite
from moodle_sync.site_check import feed_reason

from . import schedule
from .meanings import TROUBLE, Outcome
from .models import NOTHING_OPEN, CourseBadgeMapping, Issuance, IssuanceQuerySet, NavigatrConnection
from .moments import moment

State = Issuance.State

OVERDUE_AFTER = timedelta(minutes=2)
OVERDUE = gettext_lazy(
    "It should have been polled a while ago: the worker, the scheduler or the broker stands still. Look at the "
    "server's log, and start the portal again"
)


def status(now: datetime) -> dict[str, Any]:
    """Issuances by state, what is due, and the health of connections, sites and schedule, ready for JSON.

    What is queued under a mapping or a connection that holds it counts as held.
    """
    states, held = _states_and_held()
    due = Issuance.objects.due(now)
    if states[State.HELD]:
        due = due.switched_on()
    oldest = due.order_by("next_attempt_at").values_list("next_attempt_at", flat=True).first()
    return {
        # One for each completion of a mapped course, and for each environment that it has been mapped in.
        "owed": sum(states.values()),
        "issuances": states,
        "due": due.count(),
        "oldest_due_seconds": None if oldest is None else int((now - oldest).total_seconds()),
        "connections": [
            {
                "name": connection.name,
                "environment": connection.environment,
                "state": connection.state,
                "reason": connection_reason(connection, now),
                "held": held[connection.pk],
            }
            for connection in NavigatrConnection.objects.all()
        ],
        "sites": [_site(site, now) for site in MoodleSite.objects.select_related("state").defer("token")],
        **schedule.as_status(now),
    }


def _states_and_held() -> tuple[dict[str, int], Counter[int]]:
    """How many issuances there are in each state, and how many are held under each connection."""
    # Answered by the index `issuance_counts` alone.
    states = dict.fromkeys(State.values, 0) | _counts(Issuance.objects.all(), "state")
    own = Issuance.objects.filter(state=State.HELD)
    held = Counter(_counts(own, "course__mapping__connection"))
    if _something_is_off():
        off = Issuance.objects.switched_off()
        held.update(_counts(off.filter(NOTHING_OPEN), "course__mapping__connection"))
        held.update(_counts(off.exclude(NOTHING_OPEN), "connection"))
        count = off.count()
        states[State.QUEUED] -= count
        states[State.HELD] += count
    return states, held


def _counts(rows: IssuanceQuerySet, by: str) -> dict[Any, int]:
    """How many of these rows there are for each value of a column."""
    return dict(rows.order_by().values_list(by).annotate(number=Count("*")))


def _something_is_off() -> bool:
    """Whether any mapping holds what waits under it, or any connection is paused or removed."""
    off = NavigatrConnection.objects.exclude(state=NavigatrConnection.State.ACTIVE)
    return CourseBadgeMapping.objects.holding().exists() or off.exists()


def _site(site: MoodleSite, now: datetime) -> dict[str, Any]:
    state = site.state
    return {
        "name": site.name,
        # The name that monitors know; `feed` says the same.
        "strategy": state.feed,
        "feed": state.feed,
        "feed_reason": slow_feed(site) or feed_reason(state),
        "question": state.doubt,
        "last_poll": state.last_poll_at.isoformat() if state.last_poll_at else None,
        "lag_seconds": int((now - state.last_poll_at).total_seconds()) if state.last_poll_at else None,
        "error": state.error,
        "enabled": site.enabled,
        "next_poll": state.next_poll_at.isoformat() if state.next_poll_at else None,
        "overdue": is_overdue(site, now),
    }


def slow_feed(site: MoodleSite) -> str:
    """Why a site is read by the slower feed, what to do, and whether its polls take too long; "" on the other feed."""
    state = site.state
    if state.feed != Feed.PER_LEARNER:
        return ""
    text = feed_reason(state) or _("The report cannot be used; the findings on the site's page say more.")
    if state.last_poll_took is not None and state.last_poll_took > site.poll_interval:
        text += " " + _(
            "A poll takes %(took)s, longer than the poll interval of %(interval)s, so badges come later."
        ) % {"took": _rounded(state.last_poll_took), "interval": _rounded(site.poll_interval)}
    return text


def _rounded(duration: timedelta) -> timedelta:
    """A duration for people, in whole seconds."""
    return timedelta(seconds=round(duration.total_seconds()))


def connection_reason(connection: NavigatrConnection, now: datetime) -> str:
    """Why nothing is sent with the connection right now, or ""."""
    if connection.hold_reason:
        return why_stopped(connection)
    if connection.not_before and connection.not_before > now:
        until = _("waits until %s") % moment(connection.not_before)
        if connection.last_outcome in TROUBLE:
            return _("Navigatr does not answer; %s") % until
        return f"{connection.get_last_outcome_display()}; {until}" if connection.last_outcome else until
    return ""


def why_stopped(connection: NavigatrConnection) -> str:
    """Since when a connection is paused or removed, and why; "" for an active one."""
    since = moment(connection.state_since) if connection.state_since else ""
    if connection.state == NavigatrConnection.State.REMOVED:
        return _("Removed on %(when)s: it has no token") % {"when": since} if since else _("Removed: it has no token")
    if connection.state != NavigatrConnection.State.PAUSED:
        return ""
    values = {"when": since, "why": _refusal(connection)}
    return (_("Paused since %(when)s: %(why)s") if since else _("Paused: %(why)s")) % values


def _refusal(connection: NavigatrConnection) -> str:
    """Why it was paused. Whoever insists saves a connection that Navigatr could not be asked about."""
    if connection.last_outcome in ("", Outcome.TOKEN_REFUSED):
        return _("Navigatr refused the token")
    if connection.last_outcome in (Outcome.UNAVAILABLE, Outcome.RATE_LIMITED):
        return _("it was saved while Navigatr did not answer")
    return _("it was saved although Navigatr refused the test")


class Polling(Enum):
    """What is to be said of when a site is polled next. Each page has its own words for it."""

    SWITCHED_OFF = "switched off"
    # It may be another Moodle: an admin is asked.
    IN_DOUBT = "in doubt"
    RUNNING = "running"
    # Due for a while, and nobody does it.
    OVERDUE = "overdue"
    # The last poll failed; it is tried again at `next_poll_at`.
    FAILING = "failing"
    # At `next_poll_at`, or at once where that has passed or is not set.
    PLANNED = "planned"


def polling_of(site: MoodleSite, now: datetime) -> Polling:
    """How it stands with the next poll of the site. Asks nothing of the database but the site's state."""
    state = site.state
    answers = (
        (Polling.SWITCHED_OFF, not site.enabled),
        (Polling.IN_DOUBT, bool(state.doubt)),
        (Polling.RUNNING, state.polling_until is not None and state.polling_until > now),
        (Polling.OVERDUE, is_overdue(site, now)),
        (Polling.FAILING, state.failures > 0),
    )
    return next((polling for polling, applies in answers if applies), Polling.PLANNED)


def is_overdue(site: MoodleSite, now: datetime) -> bool:
    """Whether the site should have been polled a while ago: the worker, the scheduler or the broker stands still."""
    waits = site.enabled and site.state.next_poll_at is not None and site.state.next_poll_at <= now - OVERDUE_AFTER
    # While a question about the site is open, it is not polled for that reason.
    return waits and not site.state.doubt and (site.state.polling_until is None or site.state.polling_until <= now)
