"""The state of an issuance as the course managers' pages show it. The templates get it from here only."""

from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from ..by_hand import MENDED_BY_MANAGERS
from ..meanings import AWAITS_ANSWER, Meaning, Outcome
from ..models import Issuance, IssuanceAttempt
from .notes import CONFIRM_THE_SITE, for_managers

State = Issuance.State

# States that somebody should look at.
_NEEDS_ATTENTION = {State.FAILED, State.HELD, State.NOT_MET}
# States in which a site admin can use "Send again".
_CAN_BE_SENT_AGAIN = {State.FAILED, State.NOT_MET, State.CANCELLED}

# What Navigatr calls the fields that people know.
_FIELDS = {
    "recipient_email": _("e-mail address"),
    "recipient_firstname": _("first name"),
    "recipient_lastname": _("last name"),
    "badge_id": _("badge"),
    "provider_id": _("provider"),
    "issue_date": _("date"),
    "score": _("score"),
    "min_score": _("minimum score"),
    "evidence_text": _("evidence"),
    "evidence_url": _("evidence"),
}


class Standing(NamedTuple):
    """The state, its label, and what it means with what to do; without a meaning, `progress` says what it does."""

    state: str
    label: str
    meaning: Meaning | None
    progress: "str | Promise"
    needs_attention: bool
    waits_for_next_try: bool
    # Somebody who may change the course's badge can do something about it here.
    has_failed: bool
    may_send_again: bool
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
        has_failed=state in (State.FAILED, State.NOT_MET),
        may_send_again=may_send_again(issuance),
        can_be_sent_again=state in _CAN_BE_SENT_AGAIN or issuance.reason == Outcome.IMPLAUSIBLE_DATE,
    )


def may_send_again(issuance: Issuance) -> bool:
    """Whether a course manager may send it again: as `by_hand.managers_can_send_again` asks."""
    stopped = issuance.state in (State.FAILED, State.NOT_MET) and issuance.reason in MENDED_BY_MANAGERS
    return stopped and not issuance.is_unknown and issuance.mapping is not None and not issuance.learner.erased_at


def _meaning_of(issuance: Issuance) -> Meaning | None:
    """Why it is in its state, and what to do; None where it only waits for its turn."""
    if issuance.awaits_answer:
        return Meaning(AWAITS_ANSWER.what, CONFIRM_THE_SITE)
    return for_managers(issuance.standing_reason)


def refused_fields(attempt: IssuanceAttempt) -> str:
    """What Navigatr found malformed, in people's words."""
    names = (str(_FIELDS[name]) for name in attempt.fields.split(", ") if name in _FIELDS)
    return ", ".join(dict.fromkeys(names))
