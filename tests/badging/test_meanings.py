"""One table says what every outcome means and what to do."""

import pytest

from badging.meanings import MEANINGS, Outcome, of_error
from badging.models import Issuance, IssuanceAttempt
from navigatr_client import (
    NavigatrError,
    NavigatrRejected,
    NavigatrRequirementNotMet,
    NavigatrTokenRefused,
    NavigatrUnavailable,
    NavigatrUnclear,
)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_says_what_happened_and_what_to_do(outcome: Outcome) -> None:
    meaning = MEANINGS[outcome]
    assert str(meaning.what).endswith(".")
    assert str(meaning.todo).endswith(".")
    assert len(outcome) <= 20
    assert IssuanceAttempt(outcome=outcome).meaning == Issuance(state="failed", reason=outcome).meaning == meaning


def test_an_issuance_that_was_never_tried_has_no_meaning() -> None:
    assert Issuance(state="issued").meaning is None


@pytest.mark.parametrize(
    ("error", "status", "outcome"),
    [
        (NavigatrRequirementNotMet, 202, Outcome.NOT_MET),
        (NavigatrRejected, 400, Outcome.BAD_SOURCE),
        (NavigatrTokenRefused, 401, Outcome.TOKEN_REFUSED),
        (NavigatrRejected, 403, Outcome.FORBIDDEN),
        (NavigatrRejected, 404, Outcome.NOT_FOUND),
        (NavigatrRejected, 422, Outcome.UNPUBLISHED),
        (NavigatrRejected, 418, Outcome.REJECTED),
        (NavigatrUnavailable, 429, Outcome.RATE_LIMITED),
        (NavigatrUnavailable, 425, Outcome.UNAVAILABLE),
        (NavigatrUnavailable, None, Outcome.UNAVAILABLE),
        (NavigatrUnclear, 408, Outcome.UNCLEAR),
        (NavigatrUnclear, 500, Outcome.UNCLEAR),
        (NavigatrUnclear, None, Outcome.UNCLEAR),
    ],
)
def test_every_answer_of_navigatr_has_its_outcome(
    error: type[NavigatrError], status: int | None, outcome: Outcome
) -> None:
    assert of_error(error("PUT", "/badge/1/issue", status=status)) == outcome


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ((), Outcome.UNPUBLISHED),
        (("score",), Outcome.UNPUBLISHED),
        (("recipient_email",), Outcome.PROFILE_REFUSED),
        (("recipient_firstname",), Outcome.PROFILE_REFUSED),
        (("score", "recipient_lastname"), Outcome.PROFILE_REFUSED),
    ],
)
def test_a_malformed_field_of_the_learner_is_the_profiles_fault(fields: tuple[str, ...], outcome: Outcome) -> None:
    assert of_error(NavigatrRejected("PUT", "/badge/1/issue", status=422, fields=fields)) == outcome
    assert of_error(NavigatrRejected("PUT", "/badge/1/issue", status=404, fields=fields)) == Outcome.NOT_FOUND
