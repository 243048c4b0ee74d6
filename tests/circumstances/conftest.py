"""Fixtures: a college that is read by the report, one that is read learner by learner, and both in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import time_machine

from sandbox import Sandbox

if TYPE_CHECKING:
    from .college import College


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    """A clock that only tests move; the sandbox and the portal both live by it."""
    # This file is loaded before Django is.
    from .college import START

    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def sandbox(clock: time_machine.Traveller, sandbox: Sandbox) -> Sandbox:
    """Reset when the clock stands where the test begins."""
    return sandbox


def _college(sandbox: Sandbox, clock: time_machine.Traveller, *, with_report: bool) -> College:
    from .college import College

    return College(sandbox, clock, with_report=with_report)


@pytest.fixture
def college(db: None, sandbox: Sandbox, clock: time_machine.Traveller) -> College:
    """Read by the report (feed A)."""
    return _college(sandbox, clock, with_report=True)


@pytest.fixture
def slow_college(db: None, sandbox: Sandbox, clock: time_machine.Traveller) -> College:
    """Read learner by learner (feed B)."""
    return _college(sandbox, clock, with_report=False)


@pytest.fixture(params=["A", pytest.param("B", marks=pytest.mark.slow)])
def any_college(request: pytest.FixtureRequest, db: None, sandbox: Sandbox, clock: time_machine.Traveller) -> College:
    """Each test runs with both feeds."""
    return _college(sandbox, clock, with_report=request.param == "A")
