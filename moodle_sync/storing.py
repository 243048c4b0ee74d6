"""Writes down what a feed has seen: learners and completions, one batch in one transaction."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from .client import BATCH, MoodleClient
from .client.errors import MoodleError
from .client.records import Grade
from .models import Completion, Course, Learner, MoodleSite

MINUTE = timedelta(minutes=1)
# What Moodle puts in the place of a deleted account's address (WEB_SERVICES.md, trap 4). Any other text without an @ is
# an address that cannot be used, of a person who is there.
DELETED_ADDRESS = re.compile(r"[0-9a-f]{32}")
GRADES_FUNCTION = "gradereport_user_get_grade_items"
USERS_FUNCTION = "core_user_get_users_by_field"
BATCH_FUNCTION = "tool_mobile_call_external_functions"
CATCH_UP = 500


@dataclass(frozen=True, slots=True)
class WantedCourse:
    """A course to read, and from when on its completions count (None: all of them).

    `afresh`: whatever has been read of it before, read it from the start once more.
    """

    course: Course
    since: datetime | None = None
    afresh: bool = False

    def wants(self, completed_at: datetime | None) -> bool:
        """Whether a completion of this time counts. Moodle's report cuts seconds off, so the minute decides."""
        if self.since is None:
            return True
        return completed_at is not None and completed_at >= self.since.replace(second=0, microsecond=0)


@dataclass(frozen=True, slots=True)
class Seen:
    """One completion as a feed tells it. `completed_at` None: Moodle has no time and it was there at the first look."""

    course: Course
    user_id: int
    firstname: str | None
    lastname: str | None
    email: str | None
    completed_at: datetime | None
    source: str

    @property
    def key(self) -> tuple[int, int]:
        """(course row, Moodle user id)."""
        return self.course.pk, self.user_id


@dataclass(frozen=True, slots=True)
class Stored:
    """What one batch came to, for the caller to act on inside the same transaction.

    `wanted`: every completion of the batch that counts, new or known (so that whatever was missed is caught up).
    `changed_learners`: rows whose name, address or account state changed.
    """

    wanted: list[Completion]
    new: int
    changed_learners: list[int]


OnStored = Callable[[Stored], int]


@dataclass
class Storing:
    """Stores the batches of one poll, and keeps count.

    `heartbeat` is called between calls to Moodle that may take long, and may raise to stop the poll.
    """

    site: MoodleSite
    client: MoodleClient
    wanted: dict[int, WantedCourse]
    on_stored: OnStored
    heartbeat: Callable[[], None]
    new: int = 0
    queued: int = 0
    problems: list[str] = field(default_factory=list)

    def store(
        self,
        batch: Sequence[Seen],
        now: datetime,
        *,
        whole: bool = False,
        and_then: Callable[[], None] | None = None,
    ) -> None:
        """Write one batch; `and_then` (the watermark) belongs to the same transaction. Raises MoodleError.

        Grades and account states are asked for first, outside the transaction, and only for what is new; when the
        `whole` course is being read, account states of known learners too, as nothing else tells that they changed.
        """
        batch = list({seen.key: seen for seen in batch}.values())
        counting = self._counting(batch)
        fresh = self._fresh(counting)
        scores = self._scores(fresh)
        suspended = self._suspended(counting if whole else fresh)
        with transaction.atomic():
            learners, changed = self._store_learners(batch, suspended)
            completions, new = self._store_completions(batch, learners, scores, now)
            self.new += new
            if completions or changed:
                self.queued += self.on_stored(Stored(completions, new, changed))
            if and_then:
                and_then()

    def catch_up(self, course: Course, now: datetime) -> None:
        """Pass on what is on file for a course, as Moodle no longer lists learners who have left it."""
        last = 0
        while rows := list(
            Completion.objects.filter(course=course, pk__gt=last, learner__erased_at=None)
            .select_related("learner")
            .order_by("pk")[:CATCH_UP]
        ):
            last = rows[-1].pk
            self.store(
                [
                    Seen(course, row.learner.moodle_id, None, None, None, row.completed_at, row.time_source)
                    for row in rows
                ],
                now,
            )
            self.heartbeat()

    def _counting(self, batch: Sequence[Seen]) -> list[Seen]:
        """Those that count, without erased learners: of them nothing more is asked."""
        erased = set(
            self.site.learners.filter(
                moodle_id__in=[seen.user_id for seen in batch], erased_at__isnull=False
            ).values_list("moodle_id", flat=True)
        )
        return [
            seen
            for seen in batch
            if seen.user_id not in erased and self.wanted[seen.course.pk].wants(seen.completed_at)
        ]

    def _fresh(self, batch: Sequence[Seen]) -> list[Seen]:
        """Those whose score was never read, or that were completed a second time."""
        known = {
            (course, user): (again_at or completed_at, score_read_at)
            for course, user, completed_at, again_at, score_read_at in Completion.objects.filter(
                course__in={seen.course.pk for seen in batch},
                learner__site=self.site,
                learner__moodle_id__in=[seen.user_id for seen in batch],
            ).values_list("course_id", "learner__moodle_id", "completed_at", "completed_again_at", "score_read_at")
        }
        fresh = []
        for seen in batch:
            completed_at, score_read_at = known.get(seen.key, (None, None))
            if score_read_at is None or is_second(completed_at, seen):
                fresh.append(seen)
        return fresh

    def _scores(self, fresh: Sequence[Seen]) -> dict[tuple[int, int], Grade]:
        """The course total of each, one without a share where Moodle has none or may not tell it."""
        if not fresh or GRADES_FUNCTION not in self.site.functions:
            return {seen.key: Grade(None) for seen in fresh}
        scores: dict[tuple[int, int], Grade] = {}
        for start in range(0, len(fresh), BATCH):
            asked = {(seen.course.moodle_id, seen.user_id): seen for seen in fresh[start : start + BATCH]}
            for pair, answer in self.client.grades(asked, batch=BATCH_FUNCTION in self.site.functions).items():
                seen = asked[pair]
                if isinstance(answer, Grade):
                    scores[seen.key] = answer
                else:
                    scores[seen.key] = Grade(None)
                    self.problem(seen.course, answer)
            self.heartbeat()
        return scores

    def _suspended(self, of: Sequence[Seen]) -> dict[int, bool]:
        """Account states by Moodle user id; empty where the site issues to suspended accounts anyway."""
        if self.site.send_suspended or USERS_FUNCTION not in self.site.functions:
            return {}
        return {user.id: user.suspended for user in self.client.users(sorted({seen.user_id for seen in of}))}

    def _store_learners(
        self, batch: Sequence[Seen], suspended: dict[int, bool]
    ) -> tuple[dict[int, Learner], list[int]]:
        """Make or update a row for each person; erased ones stay blank. Returns them by Moodle id, and the changed."""
        people = {seen.user_id: seen for seen in batch}
        rows = self.site.learners.select_for_update()
        known = {row.moodle_id: row for row in rows.filter(moodle_id__in=people)}
        Learner.objects.bulk_create(
            [
                Learner(site=self.site, moodle_id=user_id, **profile(seen), suspended=suspended.get(user_id, False))
                for user_id, seen in people.items()
                if user_id not in known
            ]
        )
        changed = []
        for user_id, row in known.items():
            now_known = profile(people[user_id])
            if user_id in suspended:
                now_known["suspended"] = suspended[user_id]
            if row.erased_at is None and any(getattr(row, name) != value for name, value in now_known.items()):
                for name, value in now_known.items():
                    setattr(row, name, value)
                row.save(update_fields=list(now_known))
                changed.append(row.pk)
        return {row.moodle_id: row for row in rows.filter(moodle_id__in=people)}, changed

    def _store_completions(
        self,
        batch: Sequence[Seen],
        learners: dict[int, Learner],
        scores: dict[tuple[int, int], Grade],
        now: datetime,
    ) -> tuple[list[Completion], int]:
        """Make or update a row for each completion; returns those that count, and how many are new."""
        known = {
            (row.course_id, row.learner.moodle_id): row
            for row in Completion.objects.filter(
                course__in={seen.course.pk for seen in batch}, learner__in=[row.pk for row in learners.values()]
            ).select_related("learner")
        }
        seconds = [row for seen in batch if (row := known.get(seen.key)) and is_second(row.last_completed_at, seen)]
        dated = dated_by_a_badge(seconds)
        made, moved, wanted = [], [], []
        for seen in batch:
            learner = learners[seen.user_id]
            if learner.erased_at is not None:
                continue
            row = known.get(seen.key)
            if row is None:
                row = Completion(course=seen.course, learner=learner, seen_at=now)
                row.completed_at, row.time_source = seen.completed_at, seen.source
                made.append(row)
            else:
                # Spares whoever is told a query for each.
                row.course = seen.course
            if row.pk and is_second(row.last_completed_at, seen):
                if row.pk in dated:
                    row.completed_again_at = seen.completed_at
                else:
                    row.completed_at, row.time_source = seen.completed_at, seen.source
                    row.completed_again_at = None
                moved.append(row)
            if seen.key in scores:
                grade = scores[seen.key]
                row.score, row.score_hidden = grade.share, grade.hidden or grade.total_missing
                row.score_read_at = now
                if row.pk and row not in moved:
                    moved.append(row)
            if self.wanted[seen.course.pk].wants(row.last_completed_at):
                wanted.append(row)
        Completion.objects.bulk_create(made)
        if moved:
            Completion.objects.bulk_update(
                moved,
                ["completed_at", "time_source", "completed_again_at", "score", "score_hidden", "score_read_at"],
            )
        return wanted, len(made)

    def problem(self, course: Course, error: MoodleError) -> None:
        """Note, once, what one course or learner could not tell; the round goes on."""
        self.note(f"{course}: {_(error.advice)}")

    def note(self, line: str) -> None:
        """Note, once, what is wrong and stops nothing else."""
        if line not in self.problems:
            self.problems.append(line)


def dated_by_a_badge(completions: Sequence[Completion]) -> set[int]:
    """Those of these completions whose time a badge says already, or may say: it is not moved any more."""
    timed = [row.pk for row in completions if row.completed_at is not None]
    if not timed:
        return set()
    sent = Q(issuances__state__in=["sending", "issued"]) | Q(issuances__maybe_sent=True)
    return set(Completion.objects.filter(sent, pk__in=timed).values_list("pk", flat=True))


def is_second(known: datetime | None, seen: Seen) -> bool:
    """Whether this is a later completion than the one on file: a later minute (feed A knows no seconds)."""
    if seen.completed_at is None or seen.source == Completion.TimeSource.SEEN:
        return False
    return known is None or seen.completed_at >= known.replace(second=0, microsecond=0) + MINUTE


def profile(seen: Seen) -> dict[str, str | bool]:
    """The learner's fields as this feed tells them; what the feed left out is left alone."""
    fields: dict[str, str | bool] = {}
    if seen.firstname is not None:
        fields["firstname"] = storable(seen.firstname, 255)
    if seen.lastname is not None:
        fields["lastname"] = storable(seen.lastname, 255)
    if seen.email is not None:
        # Half an address would be somebody else's; Moodle's own are at most 100 characters long.
        email = storable(seen.email, 256)
        email = email if len(email) <= 255 else ""
        fields["deleted"] = bool(DELETED_ADDRESS.fullmatch(email.strip()))
        fields["email"] = email
        fields["email_key"] = Learner.key_of(email)
    return fields


def storable(text: str, longest: int) -> str:
    """The text without what no database takes (NUL, half characters) and without blanks around it, cut to length."""
    return text.replace("\0", "").encode(errors="replace").decode().strip()[:longest]


def mark_deleted(site: MoodleSite, user_ids: Iterable[int]) -> None:
    """Note that Moodle deleted these accounts; nothing is sent to them any more."""
    site.learners.filter(moodle_id__in=list(user_ids)).update(deleted=True)
