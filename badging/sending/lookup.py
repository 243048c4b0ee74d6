"""Did an attempt whose answer was lost issue the badge after all? Navigatr is asked before anything is sent again.

The rule is docs/navigatr-api.md, "Issuing": newest first, same badge and provider, e-mail compared without case, not
revoked. The list is read without a keyword, because an address must not stand in a URL.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from navigatr_client import Assertion, NavigatrClient, NavigatrError, NavigatrRejected
from vault import digests

from ..meanings import Outcome
from ..models import recipient_key
from ..scrubbing import storable

# Navigatr's clock may differ from ours by a little.
CLOCK_MARGIN = timedelta(minutes=10)
# One failing page in a hundred must not cost all pages that have been read.
TRIES_OF_A_PAGE = 3


@dataclass(frozen=True, slots=True)
class Question:
    """One issuance whose answer is unknown. `recipient` is the digest of the address that it was sent to."""

    issuance_id: int
    recipient: str
    first_attempt_at: datetime

    @property
    def sent_after(self) -> datetime:
        """No assertion from before this time answers the question."""
        return self.first_attempt_at - CLOCK_MARGIN


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
    """Answer every question, by issuance id; one pass over the badge's assertions serves them all.

    `before_next_page` is called before each page but the first, and may wait, or raise to end the look-up.
    """
    search = _Search(badge_id, provider_id, {question.recipient: question for question in questions})
    try:
        for page in client.assertions(badge_id, provider_id=provider_id, tries=TRIES_OF_A_PAGE):
            search.read(page.items)
            if search.is_over:
                break
            if page.page < page.pages:
                before_next_page()
    except NavigatrRejected as error:
        rest = LookUpAnswer(Outcome.LOOKUP_REFUSED, f"assertions of badge {badge_id}: refused, {error}", error=error)
    except NavigatrError as error:
        rest = LookUpAnswer(Outcome.LOOKUP_FAILED, f"assertions of badge {badge_id}: {error}", error=error)
    else:
        rest = search.not_found()
    return {question.issuance_id: rest for question in search.questions.values()} | search.answers


class _Search:
    """One pass over a badge's assertions. `questions` by recipient; `answers` by issuance id."""

    def __init__(self, badge_id: int, provider_id: int, questions: dict[str, Question]) -> None:
        self.badge_id, self.provider_id = badge_id, provider_id
        self.questions = questions
        # The keys that the recipients' digests are made with; almost always the same for all.
        self._made_with = {digests.name_of(recipient) for recipient in questions}
        self.answers: dict[int, LookUpAnswer] = {}
        self._oldest = min(question.sent_after for question in questions.values())
        self._pages = self._assertions = 0
        self._recipients_hidden = False
        # The times of the first and of the last assertion read, and whether none was later than the one before it.
        self._first: datetime | None = None
        self._last: datetime | None = None
        self._newest_first = True

    def read(self, page: Iterable[Assertion]) -> None:
        """Look for answers on one more page."""
        self._pages += 1
        for assertion in page:
            self._assertions += 1
            self._note_order(assertion.time_created)
            if self._may_answer(assertion):
                self._answer(assertion)

    @property
    def is_over(self) -> bool:
        """Whether all are found, or what follows is older than every question.

        Only a step back in time shows that the newest come first: many made in one second show no order, and a server
        that ignores the order asked for is read to the end.
        """
        if len(self.answers) == len(self.questions):
            return True
        steps_back = self._first is not None and self._last is not None and self._last < self._first
        return self._newest_first and steps_back and self._last is not None and self._last < self._oldest

    def not_found(self) -> LookUpAnswer:
        """The answer for all that were not found. Where an account sees no recipients, nothing can be said."""
        looked_up = (
            f"assertions of badge {self.badge_id}, newest first: {self._assertions} found, pages read: {self._pages}"
        )
        if self._recipients_hidden:
            return LookUpAnswer(Outcome.LOOKUP_REFUSED, f"{looked_up}; recipients are hidden from this account")
        return LookUpAnswer(Outcome.NOT_THERE, looked_up)

    def _note_order(self, created: datetime | None) -> None:
        if created is not None:
            self._newest_first = self._newest_first and (self._last is None or created <= self._last)
            self._first, self._last = self._first or created, created

    def _may_answer(self, assertion: Assertion) -> bool:
        if assertion.time_created is not None and assertion.time_created < self._oldest:
            return False
        return assertion.status != "Revoked" and assertion.provider_id in (None, self.provider_id)

    def _answer(self, assertion: Assertion) -> None:
        if not assertion.recipient_email:
            self._recipients_hidden = True
            return
        for made_with in self._made_with:
            question = self.questions.get(recipient_key(assertion.recipient_email, made_with))
            if question is not None and question.issuance_id not in self.answers:
                self._answer_one(question, assertion)

    def _answer_one(self, question: Question, assertion: Assertion) -> None:
        created = assertion.time_created
        if created is None or created >= question.sent_after:
            found = f"assertions of badge {self.badge_id}: found {storable(assertion.id)} on page {self._pages}"
            self.answers[question.issuance_id] = LookUpAnswer(Outcome.FOUND, found, assertion)
