"""Exact people: names and addresses as Moodle holds them, and what is missing told as what it is."""

import pytest

from badging.meanings import Outcome
from badging.models import Issuance
from sandbox import MOODLE

from .college import College

NAMES = [
    ("Siobhán", "O'Hara", "s.o'hara@example.org"),
    ("A & B", 'Smith & "Sons"', "a&b@example.org"),
    ("Amp &amp; Sand", "Lt &lt; Sign", "amp@example.org"),
    ("Less", "2 < 3", "less@example.org"),
    ("N/A", "O&#39;Num", "num@example.org"),
    ("Zoë 🎓", "Łukasz+1", "zoe@example.org"),
    ("محمد", "الأحمد", "m@example.org"),
]


@pytest.mark.parametrize(("firstname", "lastname", "email"), NAMES)
def test_a_badge_goes_to_the_person_as_moodle_holds_them(
    any_college: College, firstname: str, lastname: str, email: str
) -> None:
    learner = any_college.learner(firstname, lastname, email)
    any_college.complete(learner)
    any_college.poll_and_send()
    [badge] = any_college.badges()
    assert (badge.recipient_firstname, badge.recipient_lastname) == (firstname, lastname)
    assert badge.recipient_email == email


def test_a_name_with_a_tag_costs_nobody_else_the_badge(college: College) -> None:
    odd, good = (
        college.learner("<Test>", "Ann <Annie>", "odd@example.org"),
        college.learner("Bo", "Lee", "bo@example.org"),
    )
    for learner in (odd, good):
        college.complete(learner)
    college.poll_and_send()
    assert {badge.recipient_lastname for badge in college.badges()} == {"Ann <Annie>", "Lee"}


def test_a_name_with_a_tag_is_named_where_participants_are_listed(slow_college: College) -> None:
    first = slow_college.learner("Al", "Fa", "al@example.org")
    odd = slow_college.learner("<b>Bold</b>", "Face", "odd@example.org")
    last = slow_college.learner("Zo", "Lee", "zo@example.org")
    for learner in (first, odd, last):
        slow_college.complete(learner)
    result = slow_college.poll_and_send()
    assert {badge.recipient_lastname for badge in slow_college.badges()} == {"Fa", "Lee"}
    assert any("participant number 2" in problem for problem in result.problems)


@pytest.mark.parametrize("blank", ["\u200b", "\u3164", " ", "\u2800"])
def test_a_name_that_nobody_can_see_is_no_name(any_college: College, blank: str) -> None:
    learner = any_college.learner(blank, "Lee", "ana@example.org")
    any_college.complete(learner)
    any_college.poll_and_send()
    assert any_college.row(learner).reason == Outcome.PROFILE_INCOMPLETE
    assert any_college.badges() == []


@pytest.mark.parametrize("after_days", [0, 5])
def test_a_profile_that_is_mended_is_sent_within_two_polls(any_college: College, after_days: int) -> None:
    learner = any_college.learner("Ana", "Lee", "pat@college")
    any_college.complete(learner)
    any_college.poll_and_send()
    assert any_college.row(learner).reason == Outcome.PROFILE_INCOMPLETE
    for _ in range(after_days):
        any_college.clock.shift(86_400)
        any_college.poll_and_send()
    any_college.moodle.set_email(learner, "pat@college.example")
    for _ in range(2):
        any_college.poll_and_send()
    assert [badge.recipient_email for badge in any_college.badges()] == ["pat@college.example"]


def test_two_spellings_of_an_address_are_one_recipient(any_college: College) -> None:
    for number, email in enumerate(["ana@bücher.example", "ANA@xn--bcher-kva.example", "ana@bu\u0308cher.example"]):
        any_college.complete(any_college.learner("Ana", f"Lee{number}", email))
    any_college.poll_and_send()
    assert len(any_college.badges()) == 1
    reasons = sorted(Issuance.objects.values_list("reason", flat=True))
    assert reasons == [Outcome.DUPLICATE_RECIPIENT, Outcome.DUPLICATE_RECIPIENT, Outcome.ISSUED]


def test_names_that_moodle_hides_are_a_missing_right_and_not_the_learners_fault(slow_college: College) -> None:
    slow_college.sandbox.faults.on("no_viewfullnames", side=MOODLE)
    learner = slow_college.learner()
    slow_college.complete(learner)
    slow_college.poll_and_send()
    assert slow_college.row(learner).reason == Outcome.NAMES_HIDDEN
    slow_college.sandbox.faults.clear()
    for _ in range(2):
        slow_college.poll_and_send()
    assert len(slow_college.badges()) == 1
