"""What happened each day, counted once and kept; today and yesterday as they are."""

from datetime import date, timedelta
from typing import Any

import pytest

from badging import days, tasks
from badging.days import count_days, last_days
from badging.meanings import FAILING, Outcome
from badging.models import CourseBadgeMapping, DayCount, Issuance
from moodle_sync.models import Completion
from tests.builders import NOW, make_attempt, make_completion, make_connection, make_issuance, make_mapping

pytestmark = pytest.mark.django_db

TODAY, DAY = date(2026, 11, 23), timedelta(days=1)


def issue(mapping: CourseBadgeMapping, ago: timedelta, *, took: float = 60, **fields: Any) -> Issuance:
    """A badge that was issued that long ago, so many seconds after the completion."""
    at = NOW - ago
    completion = make_completion(mapping.course, completed_at=at - timedelta(seconds=took))
    values = {"state": "issued", "issued_at": at, "assertion_id": "1", "recipient_key": ""} | fields
    row = make_issuance(mapping, completion, **values)
    make_attempt(row, at=at, outcome=Outcome.ISSUED, status=201)
    return row


def fail(mapping: CourseBadgeMapping, ago: timedelta, outcome: Outcome = Outcome.FORBIDDEN) -> Issuance:
    row = make_issuance(mapping, state="failed", reason=outcome)
    make_attempt(row, at=NOW - ago, outcome=outcome)
    return row


def numbers(environment: str = "staging", back: int = 3) -> list[tuple[int | None, int | None]]:
    return [(day.issued, day.failed) for day in last_days(back, environment, now=NOW)]


def test_past_days_are_counted_once_and_today_is_as_it_is() -> None:
    mapping = make_mapping()
    for ago in (timedelta(hours=1), 1 * DAY, 1 * DAY, 2 * DAY):
        issue(mapping, ago)
    fail(mapping, 2 * DAY)
    # Not counted yet: yesterday and today are looked at, the day before is not known.
    assert numbers() == [(None, None), (2, 0), (1, 0)]
    assert count_days(now=NOW) == 2
    assert count_days(now=NOW) == 0
    assert numbers() == [(1, 1), (2, 0), (1, 0)]
    issue(mapping, timedelta(0))
    assert numbers()[-1] == (2, 0)
    assert days.is_counted(last_days(30, "staging", now=NOW))
    assert last_days(30, "staging", now=NOW)[0] == days.Day(TODAY - 29 * DAY, 0, 0)


def test_counting_a_day_again_gives_the_same_and_what_is_missing_is_added() -> None:
    issue(make_mapping(), 1 * DAY)

    def kept() -> list[Any]:
        fields = ("day", "environment", "issued", "failed", "timed", "median_delay", "p95_delay")
        return list(DayCount.objects.order_by("day", "environment").values_list(*fields))

    count_days(now=NOW)
    before = kept()
    DayCount.objects.filter(environment="staging").delete()
    assert count_days(now=NOW) == 1
    assert kept() == before
    # As the task does it, at whatever time it is now.
    tasks.count_days()
    assert kept()[:2] == before


def test_staging_and_production_are_counted_apart() -> None:
    real = make_mapping(connection=make_connection(environment="production"))
    issue(real, 1 * DAY)
    fail(real, 1 * DAY)
    for _ in range(3):
        issue(make_mapping(), 1 * DAY)
    for _counted in range(2):
        assert numbers("production", 2) == [(1, 1), (0, 0)]
        assert numbers("staging", 2) == [(3, 0), (0, 0)]
        count_days(now=NOW)


def test_what_failed_is_what_then_needed_a_person_each_once_a_day() -> None:
    mapping = make_mapping()
    for outcome in FAILING:
        fail(mapping, 1 * DAY, outcome)
    gave_up = fail(mapping, 1 * DAY, Outcome.UNAVAILABLE)
    make_attempt(gave_up, at=NOW - DAY, outcome=Outcome.UNAVAILABLE)
    # Tried again by itself, held, or not met: no failures.
    make_attempt(make_issuance(mapping), at=NOW - DAY, outcome=Outcome.UNAVAILABLE, next_attempt_at=NOW)
    for outcome in (Outcome.NOT_MET, Outcome.LEARNER_SUSPENDED, Outcome.ISSUED, Outcome.ERASED, Outcome.ALREADY_HOLDS):
        make_attempt(make_issuance(mapping), at=NOW - DAY, outcome=outcome)
    assert numbers()[1] == (0, len(FAILING) + 1)


def test_delays_are_those_of_new_completions_whose_time_is_known() -> None:
    mapping = make_mapping()
    for seconds in range(1, 101):
        issue(mapping, 1 * DAY, took=seconds)
    issue(mapping, 1 * DAY, took=9_999, past=True)
    again = issue(mapping, 1 * DAY, took=9_999).completion
    unknown = issue(mapping, 1 * DAY, took=9_999).completion
    Completion.objects.filter(pk=again.pk).update(completed_again_at=NOW)
    Completion.objects.filter(pk=unknown.pk).update(time_source="seen")
    # Moodle's clock is ahead.
    issue(mapping, timedelta(minutes=1), took=-5)
    yesterday, today = last_days(2, "staging", now=NOW)
    count_days(now=NOW)
    assert last_days(2, "staging", now=NOW)[0] == yesterday
    assert (yesterday.median_delay, yesterday.p95_delay) == (timedelta(seconds=50), timedelta(seconds=95))
    assert (today.median_delay, today.p95_delay) == (timedelta(0), timedelta(0))


def test_a_day_is_one_of_the_portals_zone_and_closes_an_hour_after_midnight(settings: Any) -> None:
    settings.TIME_ZONE = "Pacific/Auckland"
    mapping = make_mapping()
    # 12:30 in London is 01:30 of the next day there.
    issue(mapping, timedelta(hours=1, minutes=20))
    issue(mapping, timedelta(hours=1, minutes=40))
    assert [day.day for day in last_days(2, "staging", now=NOW)] == [TODAY, TODAY + DAY]
    assert numbers(back=2) == [(1, 0), (1, 0)]
    assert count_days(now=NOW - timedelta(minutes=31)) == 0
    assert count_days(now=NOW) == 1


def test_a_long_past_is_counted_in_batches_the_latest_days_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(days, "COUNTED_AT_ONCE", 4)
    issue(make_mapping(), 10 * DAY)
    assert [count_days(now=NOW) for _ in range(4)] == [4, 4, 2, 0]
    assert DayCount.objects.count() == 2 * 10
    issue(make_mapping(), 1000 * DAY)
    count_days(now=NOW)
    assert DayCount.objects.earliest("day").day == TODAY - 14 * DAY
