"""From a completion to a queued issuance, and what later polls and changes do to what waits."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from badging import mapping as mappings
from badging import queueing
from badging.mapping import wanted_courses
from badging.meanings import Outcome
from badging.models import Issuance
from badging.polling import site_poll
from moodle_sync.models import Completion, Learner, MoodleSite
from moodle_sync.reading import Poll
from moodle_sync.site_check import moodle_client_for
from moodle_sync.storing import Stored
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
    mapping_of,
)

pytestmark = pytest.mark.django_db
State = Issuance.State
LATER = NOW + timedelta(hours=1)


def queue(*completions: Completion) -> int:
    return queueing.queue_completions(completions, now=NOW)


def test_a_completion_of_a_mapped_course_is_queued_once() -> None:
    mapping = make_mapping()
    completion = make_completion(mapping.course)
    assert queue(completion) == 1
    row = Issuance.objects.get()
    assert (row.state, row.learner, row.mapping, row.completion) == ("queued", completion.learner, mapping, completion)
    assert (row.provider_id, row.badge_id, row.environment) == (11, 111, "staging")
    assert (row.queued_at, row.next_attempt_at, row.past) == (NOW, NOW, False)
    assert queue(completion) == 0
    assert Issuance.objects.count() == 1


def test_the_learner_who_completed_gets_it_and_nobody_else() -> None:
    mapping = make_mapping()
    make_learner(mapping.course.site)
    completion = make_completion(mapping.course)
    queue(completion)
    assert Issuance.objects.get().learner == completion.learner


def test_completions_of_courses_without_a_mapping_are_left_alone() -> None:
    assert queue(make_completion()) == 0
    assert not Issuance.objects.exists()


@pytest.mark.parametrize(("completed_at", "source"), [(NOW - timedelta(days=30), "report"), (None, "unknown")])
def test_past_completions_are_queued_behind_todays(completed_at: Any, source: str) -> None:
    mapping = make_mapping(past_wanted_at=NOW)
    queue(make_completion(mapping.course, completed_at=completed_at, time_source=source))
    assert Issuance.objects.get().past


@pytest.mark.parametrize(
    ("mapping_fields", "connection_fields", "reason"),
    [
        ({"active": False}, {}, Outcome.MAPPING_DISABLED),
        ({}, {"state": "paused"}, Outcome.CONNECTION_PAUSED),
        ({}, {"state": "removed"}, Outcome.CONNECTION_REMOVED),
        ({"active": False}, {"state": "removed"}, Outcome.MAPPING_DISABLED),
    ],
)
def test_what_may_not_be_sent_now_waits_as_held(
    mapping_fields: dict[str, Any], connection_fields: dict[str, Any], reason: str
) -> None:
    mapping = make_mapping(connection=make_connection(**connection_fields), **mapping_fields)
    queue(make_completion(mapping.course))
    row = Issuance.objects.get()
    assert (row.standing, row.standing_reason) == (State.HELD, reason)
    assert Issuance.objects.switched_off().get() == row
    assert not Issuance.objects.switched_on().exists()


def test_a_suspended_learner_waits_until_the_account_is_active_or_the_site_allows_it() -> None:
    site = make_site(send_suspended=False)
    mapping = make_mapping(make_course(site))
    learner = make_learner(site, suspended=True)
    queue(make_completion(mapping.course, learner))
    row = Issuance.objects.get()
    assert (row.state, row.reason) == (State.HELD, Outcome.LEARNER_SUSPENDED)
    assert queueing.requeue_changed_learners([learner.pk], now=NOW) == 0
    Learner.objects.update(suspended=False)
    assert queueing.requeue_changed_learners([learner.pk], now=NOW) == 1

    Issuance.objects.update(state="held", reason=Outcome.LEARNER_SUSPENDED)
    Learner.objects.update(suspended=True)
    assert queueing.let_go(Issuance.objects.all(), now=LATER) == 0
    site.send_suspended = True
    site.save()
    assert queueing.let_go(Issuance.objects.all(), now=LATER) == 1
    row.refresh_from_db()
    assert (row.state, row.next_attempt_at) == (State.QUEUED, LATER)


def poll_of(site: MoodleSite, now: datetime) -> Poll:
    """A poll of the site under way."""
    wanted = {row.course.pk: row for row in wanted_courses(site)}
    return Poll(site, site.state, moodle_client_for(site), wanted, now)


def test_moodle_is_asked_about_those_who_wait_for_it_the_longest_first() -> None:
    site = make_site()
    mapping = make_mapping(make_course(site))
    told = [
        {"state": "not_met", "reason": "no_score"},
        {"state": "held", "reason": "learner_suspended"},
        {"state": "held", "reason": "completion_undone"},
        {"state": "failed", "reason": "profile_incomplete"},
        {"state": "failed", "reason": "rejected"},
        {"state": "held", "reason": "mapping_disabled"},
        {"state": "queued"},
    ]
    rows = [
        make_issuance(mapping, make_completion(mapping.course, confirmed_at=NOW - timedelta(minutes=number)), **fields)
        for number, fields in enumerate(told)
    ]
    waiting = site_poll.waiting_for_moodle(poll_of(site, NOW))
    # The newest one was asked about within the poll interval.
    assert [row.pk for row in waiting] == [rows[number].completion_id for number in (3, 2, 1)]


def test_a_full_reading_is_followed_by_questions_about_those_it_did_not_show() -> None:
    site = make_site(read_whole_at=NOW)
    mapping = make_mapping(make_course(site))
    shown, missing = (make_completion(mapping.course, confirmed_at=at) for at in (NOW, NOW - timedelta(hours=2)))
    for completion in (shown, missing):
        make_issuance(mapping, completion, state="failed", reason="rejected")
    assert site_poll.waiting_for_moodle(poll_of(site, NOW + timedelta(minutes=5))) == [missing]


@pytest.mark.parametrize(("score", "again"), [(70, 1), (60, 0), (None, 1)])
def test_a_changed_score_takes_requirement_not_met_back_into_the_queue(score: int | None, again: int) -> None:
    row = make_issuance(state="not_met", reason="not_met", score_tried=60, next_attempt_at=None)
    row.completion.score = score
    row.completion.save()
    assert queue(row.completion) == again
    row.refresh_from_db()
    assert row.state == (State.QUEUED if again else State.NOT_MET)


def test_a_new_mapping_takes_up_what_the_removed_one_cancelled_and_nothing_else() -> None:
    removed = make_issuance(state="cancelled", reason="mapping_removed")
    by_hand = make_issuance(state="cancelled", reason="by_hand")
    assert queue(removed.completion, by_hand.completion) == 1
    removed.refresh_from_db()
    by_hand.refresh_from_db()
    assert (removed.state, by_hand.state) == (State.QUEUED, State.CANCELLED)


def test_staging_and_production_owe_separately() -> None:
    mapping = make_mapping()
    completion = make_completion(mapping.course)
    make_issuance(mapping, completion, state="issued", assertion_id="1")
    mapping.connection = make_connection(environment="production")
    mapping.badge_id = 9000
    mapping.save()
    assert queue(completion) == 1
    assert set(Issuance.objects.values_list("environment", "state", "badge_id")) == {
        ("staging", "issued", 111),
        ("production", "queued", 9000),
    }


# A profile that became complete


@pytest.mark.parametrize("reason", queueing.MENDED_BY_PROFILE)
def test_a_poll_that_brings_the_missing_field_queues_it_by_itself(reason: str) -> None:
    row = make_issuance(state="failed", reason=reason, next_attempt_at=None, failures=3)
    queued = queueing.queue_stored(Stored([], 0, [row.learner_id]), now=LATER)
    row.refresh_from_db()
    assert queued == 0
    assert (row.state, row.reason, row.next_attempt_at, row.failures) == (State.QUEUED, "", LATER, 0)


@pytest.mark.parametrize("fields", [{"email": ""}, {"firstname": ""}])
def test_a_profile_that_is_still_incomplete_goes_on_waiting(fields: dict[str, Any]) -> None:
    row = make_issuance(state="failed", reason="profile_incomplete")
    Learner.objects.update(**fields)
    assert queueing.requeue_changed_learners([row.learner_id], now=LATER) == 0


def test_another_failure_is_not_mended_by_a_changed_profile() -> None:
    row = make_issuance(state="failed", reason="forbidden")
    assert queueing.requeue_changed_learners([row.learner_id], now=LATER) == 0


@pytest.mark.parametrize("reason", queueing.SHOWN_BY_AN_ATTEMPT)
def test_a_profile_that_seems_unchanged_is_tried_again_once_a_day(reason: str) -> None:
    row = make_issuance(state="failed", reason=reason)
    make_attempt(row, outcome=reason)

    def ask(at: datetime) -> int:
        return queueing.requeue_asked_learners([row.learner_id], now=at)

    assert [ask(NOW + timedelta(hours=hours)) for hours in (1, 23, 25)] == [0, 0, 1]


def test_a_profile_that_was_completed_while_nobody_looked_goes_on_at_once() -> None:
    row = make_issuance(state="failed", reason="profile_incomplete")
    assert queueing.requeue_asked_learners([row.learner_id], now=LATER) == 1


# Queueing anew


def test_what_may_have_been_sent_keeps_its_badge_when_it_is_queued_anew() -> None:
    row = make_issuance(state="failed", reason="gave_up", unanswered="repeated", first_attempt_at=NOW)
    mapping = mapping_of(row)
    mapping.badge_id = 112
    mapping.save()
    assert queueing.requeue(Issuance.objects.all(), now=LATER) == 1
    row.refresh_from_db()
    assert (row.state, row.badge_id, row.unanswered) == (State.QUEUED, 111, "unknown")
    # The look-up goes back to the first attempt; the week of tries begins anew.
    assert (row.first_attempt_at, row.queued_at) == (NOW, LATER)


def test_rows_of_erased_learners_and_of_courses_without_a_mapping_are_not_queued_anew() -> None:
    erased = make_issuance(state="failed")
    Learner.objects.filter(pk=erased.learner_id).update(erased_at=NOW)
    unmapped = make_issuance(state="failed")
    mappings.remove_mapping(mapping_of(unmapped))
    assert queueing.requeue(Issuance.objects.all(), now=LATER) == 0


@pytest.mark.parametrize("state", ["issued", "sending"])
def test_what_is_issued_or_in_a_workers_hands_is_never_queued_anew(state: str) -> None:
    make_issuance(state=state, assertion_id="1", claim="0" * 32, leased_until=NOW)
    assert queueing.requeue(Issuance.objects.all(), now=LATER) == 0


def test_what_may_have_been_sent_under_a_removed_mapping_goes_on_to_its_look_up() -> None:
    row = make_issuance(make_mapping(active=False), unanswered="unknown")
    mappings.remove_mapping(mapping_of(row))
    row.refresh_from_db()
    assert (row.state, row.mapping) == (State.QUEUED, None)


def test_disabled_courses_are_read_too_and_past_ones_where_they_count() -> None:
    site = make_site(clock_skew=timedelta(minutes=-3))
    only_new = make_mapping(make_course(site), active=False)
    all_of_it = make_mapping(make_course(site), past_wanted_at=NOW)
    make_mapping()
    wanted = {row.course: row.since for row in wanted_courses(site)}
    # A clock behind ours stamps a completion of this minute with an earlier time.
    assert wanted == {only_new.course: NOW - timedelta(minutes=3), all_of_it.course: None}


def test_what_a_person_cancelled_stays_cancelled_in_the_other_environment() -> None:
    row = make_issuance(state="cancelled", reason="by_hand")
    mapping = mapping_of(row)
    mapping.connection = make_connection(environment="production")
    mapping.save()
    assert queue(row.completion) == 0
    assert Issuance.objects.get().state == "cancelled"
