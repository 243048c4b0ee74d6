"""Feed B: no report, so each enrolled learner is asked about, in batches, a bounded number of calls a round.

See WEB_SERVICES.md, section 5 B. Learners known to have completed are not asked again; learners whom Moodle does not
track (teachers, suspended enrolments) are left alone until the next daily reading of the whole course.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic

from django.conf import settings
from django.utils.translation import gettext as _

from .client import BATCH as STATUSES_AT_ONCE
from .client import ODD_NAME, ODD_ROW
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
from .reading import Batch, Poll, Seen, on_file

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
    whole = {} if poll.state.read_whole_at and poll.state.read_whole_at > now - WHOLE_EVERY else {"read_whole_at": now}
    # A round that did not reach every course is behind by the one that it left longest.
    yield Batch([], state={"read_up_to": behind or poll.state.read_up_to, **whole})


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
        course.all_asked_since = poll.now if past_is_due or _is_old(course, poll.now) else None
        if course.all_asked_since:
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
            course.read_at = poll.now
        yield Batch(seen, bookmarks=(course,), whole=(course,) if last and course.all_asked_since else (), gone=gone)
        if last:
            return


def _is_old(course: Course, now: datetime) -> bool:
    """Whether it is a day since everybody in the course was asked about."""
    return course.past_read_at is None or course.past_read_at <= now - WHOLE_EVERY


def _participants(poll: Poll, course: Course) -> tuple[list[EnrolledUser], int]:
    """The next page of participants, and how many places of the list it took, those that cannot be read included."""
    before = len(poll.client.oddities)
    users = poll.client.enrolled_users(course.moodle_id, offset=course.next_offset, limit=PER_PAGE)
    odd = sum(text in (ODD_ROW, ODD_NAME) for text, _values in poll.client.oddities[before:])
    return users, len(users) + odd


def _completions(
    poll: Poll, course: Course, users: list[EnrolledUser], *, past_is_due: bool
) -> tuple[list[Seen], frozenset[int]]:
    """Those of the page who completed, and the ids of accounts that are gone.

    Known ones are taken from our rows, as their profile may have changed; about the others Moodle is asked.
    """
    known = {
        user_id: (completed_at, source)
        for user_id, completed_at, source in Completion.objects.filter(
            course=course, undone_at=None, learner__moodle_id__in=[user.id for user in users]
        ).values_list("learner__moodle_id", "completed_at", "time_source")
    }
    untracked = set(course.untracked)
    ask = [user.id for user in users if user.id not in known and user.id not in untracked]
    answers: dict[int, CompletionStatus | MoodleError] = {}
    for start in range(0, len(ask), STATUSES_AT_ONCE):
        asked = ask[start : start + STATUSES_AT_ONCE]
        answers |= poll.client.completion_statuses(course.moodle_id, asked, batch=BATCH in poll.functions)
        poll.heartbeat()
    for user_id, answer in answers.items():
        if isinstance(answer, MoodleError):
            poll.problem(course, answer, user_id)
    untracked |= {user_id for user_id, answer in answers.items() if isinstance(answer, MoodleNotTracked)}
    course.untracked = sorted(untracked)
    found = []
    for user in users:
        answered = answers.get(user.id)
        status = answered if isinstance(answered, CompletionStatus) else None
        if user.id in known:
            completed_at, source = known[user.id]
        elif status is not None and status.completed:
            completed_at, source = status.earliest, Completion.TimeSource.CRITERIA.value
            if completed_at is None:
                # Imported or set directly: Moodle has no time (trap 5). What is there at the first look is old.
                completed_at, source = (
                    (None, Completion.TimeSource.UNKNOWN.value)
                    if past_is_due
                    else (poll.now, Completion.TimeSource.SEEN.value)
                )
        else:
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
                names_hidden=None in (user.firstname, user.lastname, user.email),
            )
        )
    gone = frozenset(user_id for user_id, answer in answers.items() if isinstance(answer, MoodleLearnerGone))
    return found, gone
