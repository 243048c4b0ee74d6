"""The state of an issuance as the course managers' pages show it. The templates get it from here only."""

from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ..meanings import AWAITS_ANSWER, Meaning, Outcome
from ..models import Issuance
from .notes import CONFIRM_THE_SITE, for_managers

State = Issuance.State

# States that somebody should look at.
_NEEDS_ATTENTION = {State.FAILED, State.HELD, State.NOT_MET}
# States in which a site admin can use "Send again".
_CAN_BE_SENT_AGAIN = {State.FAILED, State.NOT_MET, State.CANCELLED}


class Standing(NamedTuple):
    """The state, its label, and what it means with what to do; without a meaning, `progress` says what it does."""

    state: str
    label: str
    meaning: Meaning | None
    progress: "str | Promise"
    needs_attention: bool
    waits_for_next_try: bool
    can_be_sent_again: bool


def standing_of(issuance: Issuance) -> Standing:
    """The standing of the issuance."""
    state = issuance.standing
    return Standing(
        state=state.value,
        label=str(state.label),
        meaning=_meaning_of(issuance),
        progress=_("Is being sent.") if state == State.SENDING else _("Waits for its turn."),
        needs_attention=state in _NEEDS_ATTENTION or issuance.awaits_answer,
        waits_for_next_try=state == State.QUEUED and not issuance.awaits_answer,
        can_be_sent_again=state in _CAN_BE_SENT_AGAIN or issuance.reason == Outcome.IMPLAUSIBLE_DATE,
    )


def _meaning_of(issuance: Issuance) -> Meaning | None:
    """Why it is in its state, and what to do; None where it only waits for its turn."""
    if issuance.awaits_answer:
        return Meaning(AWAITS_ANSWER.what, CONFIRM_THE_SITE)
    return for_managers(issuance.standing_reason)
