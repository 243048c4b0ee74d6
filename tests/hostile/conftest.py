"""One web process for all attacks of a test process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.launcher import running

if TYPE_CHECKING:
    from .attacking import Web

# This file is loaded before Django is, so the helper is imported in the fixtures.


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as `make setup` leaves it."""
    folder = tmp_path_factory.mktemp("hostile") / "var"
    done = running.manage(folder, "setup_portal")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="session")
def web(data: Path) -> Iterator[Web]:
    """The portal's web process, with an officer, a site admin, a superuser and a course manager signed in."""
    from . import attacking

    with attacking.web(data) as running_web:
        yield running_web
