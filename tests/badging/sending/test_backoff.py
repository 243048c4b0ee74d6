"""How long to wait: the arithmetic of retries and rests."""

from datetime import timedelta
from typing import Any

import pytest

from badging.sending.backoff import given_up, next_attempt_at
from badging.sending.circuit import circuit_pause
from tests.builders import NOW


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [(1, 60), (2, 240), (3, 960), (4, 3840), (5, 15360), (6, 61440), (7, 86400), (8, 86400), (10_000, 86400)],
)
def test_the_wait_grows_fourfold_up_to_a_day(failures: int, seconds: int) -> None:
    assert next_attempt_at(failures, NOW, spread=0) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(("spread", "seconds"), [(-1, 48), (-0.5, 54), (0.5, 66), (1, 72)])
def test_the_spread_moves_it_by_a_fifth_at_most(spread: float, seconds: int) -> None:
    assert next_attempt_at(1, NOW, spread=spread) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(("asked", "seconds"), [(0, 60), (59, 60), (61, 61), (86_400, 86_400)])
def test_what_navigatr_asked_for_wins_when_it_is_longer(asked: int, seconds: int) -> None:
    waits = next_attempt_at(1, NOW, spread=0, retry_after=timedelta(seconds=asked)) - NOW
    assert waits == timedelta(seconds=seconds)


def test_other_settings_cannot_overflow(settings: Any) -> None:
    settings.RETRY_FIRST = timedelta(days=1)
    settings.RETRY_FACTOR = 1000
    settings.RETRY_LONGEST = timedelta(days=30)
    assert next_attempt_at(500, NOW, spread=0) == NOW + timedelta(days=30)


def test_it_is_given_up_when_the_next_try_would_come_after_a_week() -> None:
    week = timedelta(days=7)
    assert not given_up(NOW, NOW + week)
    assert given_up(NOW, NOW + week + timedelta(seconds=1))


@pytest.mark.parametrize(
    ("failures", "seconds"), [(10, 30), (11, 60), (12, 120), (13, 240), (14, 480), (15, 600), (99_999, 600)]
)
def test_a_connections_rest_doubles_up_to_ten_minutes(failures: int, seconds: int) -> None:
    assert circuit_pause(failures) == timedelta(seconds=seconds)
