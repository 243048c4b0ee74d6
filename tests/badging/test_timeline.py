"""The timeline of an issuance: what happened, in order, in sentences, bounded."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from badging import by_hand
from badging.meanings import Outcome
from badging.models import Issuance
from badging.timeline import MOST_TOLD, sent_as, timeline_of
from tests.builders import NOW, make_attempt, make_completion, make_connection, make_course, make_issuance, make_mapping

pytestmark = pytest.mark.django_db
State = Issuance.State
HOUR = timedelta(hours=1)


def read(row: Issuance) -> Issuance:
    """As the page reads it."""
    return Issuance.objects.with_standing().select_related("learner", "completion").get(pk=row.pk)


def test_it_tells_the_whole_story_in_order() -> None:
    completion = make_completion(completed_at=NOW - 2 * HOUR, seen_at=NOW - HOUR, score=80)
    row = make_issuance(completion=completion, state=State.FAILED, reason=Outcome.FORBIDDEN)
    make_attempt(row, outcome=Outcome.UNCLEAR, status=None, at=NOW + HOUR, duration=timedelta(seconds=30))
    make_attempt(row, kind="lookup", outcome=Outcome.NOT_THERE, at=NOW + 2 * HOUR, status=200, looked_up="12 of them")
    refused = make_attempt(row, outcome=Outcome.FORBIDDEN, status=403, at=NOW + 3 * HOUR, detail="Not yours")
    events = timeline_of(read(row))
    assert [event.text.partition(".")[0] for event in events] == [
        "The learner completed the course in Moodle",
        "The portal read the completion from Moodle",
        "The badge was queued",
        "The portal sent it to Navigatr",
        "The portal asked Navigatr whether it is there already",
        "The portal sent it to Navigatr",
        "It stands at “Failed, needs a person” and is not tried again by itself just now",
    ]
    assert events[0].details == ("Score: 80 %.",)
    assert events[3].details == ("It took 30 seconds.",)
    assert events[4].details == ("HTTP status 200.", "Looked at: 12 of them.")
    assert events[5].details == ("HTTP status 403.", "Navigatr said: “Not yours”")
    assert (events[5].attempt_id, events[5].problem, events[4].problem) == (refused.pk, True, False)
    assert "administrator of the provider" in events[6].details[1]


def test_it_tells_who_acted_on_it_and_the_next_try() -> None:
    row = make_issuance(state=State.FAILED, reason=Outcome.FORBIDDEN)
    kim = User.objects.create_user("kim")
    rows = Issuance.objects.filter(pk=row.pk)
    by_hand.send_again(rows, actor=kim, now=timezone.now())
    by_hand.cancel(rows)
    assert [event.text for event in timeline_of(read(row)) if event.about == "person"] == [
        "kim had it sent again.",
        "It was cancelled by a command.",
    ]
    by_hand.send_again(rows, actor=kim, now=timezone.now())
    kim.delete()
    last = timeline_of(read(row))
    assert last[-1].text.startswith("Next try: ")
    assert "kim had it sent again." in [event.text for event in last]


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"state": State.ISSUED, "assertion_id": "9", "issued_at": NOW}, "The badge was queued."),
        ({"state": State.CANCELLED, "reason": Outcome.BY_HAND}, "It stands at “Cancelled”"),
        ({"past": True, "state": State.ISSUED, "assertion_id": "9"}, "before it was mapped"),
    ],
)
def test_it_ends_with_what_comes_next_if_anything_does(fields: dict[str, Any], text: str) -> None:
    assert text in timeline_of(read(make_issuance(**fields)))[-1].text


def test_it_is_bounded_and_says_how_much_is_left_out(django_assert_num_queries: Any) -> None:
    row = make_issuance()
    for number in range(MOST_TOLD + 3):
        make_attempt(row, at=NOW + number * timedelta(minutes=1))
    shown = read(row)
    # The attempts with their words, the acts of people, and how many attempts there are.
    with django_assert_num_queries(3):
        events = timeline_of(shown)
    assert events[0].text == "3 earlier attempts are not shown here."
    assert sum(event.attempt_id is not None for event in events) == MOST_TOLD


def test_it_keeps_as_what_it_was_sent_whatever_the_course_awards_now() -> None:
    mapping = make_mapping(make_course(), make_connection(name="First"), min_score=60)
    unsent, sent = make_issuance(mapping), make_issuance(mapping, state=State.ISSUED, assertion_id="9")
    Issuance.objects.filter(pk=sent.pk).update(first_attempt_at=timezone.now())
    mapping.badge_id, mapping.badge_name, mapping.connection = 112, "Another", make_connection(name="Second")
    mapping.provider_name, mapping.min_score = "Northgate University", None
    mapping.save()
    before, after = sent_as(read(sent)), sent_as(read(unsent))
    assert (before.sent, before.badge, before.badge_id, before.connection) == (True, "Safeguarding", 111, "First")
    assert (after.sent, after.badge, after.badge_id, after.connection) == (False, "Another", 112, "Second")
    assert (before.provider, before.minimum, before.chosen_at is not None) == ("Northgate College", 60, True)
    assert (after.provider, after.minimum, after.chosen_at) == ("Northgate University", None, None)
