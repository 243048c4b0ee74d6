"""Issuances in the admin: found, explained, sent again, cancelled."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import escape

from badging import bulk
from badging.bulk import MOST_CHOSEN
from badging.meanings import Outcome
from badging.models import AuditEntry, BulkRun, CourseBadgeMapping, Issuance
from moodle_sync.models import Learner
from tests.builders import (
    NOW,
    make_attempt,
    make_completion,
    make_connection,
    make_course,
    make_issuance,
    make_learner,
    make_mapping,
    make_site,
)

from .browsing import (
    confirm,
    listed,
    many_issuances,
    page_of,
    rows_shown,
    run,
    said,
    search,
)

State = Issuance.State
IN_2028 = datetime(2028, 2, 1, 9, 0, tzinfo=UTC)
pytestmark = pytest.mark.django_db


@pytest.mark.postgres
def test_issuances_are_found_by_learner_and_course(site_admin: Client) -> None:
    wanted = make_issuance(completion=make_completion(learner=make_learner(email="Zoe@Example.org", firstname="Zoë")))
    other = make_issuance()
    assert rows_shown(search(site_admin, "badging_issuance", "zoe@example.org")) == [wanted.pk]
    assert rows_shown(search(site_admin, "badging_issuance", "zoe@")) == [wanted.pk]
    assert rows_shown(search(site_admin, "badging_issuance", "Zoë Lee")) == [wanted.pk]
    Learner.objects.filter(pk=wanted.learner_id).update(
        email="zoe@BÜCHER.example", email_key=Learner.key_of("zoe@BÜCHER.example")
    )
    for term in ("zoe@bü", "Zoe@bu\u0308cher", "zoe@xn--bcher-kva.example"):
        assert rows_shown(search(site_admin, "badging_issuance", term)) == [wanted.pk]
    wanted.course.fullname = "Fire Safety"
    wanted.course.save()
    assert rows_shown(search(site_admin, "badging_issuance", "fire")) == [wanted.pk]
    moodle_id = Learner.objects.filter(pk=other.learner_id).update(moodle_id=777)
    assert moodle_id
    assert rows_shown(search(site_admin, "badging_issuance", "777")) == [other.pk]
    attempt = make_attempt(wanted)
    make_attempt(other)
    assert rows_shown(search(site_admin, "badging_issuanceattempt", "zoe@bücher.example")) == [attempt.pk]
    found = search(site_admin, "moodle_sync_completion", "Zoë")
    assert rows_shown(found) == [wanted.completion_id]
    assert rows_shown(search(site_admin, "moodle_sync_completion", "Fire S")) == [wanted.completion_id]


@pytest.mark.postgres
def test_issuances_are_filtered(site_admin: Client) -> None:
    failed = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    production = make_issuance(make_mapping(connection=make_connection(environment="production")))
    ask = lambda **query: rows_shown(site_admin.get(listed("badging_issuance", **query)))  # noqa: E731
    assert ask(state__exact="failed") == [failed.pk]
    assert ask(reason="forbidden") == [failed.pk]
    assert ask(reason="gave_up") == []
    assert ask(environment="production") == [production.pk]
    assert ask(course=failed.course_id) == [failed.pk]
    assert ask(connection__id__exact=production.connection_id) == [production.pk]
    assert ask(learner__id__exact=failed.learner_id) == [failed.pk]
    assert ask(course="x") == [production.pk, failed.pk]


def test_a_course_without_mapping_can_be_filtered_by_too(site_admin: Client) -> None:
    issuance = make_issuance(state=State.CANCELLED)
    CourseBadgeMapping.objects.all().delete()
    response = site_admin.get(listed("badging_issuance", course=issuance.course_id))
    assert rows_shown(response) == [issuance.pk]
    assert f"Course number {issuance.course_id}" in response.content.decode()


def test_an_issuance_says_what_happened_what_to_do_and_leads_to_its_learner_and_completion(site_admin: Client) -> None:
    issuance = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    make_attempt(issuance, outcome=Outcome.FORBIDDEN, status=403, detail="not allowed here")
    page = site_admin.get(page_of("badging_issuance", issuance.pk)).content.decode()
    assert issuance.meaning
    for text in (str(issuance.meaning.what), str(issuance.meaning.todo), "not allowed here"):
        assert escape(text) in page
    assert page_of("moodle_sync_learner", issuance.learner_id) in page
    assert page_of("moodle_sync_completion", issuance.completion_id) in page
    learner = site_admin.get(page_of("moodle_sync_learner", issuance.learner_id)).content.decode()
    assert page_of("badging_issuance", issuance.pk) in learner
    completion = site_admin.get(page_of("moodle_sync_completion", issuance.completion_id)).content.decode()
    assert page_of("badging_issuance", issuance.pk) in completion


def test_an_issued_badge_links_to_its_page_in_navigatr(site_admin: Client) -> None:
    url = "https://navigatr.example/assertion/9"
    issuance = make_issuance(
        state=State.ISSUED, next_attempt_at=None, assertion_id="9", assertion_url=url, issued_at=NOW
    )
    assert f'<a href="{url}">9</a>' in site_admin.get(page_of("badging_issuance", issuance.pk)).content.decode()


def test_completed_again_is_shown_beside_the_badge(site_admin: Client) -> None:
    completion = make_completion(completed_again_at=NOW + timedelta(days=365))
    row = make_issuance(completion=completion, state=State.ISSUED, assertion_id="1", issued_at=NOW)
    for address in (page_of("badging_issuance", row.pk), page_of("moodle_sync_completion", completion.pk)):
        page = site_admin.get(address).content.decode()
        assert "ompleted again" in page
        assert re.search(r"23 Nov\w* 2027|2027-11-23", page)


def test_sending_again_asks_first(site_admin: Client) -> None:
    issuance = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN, failures=3)
    page = run(site_admin, "badging_issuance", "send_again", issuance.pk)
    assert "What will happen" in page.content.decode()
    issuance.refresh_from_db()
    assert issuance.state == State.FAILED
    done = confirm(site_admin, "badging_issuance", "send_again", issuance.pk)
    issuance.refresh_from_db()
    assert issuance.state == State.QUEUED
    assert "1 queued, 0 left alone" in said(done)
    entry = AuditEntry.objects.get(action="sent_again")
    assert entry.actor is not None
    assert entry.actor.get_username() == "site-admin"


def test_issued_badges_are_never_sent_again(site_admin: Client) -> None:
    issuance = make_issuance(state=State.ISSUED, next_attempt_at=None, assertion_id="9", issued_at=NOW)
    done = confirm(site_admin, "badging_issuance", "send_again", issuance.pk)
    issuance.refresh_from_db()
    assert issuance.state == State.ISSUED
    assert "0 queued, 1 left alone" in said(done)


def test_many_are_done_in_the_background_and_its_page_says_how_far_it_is(site_admin: Client) -> None:
    mapping = many_issuances(bulk.AT_ONCE + 5)
    pks = list(Issuance.objects.values_list("pk", flat=True))
    asked = run(site_admin, "badging_issuance", "send_again", *pks).content.decode()
    assert "a worker does it in the background" in asked
    assert not BulkRun.objects.exists()
    page = confirm(site_admin, "badging_issuance", "send_again", *pks).content.decode()
    started = BulkRun.objects.get()
    assert (started.total, started.state) == (len(pks), "waiting")
    assert f"0 of {len(pks)} done" in page
    assert 'data-refresh="2"' in page
    bulk.work(started.pk, should_stop=lambda: False, clock=timezone.now)
    page = site_admin.get(page_of("badging_bulkrun", started.pk)).content.decode()
    assert f"{len(pks)} of {len(pks)} done: {len(pks)} changed, 0 left alone." in page
    assert 'data-refresh=""' in page
    assert "Started by" in page
    assert 'value="stop"' not in page
    assert mapping.course.issuances.filter(state="queued").count() == len(pks)


def test_a_background_action_is_stopped_after_asking(site_admin: Client, officer: Client) -> None:
    course = many_issuances(3).course
    started = bulk.start_failed(kind=BulkRun.Kind.CANCEL, course=course, actor=None, now=NOW)
    assert "Nothing more is done" in run(site_admin, "badging_bulkrun", "stop", started.pk).content.decode()
    confirm(officer, "badging_bulkrun", "stop", started.pk)
    started.refresh_from_db()
    assert started.state == "waiting"
    assert "1 stopped, 0 had ended already" in said(confirm(site_admin, "badging_bulkrun", "stop", started.pk))
    started.refresh_from_db()
    assert (started.state, started.stopped_by and started.stopped_by.get_username()) == ("stopped", "site-admin")
    assert "Stopped by" in officer.get(page_of("badging_bulkrun", started.pk)).content.decode()


def test_what_failed_in_a_course_is_sent_again_together(site_admin: Client, officer: Client) -> None:
    mapping = make_mapping()
    rows = [make_issuance(mapping, state=State.FAILED, reason=Outcome.UNPUBLISHED) for _number in range(2)]
    other = make_issuance(mapping, state=State.FAILED, reason=Outcome.FORBIDDEN)
    url = reverse("admin:failed_together", args=[mapping.pk])
    page = site_admin.get(url).content.decode()
    assert "3 issuances have failed" in page
    assert f"{Outcome.UNPUBLISHED.label}: 2" in page
    chosen = {"kind": "send_again", "reason": "unpublished"}
    assert officer.post(url, chosen | {"confirmed": "yes"}).status_code == 403
    asked = site_admin.post(url, chosen).content.decode()
    assert "Send again: 2 issuances" in asked
    assert "looked up in Navigatr first" in asked
    assert not BulkRun.objects.exists()
    done = site_admin.post(url, chosen | {"confirmed": "yes"}, follow=True).content.decode()
    assert "2 of 2 done: 2 changed, 0 left alone." in done
    states = [Issuance.objects.get(pk=row.pk).state for row in (*rows, other)]
    assert states == [State.QUEUED, State.QUEUED, State.FAILED]
    again = site_admin.post(url, chosen | {"confirmed": "yes"}).content.decode()
    assert "Nothing has failed for this reason any more" in again
    assert "Choose an action" in site_admin.post(url, {"kind": "delete", "reason": ""}).content.decode()


def test_looking_up_again_asks_first(site_admin: Client) -> None:
    unknown = make_issuance(state=State.FAILED, reason=Outcome.LOOKUP_REFUSED, unanswered="unknown")
    refused = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    asked = run(site_admin, "badging_issuance", "look_up_again", unknown.pk, refused.pk).content.decode()
    assert "What is found there is issued and not sent" in asked
    done = confirm(site_admin, "badging_issuance", "look_up_again", unknown.pk, refused.pk)
    assert "1 are looked up, 1 left alone" in said(done)
    unknown.refresh_from_db()
    assert (unknown.state, unknown.unanswered) == (State.QUEUED, "repeated")
    page = site_admin.get(page_of("badging_issuance", unknown.pk)).content.decode()
    assert "site-admin had it looked up again." in page


@pytest.mark.postgres
def test_issuances_are_filtered_by_site_and_day(site_admin: Client) -> None:
    today = timezone.now()
    new = make_issuance(state=State.ISSUED, assertion_id="1", issued_at=today, next_attempt_at=None)
    old = make_issuance(
        completion=make_completion(learner=make_learner(email="other@example.org"), completed_at=today),
        state=State.ISSUED,
        assertion_id="2",
        issued_at=today - timedelta(days=8),
        next_attempt_at=None,
    )
    ask = lambda **query: rows_shown(site_admin.get(listed("badging_issuance", **query)))  # noqa: E731
    assert ask(site=old.course.site_id) == [old.pk]
    assert ask(when="issued_7") == ask(when="issued_1") == [new.pk]
    assert ask(when="issued_30") == [old.pk, new.pk]
    assert ask(when="completed_1") == [old.pk]
    assert ask(when="x") == ask(site="x") == [old.pk, new.pk]


def test_cancelling_asks_first(site_admin: Client) -> None:
    issuance = make_issuance()
    assert "What will happen" in run(site_admin, "badging_issuance", "cancel", issuance.pk).content.decode()
    issuance.refresh_from_db()
    assert issuance.state == State.QUEUED
    confirm(site_admin, "badging_issuance", "cancel", issuance.pk)
    issuance.refresh_from_db()
    assert (issuance.state, issuance.reason) == (State.CANCELLED, Outcome.BY_HAND)


def test_a_button_on_the_issuances_page_leads_back_to_it(site_admin: Client) -> None:
    issuance = make_issuance()
    page = site_admin.get(page_of("badging_issuance", issuance.pk)).content.decode()
    assert 'name="action" value="cancel"' in page
    asked = run(site_admin, "badging_issuance", "cancel", issuance.pk, back=str(issuance.pk)).content.decode()
    assert page_of("badging_issuance", issuance.pk) in asked
    done = run(site_admin, "badging_issuance", "cancel", issuance.pk, back=str(issuance.pk), confirmed="yes")
    assert done.redirect_chain == [(page_of("badging_issuance", issuance.pk), 302)]


def test_too_many_chosen_rows_are_refused_and_nothing_is_done(site_admin: Client) -> None:
    mapping = many_issuances(MOST_CHOSEN + 1)
    more = {"select_across": "1", "index": "0"}
    first = Issuance.objects.filter(course=mapping.course).values_list("pk", flat=True)[0]
    for action in ("send_again", "cancel"):
        done = run(site_admin, "badging_issuance", action, first, confirmed="yes", **more)
        assert f"at most {MOST_CHOSEN}" in said(done)
    assert set(Issuance.objects.values_list("state", flat=True)) == {State.FAILED}


def test_an_implausible_date_is_shown_and_released_by_sending_again(site_admin: Client) -> None:
    completion = make_completion(completed_at=IN_2028, implausible=True)
    issuance = make_issuance(None, completion, state=State.HELD, reason=Outcome.IMPLAUSIBLE_DATE)
    for address in (listed("badging_issuance"), page_of("badging_issuance", issuance.pk)):
        page = site_admin.get(address).content.decode()
        assert date_format(IN_2028, "DATETIME_FORMAT") in page
        assert escape(issuance.course.full_label) in page
    asked = run(site_admin, "badging_issuance", "send_again", issuance.pk).content.decode()
    assert "held for an implausible date are sent too" in asked
    confirm(site_admin, "badging_issuance", "send_again", issuance.pk)
    issuance.refresh_from_db()
    assert (issuance.state, issuance.date_accepted) == (State.QUEUED, True)


def test_what_waits_for_an_answer_about_its_site_says_so(site_admin: Client) -> None:
    issuance = make_issuance(make_mapping(make_course(make_site(doubt="Is this still the same Moodle?"))))
    assert "Question about the Moodle site" in site_admin.get(listed("badging_issuance")).content.decode()
    page = site_admin.get(page_of("badging_issuance", issuance.pk)).content.decode()
    assert "nothing is read from it and nothing is sent" in page
    assert page_of("moodle_sync_moodlesite", issuance.course.site_id) in page


def test_a_possible_double_is_told_with_a_link(site_admin: Client) -> None:
    mapping = make_mapping()
    one, other = (make_issuance(mapping) for _ in range(2))
    for row, double in ((one, other), (other, one)):
        page = site_admin.get(page_of("badging_issuance", row.pk)).content.decode()
        assert f'<a href="{page_of("badging_issuance", double.pk)}">{double.learner.full_label}</a>' in page


def test_a_course_number_that_no_column_holds_is_no_choice_of_the_filter(site_admin: Client) -> None:
    make_issuance()
    page = site_admin.get(listed("badging_issuance", course="9" * 23))
    assert page.status_code == 200
    assert "Course number 9" not in page.content.decode()


@pytest.mark.parametrize(
    ("fields", "buttons"),
    [
        ({"state": State.QUEUED}, {"send_again", "cancel"}),
        ({"state": State.FAILED, "reason": Outcome.FORBIDDEN}, {"send_again", "cancel"}),
        (
            {"state": State.FAILED, "reason": Outcome.LOOKUP_REFUSED, "unanswered": "unknown"},
            {"send_again", "look_up_again", "cancel"},
        ),
        ({"state": State.HELD, "reason": Outcome.IMPLAUSIBLE_DATE}, {"send_again", "cancel"}),
        ({"state": State.HELD, "reason": Outcome.LEARNER_SUSPENDED}, {"cancel"}),
        ({"state": State.QUEUED, "unanswered": "unknown"}, {"send_again", "look_up_again"}),
        ({"state": State.CANCELLED}, {"send_again"}),
        ({"state": State.ISSUED, "assertion_id": "9", "issued_at": NOW}, set()),
        ({"state": State.SENDING, "claim": uuid4(), "leased_until": NOW}, set()),
    ],
)
@pytest.mark.parametrize("action", ["send_again", "look_up_again", "cancel"])
def test_only_buttons_that_do_something_are_shown(
    action: str, fields: dict[str, Any], buttons: set[str], site_admin: Client
) -> None:
    issuance = make_issuance(**fields)
    page = site_admin.get(page_of("badging_issuance", issuance.pk)).content.decode()
    assert (f'name="action" value="{action}"' in page) == (action in buttons)
    assert (", 0 left alone" in said(confirm(site_admin, "badging_issuance", action, issuance.pk))) == (
        action in buttons
    )


def test_what_has_no_mapping_any_more_cannot_be_sent_again(site_admin: Client) -> None:
    issuance = make_issuance(state=State.CANCELLED, reason=Outcome.MAPPING_REMOVED)
    CourseBadgeMapping.objects.all().delete()
    assert 'value="send_again"' not in site_admin.get(page_of("badging_issuance", issuance.pk)).content.decode()


def test_times_of_attempts_are_shown_as_all_others_with_their_zone(site_admin: Client) -> None:
    issuance = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN, queued_at=NOW)
    make_attempt(issuance, next_attempt_at=NOW)
    for address in (page_of("badging_issuance", issuance.pk), listed("badging_issuanceattempt")):
        page = site_admin.get(address).content.decode()
        assert page.count("23 Nov 2026, 12:30 p.m. UTC") >= 2
        assert "2026-11-23 12:30" not in page


def test_what_a_disabled_mapping_holds_is_found_by_its_reason(site_admin: Client) -> None:
    held = make_issuance(make_mapping(active=False))
    make_issuance()
    assert rows_shown(site_admin.get(listed("badging_issuance", reason=Outcome.MAPPING_DISABLED))) == [held.pk]


def test_rows_that_have_left_the_list_meanwhile_are_told_and_left_alone(site_admin: Client) -> None:
    row = make_issuance(state=State.CANCELLED, reason=Outcome.BY_HAND, next_attempt_at=None)
    chosen = {"action": "send_again", "_selected_action": [row.pk], "confirmed": "yes"}
    done = site_admin.post(listed("badging_issuance", state__exact="failed"), chosen, follow=True)
    assert "The chosen issuances are not in this list any more. Nothing was done." in said(done)
    row.refresh_from_db()
    assert row.state == State.CANCELLED
