"""Fixtures: a college that is read by the report, one that is read learner by learner, and both in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import time_machine

from sandbox import Sandbox

if TYPE_CHECKING:
    from .college import College


def _college(settings: Any, *, with_report: bool) -> Iterator[College]:
    # This file is loaded before Django is.
    from .college import START, College

    settings.SEND_THREADS = 4
    with time_machine.travel(START, tick=False) as clock, Sandbox(clock=time_machine_now) as running:
        settings.NAVIGATR_URLS = {"staging": running.navigatr_url, "production": running.production_url}
        yield College(running, clock, with_report=with_report)


def time_machine_now() -> float:
    """The travelled time, for the sandbox's threads too."""
    import time

    return time.time()


@pytest.fixture
def college(db: None, settings: Any) -> Iterator[College]:
    """Read by the report (feed A)."""
    yield from _college(settings, with_report=True)


@pytest.fixture
def slow_college(db: None, settings: Any) -> Iterator[College]:
    """Read learner by learner (feed B)."""
    yield from _college(settings, with_report=False)


@pytest.fixture(params=["A", "B"])
def any_college(request: pytest.FixtureRequest, db: None, settings: Any) -> Iterator[College]:
    """Each test runs with both feeds."""
    yield from _college(settings, with_report=request.param == "A")
