"""Asks Moodle again about those who have waited long, right before their badges are sent.

An hour after it was read a completion may be undone, an account deleted or a name corrected. What Moodle does not
confirm is held, and the rest is sent with what Moodle says now.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from django.db.models import Min
from django.utils import timezone

from moodle_sync.models import Completion, MoodleSite
from moodle_sync.polling import ask_again

from ..meanings import Outcome
from ..models import Issuance, NavigatrConnection
from ..queueing import queue_stored

State = Issuance.State

# Not too many at once: Moodle's word about accounts counts for two minutes only (models.py).
CONFIRMED_AT_ONCE = 100
# How long those wait about which Moodle could not be asked.
ASK_AGAIN_AFTER = timedelta(minutes=5)


def confirm_due(connection: NavigatrConnection, *, now: datetime, should_stop: Callable[[], bool]) -> int:
    """Ask Moodle about up to 100 due issuances that have waited long; returns how many were looked at.

    Meanwhile they step aside, so that no other worker asks about them. Those that Moodle confirms come back to their
    place in the queue. The others stay aside for some minutes and say so: their site is switched off, could not be read
    when it was last polled, or could not be asked. Never raises for what Moodle answers.
    """
    waiting = Issuance.objects.filter(
        pk__in=_waited_long(connection, now), state=State.QUEUED, next_attempt_at__lte=now
    )
    place = waiting.aggregate(first=Min("next_attempt_at"))["first"]
    rows = list(waiting.select_related("completion__learner", "course__site__state"))
    waiting.update(next_attempt_at=now + ASK_AGAIN_AFTER)
    _ask(rows, should_stop)
    still_queued = Issuance.objects.filter(pk__in=[row.pk for row in rows], state=State.QUEUED)
    confirmed = list(still_queued.confirmed(timezone.now()).values_list("pk", flat=True))
    back = Issuance.objects.filter(pk__in=confirmed, state=State.QUEUED)
    back.filter(reason=Outcome.AWAITS_MOODLE).update(reason="")
    back.update(next_attempt_at=place)
    still_queued.exclude(pk__in=confirmed).update(reason=Outcome.AWAITS_MOODLE)
    return len(rows)


def _waited_long(connection: NavigatrConnection, now: datetime) -> list[int]:
    """The numbers of due issuances of the connection that Moodle has not confirmed lately, the first in turn first."""
    due = Issuance.objects.due(now).unconfirmed(now).in_turn()
    numbers: list[int] = []
    for rows in (due.unknown_for(connection), due.unsent_for(connection)):
        numbers += rows.values_list("pk", flat=True)[: CONFIRMED_AT_ONCE - len(numbers)]
    return numbers


def _ask(rows: Sequence[Issuance], should_stop: Callable[[], bool]) -> None:
    """Ask each readable site about the completions of these rows, and store what it says."""
    by_site: dict[MoodleSite, list[Completion]] = defaultdict(list)
    for row in rows:
        row.completion.course = row.course
        by_site[row.course.site].append(row.completion)
    for site, completions in by_site.items():
        if site.enabled and site.token and not site.state.failures:
            ask_again(
                site,
                completions,
                on_stored=lambda stored: queue_stored(stored, now=timezone.now()),
                should_stop=should_stop,
            )
