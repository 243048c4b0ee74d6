"""Where a learner's badge is: every place, and what to tell the learner."""

from datetime import timedelta
from typing import Any

import pytest

from badging.meanings import MEANINGS, Outcome
from badging.models import CourseBadgeMapping, Issuance
from badging.whereabouts import Where, whereabouts
from moodle_sync.models import Learner, MoodleSite, MoodleSiteState
from tests.builders import NOW, make_completion, make_connection, make_course, make_issuance, make_learner, make_mapping

pytestmark = pytest.mark.django_db
State = Issuance.State


@pytest.fixture
def ana() -> Learner:
    return make_learner(firstname="Ana", lastname="Lee")


def mapped(ana: Learner, **fields: Any) -> CourseBadgeMapping:
    connection = fields.pop("connection", None) or make_connection(name=f"N{CourseBadgeMapping.objects.count()}")
    return make_mapping(make_course(ana.site), connection, **fields)


def test_each_course_says_where_its_badge_is(ana: Learner) -> None:
    def issuance(state: State, reason: str = "", **fields: Any) -> None:
        mapping = mapped(ana, badge_id=CourseBadgeMapping.objects.count() + 1)
        completion = make_completion(mapping.course, ana)
        make_issuance(mapping, completion, state=state, reason=reason, **fields)

    issuance(State.ISSUED, Outcome.ISSUED, assertion_id="a-1", issued_at=NOW)
    issuance(State.QUEUED)
    issuance(State.QUEUED, unanswered="unknown")
    issuance(State.NOT_MET, Outcome.BELOW_MIN_SCORE)
    issuance(State.HELD, Outcome.LEARNER_SUSPENDED)
    issuance(State.FAILED, Outcome.PROFILE_INCOMPLETE)
    issuance(State.FAILED, Outcome.FORBIDDEN)
    issuance(State.CANCELLED, Outcome.ALREADY_HOLDS)
    mapping = mapped(ana, connection=make_connection(name="off", state="paused"))
    make_issuance(mapping, make_completion(mapping.course, ana), state=State.QUEUED)
    make_completion(mapped(ana).course, ana, completed_at=NOW - timedelta(days=9))
    make_completion(mapped(ana).course, ana, undone_at=NOW)
    make_completion(mapped(ana).course, ana)
    make_completion(make_course(ana.site), ana)
    mapped(ana)
    make_mapping()
    told = whereabouts(ana, NOW)
    assert [row.where for row in reversed(told[:-1])] == [
        Where.DELIVERED, Where.WAITING, Where.SENT, Where.NOT_MET, Where.HELD, Where.FAILED, Where.FAILED,
        Where.CANCELLED, Where.HELD, Where.BEFORE, Where.NOT_COMPLETED, Where.WAITING, Where.NO_BADGE,
    ]  # fmt: skip
    assert told[-1].where == Where.NOT_COMPLETED
    assert all(row.tell for row in told)
    by_reason = {row.issuance.reason: row for row in told if row.issuance}
    assert "Moodle profile" in by_reason[Outcome.PROFILE_INCOMPLETE].tell
    forbidden = by_reason[Outcome.FORBIDDEN]
    assert (forbidden.tell, forbidden.todo) == (
        "Your badge could not be sent yet. It is being looked after; you need not do anything.",
        str(MEANINGS[Outcome.FORBIDDEN].todo),
    )
    issued = by_reason[Outcome.ISSUED]
    assert (issued.environment, "It is no real badge." in issued.tell) == ("staging", True)
    # What learners are told has none of the portal's words.
    words = ("issuance", "mapping", "connection", "token", "queued", "poll")
    assert [row.tell for row in told if any(word in row.tell.lower() for word in words)] == []


@pytest.mark.parametrize(
    ("site", "state", "todo"),
    [
        ({"enabled": False}, {}, "A site admin can enable it."),
        ({}, {"doubt": "Is it the same?"}, "is this still the same Moodle?"),
        ({}, {"next_poll_at": NOW - timedelta(hours=1)}, "start the portal again"),
        ({}, {"failures": 2, "error": "Create a new token.", "next_poll_at": NOW + timedelta(hours=1)}, "new token"),
    ],
)
def test_nobody_is_promised_a_badge_in_minutes_while_their_moodle_is_not_read(
    ana: Learner, site: dict[str, Any], state: dict[str, Any], todo: str
) -> None:
    make_completion(mapped(ana).course, ana)
    [waiting] = whereabouts(ana, NOW)
    assert (waiting.where, "within the next minutes" in waiting.tell) == (Where.WAITING, True)
    MoodleSite.objects.update(**site)
    MoodleSiteState.objects.update(**state)
    [told] = whereabouts(ana, NOW)
    assert (told.where, told.tell.startswith("You completed this course.")) == (Where.HELD, True)
    assert "minutes" not in told.tell
    assert todo in told.todo


def test_however_many_courses_there_are_the_queries_stay_few(
    ana: Learner, django_assert_num_queries: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = make_connection()
    for number in range(12):
        mapping = mapped(ana, connection=connection, badge_id=number + 1)
        if number < 8:
            make_issuance(mapping, make_completion(mapping.course, ana), state=State.QUEUED)
    # Issuances with the mappings of their courses, completions with theirs, and the courses that are not completed.
    with django_assert_num_queries(5):
        assert len(whereabouts(ana, NOW)) == 12
    monkeypatch.setattr("badging.whereabouts.MOST_COURSES", 5)
    assert len(whereabouts(ana, NOW)) == 5
