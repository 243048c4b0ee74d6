"""A pretend Navigatr over real HTTP for everything that sends."""

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox import Sandbox


@pytest.fixture(scope="package")
def _sandbox() -> Iterator[Sandbox]:
    with Sandbox() as running:
        yield running


@pytest.fixture
def sandbox(_sandbox: Sandbox, settings: Any) -> Sandbox:
    """The sandbox as at its first start; both environments of the portal point to it."""
    _sandbox.reset()
    settings.NAVIGATR_URLS = {"staging": _sandbox.navigatr_url, "production": _sandbox.production_url}
    settings.SEND_THREADS = 8
    return _sandbox
