"""A learner who is erased while something is on its way."""

from datetime import timedelta

import pytest
from django.utils import timezone

from badging import privacy
from badging.meanings import Outcome
from badging.models import AttemptWords, Issuance
from badging.sending import rounds
from sandbox import Sandbox
from tests.builders import (
    OTHER_BADGE,
    map_anew,
    map_course,
    owe,
)
from tests.worker import Worker, send, take

pytestmark = pytest.mark.django_db
State = Issuance.State
MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("fault", "state", "reason"),
    [(None, "issued", "erased"), ("503", "cancelled", "erased"), ("403", "cancelled", "erased")],
)
def test_a_learner_erased_while_sending_does_not_come_back(
    sandbox: Sandbox, fault: str | None, state: str, reason: str
) -> None:
    row = owe(map_course(sandbox))
    worker = take(row)
    privacy.erase_learner(row.learner, now=timezone.now())
    if fault:
        sandbox.faults.on(fault)
    worker.ask().write()
    row.refresh_from_db()
    assert (row.state, row.reason, row.recipient_key, row.is_unknown) == (state, reason, "", False)
    assert row.learner.erased_at is not None
    assert row.learner.email == ""


def test_a_learner_erased_while_a_worker_died_is_not_sent(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    take(row).die()
    privacy.erase_learner(row.learner, now=timezone.now())
    rounds.send_all_due()
    row.refresh_from_db()
    assert (row.state, row.reason, row.recipient_key) == (State.CANCELLED, Outcome.ERASED, "")
    assert sandbox.navigatr.puts == []


def test_an_unknown_answer_of_an_erased_learner_is_not_looked_up(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), unanswered="unknown", person={"erased_at": timezone.now()})
    send(row)
    assert (row.state, row.reason, row.is_unknown, row.recipient_key) == (State.CANCELLED, Outcome.ERASED, False, "")
    assert not sandbox.navigatr.ledger


def test_an_erased_learners_unknown_answer_ends_even_when_its_course_was_mapped_anew(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), unanswered="unknown")
    take(row)
    map_anew(row, OTHER_BADGE)
    privacy.erase_learner(row.learner, now=timezone.now())
    # What a round that is told to stop does with what no thread has begun.
    Issuance.objects.update(state=State.QUEUED, claim=None, leased_until=None)
    worker = Worker(row.connection).claim()
    row.refresh_from_db()
    assert (worker.rows, worker.more) == ([], False)
    assert (row.state, row.reason, row.is_unknown) == (State.CANCELLED, Outcome.ERASED, False)


def test_what_navigatr_says_of_somebody_erased_meanwhile_is_not_kept(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), person={"firstname": "Zoë", "lastname": "Öz-Lee"})
    worker = take(row)
    sandbox.faults.on("422_quotes")
    worker.ask()
    privacy.erase_learner(row.learner, now=timezone.now())
    worker.write()
    (attempt,) = row.attempts.all()
    assert (attempt.status, attempt.detail) == (422, "")
    assert not AttemptWords.objects.exists()


def test_a_badge_that_arrives_after_the_erasure_leaves_no_way_to_the_person(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox))
    worker = take(row).ask()
    Issuance.objects.filter(pk=row.pk).update(
        state=State.QUEUED, claim=None, leased_until=None, next_attempt_at=timezone.now(), unanswered="unknown"
    )
    privacy.erase_learner(row.learner, now=timezone.now())
    worker.write()
    row.refresh_from_db()
    assert (row.state, row.reason) == (State.ISSUED, Outcome.ERASED)
    assert (row.assertion_id, row.assertion_url, row.score_tried, row.recipient_key) == ("", "", None, "")
