"""When a course was completed: from clocks of any zone, and from the times of its criteria."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moodle_sync.client.records import CompletionStatus, ReportPage
from moodle_sync.client.report_cells import DATE_FORM, TITLES, ReadPage, parse_clock_time, parse_page
from moodle_sync.client.zones import zone_named
from moodle_sync.models import Completion, Course, MoodleSiteState
from moodle_sync.reading import Seen, WantedCourse
from moodle_sync.times import (
    CLOCKS_DIFFER,
    FURTHEST_ZONE,
    exact_time,
    from_clock,
    is_implausible,
    minute_of,
    shows_another_zone,
)
from tests.moodle_sync.polled import Polled
from tests.moodle_sync.recordings import SITE, recording

NOW = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
SYDNEY, NEW_YORK, LONDON = (ZoneInfo(name) for name in ("Australia/Sydney", "America/New_York", "Europe/London"))
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
Source = Completion.TimeSource
# Seconds of the second lab's five completions, by course.
SUMMER, WINTER = 1782909296, 1768480496
LATER_HALF_PAST_ONE, HALF_PAST_MIDNIGHT = 1792891800, 1792888200
APRIL = 1775320200


def at(second: float) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def page_of(name: str) -> ReadPage:
    """A recorded page of the report."""
    return parse_page(ReportPage.from_json(recording(name)["response"], page=0), site_urls=[SITE])


# From a clock.

# Recording, its zone, and of which courses the time can be told without doubt.
FORCED = [
    ("timezone_forced_sydney_report", SYDNEY, {33, 34, 35, 36}),
    ("timezone_forced_new_york_report", NEW_YORK, {33, 34, 35, 36, 37}),
    ("timezone_forced_london_report", LONDON, {33, 34, 37}),
]


@pytest.mark.parametrize(("name", "zone", "certain"), FORCED)
def test_recorded_cells_of_a_forced_zone_are_read_to_the_minute(name: str, zone: tzinfo, certain: set[int]) -> None:
    exact = {33: SUMMER, 34: WINTER, 35: HALF_PAST_MIDNIGHT, 36: LATER_HALF_PAST_ONE, 37: APRIL}
    found = {row.course_id: from_clock(row.clock_time, zone, since=None, now=NOW) for row in page_of(name).rows}
    assert {number for number, (_, doubtful) in found.items() if not doubtful} == certain
    for number, (time, _) in found.items():
        assert time is not None
        assert time <= minute_of(at(exact[number]))
        if number in certain:
            assert time == minute_of(at(exact[number]))


@pytest.mark.parametrize(("course", "second"), [(35, HALF_PAST_MIDNIGHT), (36, LATER_HALF_PAST_ONE)])
def test_both_times_of_londons_repeated_hour_read_the_same(course: int, second: int) -> None:
    row = next(row for row in page_of("timezone_forced_london_report").rows if row.course_id == course)
    assert row.clock_time == datetime(2026, 10, 25, 1, 30)
    # The earlier one, and a doubt.
    assert from_clock(row.clock_time, LONDON, since=None, now=NOW) == (at(HALF_PAST_MIDNIGHT), True)
    assert at(second).astimezone(LONDON).replace(tzinfo=None) == row.clock_time


@pytest.mark.parametrize(
    ("name", "clock_times"),
    [
        ("language_customised_24_hour_report", [datetime(2026, 7, 1, 12, 34), datetime(2026, 1, 15, 12, 34)]),
        ("language_customised_titles_report", [datetime(2026, 7, 1, 12, 34), datetime(2026, 1, 15, 12, 34)]),
        ("language_customised_numeric_date_report", [None, None]),
    ],
)
def test_recorded_date_forms_are_read_or_named(name: str, clock_times: list[datetime | None]) -> None:
    found = page_of(name)
    assert [row.clock_time for row in found.rows] == clock_times
    assert found.problems == []
    said = {
        "language_customised_24_hour_report": [],
        "language_customised_titles_report": [
            (TITLES, {"number": 4, "title": "Student number", "agreed": "Username"}),
        ],
        "language_customised_numeric_date_report": [(DATE_FORM, {})],
    }
    assert found.warnings == said[name]


def test_a_recorded_heading_is_named_as_people_see_it() -> None:
    found = page_of("report_column_heading_changed")
    assert len(found.rows) == 2
    assert found.warnings == [(TITLES, {"number": 4, "title": "Login &", "agreed": "Username"})]


# The clock, the zone, and the exact time in UTC; None: this zone never showed it.
CLOCKS = [
    (datetime(2026, 1, 15, 23, 34), SYDNEY, datetime(2026, 1, 15, 12, 34), False),
    (datetime(2026, 7, 1, 22, 34), SYDNEY, datetime(2026, 7, 1, 12, 34), False),
    (datetime(2026, 1, 15, 7, 34), NEW_YORK, datetime(2026, 1, 15, 12, 34), False),
    (datetime(2026, 7, 1, 8, 34), NEW_YORK, datetime(2026, 7, 1, 12, 34), False),
    (datetime(2026, 1, 15, 12, 34), LONDON, datetime(2026, 1, 15, 12, 34), False),
    (datetime(2026, 7, 1, 13, 34), LONDON, datetime(2026, 7, 1, 12, 34), False),
    (datetime(2026, 7, 1, 12, 34), UTC, datetime(2026, 7, 1, 12, 34), False),
    (datetime(2026, 7, 1, 18, 4), timezone(5.5 * HOUR), datetime(2026, 7, 1, 12, 34), False),
    # Autumn repeats an hour: the earlier of the two.
    (datetime(2026, 10, 25, 1, 0), LONDON, datetime(2026, 10, 25, 0, 0), True),
    (datetime(2026, 10, 25, 0, 59), LONDON, datetime(2026, 10, 24, 23, 59), False),
    (datetime(2026, 10, 25, 2, 0), LONDON, datetime(2026, 10, 25, 2, 0), False),
    (datetime(2026, 11, 1, 1, 30), NEW_YORK, datetime(2026, 11, 1, 5, 30), True),
    (datetime(2026, 4, 5, 2, 30), SYDNEY, datetime(2026, 4, 4, 15, 30), True),
    # Spring skips one.
    (datetime(2026, 3, 29, 1, 30), LONDON, None, True),
    (datetime(2026, 3, 8, 2, 30), NEW_YORK, None, True),
    (datetime(2026, 10, 4, 2, 30), SYDNEY, None, True),
    (datetime(2026, 3, 29, 2, 0), LONDON, datetime(2026, 3, 29, 1, 0), False),
    # Before and after all calendars.
    (datetime(1, 1, 1, 0, 30), SYDNEY, None, True),
    (datetime(9999, 12, 31, 23, 30), NEW_YORK, None, True),
    (datetime(2026, 7, 1, 12, 34), None, None, True),
    (None, LONDON, None, True),
]


@pytest.mark.parametrize(("clock", "zone", "expected", "doubtful"), CLOCKS)
def test_a_clock_is_read_in_its_zone(
    clock: datetime | None, zone: tzinfo | None, expected: datetime | None, doubtful: bool
) -> None:
    told = expected.replace(tzinfo=UTC) if expected else None
    assert from_clock(clock, zone, since=None, now=NOW) == (told, doubtful)


# `since`, and what becomes of half past one in London's repeated hour.
SINCE = [
    (HALF_PAST_MIDNIGHT - 3600, HALF_PAST_MIDNIGHT, True),
    (HALF_PAST_MIDNIGHT + 59, HALF_PAST_MIDNIGHT, True),
    # Only the second one is left.
    (HALF_PAST_MIDNIGHT + 61, LATER_HALF_PAST_ONE, False),
    (LATER_HALF_PAST_ONE + 59, LATER_HALF_PAST_ONE, False),
    # Neither can be: this is another zone's clock.
    (LATER_HALF_PAST_ONE + 61, HALF_PAST_MIDNIGHT, True),
]


@pytest.mark.parametrize(("since", "second", "doubtful"), SINCE)
def test_what_was_asked_for_tells_the_two_times_of_a_repeated_hour_apart(
    since: int, second: int, doubtful: bool
) -> None:
    clock = datetime(2026, 10, 25, 1, 30)
    assert from_clock(clock, LONDON, since=at(since), now=NOW) == (at(second), doubtful)


@pytest.mark.parametrize(
    ("ahead", "doubtful"),
    [
        (-HOUR, False),
        (CLOCKS_DIFFER, False),
        # Perhaps the zone was changed.
        (CLOCKS_DIFFER + MINUTE, True),
        (11 * HOUR, True),
        (FURTHEST_ZONE, True),
        # No zone is so far away: the date itself is odd, which a person is told of.
        (FURTHEST_ZONE + MINUTE, False),
        (700 * DAY, False),
    ],
)
def test_a_time_some_hours_ahead_is_doubtful(ahead: timedelta, doubtful: bool) -> None:
    time = NOW + ahead
    assert from_clock(time.replace(tzinfo=None), UTC, since=None, now=NOW) == (time, doubtful)


@pytest.mark.parametrize("zone", [SYDNEY, NEW_YORK, LONDON, UTC, ZoneInfo("Asia/Kathmandu"), ZoneInfo("Pacific/Apia")])
def test_a_clock_read_back_is_never_later_than_what_it_showed(zone: tzinfo) -> None:
    first = datetime(2026, 1, 1, 0, 7, tzinfo=UTC)
    for hours in range(0, 365 * 24, 1):
        time = first + hours * HOUR
        read, doubtful = from_clock(time.astimezone(zone).replace(tzinfo=None), zone, since=None, now=NOW + 400 * DAY)
        assert read is not None
        assert read == time or (doubtful and read == time - HOUR)


@pytest.mark.parametrize(
    ("name", "zone"),
    [
        ("Europe/London", LONDON),
        ("5.5", timezone(5.5 * HOUR)),
        ("-3", timezone(-3 * HOUR)),
        ("0", UTC),
        ("", None),
        ("99", None),
        ("nan", None),
        ("inf", None),
        ("1e300", None),
        ("Europe/Atlantis", None),
        ("America", None),
        ("/etc/passwd", None),
        ("../UTC", None),
        ("x" * 5000, None),
        ("\0", None),
    ],
)
def test_a_zone_is_known_by_moodles_name_for_it(name: str, zone: tzinfo | None) -> None:
    assert zone_named(name) == zone


# From criteria.


def row_of(completed_at: datetime | None, *, doubtful: bool = False) -> Seen:
    """What the report tells of a completion."""
    return Seen(Course(), 4, "Ana", "Lee", "ana@example.org", completed_at, Source.REPORT, doubtful=doubtful)


def status_of(*criteria: tuple[int, datetime | None], aggregation: int = 1) -> CompletionStatus:
    """What Moodle tells of a completion with these criteria: a type, and when it was met."""
    told = [{"type": kind, "timecompleted": time and int(time.timestamp())} for kind, time in criteria]
    status = {"completed": True, "aggregation": aggregation, "completions": told}
    return CompletionStatus.from_json({"completionstatus": status})


SELF, ACTIVITY, GRADE = 1, 4, 6
ALL, ANY = 1, 2
T1, T2, T3 = NOW - 3 * HOUR + 7 * SECOND, NOW - 2 * HOUR + 8 * SECOND, NOW - HOUR + 9 * SECOND
NO_TIMES = status_of((SELF, None))
UNKNOWN = row_of(None, doubtful=True)
IMPORTED = minute_of(NOW - 5 * HOUR)

# What the report says, what Moodle says, since when was asked; the time, and where it comes from.
EXACT = [
    # The report's minute says which criterion it was.
    (row_of(minute_of(T1)), status_of((SELF, T1)), None, T1, Source.CRITERIA),
    (row_of(minute_of(T2)), status_of((SELF, T1), (GRADE, T2)), None, T2, Source.CRITERIA),
    (row_of(minute_of(T1)), status_of((SELF, T1), (GRADE, T2), aggregation=ANY), None, T1, Source.CRITERIA),
    (row_of(minute_of(T2)), status_of((SELF, T1), (GRADE, T2), aggregation=ANY), None, T2, Source.CRITERIA),
    # Any of several activities, and a grade: Moodle does not tell that one activity was enough.
    (
        row_of(minute_of(T2)),
        status_of((ACTIVITY, T1), (ACTIVITY, T3), (GRADE, T2)),
        None,
        T2,
        Source.CRITERIA,
    ),
    # Two in the same minute: the first.
    (row_of(minute_of(T1)), status_of((SELF, T1), (GRADE, T1 + SECOND)), None, T1, Source.CRITERIA),
    # Imported, or set by hand: the report alone has a time.
    (row_of(IMPORTED), NO_TIMES, None, IMPORTED, Source.REPORT),
    (row_of(IMPORTED), status_of((SELF, T1)), None, IMPORTED, Source.REPORT),
    (row_of(IMPORTED), None, None, IMPORTED, Source.REPORT),
    # The report's time is doubtful: the earliest that the criteria allow.
    (row_of(minute_of(T3), doubtful=True), status_of((SELF, T1)), None, T1, Source.CRITERIA),
    (UNKNOWN, status_of((SELF, T1), (GRADE, T2)), None, T2, Source.CRITERIA),
    (UNKNOWN, status_of((SELF, T1), (GRADE, T2), aggregation=ANY), None, T1, Source.CRITERIA),
    (UNKNOWN, status_of((ACTIVITY, T1), (ACTIVITY, T3), (GRADE, T2)), None, T2, Source.CRITERIA),
    (UNKNOWN, status_of((ACTIVITY, T1), (ACTIVITY, T3)), None, T1, Source.CRITERIA),
    # Moodle's filter rules some of them out.
    (UNKNOWN, status_of((SELF, T1), (GRADE, T2), aggregation=ANY), T1, T1, Source.CRITERIA),
    (UNKNOWN, status_of((SELF, T1), (GRADE, T2), aggregation=ANY), T1 + SECOND, T2, Source.CRITERIA),
    (UNKNOWN, status_of((ACTIVITY, T1), (ACTIVITY, T3)), T2, T3, Source.CRITERIA),
    # All of them: the filter and the criteria contradict each other.
    (UNKNOWN, status_of((SELF, T1), (GRADE, T2), aggregation=ANY), T3, T1, Source.CRITERIA),
    # Nobody knows any time; at best that it is new.
    (UNKNOWN, NO_TIMES, None, None, Source.UNKNOWN),
    (UNKNOWN, None, None, None, Source.UNKNOWN),
    (UNKNOWN, NO_TIMES, T1, NOW, Source.SEEN),
    (UNKNOWN, None, T1, NOW, Source.SEEN),
    (row_of(T3, doubtful=True), NO_TIMES, None, None, Source.UNKNOWN),
    # Years ahead: kept, so that it is flagged.
    (row_of(NOW + 700 * DAY), NO_TIMES, None, NOW + 700 * DAY, Source.REPORT),
    (row_of(NOW + 700 * DAY, doubtful=True), NO_TIMES, None, NOW + 700 * DAY, Source.REPORT),
]


@pytest.mark.parametrize(("seen", "status", "since", "expected", "source"), EXACT)
def test_the_exact_time_is_the_criterions_that_fits(
    seen: Seen, status: CompletionStatus | None, since: datetime | None, expected: datetime | None, source: str
) -> None:
    assert exact_time(seen, status, since=since, now=NOW) == (expected, source)


class MoodleOfCriteria:
    """How Moodle completes a course: its task runs now and then, and takes the last of what is met by then.

    `nested` are the types of which one criterion is enough.
    """

    def __init__(self, criteria: list[tuple[int, int]], tasks: list[int], *, needs_all: bool, nested: set[int]) -> None:
        self.completed_at: int | None = None
        for run in sorted({*tasks, 10_000}):
            met = [(kind, second) for kind, second in criteria if second <= run]
            by_type = [
                (any if kind in nested else all)(second <= run for other, second in criteria if other == kind)
                for kind in {kind for kind, _ in criteria}
            ]
            if met and (all if needs_all else any)(by_type):
                self.completed_at = max(second for _, second in met)
                return


SECONDS = st.integers(0, 9_999)


@example(criteria=[(SELF, 10), (GRADE, 20)], tasks=[15], later=20, needs_all=False, nested=set())
@example(
    criteria=[(ACTIVITY, 10), (ACTIVITY, 90), (GRADE, 20)], tasks=[30], later=90, needs_all=True, nested={ACTIVITY}
)
@given(
    criteria=st.lists(st.tuples(st.sampled_from([SELF, ACTIVITY, GRADE, 8]), SECONDS), min_size=1, max_size=5),
    tasks=st.lists(SECONDS, max_size=4),
    later=SECONDS,
    needs_all=st.booleans(),
    nested=st.sets(st.sampled_from([ACTIVITY, 8])),
)
def test_doubt_never_makes_an_old_completion_new(
    criteria: list[tuple[int, int]], tasks: list[int], later: int, needs_all: bool, nested: set[int]
) -> None:
    """Whatever the criteria, and whatever of them was met after the course was completed."""
    true = MoodleOfCriteria(criteria, tasks, needs_all=needs_all, nested=nested).completed_at
    if true is None:
        return
    start = NOW - DAY
    # Moodle tells what is met when it is asked, which is at any time after the completion.
    asked = max(later, true)
    told = [(kind, start + second * SECOND if second <= asked else None) for kind, second in criteria]
    status = status_of(*told, aggregation=ALL if needs_all else ANY)
    true_time = start + true * SECOND
    wanted = WantedCourse(Course(), since=true_time + MINUTE)
    clock = minute_of(true_time).replace(tzinfo=None)
    for zone in (None, LONDON, NEW_YORK, SYDNEY):
        completed_at, _ = from_clock(clock, zone, since=None, now=NOW)
        found, _ = exact_time(row_of(completed_at, doubtful=True), status, since=None, now=NOW)
        assert found is None or found <= true_time
        assert not wanted.wants(found)
    # In the right zone the report's minute is kept.
    found, source = exact_time(row_of(minute_of(true_time)), status, since=None, now=NOW)
    assert found is not None
    assert minute_of(found) == minute_of(true_time)
    assert source == Source.CRITERIA
    assert status.earliest is not None
    assert status.latest is not None
    assert status.earliest <= true_time <= status.latest


# Another zone.


@pytest.mark.parametrize(
    ("difference", "other"),
    [
        (timedelta(0), False),
        (10 * HOUR, True),
        (-5 * HOUR, True),
        (15 * MINUTE, True),
        (5.75 * HOUR, True),
        (FURTHEST_ZONE, True),
        (FURTHEST_ZONE + 15 * MINUTE, False),
        # Set by hand, or imported: no two zones differ so.
        (7 * MINUTE, False),
        (9 * DAY, False),
    ],
)
def test_times_that_differ_as_zones_do_show_another_zone(difference: timedelta, other: bool) -> None:
    row = row_of(minute_of(T1) + difference)
    assert shows_another_zone(row, status_of((SELF, T1)), LONDON) is other


def test_the_repeated_hour_shows_no_other_zone() -> None:
    time, doubtful = from_clock(datetime(2026, 10, 25, 1, 30), LONDON, since=None, now=NOW)
    for second in (HALF_PAST_MIDNIGHT + 5, LATER_HALF_PAST_ONE + 5):
        row, status = row_of(time, doubtful=doubtful), status_of((SELF, at(second)))
        assert not shows_another_zone(row, status, LONDON)
        assert exact_time(row, status, since=None, now=NOW) == (at(second), Source.CRITERIA)


@pytest.mark.parametrize(
    ("row", "status", "zone"),
    [
        (UNKNOWN, status_of((SELF, T1)), LONDON),
        (row_of(minute_of(T1) + HOUR), NO_TIMES, LONDON),
        # Which of them is the course's is not known.
        (row_of(minute_of(T1)), status_of((SELF, T1), (GRADE, T2), aggregation=ANY), LONDON),
        (row_of(minute_of(T1) + HOUR), status_of((SELF, T1)), None),
    ],
)
def test_what_is_not_known_shows_no_other_zone(row: Seen, status: CompletionStatus, zone: tzinfo | None) -> None:
    assert not shows_another_zone(row, status, zone)


@pytest.mark.parametrize("name", ["timezone_forced_sydney_report", "timezone_forced_new_york_report"])
def test_a_recorded_report_read_in_the_wrong_zone_is_noticed(name: str) -> None:
    status = CompletionStatus.from_json(recording("timezone_forced_completion_status_summer")["response"])
    row = next(row for row in page_of(name).rows if row.course_id == 33)
    for zone, right in ((SYDNEY, "sydney"), (NEW_YORK, "new_york"), (LONDON, "london")):
        read, _ = from_clock(row.clock_time, zone, since=None, now=NOW)
        assert shows_another_zone(row_of(read), status, zone) is (right not in name)


# What cannot be.


@pytest.mark.parametrize(
    ("time", "skew", "implausible"),
    [
        (None, timedelta(0), False),
        (NOW, timedelta(0), False),
        (NOW + CLOCKS_DIFFER, timedelta(0), False),
        (NOW + CLOCKS_DIFFER + SECOND, timedelta(0), True),
        (NOW + 2 * HOUR, 2 * HOUR, False),
        (NOW + 2 * HOUR, -2 * HOUR, True),
        (datetime(2028, 1, 1, tzinfo=UTC), timedelta(0), True),
        (datetime(2002, 8, 1, tzinfo=UTC), timedelta(0), False),
        (datetime(2002, 7, 31, tzinfo=UTC), timedelta(0), True),
        (datetime(1970, 1, 1, tzinfo=UTC), timedelta(0), True),
    ],
)
def test_a_completion_in_the_future_or_before_moodle_is_implausible(
    time: datetime | None, skew: timedelta, implausible: bool
) -> None:
    assert is_implausible(time, NOW, skew) is implausible


def test_a_year_ahead_in_the_report_is_implausible() -> None:
    clock = parse_clock_time("Saturday, 23 December 2028, 8:03 AM")
    time, doubtful = from_clock(clock, LONDON, since=None, now=NOW)
    found, _ = exact_time(row_of(time, doubtful=doubtful), NO_TIMES, since=None, now=NOW)
    assert is_implausible(found, NOW, timedelta(0))


def test_without_a_zone_each_courses_own_beginning_decides_what_is_new(polled: Polled) -> None:
    early = polled.course(learners=2, since=NOW - 30 * DAY)
    late = polled.course(learners=2, since=NOW - DAY)
    polled.poll()
    for course in (early, late):
        old, new = polled.users(course)
        polled.complete(course, old, ago=10 * DAY, time_known=False)
        polled.complete(course, new, time_known=False)
    MoodleSiteState.objects.filter(site=polled.site).update(zone="", read_up_to=None, read_whole_at=None)
    polled.poll()
    assert set(polled.told) == {*polled.users(early), polled.users(late)[1]}
