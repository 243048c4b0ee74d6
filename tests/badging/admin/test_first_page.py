"""The first page of the admin: what needs a person."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from badging.meanings import Outcome
from badging.models import Heartbeat, Issuance, ScheduledTask
from moodle_sync.models import MoodleSite
from tests.builders import (
    NOW,
    let_everything_run,
    make_connection,
    make_course,
    make_issuance,
    make_mapping,
    make_site,
)

from .browsing import listed, many_issuances, page_of, rows_shown

State = Issuance.State
pytestmark = pytest.mark.django_db


DOUBT = "Is this still the same Moodle? It was a.example, and now it is b.example."


def test_the_first_page_tells_what_needs_a_person(site_admin: Client) -> None:
    make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    make_issuance(state=State.HELD, reason=Outcome.CONNECTION_PAUSED)
    make_connection(name="Tired", state="paused")
    resting = {"not_before": NOW + timedelta(days=999), "last_outcome": Outcome.UNAVAILABLE}
    make_connection(name="Resting", **resting)
    make_mapping(badge_problem="The badge is Draft in Navigatr.")
    make_site(name="Left alone", feed="A", next_poll_at=NOW - timedelta(hours=1))
    page = site_admin.get(reverse("admin:index")).content.decode()
    for text in (
        "1 · Failed, needs a person: Account may not issue this badge",
        "1 · Held: Connection paused",
        "Tired (Staging)",
        "Resting (Staging)",
        "cannot be read",
        "Left alone: not polled",
        "The badge is Draft in Navigatr.",
    ):
        assert text in page
    assert rows_shown(site_admin.get(listed("badging_issuance", state__exact="failed", reason="forbidden")))


def test_an_open_question_stands_first_and_once(site_admin: Client) -> None:
    make_connection(name="Tired", state="paused")
    site = make_site(name="Moved", feed="A", doubt=DOUBT, error=DOUBT, next_poll_at=NOW - timedelta(hours=1))
    page = site_admin.get(reverse("admin:index")).content.decode()
    assert page.count(DOUBT) == 1
    assert page_of("moodle_sync_moodlesite", site.pk) in page
    assert page.index("Moved waits for your answer") < page.index("Tired (Staging)")
    # It is not polled for that reason, and not because something stands still.
    assert "Moved: not polled" not in page
    assert "Moved: cannot be read" not in page


def test_falling_back_to_the_slower_feed_is_told_with_the_reason(site_admin: Client) -> None:
    finding = {"check": "report", "ok": False, "message": "Make the report.", "values": {}}
    make_site(name="Slow", feed="B", findings=[finding])
    make_site(name="Quick", feed="A")
    page = site_admin.get(reverse("admin:index")).content.decode()
    assert "Slow: read by the slower feed B" in page
    assert "Make the report." in page
    assert "Quick" not in page


def test_the_first_page_tells_a_site_that_fails_from_one_that_works_with_something_wrong(site_admin: Client) -> None:
    make_site(name="Down", feed="A", failures=2, error="No answer.")
    make_site(name="Untidy", feed="A", error="The report lacks its condition.")
    page = site_admin.get(reverse("admin:index")).content.decode()
    assert "Down: cannot be read" in page
    assert "Untidy: is read, but something is wrong" in page


def test_a_deleted_course_is_told_with_its_successor_and_a_link_to_map_it(site_admin: Client) -> None:
    site = make_site(feed="A")
    gone = make_course(site, shortname="GDPR26", fullname="Data Protection", gone_at=NOW)
    make_mapping(gone)
    page = site_admin.get(reverse("admin:index")).content.decode()
    assert f"{gone.full_label}: deleted in Moodle" in page
    assert "If another course took its place" in page
    new = make_course(site, shortname="GDPR26", fullname="Data Protection (new)")
    page = site_admin.get(reverse("admin:index")).content.decode()
    assert f"successor seems to be “{new.full_label}”" in page
    assert f'href="{reverse("choose-provider", args=[new.pk])}"' in page
    make_course(site, gone_at=NOW, fullname="Never mapped")
    assert "Never mapped" not in site_admin.get(reverse("admin:index")).content.decode()


def test_trouble_is_found_behind_many_sites_that_are_well_and_the_queries_stay_few(site_admin: Client) -> None:
    # The portal is set up.
    make_issuance(state=State.ISSUED, assertion_id="911")
    for number in range(25):
        make_site(name=f"Fine {number:02}", feed="A")
    make_site(name="Zed", feed="A", failures=1, error="Something is wrong.")

    def asked() -> int:
        with CaptureQueriesContext(database) as seen:
            assert "Zed: cannot be read" in site_admin.get(reverse("admin:index")).content.decode()
        return len(seen)

    asked()
    before = asked()
    site = MoodleSite.objects.get(name="Zed")
    for number in range(5):
        make_site(name=f"Odd {number}", feed="B", error="Wrong.")
        make_site(name=f"Moved {number}", doubt="Is this still the same Moodle?")
        make_mapping(make_course(site, gone_at=NOW, shortname=f"S{number}"), badge_problem="Draft.")
    # One more: the successors of all deleted courses at once.
    assert asked() == before + 1


def test_the_first_page_counts_no_further_than_a_thousand(site_admin: Client) -> None:
    many_issuances(1100)
    assert "1001+ · Failed" in site_admin.get(reverse("admin:index")).content.decode()


def test_the_first_page_says_when_all_is_well(site_admin: Client, settings: Any) -> None:
    let_everything_run()
    # The demo is not advised to require a second factor.
    settings.SANDBOX_URL = "http://127.0.0.1:8001"
    assert "Nothing. Everything works." in site_admin.get(reverse("admin:index")).content.decode()


def test_staff_without_the_rights_are_not_told(django_user_model: Any) -> None:
    make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    client = Client()
    client.force_login(django_user_model.objects.create_user("clerk", is_staff=True))
    page = client.get(reverse("admin:index")).content.decode()
    assert "What needs a person" not in page


def test_what_stops_everything_stands_first(site_admin: Client) -> None:
    let_everything_run()
    make_site(name="Moved", feed="A", doubt=DOUBT)
    task = ScheduledTask.objects.get(task="badging.tasks.send_sweep")
    ScheduledTask.objects.filter(pk=task.pk).update(enabled=False)
    Heartbeat.objects.filter(name="beat").update(at=NOW - timedelta(days=1))
    page = site_admin.get(reverse("admin:index")).content.decode()
    beat = page.index("The scheduler (beat) has given no sign of life since")
    off = page.index("Send what is due: it is switched off")
    assert beat < off < page.index(DOUBT)
    assert page_of("badging_scheduledtask", task.pk) in page
