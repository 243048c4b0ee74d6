"""One web process for all attacks of a test process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .attacking import Web

# This file is loaded before Django is, so the helper is imported in the fixtures.


@pytest.fixture(scope="session")
def data(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of that web process."""
    return Path(shutil.copytree(prepared, tmp_path_factory.mktemp("hostile") / "var"))


@pytest.fixture
def own_data(prepared: Path, tmp_path: Path) -> Path:
    """A data folder for one test."""
    return Path(shutil.copytree(prepared, tmp_path / "var"))


@pytest.fixture(scope="session")
def web(data: Path) -> Iterator[Web]:
    """The portal's web process, with an officer, a site admin, a superuser and a course manager signed in."""
    from . import attacking

    with attacking.web(data) as running_web:
        yield running_web
