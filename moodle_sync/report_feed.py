"""Feed A: the agreed report "Navigatr badge feed". If nothing is new, a poll takes two calls for a site of any size.

A row's time is when the criterion was met, not when the row appeared. So each poll looks back a little beyond the last
one, and some polls look back further. See docs/moodle-api.md, "The report" and "Times".
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _

from .client.errors import ReportLayoutChanged
from .client.functions import BATCH, COMPLETION
from .client.records import CompletionStatus, ReportPage
from .client.report_cells import AGREED_NAME, ReportRow, parse_page
from .client.zones import zone_named
from .models import Completion, Course, MoodleSiteState
from .reading import END_OF_A_FULL_READING, Batch, Poll, Seen, stored_completions
from .times import from_clock


@dataclass(frozen=True, slots=True)
class Depth:
    """How far a poll looks back beyond the last poll, and how often."""

    back: timedelta
    every: timedelta

    @property
    def name(self) -> str:
        """The key in the site's `looked_back_at`."""
        return str(int(self.back.total_seconds()))


# The delays of rows, from the shallowest to the deepest: Moodle's task needs two runs, some minutes apart, for grade
# criteria; imports and a stopped cron may take hours.
DEPTHS = (
    Depth(back=timedelta(minutes=2), every=timedelta(0)),
    Depth(back=timedelta(minutes=15), every=timedelta(minutes=1)),
    Depth(back=timedelta(hours=48), every=timedelta(minutes=15)),
)
# How often the whole report is read.
WHOLE_EVERY = timedelta(days=1)
# Rows of a page: Moodle takes 0.2 s for 500, less than a second for 2,000, and 2.7 s for 20,000 (3 MB).
PER_PAGE = 2_000
# How often a reading may start again with smaller pages, if something between Moodle and the portal cuts them.
MOST_SMALLER_PAGES = 5
# Rows stored in one transaction.
ROWS_AT_ONCE = 500
# A longer list of courses is not put into the report's filter (PHP's max_input_vars, length of URLs in proxies).
MOST_COURSES_IN_FILTER = 200
# A report with a smaller share of the known completions than this is not believed without asking about learners.
MUCH_SMALLER = 0.5
# Known learners that are asked about then.
LEARNERS_TO_ASK = 5


def batches(poll: Poll) -> Iterator[Batch]:
    """Read what is new, and the past of courses for which that is due. Raises MoodleError.

    Once a day the whole report is read. Raises ReportLayoutChanged if the report is no longer the agreed one.
    """
    state, now = poll.state, poll.now
    past_due = poll.past_due
    for course in past_due:
        # Moodle no longer lists learners who have left the course.
        yield from stored_completions(course)
    if whole_is_due(state, now):
        yield from _read_new(poll, poll.courses)
        moved = {"read_whole_at": now, "read_up_to": now, "looked_back_at": _looked_back(state, DEPTHS[-1], now)}
        yield from _read(poll, poll.courses, since=None, moved=moved | END_OF_A_FULL_READING)
        return
    if past_due:
        yield from _read_new(poll, past_due)
        yield from _read(poll, past_due, since=None)
    depth = depth_due(state, now)
    since = (state.read_up_to or now) + state.clock_skew - depth.back
    moved = {"read_up_to": now, "looked_back_at": _looked_back(state, depth, now)}
    yield from _read(poll, poll.courses, since=since, moved=moved)


def _read_new(poll: Poll, courses: Sequence[Course]) -> Iterator[Batch]:
    """Read what is new in these courses, before all of it is read.

    If the times of the report cannot be read, only Moodle's filter says what is new.
    """
    for since, same_start in _starts(poll, courses):
        yield from _read(poll, same_start, since=since + poll.state.clock_skew)


def _starts(poll: Poll, courses: Sequence[Course]) -> list[tuple[datetime, list[Course]]]:
    """The times from which on completions of these courses may be new, each with its courses.

    If the zone is known, that is what the last poll did not read; the report's own times then say what counts.
    Otherwise it is the time from which on each course's completions count.
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
    """Whether the whole report is to be read: once a day, in the first poll, and after a change of the feed."""
    return state.read_up_to is None or state.read_whole_at is None or state.read_whole_at <= now - WHOLE_EVERY


def depth_due(state: MoodleSiteState, now: datetime) -> Depth:
    """The deepest look back that is due."""
    due = [depth for depth in DEPTHS if _is_due(depth, state, now)]
    return due[-1] if due else DEPTHS[0]


def looks_far_back(state: MoodleSiteState, now: datetime) -> bool:
    """Whether this poll looks back furthest or reads the whole report, as a few polls in an hour do."""
    return whole_is_due(state, now) or depth_due(state, now) == DEPTHS[-1]


def _is_due(depth: Depth, state: MoodleSiteState, now: datetime) -> bool:
    looked_at = state.looked_back_at.get(depth.name)
    return looked_at is None or datetime.fromisoformat(looked_at) <= now - depth.every


def _looked_back(state: MoodleSiteState, depth: Depth, now: datetime) -> dict[str, str]:
    """The new `looked_back_at` after a look back to this depth, which includes the shallower ones."""
    reached = {other.name: now.isoformat() for other in DEPTHS if other.back <= depth.back}
    return {**state.looked_back_at, **reached}


def _read(
    poll: Poll, courses: Sequence[Course], *, since: datetime | None, moved: dict[str, Any] | None = None
) -> Iterator[Batch]:
    """The report's rows of these courses from `since` on. The last batch carries the state that `moved`."""
    by_id = {course.moodle_id: course for course in courses}
    missing = _known_learners(courses) if since is None else set()
    for page, received, is_last in _pages(poll, list(by_id), since=since):
        # The filter may have been left out, so other courses are possible.
        seen = [_seen(row, by_id[row.course_id], poll, since) for row in _rows(poll, page) if row.course_id in by_id]
        missing -= {(one.course.moodle_id, one.user_id) for one in seen}
        if is_last and since is None:
            _ask_about_missing(poll, courses, missing, received)
        parts = [seen[first : first + ROWS_AT_ONCE] for first in range(0, len(seen), ROWS_AT_ONCE)] or [[]]
        for part in parts[:-1]:
            yield Batch(part, since=since)
        whole = tuple(courses) if is_last and since is None else ()
        yield Batch(parts[-1], since=since, whole=whole, state=(moved or {}) if is_last else {})


def _pages(poll: Poll, course_ids: list[int], *, since: datetime | None) -> Iterator[tuple[ReportPage, int, bool]]:
    """The pages of the report, limited to these courses and times.

    Each with the number of rows up to its end, and whether it is the last. If pages come back shortened, the reading
    starts again with pages of that size, so rows may come twice.
    """
    client, report_id = poll.client, poll.state.report_id
    if report_id is None:
        raise ReportLayoutChanged("the report was not found")
    filtered_ids = course_ids if len(course_ids) <= MOST_COURSES_IN_FILTER else ()
    client.set_report_filters(report_id, since=since, course_ids=filtered_ids)
    per_page = PER_PAGE
    number = received = restarts = 0
    while True:
        page = client.report_page(report_id, number, per_page)
        if 0 < len(page.rows) < min(per_page, page.total - received):
            restarts += 1
            if restarts > MOST_SMALLER_PAGES:
                raise ReportLayoutChanged("its pages end before they are full")
            per_page, number, received = len(page.rows), 0, 0
            continue
        received += len(page.rows)
        # The list ends with an empty page, or when the total is reached. Other pages may be short.
        is_last = not page.rows or received >= page.total
        yield page, received, is_last
        if is_last:
            return
        number += 1


def _rows(poll: Poll, page: ReportPage) -> list[ReportRow]:
    """The rows of a page. Notes what cannot be read."""
    parsed = parse_page(page, site_urls=poll.site.site_urls)
    poll.note(*(f"{AGREED_NAME}: {problem}" for problem in parsed.problems))
    poll.note(*(_(text).format(**values) for text, values in parsed.warnings))
    return parsed.rows


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
    """A few (Moodle course id, Moodle user id) that a full reading should contain."""
    known = _known(courses).order_by("-pk")[:LEARNERS_TO_ASK]
    return set(known.values_list("course__moodle_id", "learner__moodle_id"))


def _known(courses: Sequence[Course]) -> QuerySet[Completion]:
    return Completion.objects.filter(course__in=courses, undone_at=None, learner__deleted=False)


def _ask_about_missing(
    poll: Poll, courses: Sequence[Course], missing: Collection[tuple[int, int]], received: int
) -> None:
    """Before a much smaller report is believed, ask Moodle about known learners that it lacks.

    Raises ReportLayoutChanged if Moodle shows one of them as completed: the report was changed, and badges would be
    lost. Otherwise it is believed, as an empty report in summer, after all learners have left.
    """
    if not missing or received >= MUCH_SMALLER * _known(courses).count():
        return
    if COMPLETION not in poll.functions:
        poll.note(
            _(
                "The report holds far fewer completions than before, and the portal cannot ask whether that is right. "
                "Add %(function)s to the service, and check the report's conditions."
            )
            % {"function": COMPLETION}
        )
        return
    for answers in poll.client.learner_facts(missing, available=poll.functions & {COMPLETION, BATCH}, grades=False):
        for facts in answers.values():
            if isinstance(facts.status, CompletionStatus) and facts.status.completed:
                raise ReportLayoutChanged("it lacks learners whom Moodle shows as having completed the course")
