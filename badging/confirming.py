"""Asks Moodle again about whoever has waited long, right before the badge is sent.

An hour after it was read a completion may be undone, an account deleted or a name corrected. So what has waited longer
is asked about; what is no longer so is then held, and what still is goes out with what Moodle says now.
"""

import logging
from collections import defaultdict
from datetime import datetime, timedelta

from moodle_sync.client.errors import MoodleError
from moodle_sync.models import Completion
from moodle_sync.polling import ask_again
from vault.keys import WrongKey

from .meanings import Outcome
from .models import Issuance, NavigatrConnection
from .queueing import queue_stored

log = logging.getLogger(__name__)

State = Issuance.State

CONFIRMED_AT_ONCE = 250
# When Moodle is asked again that could not be asked.
ASK_AGAIN_AFTER = timedelta(minutes=5)


def confirm_due(connection: NavigatrConnection, *, now: datetime) -> int:
    """Ask Moodle about up to 250 due issuances that have waited long; returns how many it answered for.

    Meanwhile they step aside, so that no other worker asks the same. Where a Moodle cannot be asked they stay aside
    for some minutes and say so. Never raises for what Moodle answers.
    """
    due = Issuance.objects.due(now).filter(connection=connection, environment=connection.environment).unconfirmed(now)
    numbers = list(due.order_by("past", "next_attempt_at").values_list("pk", flat=True)[:CONFIRMED_AT_ONCE])
    waiting = Issuance.objects.filter(pk__in=numbers, state=State.QUEUED, next_attempt_at__lte=now)
    rows = list(waiting.select_related("completion__learner", "course__site__state"))
    waiting.update(next_attempt_at=now + ASK_AGAIN_AFTER)
    by_site = defaultdict(list)
    for row in rows:
        by_site[row.course.site].append(row)
    answered = 0
    for site, of_site in by_site.items():
        mine = Issuance.objects.filter(pk__in=[row.pk for row in of_site], state=State.QUEUED)
        completions: list[Completion] = []
        for row in of_site:
            row.completion.course = row.course
            completions.append(row.completion)
        try:
            ask_again(site, completions, on_stored=lambda stored: queue_stored(stored, now=now), now=now)
        except (MoodleError, WrongKey, ValueError) as error:
            log.warning("%s could not be asked about what waits to be sent: %s", site, type(error).__name__)
            mine.update(reason=Outcome.AWAITS_MOODLE)
        else:
            answered += mine.update(next_attempt_at=now)
            mine.filter(reason=Outcome.AWAITS_MOODLE).update(reason="")
    return answered
