"""How the portal is doing, in numbers."""

import json
from datetime import timedelta
from typing import Any

import pytest

from badging.models import Heartbeat, Issuance, ScheduledTask
from badging.schedule import SCHEDULE
from badging.status import connection_reason, is_overdue, slow_feed, status
from moodle_sync.models import Completion
from tests.builders import NOW, let_everything_run, make_connection, make_course, make_issuance, make_mapping, make_site

pytestmark = pytest.mark.django_db


def test_an_empty_portal_has_nothing_to_tell() -> None:
    told = status(NOW)
    assert [row.pop("last_run") is not None for row in told["schedule"]] == [True] * len(SCHEDULE)
    assert told.pop("schedule") == [
        {"task": entry.task, "name": entry.name, "every_seconds": entry.every, "enabled": True, "problem": ""}
        for entry in SCHEDULE
    ]
    assert [told.pop(program)["problem"] for program in ("worker", "beat")] == ["", ""]
    assert told == {
        "owed": 0,
        "issuances": dict.fromkeys(Issuance.State.values, 0),
        "due": 0,
        "oldest_due_seconds": None,
        "connections": [],
        "sites": [],
    }


def test_states_and_health_are_counted() -> None:
    mapping = make_mapping()
    make_issuance(mapping, next_attempt_at=NOW - timedelta(seconds=90))
    make_issuance(mapping, next_attempt_at=NOW + timedelta(seconds=90))
    make_issuance(mapping, state="held")
    make_issuance(mapping, state="issued", assertion_id="1")
    make_site(
        name="Polled",
        feed="A",
        last_poll_at=NOW - timedelta(seconds=30),
        next_poll_at=NOW - timedelta(minutes=5),
        error="Something is wrong.",
    )
    told = json.loads(json.dumps(status(NOW)))
    assert told["issuances"] == dict.fromkeys(Issuance.State.values, 0) | {"queued": 2, "held": 1, "issued": 1}
    assert told["owed"] == Completion.objects.count() == 4
    assert (told["due"], told["oldest_due_seconds"]) == (1, 90)
    assert told["connections"] == [
        {"name": "Navigatr 1", "environment": "staging", "state": "active", "reason": "", "held": 1}
    ]
    assert told["sites"] == [
        {
            "name": "Moodle 1",
            "strategy": "",
            "feed": "",
            "feed_reason": "",
            "question": "",
            "last_poll": None,
            "lag_seconds": None,
            "error": "",
            "enabled": True,
            "next_poll": None,
            "overdue": False,
        },
        {
            "name": "Polled",
            "strategy": "A",
            "feed": "A",
            "feed_reason": "",
            "question": "",
            "last_poll": "2026-11-23T12:29:30+00:00",
            "lag_seconds": 30,
            "error": "Something is wrong.",
            "enabled": True,
            "next_poll": "2026-11-23T12:25:00+00:00",
            "overdue": True,
        },
    ]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, ""),
        ({"state": "paused"}, "Paused: Navigatr refused the token"),
        ({"state": "removed"}, "Removed: it has no token"),
        ({"not_before": NOW - timedelta(seconds=1), "last_outcome": "rate_limited"}, ""),
        (
            {"not_before": NOW + timedelta(minutes=1), "last_outcome": "rate_limited"},
            "Too many requests; waits until 23 Nov 2026, 12:31 p.m. UTC",
        ),
        (
            {"not_before": NOW + timedelta(minutes=1), "last_outcome": "unclear"},
            "Navigatr does not answer; waits until 23 Nov 2026, 12:31 p.m. UTC",
        ),
        ({"not_before": NOW + timedelta(minutes=1)}, "waits until 23 Nov 2026, 12:31 p.m. UTC"),
    ],
)
def test_a_connection_says_why_nothing_is_sent(fields: dict[str, Any], reason: str) -> None:
    assert connection_reason(make_connection(**fields), NOW) == reason


def test_the_number_of_queries_does_not_grow(django_assert_num_queries: Any) -> None:
    for _ in range(3):
        make_issuance()
    # Ten: states; what each connection holds for Moodle; mappings that hold, connections that are off; the oldest,
    # due, connections, sites. And the schedule with its signs of life.
    with django_assert_num_queries(10):
        status(NOW)


@pytest.mark.parametrize(
    ("fields", "overdue"),
    [
        ({"next_poll_at": None}, False),
        ({"next_poll_at": NOW - timedelta(seconds=90)}, False),
        ({"next_poll_at": NOW - timedelta(minutes=3)}, True),
        ({"next_poll_at": NOW - timedelta(minutes=3), "enabled": False}, False),
        ({"next_poll_at": NOW - timedelta(minutes=3), "polling_until": NOW + timedelta(minutes=1)}, False),
        ({"next_poll_at": NOW - timedelta(minutes=3), "polling_until": NOW - timedelta(minutes=1)}, True),
        ({"next_poll_at": NOW - timedelta(minutes=3), "doubt": "Is this still the same Moodle?"}, False),
    ],
)
def test_a_site_that_nobody_polls_is_told(fields: dict[str, Any], overdue: bool) -> None:
    assert is_overdue(make_site(**fields), NOW) == overdue


NO_REPORT = {"check": "report", "ok": False, "message": "Make the report “{name}”.", "values": {"name": "Feed"}}


def test_the_slower_feed_is_told_with_the_reason_and_what_to_do() -> None:
    make_site(feed="B", findings=[NO_REPORT], last_poll_took=timedelta(seconds=20))
    make_site(feed="A", findings=[NO_REPORT])
    slow, quick = status(NOW)["sites"]
    assert (slow["feed"], slow["feed_reason"]) == ("B", "Make the report “Feed”.")
    assert (quick["feed"], quick["feed_reason"]) == ("A", "")


def test_the_slower_feed_says_when_it_takes_longer_than_the_poll_interval() -> None:
    site = make_site(feed="B", last_poll_took=timedelta(seconds=90.4), poll_interval=timedelta(minutes=1))
    assert "A poll takes 0:01:30, longer than the poll interval of 0:01:00" in slow_feed(site)
    site.poll_interval = timedelta(minutes=2)
    assert slow_feed(site) == "The report cannot be used; the findings on the site's page say more."


def test_an_open_question_about_a_site_is_told_and_its_badges_are_not_due() -> None:
    mapping = make_mapping(make_course(make_site(doubt="Is this still the same Moodle?")))
    make_issuance(mapping)
    told = status(NOW)
    assert told["sites"][0]["question"] == "Is this still the same Moodle?"
    assert (told["due"], told["oldest_due_seconds"]) == (0, None)


def test_the_schedule_and_its_programs_are_told() -> None:
    let_everything_run(NOW - timedelta(minutes=10))
    ScheduledTask.objects.filter(task="badging.tasks.poll_due").delete()
    ScheduledTask.objects.filter(task="badging.tasks.send_sweep").update(enabled=False)
    told = json.loads(json.dumps(status(NOW)))
    by_task = {row["task"]: row for row in told["schedule"]}
    assert by_task["badging.tasks.poll_due"]["enabled"] is False
    assert "missing from the schedule" in by_task["badging.tasks.poll_due"]["problem"]
    assert "switched off" in by_task["badging.tasks.send_sweep"]["problem"]
    assert by_task["badging.tasks.daily_checks"]["problem"] == ""
    assert told["beat"]["last_seen"] == (NOW - timedelta(minutes=10)).isoformat()
    assert "no sign of life" in told["beat"]["problem"]
    Heartbeat.objects.update(at=NOW)
    assert status(NOW)["beat"]["problem"] == ""
