"""The data that passes through a poll: what to read, what a feed has seen, and what was stored of it."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils.translation import gettext as _

from .client import MoodleClient
from .client.errors import (
    MoodleError,
    MoodleGone,
    MoodleLearnerGone,
    MoodleNoCriteria,
    MoodleNotAllowed,
    MoodleNotTracked,
    MoodleSomethingGone,
)
from .client.records import CompletionStatus
from .models import Completion, Course, MoodleSite, MoodleSiteState

# Stored completions in one batch.
STORED_PER_BATCH = 500
# What the end of a full reading sets in the site's state: changes raise questions again and are counted from zero.
END_OF_A_FULL_READING = {"accepts_changes": False, "people_changed": 0, "strangers": 0}
# Errors that concern one learner. They are no problem of the site.
ABOUT_THE_LEARNER = (MoodleNotTracked, MoodleLearnerGone, MoodleSomethingGone)
# Errors that concern a whole course.
ABOUT_THE_COURSE = (MoodleGone, MoodleNotAllowed, MoodleNoCriteria)


def to_the_minute(at: datetime) -> datetime:
    """The beginning of the minute of a time. Moodle's report has no seconds, so times are compared by minutes."""
    return at.replace(second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class WantedCourse:
    """A course to read.

    Completions count from `since` on, or all of them if it is None. `past_wanted_at` is when somebody asked for past
    completions: the whole course is read again unless that was done since.
    """

    course: Course
    since: datetime | None = None
    past_wanted_at: datetime | None = None

    def wants(self, completed_at: datetime | None) -> bool:
        """Whether a completion of this time counts. Minutes are compared, since Moodle's report has no seconds."""
        if self.since is None:
            return True
        return completed_at is not None and completed_at >= to_the_minute(self.since)

    @property
    def past_is_due(self) -> bool:
        """Whether the past completions of the course are to be read."""
        read_at = self.course.past_read_at
        return read_at is None or (self.past_wanted_at is not None and read_at < self.past_wanted_at)


@dataclass(frozen=True, slots=True)
class Seen:
    """One completion as a feed has seen it.

    - Names and e-mail address are None if the feed does not have them.
    - `completed_at` is to the minute in feed A, and None if the time is unknown.
    - `doubtful`: the time may be wrong, and needs Moodle's exact answer.
    - `status`: that answer, if the feed has asked already.
    - `course_name`: the course's name as the feed writes it, which may differ from the name that people see.
    - `shown`: Moodle shows the completion now, so it was not undone.
    - `names_hidden`: Moodle left out a name or the address because a capability is missing.
    """

    course: Course
    user_id: int
    firstname: str | None
    lastname: str | None
    email: str | None
    completed_at: datetime | None
    source: str
    doubtful: bool = False
    status: CompletionStatus | None = None
    course_name: str = ""
    shown: bool = False
    names_hidden: bool = False

    @property
    def key(self) -> tuple[int, int]:
        """(primary key of the course, Moodle user id)."""
        return self.course.pk, self.user_id


@dataclass(frozen=True, slots=True)
class Batch:
    """A part of a reading, which is stored in one transaction.

    - `since`: the limit that Moodle's filter applied exactly; None without a limit.
    - `whole`: courses that have been read whole with this batch.
    - `bookmarks`: courses whose reading position changed.
    - `state`: values for the site's state.
    - `gone`: Moodle ids of learners whose accounts were deleted.
    - `from_database`: the completions are stored ones; Moodle has confirmed nothing.
    - `ask_all`: Moodle is asked about every completion, not only about new ones.
    """

    seen: list[Seen]
    since: datetime | None = None
    whole: tuple[Course, ...] = ()
    bookmarks: tuple[Course, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)
    gone: frozenset[int] = frozenset()
    from_database: bool = False
    ask_all: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store except for `state`."""
        return not (self.seen or self.whole or self.bookmarks or self.gone)


@dataclass
class Poll:
    """A running poll of one site, with its results so far.

    - `wanted`: the courses to read, by primary key.
    - `problems`: texts for people about what went wrong without stopping the poll.
    - `zone_doubted`: times were seen that cannot be in the time zone of the site's state.
    - `courses_checked`: the mapped courses have been compared with Moodle.
    - `pending_state`: values for the site's state that are written at the end of the poll.
    """

    site: MoodleSite
    state: MoodleSiteState
    client: MoodleClient
    wanted: dict[int, WantedCourse]
    now: datetime
    problems: list[str] = field(default_factory=list)
    new: int = 0
    queued: int = 0
    zone_doubted: bool = False
    courses_checked: bool = False
    pending_state: dict[str, Any] = field(default_factory=dict)

    @property
    def functions(self) -> frozenset[str]:
        """The web-service functions that the token may call."""
        return frozenset(self.state.functions)

    @property
    def courses(self) -> list[Course]:
        """The courses to read."""
        return [row.course for row in self.wanted.values()]

    @property
    def past_due(self) -> list[Course]:
        """The courses whose past completions are to be read."""
        return [row.course for row in self.wanted.values() if row.past_is_due]

    def set_state(self, values: dict[str, Any]) -> None:
        """Set values of the site's state in memory."""
        for name, value in values.items():
            setattr(self.state, name, value)

    def problem(self, course: Course, error: MoodleError, user_id: int | None = None) -> None:
        """Note an error about a course, or about one learner in it, that does not stop the poll.

        An error that only says something about the learner is not noted.
        """
        if user_id is not None and isinstance(error, ABOUT_THE_LEARNER):
            return
        if user_id is None or isinstance(error, ABOUT_THE_COURSE):
            self.note(f"{course}: {_(error.advice)}")
            return
        values = {"course": course, "id": user_id, "advice": _(error.advice)}
        self.note(_("%(course)s, learner %(id)d: %(advice)s") % values)

    def note(self, *lines: str) -> None:
        """Add problems, each once."""
        self.problems += [line for line in lines if line not in self.problems]

    def note_oddities(self) -> None:
        """Add what the client found odd and skipped."""
        self.note(*(_(text).format(**values) for text, values in self.client.oddities))
        self.client.oddities.clear()

    def erased_among(self, user_ids: Collection[int]) -> set[int]:
        """The Moodle ids of erased learners. Moodle is asked nothing about them."""
        erased = self.site.learners.filter(moodle_id__in=user_ids, erased_at__isnull=False)
        return set(erased.values_list("moodle_id", flat=True))


def for_people(error: MoodleError) -> str:
    """What to do about an error, with its technical details at the end."""
    return f"{_(error.advice)} ({error})"


def stored_completions(course: Course) -> Iterator[Batch]:
    """The stored completions of a course, to be looked at again."""
    last_pk = 0
    rows = Completion.objects.filter(course=course, learner__erased_at=None).select_related("learner").order_by("pk")
    while part := list(rows.filter(pk__gt=last_pk)[:STORED_PER_BATCH]):
        last_pk = part[-1].pk
        yield Batch([seen_before(row, course) for row in part], from_database=True)


def seen_before(row: Completion, course: Course) -> Seen:
    """A stored completion, without anything new about it."""
    return Seen(course, row.learner.moodle_id, None, None, None, row.completed_at, row.time_source)


OnStored = Callable[["Stored"], int]


@dataclass(frozen=True, slots=True)
class Stored:
    """What was stored of one batch, for the caller to act on in the same transaction.

    - `wanted`: all completions of the batch that count, new or known, so that missed ones are caught up.
    - `new`: how many completions are new.
    - `changed_learners`, `changed_completions`: primary keys of rows with a change that may hold a badge or release
      it. Completions that Moodle was asked about because a badge waits are among them, changed or not.
    - `asked_learners`: primary keys of the learners of those completions, changed or not.
    - `again`: primary keys of completions with a new time in `completed_again_at`.
    """

    wanted: list[Completion]
    new: int
    changed_learners: list[int]
    changed_completions: list[int] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    asked_learners: list[int] = field(default_factory=list)

    @property
    def needs_action(self) -> bool:
        """Whether there is anything to act on."""
        return bool(self.wanted or self.changed_learners or self.changed_completions or self.asked_learners)
