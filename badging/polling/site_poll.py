"""One poll of a Moodle site: read the mapped courses, and queue an issuance for each completion that counts."""

from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from moodle_sync.models import Completion, MoodleSite, MoodleSiteState
from moodle_sync.polling import PollResult, read_site
from moodle_sync.reading import Poll, Stored
from moodle_sync.site_check import WhileWaiting, feed_reason

from .. import audit, past
from ..mapping import wanted_courses
from ..meanings import HELD_BY_MOODLE, Outcome
from ..models import AuditEntry, Issuance
from ..queueing import MENDED_BY_PROFILE, queue_stored

State = Issuance.State

# How many waiting completions one poll asks Moodle about. One call asks about 25.
ASKED_IN_A_POLL = 100
# Completions that were first seen within this time are asked about first.
NEW_FOR = timedelta(days=2)
# How often deleted accounts and courses are asked about.
ASK_OF_DELETED_EVERY = timedelta(days=1)


def poll_and_queue(
    site: MoodleSite,
    *,
    now: datetime,
    if_due: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
    while_waiting: WhileWaiting = nullcontext,
    on_queued: Callable[[], object] = lambda: None,
) -> PollResult:
    """Poll one site: read the mapped courses, and queue an issuance for each completion that counts.

    Past completions go on once their course was read whole and they are few enough. Running it twice, or two at a time,
    changes nothing. Never raises for what Moodle answers. With `if_due` a site that somebody else has polled meanwhile
    is left alone. `should_stop` is asked between calls to Moodle; the next poll goes on from there. `while_waiting`
    surrounds each call. `on_queued` is called whenever issuances have been queued and may be sent, while the poll goes
    on.
    """

    def on_stored(stored: Stored) -> int:
        if queued := queue_stored(stored, now=now):
            transaction.on_commit(on_queued)
        return queued

    before = site.state.feed
    result = read_site(
        site,
        wanted_courses(site),
        on_stored=on_stored,
        waiting=waiting_for_moodle,
        now=now,
        if_due=if_due,
        should_stop=should_stop,
        while_waiting=while_waiting,
    )
    if before and result.feed not in (None, before):
        _note_change_of_feed(site, before)
    if past.settle_counts(site, now=now):
        on_queued()
    return result


def _note_change_of_feed(site: MoodleSite, before: str) -> None:
    """Add an audit entry when a site falls back to the slower feed, or comes back from it."""
    state = MoodleSiteState.objects.get(site=site)
    audit.record(AuditEntry.Action.FEED_CHANGED, site, feed=state.feed, before=before, reason=feed_reason(state))


def waiting_for_moodle(poll: Poll) -> list[Completion]:
    """Completions whose badges wait for a score, a profile, an account or the completion itself to change in Moodle.

    At most 100: those of the last two days first, then those asked about longest ago; none twice within the poll
    interval, and deleted accounts and courses once a day. After a full reading those follow that it did not show.
    """
    waits = Q(state=State.HELD, reason__in=HELD_BY_MOODLE) | Q(state=State.NOT_MET)
    waits |= Q(state=State.FAILED, reason__in=MENDED_BY_PROFILE)
    if poll.state.read_whole_at is not None:
        waits |= Q(completion__confirmed_at__lt=poll.state.read_whole_at)
    deleted = Q(reason__in=[Outcome.LEARNER_DELETED, Outcome.COURSE_GONE])
    rows = Issuance.objects.filter(
        waits,
        ~deleted | Q(completion__confirmed_at__lte=poll.now - ASK_OF_DELETED_EVERY),
        state__in=[State.HELD, State.NOT_MET, State.FAILED],
        course__in=list(poll.wanted),
        completion__confirmed_at__lte=poll.now - poll.site.poll_interval,
        learner__erased_at=None,
    )
    oldest = rows.order_by("completion__confirmed_at").values_list("completion", flat=True)
    new = list(oldest.filter(completion__seen_at__gt=poll.now - NEW_FOR)[:ASKED_IN_A_POLL])
    rest = oldest.exclude(completion__in=new)[: ASKED_IN_A_POLL - len(new)]
    return list(Completion.objects.filter(pk__in=[*new, *rest]).select_related("learner"))
