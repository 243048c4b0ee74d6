"""Few pages wait for Navigatr at the same time, and who finds no place is told at once."""

from contextlib import ExitStack

import pytest

from badging import waiting


def test_one_person_has_few_places_and_others_have_theirs() -> None:
    with ExitStack() as places:
        for _number in range(waiting.MOST_PER_PERSON):
            places.enter_context(waiting.place(1))
        with pytest.raises(waiting.Busy, match="Other pages that you have opened"), waiting.place(1):
            raise AssertionError
        places.enter_context(waiting.place(2))
    with waiting.place(1):
        pass


def test_all_people_together_leave_half_of_the_servers_threads() -> None:
    with ExitStack() as places:
        for person in range(waiting.MOST_IN_ALL):
            places.enter_context(waiting.place(person))
        with pytest.raises(waiting.Busy, match="slow just now"), waiting.place(99):
            raise AssertionError
    assert waiting.MOST_IN_ALL <= 16 / 2


def test_a_place_is_free_again_whatever_ended_the_page() -> None:
    for _number in range(20):
        with pytest.raises(ZeroDivisionError), waiting.place(1):
            raise ZeroDivisionError
    assert not waiting._waiting
