"""A portal that has been set up once, copied for each test that runs one."""

import shutil
from pathlib import Path

import pytest

from . import running


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as `make setup` leaves it. Its name has a blank."""
    folder = tmp_path_factory.mktemp("prepared") / "portal data"
    done = running.manage(folder, "setup_portal")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def data(prepared: Path, tmp_path: Path) -> Path:
    """A private copy of it."""
    return Path(shutil.copytree(prepared, tmp_path / "portal data"))
