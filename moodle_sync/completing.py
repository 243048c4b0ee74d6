"""Completes what is new: asks Moodle about each new completion, before it is stored.

A feed tells who completed a course, more or less. Who that is to the letter, when it was to the second, with what
score, and whether it is still so, Moodle tells of one learner at a time (FACTS-2.md, section 9). Only of past
completions, read by the thousand, the report's minute is enough.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

from .client.errors import MoodleError
from .client.functions import BATCH, COMPLETION, GRADES, USERS
from .client.records import CompletionStatus, LearnerFacts
from .client.zones import zone_named
from .models import Completion
from .reading import Batch, Poll, Seen
from .times import MINUTE, exact_time, minute_of, shows_another_zone

Key = tuple[int, int]

# What is asked about a learner.
ASKED = frozenset({COMPLETION, USERS, GRADES, BATCH})
# Completions of a part of a full reading whose exact times are asked for: as many as go into one call.
SAMPLE = 25


@dataclass(frozen=True, slots=True)
class Completed:
    """A batch with what Moodle said of it: `facts` by completion, and those that were `asked` about."""

    seen: list[Seen]
    facts: dict[Key, LearnerFacts]
    asked: set[Key]


def complete_what_is_new(poll: Poll, batch: Batch) -> Completed:
    """The batch's completions with their exact times, and what Moodle said of those that it was asked about.

    Asked about are those that count and are not on file, those that Moodle tells a later time of, and with
    `batch.ask_all` all of them. A completion that was undone since the feed saw it is left out. Raises MoodleError for
    what concerns the whole site.
    """
    seen = list({one.key: one for one in batch.seen}.values())
    known = _known(poll, seen)
    erased = poll.erased_among({one.user_id for one in seen})
    news = [one for one in seen if one.user_id not in erased and (batch.ask_all or _is_new(poll, batch, one, known))]
    # What a feed has asked itself is known of more than the news.
    facts = {one.key: LearnerFacts(status=one.status) for one in seen if one.status is not None}
    facts |= _ask(poll, batch, news, known)
    completed: list[Seen] = []
    for one in seen:
        answers = facts.get(one.key)
        if answers is None:
            completed.append(_as_far_as_known(one, known))
        elif one.key in known or not (isinstance(answers.status, CompletionStatus) and not answers.status.completed):
            completed.append(_exactly(poll, batch, one, answers))
    return Completed(completed, facts, {one.key for one in news})


def _known(poll: Poll, seen: Collection[Seen]) -> dict[Key, Completion]:
    rows = Completion.objects.filter(
        course__in={one.course.pk for one in seen},
        learner__site=poll.site,
        learner__moodle_id__in={one.user_id for one in seen},
    ).select_related("learner")
    return {(row.course_id, row.learner.moodle_id): row for row in rows}


def _is_new(poll: Poll, batch: Batch, seen: Seen, known: dict[Key, Completion]) -> bool:
    """Whether Moodle is asked about it: it counts and is not on file, or is back, or completed a second time."""
    row, wanted = known.get(seen.key), poll.wanted[seen.course.pk]
    if row is None:
        # What the feed knows no time of may count, if Moodle itself says that it is no older than `since`.
        return wanted.wants(seen.completed_at) or (seen.doubtful and batch.since is not None)
    # Of what is too old to count nobody asks for the score.
    never_asked = row.score_read_at is None and wanted.wants(row.last_completed_at)
    return never_asked or (not batch.on_file and (row.undone_at is not None or is_again(row, seen)))


def is_again(row: Completion, seen: Seen) -> bool:
    """Whether this is a later completion than the one on file: a later minute (feed A knows no seconds)."""
    if seen.completed_at is None or seen.doubtful or seen.source == Completion.TimeSource.SEEN:
        return False
    return row.last_completed_at is None or seen.completed_at >= minute_of(row.last_completed_at) + MINUTE


def _ask(poll: Poll, batch: Batch, news: list[Seen], known: dict[Key, Completion]) -> dict[Key, LearnerFacts]:
    """Ask what is not known yet; feed B has asked for the status and has the names.

    Of a full reading's rows, which go back years, the report's minute will do. Some are asked for the exact time even
    so, which shows whether the minutes are those of the zone. Where the service lacks the functions to ask with, as
    the site's findings say, nothing more is known.
    """
    told = [one for one in news if one.status is not None]
    enough = [one for one in news if one.status is None and _minute_is_enough(batch, one, known)][SAMPLE:]
    spared = {one.key for one in enough}
    exact = [one for one in news if one.status is None and one.key not in spared]
    facts = _ask_about(poll, exact, ASKED)
    _see_whether_the_zone_is_right(poll, exact, facts)
    facts |= _ask_about(poll, enough, ASKED if poll.zone_doubted else ASKED - {COMPLETION})
    facts |= _ask_about(poll, told, ASKED - {COMPLETION} - ({USERS} if poll.site.send_suspended else set()))
    return facts


def _minute_is_enough(batch: Batch, one: Seen, known: dict[Key, Completion]) -> bool:
    """Whether the exact time of a completion decides nothing."""
    return batch.since is None and not (batch.ask_all or batch.on_file or one.doubtful or one.key in known)


def _ask_about(poll: Poll, several: list[Seen], needed: frozenset[str]) -> dict[Key, LearnerFacts]:
    facts_of = {one.key: LearnerFacts(status=one.status) for one in several}
    asked = {(one.course.moodle_id, one.user_id): one for one in several}
    available = poll.functions & needed
    if not asked or not available - {BATCH}:
        return facts_of
    for answers in poll.client.learner_facts(asked, available=available, grades=GRADES in available):
        for pair, facts in answers.items():
            one = asked[pair]
            facts_of[one.key] = facts if one.status is None else replace(facts, status=one.status)
            for answer in (facts.status, facts.user, facts.grade):
                if isinstance(answer, MoodleError):
                    poll.problem(one.course, answer, one.user_id)
    return facts_of


def _see_whether_the_zone_is_right(poll: Poll, asked: list[Seen], facts: dict[Key, LearnerFacts]) -> None:
    """A report's time that differs from the exact one as two zones do says that the site's zone was changed."""
    zone = zone_named(poll.state.zone)
    for one in asked:
        status = facts[one.key].status
        if one.source == Completion.TimeSource.REPORT and isinstance(status, CompletionStatus):
            poll.zone_doubted = poll.zone_doubted or shows_another_zone(one, status, zone)


def _as_far_as_known(seen: Seen, known: dict[Key, Completion]) -> Seen:
    """What nobody was asked about: a doubtful time is not kept, and never replaces the one on file."""
    if not seen.doubtful:
        return seen
    row = known.get(seen.key)
    if row is not None:
        return replace(seen, completed_at=row.completed_at, source=row.time_source)
    return replace(seen, completed_at=None, source=Completion.TimeSource.UNKNOWN)


def _exactly(poll: Poll, batch: Batch, seen: Seen, facts: LearnerFacts) -> Seen:
    """With the exact time. A feed's time in a zone that is doubted gives way to that of the criteria."""
    status = facts.status if isinstance(facts.status, CompletionStatus) else None
    if batch.ask_all or batch.on_file:
        known = status and status.earliest
        return replace(seen, completed_at=known, source=Completion.TimeSource.CRITERIA) if known else seen
    doubted = poll.zone_doubted and seen.source == Completion.TimeSource.REPORT
    believed = replace(seen, doubtful=True) if doubted else seen
    if seen.source == Completion.TimeSource.REPORT:
        completed_at, source = exact_time(believed, status, since=batch.since, now=poll.now)
        return replace(seen, completed_at=completed_at, source=source)
    return seen
