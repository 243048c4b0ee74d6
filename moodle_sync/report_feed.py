"""Feed A: the agreed report "Navigatr badge feed". Two calls when nothing is new, whatever the size of the site.

A row's time is when the criterion was met and not when the row appeared (WEB_SERVICES.md, section 4), so each poll
looks back a little, and now and then further: what it costs does not depend on what was completed before.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from .client.errors import ReportLayoutChanged
from .client.functions import BATCH, COMPLETION
from .client.records import CompletionStatus
from .client.report_cells import AGREED_NAME, ReportRow, parse_page
from .client.zones import zone_named
from .models import Completion, Course, MoodleSiteState
from .reading import END_OF_A_FULL_READING, Batch, Poll, Seen, on_file
from .times import from_clock


@dataclass(frozen=True, slots=True)
class Depth:
    """How far back a poll looks beyond the last one, and how often it looks so far."""

    back: timedelta
    every: timedelta

    @property
    def name(self) -> str:
        """Its key in the site's `looked_back_at`."""
        return str(int(self.back.total_seconds()))


# Grade criteria need two runs of Moodle's task, some minutes; imports and a stopped cron take as long as they take.
DEPTHS = (
    Depth(back=timedelta(minutes=2), every=timedelta(0)),
    Depth(back=timedelta(minutes=15), every=timedelta(minutes=1)),
    Depth(back=timedelta(hours=48), every=timedelta(minutes=15)),
)
WHOLE_EVERY = timedelta(days=1)
# Rows in a page: 500 take Moodle 0.2 s, 2,000 less than a second, 20,000 took 2.7 s and 3 MB.
PER_PAGE = 2_000
# How often reading begins again with smaller pages where something on the way cuts them short.
MOST_SMALLER_PAGES = 5
# Rows stored in one transaction.
ROWS_AT_ONCE = 500
# Longer lists of courses are filtered here instead of in the report (PHP's max_input_vars, and URLs of proxies).
MOST_COURSES_IN_FILTER = 200
# A report with less than this share of the known completions is looked at twice; so many known learners are asked.
MUCH_SMALLER = 0.5
LEARNERS_TO_ASK = 5


def batches(poll: Poll) -> Iterator[Batch]:
    """Read what is new, as deep as is due, and the past of courses that were never read. Raises MoodleError.

    Raises ReportLayoutChanged with the reason when the report is no longer the agreed one.
    """
    state, now = poll.state, poll.now
    past_due = poll.past_due
    for course in past_due:
        # Moodle no longer lists learners who have left it.
        yield from on_file(course)
    if whole_is_due(state, now):
        # Where a time cannot be read, only Moodle's filter tells what is new: that is asked for before everything else.
        for since, courses in _beginnings(poll, poll.courses):
            yield from _read(poll, courses, since=since + state.clock_skew)
        moved = {"read_whole_at": now, "read_up_to": now, "looked_back_at": _looked_back(state, DEPTHS[-1], now)}
        yield from _read(poll, poll.courses, since=None, moved=moved | END_OF_A_FULL_READING)
        return
    if past_due:
        for since, courses in _beginnings(poll, past_due):
            yield from _read(poll, courses, since=since + state.clock_skew)
        yield from _read(poll, past_due, since=None)
    depth = depth_due(state, now)
    # Moodle's clock may be ahead of or behind ours.
    since = (state.read_up_to or now) + state.clock_skew - depth.back
    moved = {"read_up_to": now, "looked_back_at": _looked_back(state, depth, now)}
    yield from _read(poll, poll.courses, since=since, moved=moved)


def _beginnings(poll: Poll, courses: Sequence[Course]) -> list[tuple[datetime, list[Course]]]:
    """From when on a full reading may meet something new, each time with its courses.

    What an earlier poll has read is known. Otherwise it is new from when the course was mapped on, of which each course
    has its own time; where the zone is known the report's own times tell that as well.
    """
    if zone_named(poll.state.zone) is not None:
        read_up_to = poll.state.read_up_to
        return [(read_up_to - DEPTHS[-1].back, list(courses))] if read_up_to else []
    by_time: dict[datetime, list[Course]] = {}
    for course in courses:
        since = poll.wanted[course.pk].since
        if since is not None:
            by_time.setdefault(since, []).append(course)
    return sorted(by_time.items())


def whole_is_due(state: MoodleSiteState, now: datetime) -> bool:
    """Whether everything is to be read again: once a day, at the very first poll, and after a change of the feed."""
    return state.read_up_to is None or state.read_whole_at is None or state.read_whole_at <= now - WHOLE_EVERY


def depth_due(state: MoodleSiteState, now: datetime) -> Depth:
    """The deepest look back whose time has come."""
    due = [depth for depth in DEPTHS if _is_due(depth, state, now)]
    return due[-1] if due else DEPTHS[0]


def looks_far_back(state: MoodleSiteState, now: datetime) -> bool:
    """Whether this poll is one of those that look far back, a few in an hour."""
    return whole_is_due(state, now) or depth_due(state, now) == DEPTHS[-1]


def _is_due(depth: Depth, state: MoodleSiteState, now: datetime) -> bool:
    looked_at = state.looked_back_at.get(depth.name)
    return looked_at is None or datetime.fromisoformat(looked_at) <= now - depth.every


def _looked_back(state: MoodleSiteState, depth: Depth, now: datetime) -> dict[str, str]:
    """When the site was last looked back at to each depth: a look to this one was one to all before it."""
    reached = {other.name: now.isoformat() for other in DEPTHS if other.back <= depth.back}
    return {**state.looked_back_at, **reached}


def _read(
    poll: Poll, courses: Sequence[Course], *, since: datetime | None, moved: dict[str, Any] | None = None
) -> Iterator[Batch]:
    """The report's rows of these courses from `since` on, in batches; the last one carries what `moved`."""
    client, report_id = poll.client, poll.state.report_id
    if report_id is None:
        raise ReportLayoutChanged("the report was not found")
    by_id = {course.moodle_id: course for course in courses}
    client.set_report_filters(
        report_id, since=since, course_ids=list(by_id) if len(by_id) <= MOST_COURSES_IN_FILTER else ()
    )
    missing = _known_learners(courses) if since is None else set()
    per_page = PER_PAGE
    number = received = smaller = 0
    while True:
        page = client.report_page(report_id, number, per_page)
        if 0 < len(page.rows) < min(per_page, page.total - received):
            # Something on the way cuts pages short: begin again with pages as small as that.
            smaller += 1
            if smaller > MOST_SMALLER_PAGES:
                raise ReportLayoutChanged("its pages end before they are full")
            per_page, number, received = len(page.rows), 0, 0
            continue
        received += len(page.rows)
        # The end of a list is an empty page or the told total, never a short page.
        last = not page.rows or received >= page.total
        found = parse_page(page, site_urls=poll.site.site_urls)
        poll.note(*(f"{AGREED_NAME}: {problem}" for problem in found.problems))
        poll.note(*(_(text).format(**values) for text, values in found.warnings))
        seen = [_seen(row, by_id[row.course_id], poll, since) for row in found.rows if row.course_id in by_id]
        missing -= {(one.course.moodle_id, one.user_id) for one in seen}
        if last and since is None:
            _ask_about_missing(poll, courses, missing, received)
        parts = [seen[first : first + ROWS_AT_ONCE] for first in range(0, len(seen), ROWS_AT_ONCE)] or [[]]
        for part in parts[:-1]:
            yield Batch(part, since=since)
        if last:
            yield Batch(parts[-1], since=since, whole=tuple(courses) if since is None else (), state=moved or {})
            return
        yield Batch(parts[-1], since=since)
        number += 1


def _seen(row: ReportRow, course: Course, poll: Poll, since: datetime | None) -> Seen:
    completed_at, doubtful = from_clock(row.clock_time, zone_named(poll.state.zone), since=since, now=poll.now)
    return Seen(
        course=course,
        user_id=row.user_id,
        firstname=row.firstname,
        lastname=row.lastname,
        email=row.email,
        completed_at=completed_at,
        source=Completion.TimeSource.REPORT,
        doubtful=doubtful,
        course_name=row.course_fullname,
        shown=True,
    )


def _known_learners(courses: Sequence[Course]) -> set[tuple[int, int]]:
    """A few (Moodle course id, Moodle user id) that a full reading should show."""
    known = _known(courses).order_by("-pk")[:LEARNERS_TO_ASK]
    return set(known.values_list("course__moodle_id", "learner__moodle_id"))


def _known(courses: Sequence[Course]) -> QuerySet[Completion]:
    return Completion.objects.filter(course__in=courses, undone_at=None, learner__deleted=False)


def _ask_about_missing(
    poll: Poll, courses: Sequence[Course], missing: Collection[tuple[int, int]], received: int
) -> None:
    """Before a much smaller report is believed, ask Moodle about known learners whom it lacks.

    Raises ReportLayoutChanged if Moodle shows them as completed: the report was changed, and would lose badges. An
    empty report of a summer break, after which everybody has left, is believed.
    """
    if not missing or received >= MUCH_SMALLER * _known(courses).count():
        return
    if COMPLETION not in poll.functions:
        poll.note(
            _(
                "The report holds far fewer completions than before, and whether that is right cannot be asked. Add "
                "core_completion_get_course_completion_status to the service, and check the report's conditions."
            )
        )
        return
    for answers in poll.client.learner_facts(missing, available=poll.functions & {COMPLETION, BATCH}, grades=False):
        for facts in answers.values():
            if isinstance(facts.status, CompletionStatus) and facts.status.completed:
                raise ReportLayoutChanged("it lacks learners whom Moodle shows as having completed the course")
