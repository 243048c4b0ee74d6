"""A folder to run `make` in."""

from pathlib import Path

import pytest

from .making import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Its path has a blank, as a user's may."""
    path = tmp_path / "a portal"
    path.mkdir()
    return Folder(path)
