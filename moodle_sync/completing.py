"""Completes what a feed has seen: asks Moodle about each new completion before it is stored.

A feed knows roughly who completed a course. Exact names, time and score, and whether the completion still stands, come
from questions about one learner at a time. Past completions are read by the thousand; for them the report's minute is
exact enough.
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

# (primary key of the course, Moodle user id).
Key = tuple[int, int]

# The functions for questions about a learner.
ASKED = frozenset({COMPLETION, USERS, GRADES, BATCH})
# Completions of a full reading's batch that are asked for their exact times: as many as fit into one call.
SAMPLE = 25


@dataclass(frozen=True, slots=True)
class Completed:
    """A batch of completions with what Moodle said about them.

    `facts` has the answers by key; `asked_keys` has the keys of the completions that were asked about in this step.
    A feed may have asked about others before.
    """

    seen: list[Seen]
    facts: dict[Key, LearnerFacts]
    asked_keys: set[Key]


def complete_new(poll: Poll, batch: Batch) -> Completed:
    """Complete a batch: new completions get exact times, and Moodle's answers about their learners.

    Asked about are completions that count and are not stored yet, stored ones with a later time, and with
    `batch.ask_all` all of them. Completions that were undone since the feed saw them are left out, unless they are
    stored. Raises MoodleError for what concerns the whole site.
    """
    unique = list({seen.key: seen for seen in batch.seen}.values())
    stored = stored_rows(poll, unique)
    erased = poll.erased_among({seen.user_id for seen in unique})
    new = [
        seen
        for seen in unique
        if seen.user_id not in erased and (batch.ask_all or _is_new(poll, batch, seen, stored.get(seen.key)))
    ]
    facts = {seen.key: LearnerFacts(status=seen.status) for seen in unique if seen.status is not None}
    facts |= _ask(poll, batch, new, stored)
    completed = []
    for seen in unique:
        answers = facts.get(seen.key)
        if answers is None:
            completed.append(_without_doubtful_time(seen, stored.get(seen.key)))
        elif seen.key in stored or not _is_incomplete(answers):
            completed.append(_with_exact_time(poll, batch, seen, answers))
    return Completed(completed, facts, {seen.key for seen in new})


def _is_incomplete(facts: LearnerFacts) -> bool:
    return isinstance(facts.status, CompletionStatus) and not facts.status.completed


def stored_rows(poll: Poll, batch: Collection[Seen]) -> dict[Key, Completion]:
    """The stored completions of these learners in these courses, with their learners."""
    rows = Completion.objects.filter(
        course__in={seen.course.pk for seen in batch},
        learner__site=poll.site,
        learner__moodle_id__in={seen.user_id for seen in batch},
    ).select_related("learner")
    return {(row.course_id, row.learner.moodle_id): row for row in rows}


def _is_new(poll: Poll, batch: Batch, seen: Seen, row: Completion | None) -> bool:
    """Whether Moodle is asked about it: it counts and has no score yet, was undone before, or is a later completion."""
    wanted = poll.wanted[seen.course.pk]
    if row is None:
        # Without a reliable time it may count if Moodle's filter says that it is not older than `since`.
        return wanted.wants(seen.completed_at) or (seen.doubtful and batch.since is not None)
    # Completions that do not count need no score.
    never_asked = row.score_read_at is None and wanted.wants(row.last_completed_at)
    return never_asked or (not batch.from_database and (row.undone_at is not None or is_again(row, seen)))


def is_again(row: Completion, seen: Seen) -> bool:
    """Whether this is a later completion than the stored one. Minutes are compared, since feed A has no seconds."""
    if seen.completed_at is None or seen.doubtful or seen.source == Completion.TimeSource.SEEN:
        return False
    return row.last_completed_at is None or seen.completed_at >= minute_of(row.last_completed_at) + MINUTE


def _ask(poll: Poll, batch: Batch, new: list[Seen], stored: dict[Key, Completion]) -> dict[Key, LearnerFacts]:
    """Ask about new completions; functions that the service lacks are left out.

    In a full reading, which goes back years, most keep the report's minute. A sample is asked for exact times, to see
    whether the minutes are in the right zone. Feed B has asked for the status and knows the names.
    """
    with_status = [seen for seen in new if seen.status is not None]
    without = [seen for seen in new if seen.status is None]
    minute_only = [seen for seen in without if _minute_is_enough(batch, seen, stored)][SAMPLE:]
    minute_keys = {seen.key for seen in minute_only}
    exact = [seen for seen in without if seen.key not in minute_keys]
    facts = _ask_about(poll, exact, ASKED)
    _check_zone(poll, exact, facts)
    facts |= _ask_about(poll, minute_only, ASKED if poll.zone_doubted else ASKED - {COMPLETION})
    suspension_matters = not poll.site.send_suspended
    facts |= _ask_about(poll, with_status, ASKED - {COMPLETION} - (set() if suspension_matters else {USERS}))
    return facts


def _minute_is_enough(batch: Batch, seen: Seen, stored: dict[Key, Completion]) -> bool:
    """Whether nothing depends on the exact time."""
    return batch.since is None and not (batch.ask_all or batch.from_database or seen.doubtful or seen.key in stored)


def _ask_about(poll: Poll, batch: list[Seen], needed: frozenset[str]) -> dict[Key, LearnerFacts]:
    """What Moodle says about each, by the functions that are both needed and available. Notes errors."""
    facts_by_key = {seen.key: LearnerFacts(status=seen.status) for seen in batch}
    pairs = {(seen.course.moodle_id, seen.user_id): seen for seen in batch}
    available = poll.functions & needed
    if not pairs or not available - {BATCH}:
        return facts_by_key
    for answers in poll.client.learner_facts(pairs, available=available, grades=GRADES in available):
        for pair, facts in answers.items():
            seen = pairs[pair]
            facts_by_key[seen.key] = facts if seen.status is None else replace(facts, status=seen.status)
            for answer in (facts.status, facts.user, facts.grade):
                if isinstance(answer, MoodleError):
                    poll.problem(seen.course, answer, seen.user_id)
    return facts_by_key


def _check_zone(poll: Poll, batch: list[Seen], facts: dict[Key, LearnerFacts]) -> None:
    """Doubt the site's time zone if times of the report differ from exact ones as two zones do."""
    zone = zone_named(poll.state.zone)
    for seen in batch:
        status = facts[seen.key].status
        if seen.source == Completion.TimeSource.REPORT and isinstance(status, CompletionStatus):
            poll.zone_doubted = poll.zone_doubted or shows_another_zone(seen, status, zone)


def _without_doubtful_time(seen: Seen, row: Completion | None) -> Seen:
    """A completion that was not asked about: instead of a doubtful time it has the stored one, or none."""
    if not seen.doubtful:
        return seen
    if row is not None:
        return replace(seen, completed_at=row.completed_at, source=row.time_source)
    return replace(seen, completed_at=None, source=Completion.TimeSource.UNKNOWN)


def _with_exact_time(poll: Poll, batch: Batch, seen: Seen, facts: LearnerFacts) -> Seen:
    """A completion with the exact time. While the zone is doubted, the report's time is not used."""
    status = facts.status if isinstance(facts.status, CompletionStatus) else None
    if batch.ask_all or batch.from_database:
        earliest = status and status.earliest
        return replace(seen, completed_at=earliest, source=Completion.TimeSource.CRITERIA) if earliest else seen
    if seen.source != Completion.TimeSource.REPORT:
        return seen
    believed = replace(seen, doubtful=True) if poll.zone_doubted else seen
    completed_at, source = exact_time(believed, status, since=batch.since, now=poll.now)
    return replace(seen, completed_at=completed_at, source=source)
