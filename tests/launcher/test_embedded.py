"""Where the embedded broker listens."""

import stat
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
