"""How an issuance stands, in words for course managers."""

import re
from datetime import UTC, datetime

import pytest

from badging.meanings import Outcome
from badging.models import (
    Issuance,
)
from badging.pages.standing import standing_of

pytestmark = pytest.mark.django_db


State = Issuance.State
IN_2028 = datetime(2028, 2, 1, 9, 0, tzinfo=UTC)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_managers_are_told_no_codes(outcome: Outcome) -> None:
    meaning = standing_of(Issuance(state=State.FAILED, reason=outcome)).meaning
    assert meaning
    assert not re.search(r"\w+_\w+|\w+/\w+:\w+", f"{meaning.what} {meaning.todo}")
