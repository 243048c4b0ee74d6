"""How far behind the portal was: what polls write of themselves, and what the chart reads."""

from datetime import timedelta

import pytest
from django.db import connection as database
from django.test.utils import CaptureQueriesContext

from moodle_sync import poll_records
from moodle_sync.models import PollRecord, Trouble
from sandbox import MOODLE
from tests.builders import NOW, make_site

from .polled import Polled

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)


def test_each_poll_adds_to_its_five_minutes_how_far_behind_it_was(polled: Polled) -> None:
    polled.course(learners=1)
    # Each poll is a minute after the one before, and the second a little later.
    polled.poll()
    polled.now += 10 * SECOND
    polled.poll()
    polled.sandbox.faults.on("down", side=MOODLE)
    polled.poll()
    assert polled.site.state.trouble == Trouble.UNAVAILABLE
    polled.sandbox.faults.clear()
    polled.now += 600 * SECOND
    polled.poll()
    assert polled.site.state.trouble == Trouble.NONE
    first, second = PollRecord.objects.order_by("at")
    assert (first.polls, first.failed, first.at) == (3, 1, NOW)
    # The first poll has nothing before it; the second read what was 70 seconds old.
    assert 70 * SECOND <= first.lag < 75 * SECOND
    assert 720 * SECOND <= second.lag < 725 * SECOND
    hours = poll_records.last_hours(polled.site, polled.now)
    assert (len(hours), hours[-1].polls, hours[-1].failed) == (24, 4, 1)
    assert hours[-1].lag == second.lag
    assert hours[0].lag is None
    assert poll_records.longest_lags([polled.site], polled.now) == {polled.site.pk: second.lag}


def test_a_poll_costs_one_update_for_it() -> None:
    site = make_site()
    note = lambda at: poll_records.note_poll(site, began_at=at, took=SECOND, read_up_to=None, new=0)  # noqa: E731
    note(NOW)
    with CaptureQueriesContext(database) as seen:
        note(NOW + 5 * SECOND)
    assert len(seen) == 1


def test_old_records_go_once_a_day_and_the_rest_is_bounded() -> None:
    site = make_site()
    for days in (0, 6, 8):
        poll_records.note_failure(site, at=NOW - timedelta(days=days))
    poll_records.forget_old(NOW)
    assert [row.at.day for row in PollRecord.objects.order_by("at")] == [17, 23]
    assert poll_records.last_hours(site, NOW)[-1].lag is None
