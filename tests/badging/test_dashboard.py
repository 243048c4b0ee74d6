"""The start page's line and numbers: true, calm only when all is well, and read in a bounded number of queries."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection

from badging.dashboard import Dashboard, Tone, build, dashboard
from badging.meanings import Outcome
from badging.models import CourseBadgeMapping, DayCount, Heartbeat, ScheduledTask
from badging.problems import SET_UP
from moodle_sync.models import Course, MoodleSite, MoodleSiteState
from tests.builders import (
    NOW,
    let_everything_run,
    make_completion,
    make_connection,
    make_course,
    make_issuance,
    make_learner,
    make_mapping,
    make_site,
)

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def running() -> None:
    """Everything runs."""
    cache.clear()
    let_everything_run(NOW)


def set_up(**fields: Any) -> CourseBadgeMapping:
    site = make_site(feed="A", last_poll_at=NOW - timedelta(seconds=12), next_poll_at=NOW)
    return make_mapping(make_course(site), **fields)


def owe(mapping: CourseBadgeMapping, number: int = 1, **fields: Any) -> None:
    for _ in range(number):
        completion = make_completion(mapping.course, make_learner(mapping.course.site))
        make_issuance(mapping, completion, **{"recipient_key": ""} | fields)


def issued(mapping: CourseBadgeMapping, number: int = 1, days: int = 0) -> None:
    owe(mapping, number, state="issued", assertion_id="1", issued_at=NOW - DAY * days)


def line(page: Dashboard | None = None) -> str:
    return " · ".join((page or build(now=NOW)).words(NOW))


def numbers() -> dict[str, str]:
    return {number.label: str(number) for number in build(now=NOW).numbers}


def test_the_line_is_calm_when_all_is_well() -> None:
    mapping = set_up()
    issued(mapping, 3)
    owe(mapping)
    page = build(now=NOW)
    assert (page.tone, page.problems) == (Tone.GOOD, [])
    assert line(page) == "Moodle read 12 s ago · 3 issued today · 1 waiting"


def test_an_empty_portal_is_never_calm() -> None:
    page = build(now=NOW)
    assert (page.tone, line(page)) == (Tone.NOT_SET_UP, "Not set up yet")
    assert not page.is_set_up
    assert page.problems[0].place == SET_UP
    ScheduledTask._default_manager.filter(task="badging.tasks.poll_due").update(enabled=False)
    assert build(now=NOW).tone == Tone.BAD


def test_the_line_is_no_more_calm_with_completion_tracking_off() -> None:
    set_up()
    finding = {"check": "completion", "ok": False, "message": "Completion tracking is switched off.", "values": {}}
    MoodleSiteState.objects.update(findings=[finding])
    page = build(now=NOW)
    assert page.tone == Tone.WARNING
    assert line(page) == "Moodle read 12 s ago · 0 issued today · 0 waiting · 1 problem"


@pytest.mark.parametrize("what", ["schedule", "polls", "sends", "silent"])
def test_the_line_is_red_when_anything_is_overdue(what: str) -> None:
    mapping = set_up()
    if what == "schedule":
        ScheduledTask._default_manager.filter(task="badging.tasks.poll_due").update(enabled=False)
    elif what == "polls":
        MoodleSiteState.objects.update(next_poll_at=NOW - timedelta(minutes=3))
    elif what == "sends":
        owe(mapping, next_attempt_at=NOW - timedelta(minutes=11))
    else:
        Heartbeat.objects.update(at=NOW - timedelta(minutes=3))
    page = build(now=NOW)
    assert page.tone == Tone.BAD
    assert line(page).startswith(f"{page.problems[0].what} · Moodle read")


def test_one_site_that_was_never_read_is_not_hidden_by_another() -> None:
    set_up()
    make_site(feed="A")
    assert line().startswith("Moodle not read")
    MoodleSite.objects.filter(state__last_poll_at=None).update(enabled=False)
    assert line().startswith("Moodle read 12 s ago")


def test_numbers_are_of_production_unless_there_is_only_staging() -> None:
    test = set_up()
    issued(test, 2)
    assert build(now=NOW).environment == "staging"
    assert numbers()["Issued today"] == "2"
    real = set_up(connection=make_connection(environment="production"))
    issued(real, 1)
    issued(real, 1, days=1)
    DayCount.objects.create(day=(NOW - 10 * DAY).date(), environment="production", issued=1000, failed=0, timed=0)
    DayCount.objects.create(day=(NOW - 3 * DAY).date(), environment="staging", issued=99, failed=0, timed=0)
    owe(real, 2)
    owe(real, 3, state="failed", reason=Outcome.FORBIDDEN)
    owe(real, 4, state="not_met", reason=Outcome.NOT_MET)
    owe(test, 5, state="held", reason=Outcome.LEARNER_SUSPENDED)
    page = build(now=NOW)
    assert (page.environment, page.has_both) == ("production", True)
    assert numbers() == {
        "Issued today": "1", "Issued in 7 days": "2", "Issued in 30 days": "1,002",
        "Waiting": "2", "Needs a person": "3", "Held": "0", "Requirement not met": "4",
    }  # fmt: skip
    assert dict(page.waiting.place.query) == {"state__exact": "queued", "environment": "production"}


def test_what_a_mapping_holds_is_held_and_does_not_wait() -> None:
    owe(set_up(active=False), 2)
    owe(set_up(), 1, state="held", reason=Outcome.LEARNER_SUSPENDED)
    assert (numbers()["Waiting"], numbers()["Held"]) == ("0", "3")


def test_it_is_read_once_in_a_few_seconds_and_then_anew(django_assert_num_queries: Any) -> None:
    mapping = set_up()
    dashboard(now=NOW)
    issued(mapping)
    # One: the cache.
    with django_assert_num_queries(1):
        assert line(dashboard(now=NOW + timedelta(seconds=5))).startswith("Moodle read 12 s ago · 0 issued")
    assert "1 issued today" in line(dashboard(now=NOW + timedelta(seconds=6)))


def troubles(numbers: range) -> None:
    """One of each kind of problem for each of these numbers."""
    for number in numbers:
        site = make_site(name=f"Odd {number}", feed="B", error="Wrong.")
        make_site(name=f"Moved {number}", doubt="Is this still the same Moodle?")
        make_connection(name=f"Tired {number}", state="paused")
        connection = make_connection(name=f"Busy {number}")
        gone = make_course(site, gone_at=NOW, shortname=f"S{number}")
        mapping = make_mapping(gone, connection, badge_problem="Draft.", past_release="over", active=False)
        owe(mapping, next_attempt_at=NOW - DAY)
        owe(mapping, state="failed", reason=Outcome.FORBIDDEN)
        owe(mapping, state="held", reason=Outcome.LEARNER_SUSPENDED)
        owe(mapping, 3, state="not_met", reason=Outcome.NOT_MET)
        issued(mapping)


def many_mappings(number: int) -> None:
    """So many more mapped courses without completion tracking, whose badges cannot be issued any more."""
    site, connection = make_site(feed="A"), make_connection()
    courses = Course.objects.bulk_create(
        Course(site=site, moodle_id=n, fullname=f"Course {n}", completion_enabled=False) for n in range(number)
    )
    badge = {"provider_id": 11, "badge_id": 111, "badge_problem": "Draft.", "since": NOW, "connection": connection}
    CourseBadgeMapping.objects.bulk_create(CourseBadgeMapping(course=course, **badge) for course in courses)


def test_the_queries_are_as_many_however_much_is_wrong(django_assert_num_queries: Any) -> None:
    troubles(range(2))
    # Twenty-seven. Eleven for the overview: connections, which are open, sites, mappings, what waits, is looked up and
    # is being sent, what failed, is held and was not met, the last attempt. Five for problems: the schedule, the signs
    # of life, courses, successors, who got badges. Eight for days: those counted, the first, and for today and
    # yesterday what was issued, what failed, and delays. Three counts.
    with django_assert_num_queries(28):
        few = len(build(now=NOW).problems)
    troubles(range(2, 12))
    many_mappings(2000)
    with django_assert_num_queries(28):
        many = build(now=NOW).problems
    assert few < len(many) < 200
    assert "1970 more courses have completion tracking switched off" in [problem.what for problem in many]


def test_no_query_reads_a_large_table_whole() -> None:
    troubles(range(2))
    asked: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        asked.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        build(now=NOW)
    is_sqlite = connection.vendor == "sqlite"
    with connection.cursor() as cursor:
        if not is_sqlite:
            # These tables are so small that an index would not be worth it.
            cursor.execute("SET LOCAL enable_seqscan = off")
        for sql, params in asked:
            if not sql.startswith("SELECT"):
                continue
            cursor.execute(f"EXPLAIN {'QUERY PLAN ' if is_sqlite else ''}{sql}", params)
            for line in (str(row[-1]) for row in cursor.fetchall()):
                large = re.search(r"(SCAN|Seq Scan on) (badging_issuance\w*|moodle_sync_(completion|learner))\b", line)
                # The two partial indexes hold only what waits; the last one is read to its first row.
                assert not large or re.search("due_first|look_ups_due|attempt_by_time", line), (line, sql)
