"""Feed B, for sites without the report: asks about each enrolled learner, with a limited number of calls in a poll.

Once a day everybody in a course is asked about. In between only learners are asked about who have no known completion
and whose completion Moodle tracks, which it does not for teachers and suspended enrolments. See docs/moodle-api.md,
"Participants" and "Completion of a learner".
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from django.conf import settings
from django.utils.translation import gettext as _

from .client.errors import MoodleError, MoodleNotTracked, MoodleTokenRefused, MoodleUnavailable
from .client.functions import BATCH
from .client.records import CompletionStatus, EnrolledUser
from .deletion import account_is_deleted
from .models import Completion, Course
from .reading import END_OF_A_FULL_READING, Batch, Poll, Seen, stored_completions
from .times import from_criteria

# Participants of one page.
PER_PAGE = 100
# How often everybody in a course is asked about.
WHOLE_EVERY = timedelta(days=1)
# The source of a time that is not known.
UNKNOWN = Completion.TimeSource.UNKNOWN.value
# Seconds that a poll may take even if the poll interval is shorter.
SHORTEST_LIMIT = 10


def batches(poll: Poll) -> Iterator[Batch]:
    """Read the courses, those read longest ago first, until the poll's calls or time are used up.

    A course that cannot be read is noted and stops no other course. Raises MoodleError for what concerns the whole
    site.
    """
    limit = _Limit.of(poll)
    courses = sorted(poll.courses, key=lambda course: (course.read_at is not None, course.read_at))
    for course in courses:
        if limit.is_reached(poll):
            break
        try:
            yield from _read_course(poll, course, limit)
        except (MoodleUnavailable, MoodleTokenRefused):
            raise
        except MoodleError as error:
            course.error = _(error.advice)
            course.read_at, course.next_offset = poll.now, 0
            poll.problem(course, error)
            yield Batch([], bookmarks=(course,))
    has_unread = any(course.read_at is None for course in courses)
    oldest = min((course.read_at for course in courses if course.read_at), default=poll.now)
    if limit.was_reached or has_unread:
        _note_slowness(poll)
    # The site is read up to the time of the course that was read longest ago.
    read_up_to = poll.state.read_up_to if has_unread else oldest
    yield Batch([], state={"read_up_to": read_up_to, **_full_reading(poll, courses)})


def _full_reading(poll: Poll, courses: list[Course]) -> dict[str, Any]:
    """The changes of the site's state if all courses have been read whole since the last full reading; else {}."""
    read_at = [course.past_read_at for course in courses]
    oldest = min((at for at in read_at if at is not None), default=poll.now)
    if None in read_at or (poll.state.read_whole_at is not None and oldest <= poll.state.read_whole_at):
        return {}
    began_after_answer = poll.state.confirmed_at is None or oldest >= poll.state.confirmed_at
    return {"read_whole_at": oldest, **(END_OF_A_FULL_READING if began_after_answer else {})}


@dataclass
class _Limit:
    """What one poll may use: calls, and seconds until the next poll is due."""

    most_calls: int
    seconds: float
    started: float = field(default_factory=monotonic)
    was_reached: bool = False

    @classmethod
    def of(cls, poll: Poll) -> "_Limit":
        seconds = max(poll.site.poll_interval.total_seconds(), SHORTEST_LIMIT)
        return cls(most_calls=poll.client.calls + settings.MOODLE_CALLS_PER_ROUND, seconds=seconds)

    def is_reached(self, poll: Poll) -> bool:
        """Whether the rest must wait for the next poll."""
        reached = poll.client.calls >= self.most_calls or monotonic() - self.started > self.seconds
        self.was_reached = self.was_reached or reached
        return reached


def _note_slowness(poll: Poll) -> None:
    poll.note(
        _(
            "Reading learner by learner takes longer than the poll interval, so courses take turns and badges come "
            "later. Make the report “Navigatr badge feed”, with which a poll takes two calls, or set a longer interval."
        )
    )


def _read_course(poll: Poll, course: Course, limit: _Limit) -> Iterator[Batch]:
    """Read one course page by page, from where the last poll stopped."""
    past_is_due = poll.wanted[course.pk].past_is_due
    if course.next_offset == 0:
        course.reading_since = poll.now
        course.asks_everybody = past_is_due or _whole_is_due(course, poll.now)
        if course.asks_everybody:
            course.untracked = []
        if past_is_due:
            # Moodle no longer lists learners who have left the course.
            yield from stored_completions(course)
    while not limit.is_reached(poll):
        users, page_length = _participants(poll, course)
        seen, deleted = _completions(poll, course, users, past_is_due=past_is_due)
        # The list ends with an empty page. Other pages may be short.
        is_last = page_length == 0
        course.error = ""
        course.next_offset = 0 if is_last else course.next_offset + page_length
        if is_last:
            course.read_at = course.reading_since
        whole = (course,) if is_last and course.asks_everybody else ()
        yield Batch(seen, bookmarks=(course,), whole=whole, gone=deleted)
        if is_last:
            return


def _whole_is_due(course: Course, now: datetime) -> bool:
    """Whether everybody in the course is to be asked about again."""
    return course.past_read_at is None or course.past_read_at <= now - WHOLE_EVERY


def _participants(poll: Poll, course: Course) -> tuple[list[EnrolledUser], int]:
    """The next page of participants, and its length including those that cannot be read."""
    skipped_before = poll.client.skipped_rows
    users = poll.client.enrolled_users(course.moodle_id, offset=course.next_offset, limit=PER_PAGE)
    return users, len(users) + poll.client.skipped_rows - skipped_before


def _completions(
    poll: Poll, course: Course, users: list[EnrolledUser], *, past_is_due: bool
) -> tuple[list[Seen], frozenset[int]]:
    """The completions of a page of participants, and the ids of deleted accounts.

    Learners with a stored completion are included even if they were not asked about, since their profile may have
    changed.
    """
    known = {
        user_id: (completed_at, source)
        for user_id, completed_at, source in Completion.objects.filter(
            course=course, undone_at=None, learner__moodle_id__in=[user.id for user in users]
        ).values_list("learner__moodle_id", "completed_at", "time_source")
    }
    answers = _ask(poll, course, users, known)
    untracked = {user_id for user_id, answer in answers.items() if isinstance(answer, MoodleNotTracked)}
    # Learners who left the course after completing it stay known, and are asked about again.
    course.untracked = sorted({*course.untracked, *(untracked - known.keys())})
    deleted = frozenset(user.id for user in users if account_is_deleted(answers.get(user.id), user))
    completions = []
    for user in users:
        answer, time = answers.get(user.id), known.get(user.id)
        status = answer if isinstance(answer, CompletionStatus) else None
        if status is not None and status.completed:
            time = _time(poll, course, status, past_is_due=past_is_due) or time or (None, UNKNOWN)
        if time is not None:
            completions.append(_seen(course, user, status, *time))
    return completions, deleted


def _ask(
    poll: Poll, course: Course, users: list[EnrolledUser], known: Collection[int]
) -> dict[int, CompletionStatus | MoodleError]:
    """Moodle's answer about each participant who is to be asked about. Notes errors."""
    left_out = set(course.untracked) | poll.erased_among([user.id for user in users])
    if not course.asks_everybody:
        left_out |= set(known)
    ids = [user.id for user in users if user.id not in left_out]
    answers = poll.client.completion_statuses(course.moodle_id, ids, batch=BATCH in poll.functions)
    for user_id, answer in answers.items():
        if isinstance(answer, MoodleError):
            poll.problem(course, answer, user_id)
    return answers


def _seen(
    course: Course, user: EnrolledUser, status: CompletionStatus | None, completed_at: datetime | None, source: str
) -> Seen:
    return Seen(
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


def _time(
    poll: Poll, course: Course, status: CompletionStatus, *, past_is_due: bool
) -> tuple[datetime | None, str] | None:
    """When the learner completed the course, and the source of that time; None if it is unknown.

    At the previous reading the learner had not completed the course; at the first reading nothing is known about that.
    """
    completed_at = from_criteria(status, incomplete_at=None if past_is_due else course.read_at)
    if completed_at is not None:
        return completed_at, Completion.TimeSource.CRITERIA.value
    # Imported or set directly, so Moodle has no time. A completion that is there at the first reading is old.
    return None if past_is_due else (poll.now, Completion.TimeSource.SEEN.value)
