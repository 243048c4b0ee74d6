"""Did an attempt whose answer was lost issue the badge after all? Asked of Navigatr before anything is sent again.

The rule is the API's (its section "Issuing"): newest first, same badge and provider, e-mail compared without case, not
revoked. The list is read without a keyword, because an address must not stand in a URL.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from navigatr_client import Assertion, NavigatrClient, NavigatrError, NavigatrRejected

from ..meanings import Outcome
from ..models import recipient_key
from ..scrubbing import storable

# Navigatr's clock may differ from ours by a little.
CLOCK_MARGIN = timedelta(minutes=10)
# So that one failing page in a hundred does not cost all those that have been read.
TRIES_OF_A_PAGE = 3


@dataclass(frozen=True, slots=True)
class Question:
    """One issuance whose answer is unknown. `recipient` is the digest of the address that it was sent to."""

    issuance_id: int
    recipient: str
    first_attempt_at: datetime


@dataclass(frozen=True, slots=True)
class LookUpAnswer:
    """FOUND (with the assertion), NOT_THERE, LOOKUP_REFUSED or LOOKUP_FAILED, and what was looked at."""

    outcome: Outcome
    looked_up: str
    assertion: Assertion | None = None
    error: NavigatrError | None = None


def look_up(
    client: NavigatrClient,
    *,
    badge_id: int,
    provider_id: int,
    questions: Iterable[Question],
    before_next_page: Callable[[], None] = lambda: None,
) -> dict[int, LookUpAnswer]:
    """Answer for every question, by issuance id; one pass over the badge's assertions serves them all.

    `before_next_page` is called before each page but the first, and may wait, or raise to end the look-up.
    """
    open_questions = {question.recipient: question for question in questions}
    oldest = min(question.first_attempt_at for question in open_questions.values()) - CLOCK_MARGIN
    answers: dict[int, LookUpAnswer] = {}
    pages = read = 0
    blind = False
    newest: datetime | None = None
    previous: datetime | None = None
    sorted_so_far = True
    try:
        for page in client.assertions(badge_id, provider_id=provider_id, tries=TRIES_OF_A_PAGE):
            pages += 1
            for assertion in page.items:
                read += 1
                created = assertion.time_created
                if created is not None:
                    # A server that ignores the order asked for is read to the end.
                    sorted_so_far = sorted_so_far and (previous is None or created <= previous)
                    newest, previous = newest or created, created
                    if created < oldest:
                        continue
                if assertion.status == "Revoked" or assertion.provider_id not in (None, provider_id):
                    continue
                if not assertion.recipient_email:
                    blind = True
                    continue
                question = open_questions.get(recipient_key(assertion.recipient_email))
                if question is None or question.issuance_id in answers:
                    continue
                if created is None or created >= question.first_attempt_at - CLOCK_MARGIN:
                    looked = f"assertions of badge {badge_id}: found {storable(assertion.id)} on page {pages}"
                    answers[question.issuance_id] = LookUpAnswer(Outcome.FOUND, looked, assertion)
            if len(answers) == len(open_questions):
                break
            # Many made in one second show no order at all: only a step back in time shows that the newest come first.
            if sorted_so_far and newest and previous and previous < newest and previous < oldest:
                break
            if page.page < page.pages:
                before_next_page()
    except NavigatrRejected as error:
        rest = LookUpAnswer(Outcome.LOOKUP_REFUSED, f"assertions of badge {badge_id}: refused, {error}", error=error)
    except NavigatrError as error:
        rest = LookUpAnswer(Outcome.LOOKUP_FAILED, f"assertions of badge {badge_id}: {error}", error=error)
    else:
        looked = f"assertions of badge {badge_id}, newest first: {read} on {pages} page(s)"
        if blind:
            rest = LookUpAnswer(Outcome.LOOKUP_REFUSED, f"{looked}; recipients are hidden from this account")
        else:
            rest = LookUpAnswer(Outcome.NOT_THERE, looked)
    for question in open_questions.values():
        answers.setdefault(question.issuance_id, rest)
    return answers
