"""How durations are written for people."""

from datetime import timedelta

import pytest

from badging.moments import in_words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"), (12, "12 s"), (119.9, "119 s"), (120, "2 min"), (179, "2 min"), (2 * 3600 - 1, "119 min"),
        (2 * 3600, "2 h"), (48 * 3600 - 1, "47 h"), (48 * 3600, "2 days"), (200_000, "2 days"),
    ],
)  # fmt: skip
def test_a_duration_is_told_in_whole_units_that_have_passed(seconds: float, text: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == text
