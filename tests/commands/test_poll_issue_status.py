"""`poll`, `issue` and `status`: one round each in the foreground, and the numbers."""

import re

import pytest
from django.utils import timezone

from badging.models import Heartbeat, Issuance
from moodle_sync.models import MoodleSite, MoodleSiteState
from sandbox import MOODLE, Sandbox
from tests.builders import NOW

from .calling import manage, succeed
from .conftest import MAP, Connected


def test_poll_tells_each_site_in_json(connected: Connected) -> None:
    connected.map()
    connected.complete(3)
    (site,) = succeed("poll")["sites"]
    assert site.keys() == {"name", "new_completions", "queued", "calls", "error"}
    assert (site["name"], site["new_completions"], site["queued"], site["error"]) == ("Moodle", 3, 3, "")
    assert site["calls"] > 0
    assert succeed("poll", "--site", "Moodle")["sites"][0]["queued"] == 0


def test_poll_and_issue_tell_people_in_words(connected: Connected) -> None:
    connected.map()
    connected.complete(2)
    polled = manage("poll")
    assert (polled.code, polled.err) == (0, "")
    assert "Moodle: 2 new completion(s), 2 queued" in polled.out
    issued = manage("issue")
    assert (issued.code, issued.err) == (0, "")
    assert "2 call(s): 2 issued" in issued.out


@pytest.mark.django_db
def test_polling_without_a_site_says_so() -> None:
    done = manage("poll")
    assert (done.code, done.out.strip()) == (0, "No Moodle site is connected and enabled.")
    assert succeed("poll") == {"sites": []}


def test_a_site_that_fails_does_not_keep_the_other_from_being_polled(connected: Connected) -> None:
    with Sandbox() as other:
        course = other.moodle.add_course("C1", "Course")
        arguments = ("--name", "Another", "--url", other.moodle_url, "--token-stdin")
        succeed("connect_moodle", *arguments, stdin=other.moodle_token)
        succeed("map_course", *MAP, "--site", "Another", "--course", course)
        other.moodle.complete_many(course, other.moodle.add_learners(2))
        connected.map()
        connected.sandbox.faults.on("down", side=MOODLE)
        done = manage("poll", "--json")
        assert done.code == 1
        another, failed = done.json["sites"]
        assert (another["name"], another["queued"], another["error"]) == ("Another", 2, "")
        assert (failed["name"], failed["queued"]) == ("Moodle", 0)
        assert failed["error"] in done.err
        told = manage("poll")
        assert told.code == 1
        assert "Another: 0 new" in told.out
        assert "Moodle:" not in told.out


def test_polling_a_site_that_is_unknown_or_switched_off_fails(connected: Connected) -> None:
    assert "There is no Moodle site “Nowhere”" in manage("poll", "--site", "Nowhere").err
    assert "There is no Moodle site “”" in manage("poll", "--site", "").err
    MoodleSite.objects.update(enabled=False)
    done = manage("poll", "--site", "Moodle")
    assert done.code == 1
    assert "disabled" in done.err
    assert manage("poll").code == 0


def test_a_token_that_moodle_refuses_is_told_and_not_repeated(connected: Connected) -> None:
    connected.map()
    connected.sandbox.moodle.token = "renewed"
    done = manage("poll")
    assert done.code == 1
    assert "token" in done.err
    assert connected.sandbox.moodle_token not in done.err
    (site,) = succeed("status")["sites"]
    assert site["error"] in done.err


def test_issue_counts_what_became_of_each(connected: Connected) -> None:
    connected.map()
    emails = connected.complete(5)
    for email, kind in zip(emails, ("202", "404", "503"), strict=False):
        connected.sandbox.faults.plan(email, kind)
    succeed("poll")
    assert succeed("issue") == {"attempts": 5, "issued": 2, "not_met": 1, "failed": 1, "retry": 1, "held": 0}
    # What is tried again is not due yet.
    assert succeed("issue") == dict.fromkeys(("attempts", "issued", "not_met", "failed", "retry", "held"), 0)
    assert [connected.badges(email) for email in emails] == [0, 0, 0, 1, 1]


def test_issue_begins_nothing_after_its_time(connected: Connected) -> None:
    connected.map()
    connected.complete(2)
    succeed("poll")
    assert succeed("issue", "--timeout", "0.000001")["attempts"] == 0
    assert Issuance.objects.filter(state=Issuance.State.QUEUED).count() == 2
    assert succeed("issue", "--timeout", 60)["issued"] == 2


def test_status_in_json_has_every_number(connected: Connected) -> None:
    # The test's database may be minutes old.
    Heartbeat.objects.update(at=timezone.now())
    told = succeed("status")
    assert [sorted(told.pop(key)) for key in ("beat", "worker")] == [["last_seen", "problem"]] * 2
    assert len(told.pop("schedule")) == 4
    (problem,) = told.pop("problems")
    assert problem["what"] == "Not set up yet: no badge can be issued"
    assert problem["todo"] == "Still missing: a course that awards a badge."
    assert (problem["people"], problem["stops"]) == (0, True)
    assert told == {
        "owed": 0,
        "issuances": dict.fromkeys(("queued", "sending", "issued", "not_met", "failed", "held", "cancelled"), 0),
        "due": 0,
        "oldest_due_seconds": None,
        "connections": [{"name": "College", "environment": "staging", "state": "active", "reason": "", "held": 0}],
        "sites": [
            {
                "name": "Moodle",
                "strategy": "A",
                "feed": "A",
                "feed_reason": "",
                "question": "",
                "last_poll": None,
                "lag_seconds": None,
                "error": "",
                "enabled": True,
                "next_poll": None,
                "overdue": False,
            }
        ],
    }
    connected.map()
    connected.complete(2)
    succeed("poll")
    now = succeed("status")
    assert (now["issuances"]["queued"], now["due"], now["oldest_due_seconds"]) == (2, 2, 0)
    assert now["sites"][0]["lag_seconds"] == 0
    connected.sandbox.navigatr.pat = "renewed"
    succeed("issue")
    (connection,) = succeed("status")["connections"]
    assert (connection["state"], connection["held"]) == ("paused", 2)
    assert re.fullmatch("Paused since .+ UTC: Navigatr refused the token", connection["reason"])


def test_status_for_people_names_trouble(connected: Connected) -> None:
    connected.map()
    connected.complete(1)
    succeed("poll")
    before = manage("status")
    assert (before.code, before.err) == (0, "")
    assert "Queued: 1\n" in before.out
    assert "Due: 1\n" in before.out
    connected.sandbox.navigatr.pat = "renewed"
    succeed("issue")
    connected.sandbox.faults.on("down", side=MOODLE)
    assert manage("poll").code == 1
    after = manage("status").out
    paused = r"Paused since .+ UTC: Navigatr refused the token"
    assert re.search(rf"College \(staging\): {paused}, 1 held", after)
    assert re.search(rf"- College \(Staging\): {paused} \(1 badge waits\)", after)
    assert "cannot be reached" in after
    MoodleSiteState.objects.update(next_poll_at=NOW)
    assert "the worker, the scheduler or the broker stands still" in manage("status").out
    MoodleSite.objects.update(enabled=False)
    disabled = manage("status").out
    assert ", disabled" in disabled
    assert "stands still" not in disabled


def test_status_says_until_when_a_connection_rests(connected: Connected) -> None:
    connected.map()
    connected.sandbox.faults.plan(connected.complete(1), "429", retry_after=600)
    succeed("poll")
    succeed("issue")
    (connection,) = succeed("status")["connections"]
    assert connection["state"] == "active"
    assert "Too many requests; waits until" in connection["reason"]


def test_status_tells_people_of_the_slower_feed_and_of_an_open_question(connected: Connected) -> None:
    connected.sandbox.faults.on("report_refused", side=MOODLE)
    succeed("poll")
    MoodleSiteState.objects.update(checked_at=None)
    succeed("poll")
    (site,) = succeed("status")["sites"]
    assert site["feed"] == "B"
    assert site["feed_reason"]
    assert site["feed_reason"].rstrip(".") in manage("status").out
    doubt = "Is this still the same Moodle? It was a.example, and now it is b.example."
    MoodleSiteState.objects.update(doubt=doubt, error=doubt, next_poll_at=NOW)
    told = manage("status").out
    assert "waits for an answer" in told
    assert told.count("Is this still the same Moodle?") == 1
    assert "stands still" not in told
    assert succeed("status")["sites"][0]["question"] == doubt
