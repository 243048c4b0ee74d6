"""`manage.py setup_portal`: creates what is missing, and never what is there."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from launcher.secrets import create_missing

from . import running


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_first_set_up_makes_private_files_and_prints_no_password(tmp_path: Path) -> None:
    data = tmp_path / "var"
    first = running.manage(data, "setup_portal")
    assert first.returncode == 0, first.stderr
    password = (data / "first_password").read_text().strip()
    assert f"Created the user “admin”. The password is in {data / 'first_password'}" in first.stdout
    assert password not in first.stdout + first.stderr
    assert mode(data) == 0o700
    names = ("secret_key", "field_encryption_keys", "digest_keys", "portal.sqlite3", "first_password")
    assert [mode(data / name) for name in names] == [0o600] * 5
    Fernet((data / "field_encryption_keys").read_text().strip())
    before = {name: (data / name).read_bytes() for name in (*names[:3], "first_password")}

    second = running.manage(data, "setup_portal")
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert {name: (data / name).read_bytes() for name in before} == before

    change = (
        "from django.contrib.auth.models import User; user = User.objects.get(); user.set_password('{}'); user.save()"
    )
    assert running.manage(data, "shell", "-v", "0", "-c", change.format(password)).returncode == 0
    running.manage(data, "setup_portal")
    assert (data / "first_password").exists()
    running.manage(data, "shell", "-v", "0", "-c", change.format("another"))
    running.manage(data, "setup_portal")
    assert not (data / "first_password").exists()


def test_a_demo_prints_the_password_and_keeps_no_file(tmp_path: Path) -> None:
    data = tmp_path / "var"
    first = running.manage(data, "setup_portal", "--print-password")
    assert "Created the user “admin” with the password " in first.stdout
    assert not (data / "first_password").exists()


def test_keys_from_the_environment_are_not_doubled_by_files(tmp_path: Path) -> None:
    data = tmp_path / "var"
    key = Fernet.generate_key().decode()
    done = running.manage(data, "setup_portal", SECRET_KEY="x" * 60, FIELD_ENCRYPTION_KEYS=key, DIGEST_KEYS=key)
    assert done.returncode == 0, done.stderr
    assert not (data / "secret_key").exists()
    assert not (data / "field_encryption_keys").exists()
    assert not (data / "digest_keys").exists()


def test_an_unwritable_data_folder_is_one_line(tmp_path: Path) -> None:
    data = tmp_path / "var"
    data.write_text("a file in its place")
    done = running.manage(data, "setup_portal")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "cannot be written to" in line


def test_an_unreachable_database_is_one_line(tmp_path: Path) -> None:
    done = running.manage(tmp_path / "var", "setup_portal", DATABASE_URL="postgres://portal@127.0.0.1:1/portal")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "The database cannot be set up" in line


def test_a_present_secret_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("kept")
    assert create_missing(tmp_path, secret_key=True, encryption_key=True, digest_key=True) == [
        "field_encryption_keys",
        "digest_keys",
    ]
    assert (tmp_path / "secret_key").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "digest_keys",
        "field_encryption_keys",
        "secret_key",
    ]


def test_secrets_are_private_whatever_the_umask(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    before = os.umask(0)
    request.addfinalizer(lambda: os.umask(before))
    create_missing(tmp_path / "var", secret_key=True, encryption_key=False, digest_key=False)
    assert mode(tmp_path / "var" / "secret_key") == 0o600
    assert mode(tmp_path / "var") == 0o700
