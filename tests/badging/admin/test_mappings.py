"""Course badge mappings in the admin: enabled, disabled, removed."""

import re
from html import unescape

import pytest
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from badging.admin.who_gets import NAMES_PER_PAGE
from badging.bulk import MOST_CHOSEN
from badging.meanings import MEANINGS, Outcome
from badging.models import AuditEntry, CourseBadgeMapping, Issuance, Past
from moodle_sync.models import Course
from tests.builders import (
    NOW,
    make_completion,
    make_connection,
    make_course,
    make_issuance,
    make_mapping,
    make_site,
)

from .browsing import confirm, listed, many_issuances, page_of, rows_shown, run, said

State = Issuance.State
pytestmark = pytest.mark.django_db


def test_a_mapping_is_disabled_and_enabled_after_asking(site_admin: Client) -> None:
    issuance = make_issuance()
    name, pk = "badging_coursebadgemapping", issuance.course.mapping.pk
    assert pk
    assert (
        "Queued badges to be held until the mapping is enabled again: 1."
        in run(site_admin, name, "disable", pk).content.decode()
    )
    assert CourseBadgeMapping.objects.get().active
    confirm(site_admin, name, "disable", pk)
    issuance.refresh_from_db()
    assert (issuance.standing, issuance.standing_reason) == (State.HELD, Outcome.MAPPING_DISABLED)
    assert "What will happen" in run(site_admin, name, "enable", pk).content.decode()
    assert "Badges released: 1." in said(confirm(site_admin, name, "enable", pk))
    issuance.refresh_from_db()
    assert issuance.state == State.QUEUED


def test_removing_a_mapping_cancels_what_waits_and_is_recorded(site_admin: Client) -> None:
    issuance = make_issuance()
    name, pk = "badging_coursebadgemapping", issuance.course.mapping.pk
    assert pk
    assert "Unsent badges to be cancelled: 1." in run(site_admin, name, "remove", pk).content.decode()
    assert CourseBadgeMapping.objects.exists()
    done = run(site_admin, name, "remove", pk, confirmed="yes", back=str(pk))
    assert done.status_code == 200
    assert not CourseBadgeMapping.objects.exists()
    issuance.refresh_from_db()
    assert (issuance.state, issuance.reason) == (State.CANCELLED, Outcome.MAPPING_REMOVED)
    assert AuditEntry.objects.get().action == "mapping_removed"


def test_a_mapping_leads_to_the_pages_where_it_is_changed(site_admin: Client) -> None:
    mapping = make_mapping(badge_url="https://navigatr.example/badge/111")
    page = site_admin.get(page_of("badging_coursebadgemapping", mapping.pk)).content.decode()
    assert f'href="/courses/{mapping.course_id}/"' in page
    assert 'href="https://navigatr.example/badge/111"' in page


def test_too_many_mappings_and_connections_are_refused(site_admin: Client) -> None:
    connection = make_connection()
    site = make_site()
    for number in range(2, MOST_CHOSEN + 3):
        make_mapping(make_course(site, moodle_id=number), connection)
    first = CourseBadgeMapping.objects.values_list("pk", flat=True)[0]
    for action in ("enable", "disable", "remove"):
        done = run(
            site_admin, "badging_coursebadgemapping", action, first, confirmed="yes", select_across="1", index="0"
        )
        assert f"at most {MOST_CHOSEN}" in said(done)
    assert CourseBadgeMapping.objects.filter(active=True).count() == MOST_CHOSEN + 1


def test_adding_leads_to_the_courses_without_a_badge(site_admin: Client, officer: Client) -> None:
    url = reverse("admin:badging_coursebadgemapping_add")
    assert site_admin.get(url)["Location"] == "/courses/?badge=no"
    assert officer.get(url).status_code == 403


def test_the_list_says_in_a_sentence_what_is_not_in_order(site_admin: Client) -> None:
    make_mapping(badge_image_url="https://img.example/1.png")
    wrong = {"badge_problem": "The badge is Draft in Navigatr.", "badge_problem_since": NOW}
    make_mapping(make_course(gone_at=NOW), make_connection(state="paused"), **wrong)
    page = site_admin.get(listed("badging_coursebadgemapping")).content.decode()
    assert "In order" in page
    assert '<img class="portal-picture" src="/pictures/' in page
    for text in (
        "was deleted in Moodle",
        "Draft in Navigatr. Found on 23 Nov 2026",
        str(MEANINGS[Outcome.CONNECTION_PAUSED].what),
    ):
        assert escape(text) in page


def test_past_completions_are_found_looked_at_sent_and_stopped(site_admin: Client, officer: Client) -> None:
    mapping = make_mapping(min_score=50)
    name, url = "badging_coursebadgemapping", reverse("admin:who_gets_badge", args=[mapping.pk])
    back = {"back": str(mapping.pk), "confirmed": "yes"}
    assert "not included, and not known" in site_admin.get(url).content.decode()
    assert "nothing is sent" in run(site_admin, name, "look_for_past", mapping.pk).content.decode().lower()
    page = run(site_admin, name, "look_for_past", mapping.pk, **back).content.decode()
    assert "is being read from Moodle" in page
    for score in (80, 20):
        make_issuance(mapping, make_completion(mapping.course, score=score), past=True)
    Course.objects.filter(pk=mapping.course_id).update(past_read_at=timezone.now())
    page = site_admin.get(url).content.decode()
    for text in (
        "2 learners wait for the badge",
        "1 has no score, or one below the minimum of 50 %",
        "Release 2 learners",
    ):
        assert text in " ".join(page.split())
    assert 'name="action"' not in officer.get(url).content.decode()
    confirm(officer, name, "release_past", mapping.pk)
    mapping.refresh_from_db()
    assert mapping.past_release == Past.LOOKED_AT
    page = run(site_admin, name, "release_past", mapping.pk, **back).content.decode()
    assert "They are being sent" in page
    assert 'data-refresh="3"' in page
    assert (
        "Past completions to be held until you release them: 2."
        in run(site_admin, name, "stop_past", mapping.pk).content.decode()
    )
    page = run(site_admin, name, "stop_past", mapping.pk, **back).content.decode()
    assert "They wait:" in page
    assert Issuance.objects.standing_as(State.HELD).count() == 2
    # Or not: that ends their waiting.
    assert 'value="decline_past"' in page
    asked = run(site_admin, name, "decline_past", mapping.pk).content.decode()
    assert "Past completions to be cancelled: 2." in asked
    confirm(officer, name, "decline_past", mapping.pk)
    assert Issuance.objects.filter(state=State.CANCELLED).count() == 0
    page = run(site_admin, name, "decline_past", mapping.pk, **back).content.decode()
    assert "They wait:" not in page
    assert Issuance.objects.filter(state=State.CANCELLED, reason=Outcome.BY_HAND).count() == 2
    for action in ("stop_past", "decline_past"):
        assert "Nothing was done" in said(run(site_admin, name, action, mapping.pk, **back))


def test_a_button_of_a_page_that_names_no_row_leads_back_to_the_list(site_admin: Client) -> None:
    mapping = make_mapping()
    data = {"action": "look_for_past", "_selected_action": [mapping.pk], "confirmed": "yes", "back": "x"}
    assert site_admin.post(listed("badging_coursebadgemapping"), data).status_code == 302


def test_the_numbers_of_a_mapping_lead_to_just_what_they_count(site_admin: Client) -> None:
    mapping = make_mapping()
    for state in (State.QUEUED, State.HELD, State.FAILED, State.NOT_MET, State.CANCELLED):
        make_issuance(mapping, state=state, next_attempt_at=NOW if state == State.QUEUED else None)
    page = site_admin.get(listed("badging_coursebadgemapping")).content.decode()
    links = re.findall(r'href="([^"]*/issuance/[^"]*)">(\d+)</a>', page)
    assert [number for _url, number in links] == ["2", "2"]
    for url, number in links:
        assert len(rows_shown(site_admin.get(unescape(url)))) == int(number)


def test_large_numbers_of_who_waits_are_not_counted_to_the_end(
    site_admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping = make_mapping(min_score=50, past_release=Past.LOOKED_AT)
    for _learner in range(4):
        make_issuance(mapping, make_completion(mapping.course, score=20), past=True)
    for module in ("badging.past", "badging.counting", "badging.admin.who_gets"):
        monkeypatch.setattr(f"{module}.COUNTED_UP_TO", 2)
    monkeypatch.setattr("badging.past.MOST_FOLLOWED", 3)
    page = " ".join(site_admin.get(reverse("admin:who_gets_badge", args=[mapping.pk])).content.decode().split())
    for text in ("2+ learners wait", "2+ have no score", "There are more", "Release all"):
        assert text in page


def test_who_gets_a_badge_is_paged_and_takes_few_queries(site_admin: Client) -> None:
    mapping = many_issuances(NAMES_PER_PAGE + 3)
    Issuance.objects.update(state=State.QUEUED, reason="", next_attempt_at=NOW)
    url = reverse("admin:who_gets_badge", args=[mapping.pk])
    with CaptureQueriesContext(database) as seen:
        page = site_admin.get(url).content.decode()
    # Session, user, permissions of user and groups; the mapping, the names, the progress of past completions, and who
    # waits.
    assert len(seen) == 8, [row["sql"] for row in seen]
    assert f"{NAMES_PER_PAGE + 3} learners wait for the badge" in page
    older = re.search(r'href="(\?before=\d+)"', page)
    assert older
    assert site_admin.get(url + older[1]).content.decode().count("/admin/badging/issuance/") >= 3
    assert site_admin.get(url, {"before": "x"}).status_code == 200
