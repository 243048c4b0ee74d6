"""What is decided about an issuance without asking Navigatr."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.utils import timezone

from badging.meanings import Outcome
from badging.models import Issuance
from badging.queueing import queue_completions
from moodle_sync.models import Completion
from sandbox import Sandbox
from tests.builders import (
    make_course,
    make_site,
    map_course,
    owe,
)
from tests.worker import send, trail

pytestmark = pytest.mark.django_db
State = Issuance.State
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    "lacks",
    [
        {"firstname": " "},
        {"firstname": "\u200b"},
        {"lastname": ""},
        {"lastname": "\u3164\u2800"},
        {"email": ""},
        {"email": "no address"},
        {"email": "pat@college"},
        {"email": "pat smith@college.example"},
    ],
)
def test_an_incomplete_profile_fails_without_a_call(sandbox: Sandbox, lacks: dict[str, str]) -> None:
    row = owe(map_course(sandbox), person=lacks)
    tally = send(row)
    assert (row.state, row.reason, row.next_attempt_at) == (State.FAILED, Outcome.PROFILE_INCOMPLETE, None)
    assert trail(row) == [("decision", "profile_incomplete")]
    assert (tally.failed, tally.attempts) == (1, 0)
    assert sandbox.navigatr.puts == []


@pytest.mark.parametrize(
    ("person", "state", "reason"),
    [
        ({"deleted": True}, State.HELD, Outcome.LEARNER_DELETED),
        ({"suspended": True}, State.HELD, Outcome.LEARNER_SUSPENDED),
        ({"erased_at": timezone.now()}, State.CANCELLED, Outcome.ERASED),
    ],
)
def test_who_must_not_get_a_badge_is_never_sent(
    sandbox: Sandbox, person: dict[str, Any], state: str, reason: str
) -> None:
    course = make_course(make_site(send_suspended=False))
    row = owe(map_course(sandbox, course=course), person=person)
    send(row)
    assert (row.state, row.reason) == (state, reason)
    assert trail(row) == [("decision", reason)]
    assert sandbox.navigatr.puts == []


def test_suspended_learners_are_sent_where_the_site_says_so(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), person={"suspended": True})
    send(row)
    assert row.state == State.ISSUED


@pytest.mark.parametrize(
    ("score", "reason"),
    [
        (None, Outcome.NO_SCORE),
        (Decimal("49"), Outcome.BELOW_MIN_SCORE),
        (Decimal("59.5"), Outcome.BELOW_MIN_SCORE),
        (Decimal("59.999999"), Outcome.BELOW_MIN_SCORE),
    ],
)
def test_a_minimum_score_that_is_not_reached_is_not_sent(sandbox: Sandbox, score: Decimal | None, reason: str) -> None:
    row = owe(map_course(sandbox, min_score=60), score=score)
    assert send(row).not_met == 1
    assert (row.state, row.reason, row.score_tried) == (State.NOT_MET, reason, score)
    assert sandbox.navigatr.puts == []


def test_a_minimum_score_that_is_just_reached_is_sent(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox, min_score=50), score=50)
    send(row)
    assert row.state == State.ISSUED


def test_a_hidden_course_total_is_told_as_the_reason_and_goes_on_once_it_is_shown(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox, min_score=60), score=None)
    Completion.objects.update(score_hidden=True)
    send(row)
    assert (row.state, row.reason) == (State.NOT_MET, Outcome.SCORE_HIDDEN)
    completion = Completion.objects.get()
    assert queue_completions([completion], now=timezone.now()) == 0
    completion.score_hidden = False
    completion.save()
    assert queue_completions([completion], now=timezone.now()) == 1
    send(row)
    assert (row.state, row.reason) == (State.NOT_MET, Outcome.NO_SCORE)
    completion.score = Decimal("60")
    completion.save()
    assert queue_completions([completion], now=timezone.now()) == 1
    send(row)
    assert row.state == State.ISSUED
