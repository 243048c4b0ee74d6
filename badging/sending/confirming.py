"""Asks Moodle again about whoever has waited long, right before the badge is sent.

An hour after it was read a completion may be undone, an account deleted or a name corrected. So what has waited longer
is asked about; what is no longer so is then held, and what still is goes out with what Moodle says now.
"""

from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta

from django.db.models import Min
from django.utils import timezone

from moodle_sync.models import Completion, MoodleSite
from moodle_sync.polling import ask_again

from ..meanings import Outcome
from ..models import Issuance, NavigatrConnection
from ..queueing import queue_stored

State = Issuance.State

# Moodle's word about accounts counts for two minutes (models.py), so not too many are asked about in one go.
CONFIRMED_AT_ONCE = 100
# When Moodle is asked again that could not be asked.
ASK_AGAIN_AFTER = timedelta(minutes=5)


def confirm_due(connection: NavigatrConnection, *, now: datetime, should_stop: Callable[[], bool]) -> int:
    """Ask Moodle about up to 100 due issuances that have waited long; returns how many were looked at.

    Meanwhile they step aside, so that no other worker asks the same. Those that Moodle has told something about come
    back to their place in the queue. The others stay aside for some minutes and say so: their site is switched off,
    could not be read when it was last polled, or could not be asked. Never raises for what Moodle answers.
    """
    due = Issuance.objects.due(now).filter(connection=connection, environment=connection.environment).unconfirmed(now)
    numbers = list(due.order_by("past", "next_attempt_at").values_list("pk", flat=True)[:CONFIRMED_AT_ONCE])
    waiting = Issuance.objects.filter(pk__in=numbers, state=State.QUEUED, next_attempt_at__lte=now)
    place = waiting.aggregate(first=Min("next_attempt_at"))["first"]
    rows = list(waiting.select_related("completion__learner", "course__site__state"))
    waiting.update(next_attempt_at=now + ASK_AGAIN_AFTER)
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
    asked = Issuance.objects.filter(pk__in=[row.pk for row in rows], state=State.QUEUED)
    confirmed = asked.confirmed(timezone.now()).values_list("pk", flat=True)
    back = Issuance.objects.filter(pk__in=list(confirmed), state=State.QUEUED)
    back.filter(reason=Outcome.AWAITS_MOODLE).update(reason="")
    back.update(next_attempt_at=place)
    aside = asked.unconfirmed(timezone.now()).values_list("pk", flat=True)
    Issuance.objects.filter(pk__in=list(aside), state=State.QUEUED).update(reason=Outcome.AWAITS_MOODLE)
    return len(rows)
