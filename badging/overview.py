"""What the portal looks like now, read in a few bounded queries: connections, sites, mappings, and what waits.

`badging.problems` says what of it needs a person, `badging.dashboard` counts it for the start page.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from django.db.models import Case, Count, Exists, F, Min, OuterRef, QuerySet, Value, When

from moodle_sync.models import Course, MoodleSite

from .meanings import Outcome
from .models import (
    NOTHING_OPEN,
    PAST_HELD,
    BulkRun,
    ConnectionGrant,
    CourseBadgeMapping,
    Environment,
    Issuance,
    IssuanceAttempt,
    NavigatrConnection,
)

State = Issuance.State

# How many rows of each kind are read. There should be far fewer connections and sites.
MOST_CONNECTIONS = MOST_SITES = 500
MOST_MAPPINGS = 20_000
MOST_RUNS = 100
# How many of the newest issuances of a state are counted by course and reason.
MOST_COUNTED = 1000
# How long something may be due until it is overdue.
SENDS_OVERDUE_AFTER = timedelta(minutes=10)


class Award(NamedTuple):
    """A mapping, as far as problems are seen from it."""

    pk: int
    course: int
    site: int
    connection: int
    active: bool
    past_release: str
    min_score: int | None
    badge_problem: str
    gone_at: datetime | None
    tracks_completion: bool | None
    in_reach: bool


# The columns of an Award.
_OF_AWARD = (
    "pk", "course", "course__site", "connection", "active", "past_release", "min_score", "badge_problem",
    "course__gone_at", "course__completion_enabled", "in_reach",
)  # fmt: skip


class Waits(NamedTuple):
    """The badges in the queue of one course, past completions apart: how many, how many long due, the first one."""

    course: int
    past: bool
    number: int
    late: int
    first_due_at: datetime


class Run(NamedTuple):
    """A background action that has not ended, or was given up."""

    pk: int
    state: str
    left: int
    failures: int
    created_at: datetime
    leased_until: datetime | None
    ended_at: datetime | None


class Stopped(NamedTuple):
    """An issuance that has stopped in a state."""

    pk: int
    course: int
    environment: str
    reason: str


@dataclass(frozen=True)
class Overview:
    """All that was read. Sites come with their state, but neither they nor connections with their tokens."""

    now: datetime
    connections: dict[int, NavigatrConnection]
    opened: frozenset[int]
    sites: dict[int, MoodleSite]
    awards: dict[int, Award]
    waits: Sequence[Waits]
    # Those that may be in Navigatr already, by connection.
    look_ups: Counter[int]
    sending: Counter[str]
    stopped: dict[str, Sequence[Stopped]]
    attempted_at: datetime | None
    runs: Sequence[Run]

    @cached_property
    def waiting(self) -> Counter[int]:
        """How many badges wait in each course."""
        counts: Counter[int] = Counter()
        for row in self.waits:
            counts[row.course] += row.number
        return counts

    @cached_property
    def waiting_past(self) -> Counter[int]:
        """The same for past completions only."""
        return Counter({row.course: row.number for row in self.waits if row.past})

    @cached_property
    def environment(self) -> str:
        """The one that numbers are of: production, unless only staging is connected.

        A connection whose token was never accepted has no account, and does not count.
        """
        kept = [row for row in self.connections.values() if row.state != NavigatrConnection.State.REMOVED]
        used = [row for row in kept if row.account] or kept
        found = {row.environment for row in used or self.connections.values()}
        return Environment.STAGING if found == {Environment.STAGING} else Environment.PRODUCTION

    @cached_property
    def has_both(self) -> bool:
        """Whether there are connections to production and to staging."""
        return len({row.environment for row in self.connections.values()}) > 1

    def held(self, award: Award, *, past: bool) -> Outcome | None:
        """Why badges under a mapping are held, as `CourseBadgeMapping.holds` tells it; None where they are sent."""
        if not award.active:
            return Outcome.MAPPING_DISABLED
        connection = self.connections.get(award.connection)
        if connection is None or connection.hold_reason:
            return connection.hold_reason if connection else Outcome.CONNECTION_REMOVED
        if not award.in_reach:
            return Outcome.NOT_OPEN
        return Outcome.PAST_WAITS if past and award.past_release in PAST_HELD else None

    def waiting_to_be_sent(self, environment: str) -> tuple[int, int]:
        """How many wait in the environment: those that will be sent by themselves, and those held by their mapping."""
        counts: Counter[bool] = Counter()
        for row in self.waits:
            award = self.awards.get(row.course)
            if award is not None and self._environment_of(award) == environment:
                counts[self.held(award, past=row.past) is not None] += row.number
        return counts[False], counts[True]

    def waiting_with(self, connection: NavigatrConnection) -> int:
        """How many badges wait to be sent, or looked up, with the connection."""
        courses = [award.course for award in self.awards.values() if award.connection == connection.pk and award.active]
        return self.waiting_in(courses) + self.look_ups[connection.pk]

    def waiting_at(self, site: MoodleSite) -> int:
        """How many badges wait for learners of the site."""
        return self.waiting_in(award.course for award in self.awards.values() if award.site == site.pk)

    def waiting_in(self, courses: Iterable[int]) -> int:
        """How many badges wait in these courses."""
        return sum(self.waiting[course] for course in courses)

    @cached_property
    def overdue(self) -> Sequence[Waits]:
        """Courses with badges that should have been sent a while ago, the longest due first.

        A large back-fill takes its time: what is of the past counts only when nothing at all is sent.
        """
        nothing_is_sent = self.attempted_at is None or self.attempted_at <= self.now - SENDS_OVERDUE_AFTER
        late = [
            row for row in self.waits if row.late and (nothing_is_sent or not row.past) and self._could_be_sent(row)
        ]
        return sorted(late, key=lambda row: row.first_due_at)

    def _could_be_sent(self, row: Waits) -> bool:
        award = self.awards.get(row.course)
        if award is None or self.held(award, past=row.past):
            return False
        site, connection = self.sites.get(award.site), self.connections[award.connection]
        rests = connection.not_before is not None and connection.not_before > self.now
        return not rests and site is not None and not site.state.doubt

    def _environment_of(self, award: Award) -> str:
        connection = self.connections.get(award.connection)
        return connection.environment if connection else ""


def look(now: datetime) -> Overview:
    """Read it. Twelve queries."""
    sending = Issuance.objects.filter(state=State.SENDING).order_by().values_list("environment", flat=True)
    return Overview(
        now=now,
        connections={row.pk: row for row in NavigatrConnection.objects.defer("pat")[:MOST_CONNECTIONS]},
        opened=frozenset(ConnectionGrant.objects.order_by().values_list("connection", flat=True).distinct()),
        sites={row.pk: row for row in MoodleSite.objects.select_related("state").defer("token")[:MOST_SITES]},
        awards={award.course: award for award in map(Award._make, _mappings())},
        waits=_waits(now - SENDS_OVERDUE_AFTER),
        look_ups=Counter(_look_ups()),
        sending=Counter(sending[:MOST_COUNTED]),
        stopped={state: _newest(state) for state in (State.FAILED, State.HELD, State.NOT_MET)},
        attempted_at=IssuanceAttempt.objects.order_by("-at").values_list("at", flat=True).first(),
        runs=[Run(*row) for row in _runs()],
    )


def _mappings() -> Iterable[tuple[object, ...]]:
    return CourseBadgeMapping.objects.with_reach().order_by("pk").values_list(*_OF_AWARD)[:MOST_MAPPINGS]


def _runs() -> Iterable[tuple[Any, ...]]:
    """The newest background actions that have not ended, or were given up. The index `bulk_runs_told` has them."""
    told = [BulkRun.State.WAITING, BulkRun.State.RUNNING, BulkRun.State.FAILED]
    rows = BulkRun.objects.filter(state__in=told).annotate(left=F("total") - F("done")).order_by("-pk")
    return rows.values_list(*Run._fields)[:MOST_RUNS]


def _waits(late: datetime) -> list[Waits]:
    """What waits, by course. The index `due_first` alone answers it.

    It reads the whole queue: its numbers are shown, and a course whose badges are late may be anywhere in it. The start
    page asks at most once in some seconds, whoever looks at it (`dashboard`).
    """
    queued = Issuance.objects.filter(NOTHING_OPEN, state=State.QUEUED).order_by().values_list("course", "past")
    is_late = Case(When(next_attempt_at__lte=late, then=Value(1)))
    counts = queued.annotate(number=Count("*"), late=Count(is_late), first_due_at=Min("next_attempt_at"))
    return [Waits(*row) for row in counts]


def _look_ups() -> QuerySet[Issuance, int]:
    unknown = Issuance.objects.filter(~NOTHING_OPEN, state=State.QUEUED).order_by()
    return unknown.values_list("connection", flat=True)[:MOST_COUNTED]


def _newest(state: str) -> list[Stopped]:
    """The newest in the state, one more than MOST_COUNTED where there are more."""
    rows = Issuance.objects.filter(state=state).order_by("-pk").values_list("pk", "course", "environment", "reason")
    return [Stopped(*row) for row in rows[: MOST_COUNTED + 1]]


def issued_since(oldest: dict[int, int]) -> set[int]:
    """In which of these courses a badge was issued that is newer than an issuance, by course. One query."""
    if not oldest:
        return set()
    since = Case(*(When(pk=course, then=Value(pk)) for course, pk in oldest.items()))
    newer = Issuance.objects.filter(course=OuterRef("pk"), state=State.ISSUED, pk__gt=OuterRef("since"))
    courses = Course.objects.order_by().filter(pk__in=list(oldest)).annotate(since=since)
    return set(courses.filter(Exists(newer)).values_list("pk", flat=True))
