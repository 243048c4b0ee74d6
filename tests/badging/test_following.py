from datetime import timedelta
from typing import Any

import pytest

from badging import schedule
from badging.following import (
    Key,
    Progress,
    Stage,
    follow,
    follow_next,
    is_delivered,
    last_completion,
    next_completion,
    next_reading,
    whole_time,
)
from badging.meanings import Outcome
from badging.models import Heartbeat, Issuance, NavigatrConnection
from moodle_sync.models import Completion, MoodleSite, MoodleSiteState
from tests.builders import (
    NOW,
    let_everything_run,
    make_attempt,
    make_completion,
    make_connection,
    make_course,
    make_issuance,
    make_learner,
    make_mapping,
    make_site,
)

pytestmark = pytest.mark.django_db
State = Issuance.State


def polled_site(**fields: Any) -> MoodleSite:
    """A site that is read every minute, and was 20 s ago."""
    polled = {"feed": "A", "last_poll_at": NOW - timedelta(seconds=20), "next_poll_at": NOW + timedelta(seconds=40)}
    return make_site(**polled | fields)


def owed(**fields: Any) -> Issuance:
    """A badge for a completion of 12:30:00 that was seen four seconds later, and queued at once."""
    mapping = make_mapping(make_course(polled_site()))
    seen = NOW + timedelta(seconds=4)
    completion = make_completion(mapping.course, seen_at=seen)
    return make_issuance(mapping, completion, **{"queued_at": seen, "next_attempt_at": seen} | fields)


def stages_of(row: Issuance | Completion, seconds: float = 5) -> list[Stage]:
    return follow(row.course, row.learner, NOW + timedelta(seconds=seconds))


def last(stages: list[Stage]) -> Stage:
    """The stage that the badge has come to."""
    return next(stage for stage in reversed(stages) if stage.progress != Progress.AHEAD)


def test_a_delivered_badge_tells_the_time_of_each_stage() -> None:
    url = "https://navigatr.example/assertion/911"
    issued = {"state": State.ISSUED, "reason": Outcome.ISSUED, "assertion_id": "911", "assertion_url": url}
    row = owed(**issued, issued_at=NOW + timedelta(seconds=7))
    make_attempt(row, at=NOW + timedelta(seconds=6), outcome=Outcome.ISSUED, status=201)
    stages = stages_of(row, 60)
    assert [stage.key for stage in stages] == list(Key)
    took = [None if stage.took is None else stage.took.total_seconds() for stage in stages]
    assert took == [None, 4, 0, 2, 1]
    assert is_delivered(stages)
    assert whole_time(stages) == timedelta(seconds=7)
    assert stages[3].text == "Issued: HTTP 201"
    assert (stages[4].url, stages[4].todo) == (url, "")


def test_following_takes_few_queries(django_assert_max_num_queries: Any) -> None:
    row = owed()
    make_attempt(row)
    # Completion, mapping, issuances, their mappings, the last attempt; and two for the schedule, if need be.
    with django_assert_max_num_queries(8):
        stages_of(row)


def test_who_has_not_completed_is_told_when_moodle_is_read_next() -> None:
    mapping = make_mapping(make_course(polled_site()))
    learner = make_learner(mapping.course.site)
    stages = follow(mapping.course, learner, NOW)
    assert [stage.progress for stage in stages] == [Progress.WAITING, *[Progress.AHEAD] * 4]
    assert "Moodle is read next in 40 s." in stages[0].text
    mapping.course.completion_enabled = False
    stage = last(follow(mapping.course, learner, NOW))
    assert (stage.progress, stage.about) == (Progress.STOPPED, mapping.course)
    assert "Completion tracking is switched off" in stage.text


def test_what_was_completed_before_the_mapping_says_so() -> None:
    mapping = make_mapping(make_course(polled_site()))
    early = make_completion(mapping.course, completed_at=NOW - timedelta(minutes=1))
    stage = last(stages_of(early))
    assert (stage.key, stage.progress, stage.about) == (Key.QUEUED, Progress.STOPPED, mapping.course)
    assert "completed before it awarded this badge" in stage.text
    mapping.past_wanted_at = NOW
    mapping.save()
    assert last(stages_of(early)).progress == Progress.WAITING


def test_a_course_without_badge_says_so() -> None:
    stage = last(stages_of(make_completion(make_course(polled_site()))))
    assert (stage.key, stage.progress, stage.text) == (Key.QUEUED, Progress.STOPPED, "This course awards no badge.")


@pytest.mark.parametrize(
    ("fields", "key", "text"),
    [
        ({"state": State.NOT_MET, "reason": Outcome.NO_SCORE}, Key.SENT, "Moodle has no score for the learner"),
        ({"state": State.HELD, "reason": Outcome.COMPLETION_UNDONE}, Key.SENT, "no longer has this completion"),
        ({"state": State.FAILED, "reason": Outcome.PROFILE_INCOMPLETE}, Key.SENT, "is missing in Moodle"),
    ],
)
def test_what_is_decided_without_a_call_stops_before_it_is_sent(fields: dict[str, Any], key: Key, text: str) -> None:
    stage = last(stages_of(owed(**fields)))
    assert (stage.key, stage.progress) == (key, Progress.STOPPED)
    assert text in stage.text
    assert stage.todo


def test_what_navigatr_refused_stops_after_it_was_sent() -> None:
    row = owed(state=State.FAILED, reason=Outcome.FORBIDDEN)
    make_attempt(row, at=NOW + timedelta(seconds=6), outcome=Outcome.FORBIDDEN, status=403)
    stages = stages_of(row, 60)
    assert [stage.progress for stage in stages] == [*[Progress.DONE] * 4, Progress.STOPPED]
    assert "HTTP 403" in stages[3].text
    assert "Make the account an administrator of the provider" in stages[4].todo
    assert stages[4].about == row


def test_a_connection_that_cannot_send_is_named() -> None:
    row = owed()
    NavigatrConnection.objects.update(state=NavigatrConnection.State.PAUSED)
    stage = last(stages_of(row))
    assert (stage.progress, stage.about) == (Progress.STOPPED, row.connection)
    assert "refused the token" in stage.text
    rests = NOW + timedelta(seconds=90)
    NavigatrConnection.objects.update(state=NavigatrConnection.State.ACTIVE, not_before=rests)
    stage = last(stages_of(row))
    assert stage.progress == Progress.WAITING
    assert "waits until" in stage.text


def test_a_connection_that_is_not_open_says_so() -> None:
    mapping = make_mapping(make_course(polled_site()), make_connection(open_to_all=False))
    row = make_issuance(mapping)
    stage = last(stages_of(row))
    assert (stage.progress, stage.about) == (Progress.STOPPED, mapping.connection)
    assert "not open to this course" in stage.text


def test_a_next_try_says_when() -> None:
    row = owed(reason=Outcome.UNAVAILABLE, next_attempt_at=NOW + timedelta(seconds=65))
    make_attempt(row)
    stage = last(stages_of(row))
    assert (stage.key, stage.progress) == (Key.ISSUED, Progress.WAITING)
    assert "It is tried again in 60 s." in stage.text


def test_a_silent_worker_is_told_where_a_badge_waits_too_long() -> None:
    let_everything_run(NOW)
    row = owed()
    assert last(stages_of(row)).progress == Progress.WAITING
    Heartbeat.objects.filter(name=schedule.BEAT).update(at=NOW + timedelta(minutes=10))
    stage = last(stages_of(row, 600))
    assert stage.progress == Progress.STOPPED
    assert "No worker has run a task" in stage.text


def test_a_site_that_is_not_read_says_why() -> None:
    let_everything_run(NOW)
    site = polled_site()
    cases = [
        ({"error": "Create a new token.", "failures": 2}, "could not be read"),
        ({"doubt": "Is it the same?"}, "looks like another one"),
        ({"next_poll_at": NOW - timedelta(hours=1)}, "should have been read by now"),
    ]
    for fields, text in cases:
        MoodleSiteState.objects.update(**{"error": "", "failures": 0, "doubt": ""} | fields)
        reading = next_reading(MoodleSite.objects.select_related("state").get(), NOW)
        assert reading.stopped
        assert text in reading.text
        assert reading.todo
    site.enabled = False
    assert "not enabled" in next_reading(site, NOW).text


def test_the_next_completion_is_the_first_one_that_counts() -> None:
    mapping = make_mapping(make_course(polled_site()))
    known = make_completion(mapping.course)
    assert next_completion(mapping.course, mapping, known.pk) is None
    early = make_completion(mapping.course, completed_at=NOW - timedelta(days=3))
    assert next_completion(mapping.course, mapping, known.pk) == early
    counting = [make_completion(mapping.course, completed_at=NOW + timedelta(seconds=20)) for _number in range(2)]
    assert next_completion(mapping.course, mapping, known.pk) == counting[0]


def test_whoever_completes_next_is_followed() -> None:
    mapping = make_mapping(make_course(polled_site()))
    make_completion(mapping.course)
    after = last_completion(mapping.course)
    learner, stages = follow_next(mapping.course, after, NOW)
    assert (learner, len(stages), last(stages).progress) == (None, len(Key), Progress.WAITING)
    assert "Moodle is read next in 40 s." in last(stages).text
    row = make_issuance(mapping, make_completion(mapping.course))
    learner, stages = follow_next(mapping.course, after, NOW)
    assert learner == row.learner
    assert last(stages).key == Key.SENT
