"""A Moodle that is polled: the sandbox on one side, the portal's tables on the other, and a clock that tests move."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from moodle_sync.models import Completion, Course, Learner, MoodleSite
from moodle_sync.polling import PollResult, read_site
from moodle_sync.reading import Stored, WantedCourse
from sandbox import Sandbox
from tests.builders import NOW, make_course, make_site

REPORT = 2  # the id of the agreed report, which the sandbox makes first
RETRIEVE = "core_reportbuilder_retrieve_report"
SET_FILTERS = "core_reportbuilder_set_filters"
STATUS = "core_completion_get_course_completion_status"
ENROLLED = "core_enrol_get_enrolled_users"
GRADES = "gradereport_user_get_grade_items"
MANY = "tool_mobile_call_external_functions"
CONFIG = "tool_mobile_get_config"
COURSES = "core_course_get_courses_by_field"


class Polled:
    """One site, the courses of it that are wanted, and what each poll handed over."""

    def __init__(self) -> None:
        self.now = NOW
        self.sandbox = Sandbox(clock=lambda: self.now.timestamp())
        self.moodle = self.sandbox.moodle
        self.since: dict[int, datetime] = {}
        self.past_wanted_at: dict[int, datetime] = {}
        self.batches: list[Stored] = []
        # What happens while a batch is being stored.
        self.meanwhile: Callable[[], object] = lambda: None
        # Completions that wait for Moodle's word.
        self.waiting: list[Completion] = []
        self._wanted: list[int] = []

    def connect(self, name: str = "Moodle") -> None:
        """Make the site's row; the sandbox must be running."""
        self.site = make_site(name=name, url=self.sandbox.moodle_url, token=self.sandbox.moodle_token)

    def course(self, learners: int = 0, *, since: datetime | None = None, shortname: str = "") -> Course:
        """A course in Moodle with so many learners, wanted by the portal."""
        name = shortname or f"C{len(self.moodle.courses) + 2}"
        number = self.moodle.add_course(name, f"Course {name}")
        self.moodle.add_learners(learners, number)
        course = make_course(self.site, moodle_id=number, shortname=name, fullname=f"Course {name}")
        self.want(course, since=since)
        return course

    def want(self, course: Course, *, since: datetime | None = None) -> None:
        """Let the portal want a course, from a time on or with all its history."""
        self._wanted.append(course.pk)
        if since:
            self.since[course.pk] = since

    def unwant(self, course: Course) -> None:
        """Let the portal want a course no more."""
        self._wanted.remove(course.pk)

    def without_report(self) -> None:
        """Take the report away, so that only feed B can be used."""
        self.moodle.set_report(REPORT, shared=False)

    def users(self, course: Course) -> list[int]:
        """The Moodle ids of the course's participants."""
        return list(self.moodle.member_ids(course.moodle_id))

    def complete(
        self,
        course: Course,
        user_id: int,
        *,
        ago: timedelta = timedelta(0),
        grade: float | None = None,
        time_known: bool = True,
    ) -> None:
        """Complete the course in Moodle."""
        at = (self.now - ago).timestamp()
        self.moodle.complete(course.moodle_id, user_id, at, grade=grade, time_known=time_known)

    def wanted(self) -> Sequence[WantedCourse]:
        """What a caller passes to `poll_site`, freshly read."""
        rows = Course.objects.in_bulk(self._wanted)
        return [WantedCourse(rows[pk], self.since.get(pk), self.past_wanted_at.get(pk)) for pk in self._wanted]

    def on_stored(self, stored: Stored) -> int:
        """Remember the batch; as many are "queued" as count."""
        self.batches.append(stored)
        self.meanwhile()
        return len(stored.wanted)

    def poll(self, after: timedelta = timedelta(minutes=1)) -> PollResult:
        """Let time pass, and poll once."""
        self.now += after
        self.batches.clear()
        self.moodle.ledger.clear()
        result = read_site(
            self.site, self.wanted(), on_stored=self.on_stored, waiting=lambda _poll: self.waiting, now=self.now
        )
        self.site = MoodleSite.objects.get(pk=self.site.pk)
        return result

    @property
    def called(self) -> list[str]:
        """The functions that the last poll called, in order."""
        return [call.function for call in self.moodle.ledger]

    @property
    def told(self) -> list[int]:
        """The Moodle ids of the learners whose completions the last poll handed over."""
        return sorted(row.learner.moodle_id for stored in self.batches for row in stored.wanted)

    @property
    def changed(self) -> list[int]:
        """The Moodle ids of the learners whom the last poll handed over as changed."""
        pks = [pk for stored in self.batches for pk in stored.changed_learners]
        return sorted(Learner.objects.filter(pk__in=pks).values_list("moodle_id", flat=True))

    def learner(self, user_id: int) -> Learner:
        """The learner's row."""
        return Learner.objects.get(site=self.site, moodle_id=user_id)

    def completion(self, course: Course, user_id: int) -> Completion:
        """The only completion of this course and learner."""
        return Completion.objects.get(course=course, learner__moodle_id=user_id)
