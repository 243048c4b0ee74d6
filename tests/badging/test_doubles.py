"""Issuances that may belong to one person with two Moodle accounts."""

from datetime import timedelta
from typing import Any

import pytest

from badging.doubles import MOST_SHOWN, possible_doubles
from badging.models import Issuance
from tests.builders import NOW, make_completion, make_issuance, make_learner, make_mapping

pytestmark = pytest.mark.django_db


def owed(mapping: Any, *, at: Any = NOW, **person: str) -> Issuance:
    """An issuance of the mapping's course for a new learner of this name."""
    learner = make_learner(mapping.course.site, **{"firstname": "Zoë", "lastname": "Lee"} | person)
    return make_issuance(mapping, make_completion(mapping.course, learner, completed_at=at))


@pytest.mark.parametrize(
    ("firstname", "lastname"), [("Zoë", "Lee"), ("ZOË", "lee"), ("Zoe\u0308", "Lee"), (" Zoë ", "Lee"), ("", "Zoë Lee")]
)
def test_the_same_name_in_the_same_minute_is_told_on_both(firstname: str, lastname: str) -> None:
    mapping = make_mapping()
    one, other = owed(mapping), owed(mapping, at=NOW + timedelta(seconds=59), firstname=firstname, lastname=lastname)
    assert possible_doubles(one) == [other]
    assert possible_doubles(other) == [one]


@pytest.mark.parametrize(
    "change",
    [{"firstname": "Zoe"}, {"at": NOW + timedelta(minutes=1)}, {"at": NOW - timedelta(seconds=1)}],
)
def test_another_name_or_another_minute_is_nobody(change: dict[str, Any]) -> None:
    mapping = make_mapping()
    one = owed(mapping)
    owed(mapping, **change)
    assert possible_doubles(one) == []


def test_the_same_name_in_another_course_or_without_a_name_or_time_is_nobody() -> None:
    mapping = make_mapping()
    one = owed(mapping)
    owed(make_mapping(connection=mapping.connection))
    assert possible_doubles(one) == []
    nameless = [owed(mapping, firstname="", lastname="") for _ in range(2)]
    assert possible_doubles(nameless[0]) == []
    one.completion.completed_at = None
    assert possible_doubles(one) == []


def test_it_takes_one_query_and_tells_a_few(django_assert_num_queries: Any) -> None:
    mapping = make_mapping()
    rows = [owed(mapping) for _ in range(MOST_SHOWN + 3)]
    # One: the others of the course and minute, with their learners.
    with django_assert_num_queries(1):
        assert len([other.learner.full_label for other in possible_doubles(rows[0])]) == MOST_SHOWN
