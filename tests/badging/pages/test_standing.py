"""How an issuance stands, in words for course managers."""

import re

import pytest

from badging.meanings import Outcome
from badging.models import (
    Issuance,
)
from badging.pages.standing import standing_of

pytestmark = pytest.mark.django_db


State = Issuance.State


@pytest.mark.parametrize("outcome", list(Outcome))
def test_managers_are_told_no_codes(outcome: Outcome) -> None:
    meaning = standing_of(Issuance(state=State.FAILED, reason=outcome)).meaning
    assert meaning
    assert not re.search(r"\w+_\w+|\w+/\w+:\w+", f"{meaning.what} {meaning.todo}")
