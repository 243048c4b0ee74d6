"""Orders of events that once went wrong: found by playing many (test_state_machine.py), kept here in plain words."""

import uuid

import pytest
from django.utils import timezone

from badging import connections, mapping, privacy
from badging.meanings import Outcome
from badging.models import Issuance
from badging.sending import calls, claiming, settling
from sandbox import Sandbox

from .world import BADGE, OTHER_BADGE, bring_forward, map_anew, map_course, owe, send

pytestmark = pytest.mark.django_db
State = Issuance.State


@pytest.mark.parametrize("badge_id", [BADGE, OTHER_BADGE])
@pytest.mark.parametrize("fault", ["500_before", "429", "401"])
def test_what_was_on_its_way_while_its_course_was_mapped_anew_goes_on_under_the_new_mapping(
    sandbox: Sandbox, fault: str, badge_id: int
) -> None:
    row = owe(map_course(sandbox))
    assert row.mapping is not None
    claim_id = uuid.uuid4()
    [taken] = claiming.claim(row.connection, claim_id, limit=1, now=timezone.now()).send
    mapping.remove_mapping(row.mapping)
    current = map_anew(row, badge_id)
    sandbox.faults.on(fault, count=1)
    with connections.navigatr_client_for(row.connection) as client:
        result = calls.send(taken, calls.payload(taken, now=timezone.now()), client)
    attempt = settling.settle_sent(result, timezone.now())
    settling.write_settled([taken], [attempt], claim_id, timezone.now())
    connections.resume(row.connection, now=timezone.now())
    bring_forward(row)
    send(row)
    assert (row.state, row.badge_id, row.mapping) == (State.ISSUED, badge_id, current)


def test_an_erased_learners_unknown_answer_ends_even_when_its_course_was_mapped_anew(sandbox: Sandbox) -> None:
    row = owe(map_course(sandbox), unanswered="unknown")
    claim_id = uuid.uuid4()
    claiming.claim(row.connection, claim_id, limit=1, now=timezone.now())
    map_anew(row, OTHER_BADGE)
    privacy.erase_learner(row.learner, now=timezone.now())
    # What a round that is told to stop does with what no thread has begun.
    Issuance.objects.update(state=State.QUEUED, claim=None, leased_until=None)
    claimed = claiming.claim(row.connection, claim_id, limit=2, now=timezone.now())
    row.refresh_from_db()
    assert (claimed.rows, claimed.more) == ([], False)
    assert (row.state, row.reason, row.is_unknown) == (State.CANCELLED, Outcome.ERASED, False)
