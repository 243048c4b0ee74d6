"""A running sandbox with the portal's row for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .polled import Polled


@pytest.fixture
def polled(db: None) -> Iterator[Polled]:
    """A Moodle without courses that was never polled."""
    # This file is loaded before Django is.
    from .polled import Polled

    world = Polled()
    with world.sandbox:
        world.connect()
        yield world
