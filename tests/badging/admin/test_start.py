"""The start page of the admin: how the portal is doing, and what needs a person."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from badging import by_itself
from badging.meanings import Outcome
from badging.models import BulkRun, CourseBadgeMapping, Heartbeat, Issuance, ScheduledTask
from moodle_sync.models import MoodleSiteState
from people.sessions import SEEN
from tests.builders import (
    NOW,
    let_everything_run,
    make_completion,
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
WELL = "Nothing: all is well."


@pytest.fixture(autouse=True)
def as_in_service(settings: Any) -> None:
    """Everything runs, and nothing is advised."""
    settings.SANDBOX_URL = "http://127.0.0.1:8001"
    let_everything_run()


def look(client: Client, page: str = "index") -> str:
    """The page as it is now, not as it was a few seconds ago."""
    cache.clear()
    return client.get(reverse(f"admin:{page}")).content.decode()


def set_up() -> CourseBadgeMapping:
    now = timezone.now()
    return make_mapping(make_course(make_site(feed="A", last_poll_at=now, next_poll_at=now)))


def test_the_start_page_tells_what_needs_a_person(site_admin: Client) -> None:
    make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    make_issuance(state=State.HELD, reason=Outcome.CONNECTION_PAUSED, recipient_key="")
    make_connection(name="Tired", state="paused")
    make_connection(name="Resting", not_before=NOW + timedelta(days=999), last_outcome=Outcome.UNAVAILABLE)
    make_mapping(badge_problem="The badge is Draft in Navigatr.")
    make_site(name="Left alone", feed="A", next_poll_at=NOW - timedelta(hours=1))
    for page in (look(site_admin), look(site_admin, "problems")):
        for text in (
            "1 badge failed in Course 2",
            "Account may not issue this badge",
            "1 badge is held in Course 2",
            "Tired (Staging)",
            "Resting (Staging)",
            "cannot be read",
            "Left alone: not polled",
            "The badge is Draft in Navigatr.",
        ):
            assert text in page
    assert rows_shown(site_admin.get(listed("badging_issuance", state__exact="failed", reason="forbidden")))


def test_the_start_page_shows_ten_and_leads_to_all(site_admin: Client) -> None:
    mapping = set_up()
    for number in range(12):
        make_mapping(make_course(mapping.course.site, fullname=f"Odd {number}"), mapping.connection, badge_problem="x")
    page = look(site_admin)
    assert page.count("this badge cannot be issued any more</a>") == 10
    assert f'<a href="{reverse("admin:problems")}">Show 2 more</a>' in page
    assert look(site_admin, "problems").count("this badge cannot be issued any more</a>") == 12


def test_the_line_and_the_numbers_lead_to_their_lists(site_admin: Client) -> None:
    mapping = set_up()
    make_issuance(mapping, state="issued", assertion_id="1", issued_at=timezone.now())
    page = look(site_admin)
    assert re.search(r"Moodle read \d s ago · 1 issued today · 0 waiting", page)
    assert WELL in page
    assert f'href="{listed("badging_issuance", when="issued_7")}"' in page
    assert rows_shown(site_admin.get(listed("badging_issuance", when="issued_1")))
    for state in ("queued", "failed", "held", "not_met"):
        assert f'href="{listed("badging_issuance", state__exact=state)}"' in page
    assert "these are test badges" in page


def test_the_charts_have_their_data_apart_and_a_table_beside_them(site_admin: Client) -> None:
    make_issuance(set_up(), state="issued", assertion_id="1", issued_at=timezone.now())
    page = look(site_admin)
    found = re.search(r'<script id="start-charts" type="application/json">(.*?)</script>', page)
    assert found
    charts = json.loads(found[1])
    assert [len(charts[name]["data"]) for name in ("issued", "failed", "median", "p95")] == [30] * 4
    assert (charts["issued"]["data"][-1], len(charts["days"])) == (1, 30)
    assert page.count("<tbody>") == 2
    assert page.count('<th scope="row">') == 60


@pytest.mark.parametrize(("delay", "unit", "shown"), [(90, "seconds", 90.0), (180, "minutes", 3.0)])
def test_delays_are_charted_in_seconds_unless_one_is_long(
    site_admin: Client, delay: int, unit: str, shown: float
) -> None:
    now, mapping = timezone.now(), set_up()
    completion = make_completion(mapping.course, completed_at=now - timedelta(seconds=delay))
    make_issuance(mapping, completion, state="issued", assertion_id="1", issued_at=now)
    found = re.search(r'<script id="start-charts" type="application/json">(.*?)</script>', look(site_admin))
    assert found
    charts = json.loads(found[1])
    assert (charts["unit"], charts["median"]["data"][-1], charts["p95"]["data"][-1]) == (unit, shown, shown)


def test_nothing_is_well_on_an_empty_portal(site_admin: Client, officer: Client) -> None:
    page = look(site_admin)
    assert f'Not set up yet. <a href="{reverse("admin:set_up")}">Set it up</a>' in page
    assert WELL not in page
    # Who may not set up is not led there.
    page = officer.get(reverse("admin:index")).content.decode()
    assert "Not set up yet" in page
    assert reverse("admin:set_up") not in page


def test_nothing_is_well_with_completion_tracking_off(site_admin: Client) -> None:
    mapping = set_up()
    assert WELL in look(site_admin)
    finding = {"check": "completion", "ok": False, "message": "Completion tracking is off for the site.", "values": {}}
    MoodleSiteState.objects.update(findings=[finding])
    page = look(site_admin)
    assert "Completion tracking is off for the site." in page
    assert WELL not in page
    MoodleSiteState.objects.update(findings=[])
    mapping.course.completion_enabled = False
    mapping.course.save()
    assert WELL not in look(site_admin)


def test_nothing_is_well_with_the_schedule_off(site_admin: Client) -> None:
    set_up()
    ScheduledTask._default_manager.update(enabled=False)
    page = look(site_admin)
    assert page.count("it is switched off") >= 4
    assert WELL not in page


def test_an_open_question_stands_first_and_once(site_admin: Client) -> None:
    set_up()
    make_connection(name="Tired", state="paused")
    site = make_site(name="Moved", feed="A", doubt=DOUBT, error=DOUBT, next_poll_at=NOW - timedelta(hours=1))
    page = look(site_admin)
    assert page.count(DOUBT) == 1
    assert page_of("moodle_sync_moodlesite", site.pk) in page
    assert page.index("Moved waits for your answer</a>") < page.index("Tired (Staging)")
    # It is not polled for that reason, and not because something stands still.
    assert "Moved: not polled" not in page
    assert "Moved: cannot be read" not in page


def test_falling_back_to_the_slower_feed_is_told_with_the_reason(site_admin: Client) -> None:
    finding = {"check": "report", "ok": False, "message": "Make the report.", "values": {}}
    make_site(name="Slow", feed="B", findings=[finding])
    make_site(name="Quick", feed="A")
    page = look(site_admin)
    assert "Slow: read by the slower feed B" in page
    assert "Make the report." in page
    assert "Quick" not in page


def test_the_start_page_tells_a_site_that_fails_from_one_that_works_with_something_wrong(site_admin: Client) -> None:
    make_site(name="Down", feed="A", failures=2, error="No answer.")
    make_site(name="Untidy", feed="A", error="The report lacks its condition.")
    page = look(site_admin)
    assert "Down: cannot be read" in page
    assert "Untidy: is read, but something is wrong" in page


def test_a_deleted_course_is_told_with_its_successor_and_a_link_to_map_it(site_admin: Client, officer: Client) -> None:
    site = make_site(feed="A")
    gone = make_course(site, shortname="GDPR26", fullname="Data Protection", gone_at=NOW)
    make_mapping(gone)
    page = look(site_admin)
    assert f"{gone.full_label}: deleted in Moodle" in page
    assert "If another course took its place" in page
    new = make_course(site, shortname="GDPR26", fullname="Data Protection (new)")
    page = look(site_admin)
    assert f"successor seems to be “{new.full_label}”" in page
    link = f'href="{reverse("choose-provider", args=[new.pk])}"'
    assert link in page
    # Who may not map a course is not led there, though they see the same few seconds of the portal.
    assert link not in officer.get(reverse("admin:index")).content.decode()
    make_course(site, gone_at=NOW, fullname="Never mapped")
    assert "Never mapped" not in look(site_admin)


def test_trouble_is_found_behind_many_sites_that_are_well_and_the_queries_stay_few(
    site_admin: Client, django_assert_num_queries: Any
) -> None:
    for number in range(25):
        make_site(name=f"Fine {number:02}", feed="A")
    make_site(name="Zed", feed="A", failures=1, error="Something is wrong.")
    make_issuance(set_up(), state="issued", assertion_id="1", issued_at=timezone.now())
    assert "Zed: cannot be read" in look(site_admin)
    # Six: the session, the user, the two of permissions, what was read a few seconds ago, and whether the portal has
    # issued a badge: until then the page leads through the set-up as well.
    with django_assert_num_queries(6):
        page = site_admin.get(reverse("admin:index")).content.decode()
    assert "Zed: cannot be read" in page


def test_the_start_page_counts_no_further_than_a_thousand(site_admin: Client) -> None:
    many_issuances(1100)
    assert "1,000+ badges failed" in look(site_admin)


def test_staff_without_the_rights_are_shown_what_they_may_see(django_user_model: Any) -> None:
    make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    client = Client()
    client.force_login(django_user_model.objects.create_user("clerk", is_staff=True))
    page = look(client)
    assert "badge failed" not in page
    assert "Ask a site admin for a role." in page
    assert [client.get(reverse(f"admin:{name}")).status_code for name in ("start_parts", "problems")] == [403, 403]


def test_what_stops_everything_stands_first(site_admin: Client) -> None:
    set_up()
    make_site(name="Moved", feed="A", doubt=DOUBT)
    task = ScheduledTask.objects.get(task="badging.tasks.send_sweep")
    ScheduledTask.objects.filter(pk=task.pk).update(enabled=False)
    Heartbeat.objects.filter(name="beat").update(at=NOW - timedelta(days=1))
    page = look(site_admin)
    # The line says the first of them.
    assert page.index("The scheduler (beat) has given no sign of life since") < page.index("Moodle not read")
    assert page.index("Send what is due: it is switched off") < page.index(DOUBT)
    assert page_of("badging_scheduledtask", task.pk) in page


def test_no_page_that_refreshes_itself_keeps_the_session_alive(site_admin: Client) -> None:
    mapping = set_up()
    run = BulkRun.objects.create(kind="cancel", total=1, last=1, chosen=[1], created_at=NOW)
    by_itself = {"X-Portal-By-Itself": "1"}
    # Whole pages are asked for by `refresh.js`, the others have addresses of their own.
    asked: list[tuple[str, dict[str, str]]] = [
        (reverse("course-news", args=[mapping.course_id]), {}),
        (reverse("admin:verification_stages", query={"course": mapping.course_id}), {}),
        (reverse("admin:who_gets_badge", args=[mapping.pk]), by_itself),
        (page_of("badging_bulkrun", run.pk), by_itself),
    ]
    site_admin.get(reverse("admin:index"))
    for address, headers in asked:
        session = site_admin.session
        before = session[SEEN] = session[SEEN] - 3600
        session.save()
        assert site_admin.get(address, headers=headers).status_code == 200, address
        assert site_admin.session[SEEN] == before, address
        site_admin.get(reverse("admin:index"))
        assert site_admin.session[SEEN] > before


def test_the_script_that_asks_for_whole_pages_says_so() -> None:
    script = Path(str(finders.find("badging/refresh.js"))).read_text(encoding="utf-8")
    assert script.count("fetch(") == script.count(f'"{by_itself.HEADER}": "1"') == 1


def test_a_page_that_refreshes_itself_keeps_no_session_alive(site_admin: Client) -> None:
    site_admin.get(reverse("admin:index"))
    session = site_admin.session
    session[SEEN] -= 3600
    session.save()
    before = session[SEEN]
    answer = site_admin.get(reverse("admin:start_parts"))
    assert answer.content.decode().count("data-part=") == 6
    assert site_admin.session[SEEN] == before
    site_admin.get(reverse("admin:index"))
    assert site_admin.session[SEEN] > before
