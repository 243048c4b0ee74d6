"""`make install`: the environment holds what is required, and no pip or setuptools beside it."""

import subprocess
from pathlib import Path

import pytest

from .making import OUTSIDE_PYTHON, Folder

# Makes and fills virtual environments.
pytestmark = pytest.mark.slow


def without(folder: Path, *modules: str) -> str:
    """A folder for PYTHONPATH in which these modules cannot be imported, as where they are not installed."""
    folder.mkdir()
    for module in modules:
        (folder / f"{module}.py").write_text(f"raise ModuleNotFoundError({module!r})\n")
    return str(folder)


def test_the_environment_holds_what_is_required_and_nothing_else(folder: Folder, tmp_path: Path) -> None:
    folder.require("alpha", "beta")
    done = folder.make("install")
    assert (done.returncode, done.stdout) == (0, "Installing the requirements (once) …\n"), done.stderr
    assert folder.installed() == {"alpha", "beta"}

    # A second run needs neither pip nor packages.
    (folder.wheels / "alpha-1.0-py3-none-any.whl").unlink()
    done = folder.make("install", PYTHONPATH=without(tmp_path / "hidden", "pip", "ensurepip"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    # Changed requirements are installed.
    folder.require("alpha", "beta", "gamma")
    assert folder.make("install").returncode == 0
    assert folder.installed() == {"alpha", "beta", "gamma"}

    # A package that is not the pinned one is refused.
    folder.require("alpha", "beta", "gamma", "delta")
    wheel = folder.wheels / "delta-1.0-py3-none-any.whl"
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    done = folder.make("install")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert folder.installed() == {"alpha", "beta", "gamma"}


@pytest.mark.parametrize("missing", ["pip", "ensurepip"])
def test_one_of_pip_and_ensurepip_is_enough(folder: Folder, tmp_path: Path, missing: str) -> None:
    folder.require("alpha")
    if missing == "pip":
        # A Python without a pip of its own, which can make one.
        bare = tmp_path / "bare"
        subprocess.run([OUTSIDE_PYTHON, "-m", "venv", "--without-pip", bare], check=True)
        done = folder.make("install", python=str(bare / "bin" / "python"))
    else:
        # Debian without the package python3-venv.
        done = folder.make("install", PYTHONPATH=without(tmp_path / "hidden", "ensurepip"))
    assert done.returncode == 0, done.stderr
    assert folder.installed() == {"alpha"}


def test_without_any_pip_it_says_what_to_install(folder: Folder, tmp_path: Path) -> None:
    folder.require("alpha")
    done = folder.make("install", PYTHONPATH=without(tmp_path / "hidden", "pip", "ensurepip"))
    assert done.returncode != 0
    assert "There is no pip. Install python3-pip or python3-venv and try again." in done.stderr


def test_a_pip_and_setuptools_that_are_not_required_go(folder: Folder) -> None:
    # An environment of an older version of the portal had both.
    folder.require("alpha", "pip", "setuptools")
    assert folder.make("install").returncode == 0
    assert folder.installed() == {"alpha", "pip", "setuptools"}
    folder.require("alpha")
    done = folder.make("install")
    assert done.returncode == 0, done.stderr
    assert folder.installed() == {"alpha"}


def test_the_pip_of_the_development_tools_stays(folder: Folder) -> None:
    folder.require("alpha")
    folder.require("alpha", "pip", file="requirements-dev.txt")
    for target in ("install-dev", "install"):
        done = folder.make(target)
        assert done.returncode == 0, done.stderr
        assert folder.installed() == {"alpha", "pip"}
