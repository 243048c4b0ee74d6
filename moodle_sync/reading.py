"""What a feed hands over: who was seen, in which course, and how far that brings the reading."""

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

ON_FILE_AT_ONCE = 500
# What the end of a full reading sets: changes are no longer accepted unasked, and strangers are counted anew.
END_OF_A_FULL_READING = {"accepts_changes": False, "people_changed": 0, "strangers": 0}
# Errors about one learner that say that nothing is wrong with the site, and those that all of a course would meet.
ABOUT_THE_LEARNER = (MoodleNotTracked, MoodleLearnerGone, MoodleSomethingGone)
ABOUT_THE_COURSE = (MoodleGone, MoodleNotAllowed, MoodleNoCriteria)


@dataclass(frozen=True, slots=True)
class WantedCourse:
    """A course to read, and from when on its completions count (None: all of them).

    `past_wanted_at` is when somebody asked for past completions: a course that was last read whole before that is
    read whole once more.
    """

    course: Course
    since: datetime | None = None
    past_wanted_at: datetime | None = None

    def wants(self, completed_at: datetime | None) -> bool:
        """Whether a completion of this time counts. Moodle's report cuts seconds off, so the minute decides."""
        if self.since is None:
            return True
        return completed_at is not None and completed_at >= self.since.replace(second=0, microsecond=0)

    @property
    def past_is_due(self) -> bool:
        """Whether the course's past completions are to be read: never done, or asked for since."""
        read = self.course.past_read_at
        return read is None or (self.past_wanted_at is not None and read < self.past_wanted_at)


@dataclass(frozen=True, slots=True)
class Seen:
    """One completion as a feed tells it. Names and address are None where the feed does not tell them.

    `completed_at` is to the minute in feed A; None: nothing is known of the time. `doubtful`: the time may be wrong,
    and only Moodle's exact answer is believed. `status`: that answer, where the feed has asked already. `course_name`:
    how the feed writes it, which is not always how people see it. `shown`: Moodle shows the completion right now, so it
    stands. `names_hidden`: Moodle left out the name or the address, as it does where the account lacks a right.
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
        """(course row, Moodle user id)."""
        return self.course.pk, self.user_id


@dataclass(frozen=True, slots=True)
class Batch:
    """A part of what is read, stored in one transaction.

    `since`: Moodle itself has left out what was completed before (its filter works on exact times); None: nothing was
    left out. `whole`: courses of which, with this batch, everything has been read. `bookmarks`: courses whose own
    bookmarks moved. `state`: values for the site's state, which move the reading on. `gone`: Moodle ids of learners
    whose accounts were deleted. `on_file`: taken from our own rows, so Moodle has confirmed nothing. `ask_all`: Moodle
    is to be asked about each, known or not.
    """

    seen: list[Seen]
    since: datetime | None = None
    whole: tuple[Course, ...] = ()
    bookmarks: tuple[Course, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)
    gone: frozenset[int] = frozenset()
    on_file: bool = False
    ask_all: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to store but how far the reading has come."""
        return not (self.seen or self.whole or self.bookmarks or self.gone)


@dataclass
class Poll:
    """One poll of one site under way, and what it has come to so far.

    `zone_doubted`: times were met that cannot be in the zone that the site is believed to use. `unwritten`: values for
    the site's state that need not be written before the end of the poll.
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
    courses_looked_at: bool = False
    unwritten: dict[str, Any] = field(default_factory=dict)

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
        """Those whose past completions are to be read."""
        return [row.course for row in self.wanted.values() if row.past_is_due]

    def move(self, values: dict[str, Any]) -> None:
        """Move the reading on, for the rest of this poll."""
        for name, value in values.items():
            setattr(self.state, name, value)

    def problem(self, course: Course, error: MoodleError, user_id: int | None = None) -> None:
        """Note, once, what a course, or one learner of it, could not tell; the round goes on.

        What concerns the learner alone is no problem of the site, and not noted.
        """
        if user_id is not None and isinstance(error, ABOUT_THE_LEARNER):
            return
        if user_id is None or isinstance(error, ABOUT_THE_COURSE):
            self.note(f"{course}: {_(error.advice)}")
            return
        values = {"course": course, "id": user_id, "advice": _(error.advice)}
        self.note(_("%(course)s, learner %(id)d: %(advice)s") % values)

    def note(self, *lines: str) -> None:
        """Note, once, what is wrong and stops nothing else."""
        self.problems += [line for line in lines if line not in self.problems]

    def erased_among(self, user_ids: Collection[int]) -> set[int]:
        """The Moodle ids of those who were erased. Of them nothing is asked."""
        erased = self.site.learners.filter(moodle_id__in=user_ids, erased_at__isnull=False)
        return set(erased.values_list("moodle_id", flat=True))

    def note_oddities(self) -> None:
        """Note what was odd in Moodle's answers and was passed over."""
        self.note(*(_(text).format(**values) for text, values in self.client.oddities))
        self.client.oddities.clear()


def on_file(course: Course) -> Iterator[Batch]:
    """What is on file of a course, as if it were read anew."""
    last = 0
    rows = Completion.objects.filter(course=course, learner__erased_at=None).select_related("learner").order_by("pk")
    while part := list(rows.filter(pk__gt=last)[:ON_FILE_AT_ONCE]):
        last = part[-1].pk
        yield Batch([seen_before(row, course) for row in part], on_file=True)


def seen_before(row: Completion, course: Course) -> Seen:
    """A completion on file, to be looked at again; the feed tells nothing new of it."""
    return Seen(course, row.learner.moodle_id, None, None, None, row.completed_at, row.time_source)


OnStored = Callable[["Stored"], int]


@dataclass(frozen=True, slots=True)
class Stored:
    """What one batch came to, for the caller to act on inside the same transaction.

    `wanted`: every completion of the batch that counts, new or known (so that whatever was missed is caught up).
    `changed_learners`, `changed_completions`: rows of which something changed that may hold a badge back or let it go,
    and all that Moodle was asked about because a badge waits.
    `again`: completions of which Moodle tells a second, later time, in `completed_again_at`.
    """

    wanted: list[Completion]
    new: int
    changed_learners: list[int]
    changed_completions: list[int] = field(default_factory=list)
    again: list[int] = field(default_factory=list)

    @property
    def is_worth_telling(self) -> bool:
        """Whether there is anything to act on."""
        return bool(self.wanted or self.changed_learners or self.changed_completions)
