"""Feed B: no report, so each enrolled learner is asked about, in batches, a bounded number of calls a round.

See WEB_SERVICES.md, section 5 B. Learners known to have completed are not asked again; learners whom Moodle does not
track (teachers, suspended enrolments) are left alone until the next daily reading of the whole course.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from .client.errors import (
    MoodleError,
    MoodleLearnerGone,
    MoodleNotTracked,
    MoodleTokenRefused,
    MoodleUnavailable,
)
from .client.functions import BATCH
from .client.records import CompletionStatus, EnrolledUser
from .models import Completion, Course
from .reading import END_OF_A_FULL_READING, Batch, Poll, Seen, on_file
from .times import from_criteria

PER_PAGE = 100
WHOLE_EVERY = timedelta(days=1)


def batches(poll: Poll) -> Iterator[Batch]:
    """Read the courses, longest unread first, until the round's calls or its time are used up.

    One bad course is noted on its row and never stops the others. Raises MoodleError for what concerns the whole site.
    """
    now = poll.now
    rounds = _Round(most_calls=poll.client.calls + settings.MOODLE_CALLS_PER_ROUND, seconds=_seconds(poll))
    courses = sorted(poll.courses, key=lambda course: (course.read_at is not None, course.read_at))
    for course in courses:
        if rounds.is_over(poll):
            break
        try:
            yield from _read_course(poll, course, rounds)
        except (MoodleUnavailable, MoodleTokenRefused):
            raise
        except MoodleError as error:
            course.error = _(error.advice)
            course.read_at, course.next_offset = now, 0
            poll.problem(course, error)
            yield Batch([], bookmarks=(course,))
    unread = [course for course in courses if course.read_at is None]
    behind = None if unread else min((course.read_at for course in courses if course.read_at), default=now)
    if rounds.was_cut or unread:
        _say_that_it_takes_long(poll)
    # A round that did not reach every course is behind by the one that it left longest.
    yield Batch([], state={"read_up_to": behind or poll.state.read_up_to, **_full_reading(poll, courses)})


def _full_reading(poll: Poll, courses: Sequence[Course]) -> dict[str, Any]:
    """What moves in the site's state once everybody in every course has been asked about since the last time."""
    read = [course.past_read_at for course in courses]
    oldest = min((at for at in read if at is not None), default=poll.now)
    if None in read or (poll.state.read_whole_at is not None and oldest <= poll.state.read_whole_at):
        return {}
    accepted = poll.state.confirmed_at is None or oldest >= poll.state.confirmed_at
    return {"read_whole_at": oldest, **(END_OF_A_FULL_READING if accepted else {})}


@dataclass
class _Round:
    """What one round may use up: calls, and the time until the next poll."""

    most_calls: int
    seconds: float
    started: float = field(default_factory=monotonic)
    was_cut: bool = False

    def is_over(self, poll: Poll) -> bool:
        """Whether the rest must wait for the next round."""
        over = poll.client.calls >= self.most_calls or monotonic() - self.started > self.seconds
        self.was_cut = self.was_cut or over
        return over


def _seconds(poll: Poll) -> float:
    return max(poll.site.poll_interval.total_seconds(), 10)


def _say_that_it_takes_long(poll: Poll) -> None:
    poll.note(
        _(
            "Reading learner by learner takes longer than the poll interval, so courses take turns and badges come "
            "later. Make the report “Navigatr badge feed”, with which a poll takes two calls, or set a longer interval."
        )
    )


def _read_course(poll: Poll, course: Course, rounds: _Round) -> Iterator[Batch]:
    """Read one course from where the last round stopped. Each course has its own daily reading of everybody."""
    past_is_due = poll.wanted[course.pk].past_is_due
    if course.next_offset == 0:
        course.reading_since = poll.now
        course.asks_everybody = past_is_due or _is_old(course, poll.now)
        if course.asks_everybody:
            course.untracked = []
        if past_is_due:
            # Moodle no longer lists learners who have left the course.
            yield from on_file(course)
    while not rounds.is_over(poll):
        users, places = _participants(poll, course)
        seen, gone = _completions(poll, course, users, past_is_due=past_is_due)
        # The end of a list is an empty page, never a short one.
        last = places == 0
        course.error = ""
        course.next_offset = 0 if last else course.next_offset + places
        if last:
            course.read_at = course.reading_since
        yield Batch(seen, bookmarks=(course,), whole=(course,) if last and course.asks_everybody else (), gone=gone)
        if last:
            return


def _is_old(course: Course, now: datetime) -> bool:
    """Whether it is a day since everybody in the course was asked about."""
    return course.past_read_at is None or course.past_read_at <= now - WHOLE_EVERY


def _participants(poll: Poll, course: Course) -> tuple[list[EnrolledUser], int]:
    """The next page of participants, and how many places of the list it took, those that cannot be read included."""
    before = poll.client.passed_over
    users = poll.client.enrolled_users(course.moodle_id, offset=course.next_offset, limit=PER_PAGE)
    odd = poll.client.passed_over - before
    return users, len(users) + odd


def _completions(
    poll: Poll, course: Course, users: list[EnrolledUser], *, past_is_due: bool
) -> tuple[list[Seen], frozenset[int]]:
    """Those of the page who completed, and the ids of accounts that are gone.

    About known ones Moodle is asked once a day; otherwise they are taken from our rows, as their profile may have
    changed.
    """
    ids = [user.id for user in users]
    known = {
        user_id: (completed_at, source)
        for user_id, completed_at, source in Completion.objects.filter(
            course=course, undone_at=None, learner__moodle_id__in=ids
        ).values_list("learner__moodle_id", "completed_at", "time_source")
    }
    left_alone = set(course.untracked) | poll.erased_among(ids)
    if not course.asks_everybody:
        left_alone |= known.keys()
    answers = _ask(poll, course, [user_id for user_id in ids if user_id not in left_alone])
    untracked = {user_id for user_id, answer in answers.items() if isinstance(answer, MoodleNotTracked)}
    # Who has left the course after completing it is known all the same.
    course.untracked = sorted({*course.untracked, *(untracked - known.keys())})
    gone = frozenset(user_id for user_id, answer in answers.items() if isinstance(answer, MoodleLearnerGone))
    found = []
    for user in users:
        answer = answers.get(user.id)
        status = answer if isinstance(answer, CompletionStatus) else None
        completed_at, source = known.get(user.id, (None, ""))
        if status is not None and status.completed:
            completed_at, source = _completed_at(poll, course, status, past_is_due=past_is_due)
            if completed_at is None and user.id in known:
                completed_at, source = known[user.id]
        elif user.id not in known:
            continue
        found.append(
            Seen(
                course=course,
                user_id=user.id,
                firstname=user.firstname,
                lastname=user.lastname,
                email=user.email,
                completed_at=completed_at,
                source=source,
                status=status,
                shown=status is not None and status.completed,
                names_hidden=None in (user.firstname, user.lastname, user.email),
            )
        )
    return found, gone


def _ask(poll: Poll, course: Course, user_ids: Sequence[int]) -> dict[int, CompletionStatus | MoodleError]:
    """What Moodle says of each of these learners."""
    answers = poll.client.completion_statuses(course.moodle_id, user_ids, batch=BATCH in poll.functions)
    for user_id, answer in answers.items():
        if isinstance(answer, MoodleError):
            poll.problem(course, answer, user_id)
    return answers


def _completed_at(
    poll: Poll, course: Course, status: CompletionStatus, *, past_is_due: bool
) -> tuple[datetime | None, str]:
    """When the course was completed, and where that comes from.

    At the reading before this one the learner had not completed it; at the first reading nothing is known.
    """
    completed_at = from_criteria(status, incomplete_at=None if past_is_due else course.read_at)
    if completed_at is not None:
        return completed_at, Completion.TimeSource.CRITERIA.value
    # Imported or set directly: Moodle has no time (trap 5). What is there at the first look is old.
    if past_is_due:
        return None, Completion.TimeSource.UNKNOWN.value
    return poll.now, Completion.TimeSource.SEEN.value
