"""What a seed once found, told without the noise around it."""

import pytest

from badging import issuing
from badging.meanings import Outcome
from badging.models import Issuance, NavigatrConnection
from tests.builders import NOW, make_connection, make_issuance, make_mapping

State = Issuance.State


@pytest.mark.django_db
@pytest.mark.parametrize("reason", [Outcome.CONNECTION_PAUSED, Outcome.MAPPING_DISABLED])
def test_what_was_held_when_its_switch_was_on_again_already_goes_on_with_the_next_sweep(reason: Outcome) -> None:
    # Seed 12: a poll read the paused connection, the reconnecting released what was held, and then the poll committed.
    row = make_issuance(state=State.HELD, reason=reason)
    issuing.sweep(now=NOW)
    row.refresh_from_db()
    assert (row.state, row.reason, row.next_attempt_at) == (State.QUEUED, "", NOW)


@pytest.mark.django_db
def test_what_still_has_to_wait_stays_held() -> None:
    paused = make_mapping(connection=make_connection(state=NavigatrConnection.State.PAUSED))
    make_issuance(make_mapping(active=False), state=State.HELD, reason=Outcome.MAPPING_DISABLED)
    make_issuance(paused, state=State.HELD, reason=Outcome.CONNECTION_PAUSED)
    make_issuance(state=State.HELD, reason=Outcome.LEARNER_SUSPENDED)
    issuing.sweep(now=NOW)
    assert set(Issuance.objects.values_list("state", flat=True)) == {State.HELD}
