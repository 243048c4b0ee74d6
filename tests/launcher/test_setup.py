"""`manage.py setup_portal`: creates what is missing, and never what is there."""

import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from launcher.secrets import create_missing

from . import running


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# Run in one process, because each takes a second of a processor only to start.
LATER_RUNS = """
import json
from pathlib import Path
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
first_password = settings.PORTAL_DATA_DIR / "first_password"
admin, told = User.objects.get(), []
for password in (first_password.read_text().strip(), "another"):
    admin.set_password(password)
    admin.save()
    call_command("setup_portal")
    told.append(first_password.exists())
User.objects.all().delete()
call_command("setup_portal", "--print-password")
told.append(first_password.exists())
print(json.dumps(told))
"""


def test_set_up_makes_private_files_and_a_second_run_changes_nothing(data: Path) -> None:
    password = (data / "first_password").read_text().strip()
    assert mode(data) == 0o700
    names = ("secret_key", "field_encryption_keys", "digest_keys", "portal.sqlite3", "first_password")
    assert [mode(data / name) for name in names] == [0o600] * 5
    Fernet((data / "field_encryption_keys").read_text().strip())
    before = {name: (data / name).read_bytes() for name in (*names[:3], "first_password")}
    second = running.manage(data, "setup_portal")
    # Only the static files are collected again, without a word: their folder has another name in this copy.
    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert {name: (data / name).read_bytes() for name in before} == before

    done = running.manage(data, "shell", "--no-imports", "-c", LATER_RUNS)
    assert done.returncode == 0, done.stderr
    *said, told = done.stdout.splitlines()
    # The file stays while its password is the admin's; a demo's password is printed, and in no file.
    assert json.loads(told) == [True, False, False]
    assert said[0].startswith("Created the user “admin” with the password ")
    assert password not in done.stdout


def test_first_set_up_prints_no_password_and_no_keys_are_doubled_by_files(tmp_path: Path) -> None:
    data = tmp_path / "var"
    key = Fernet.generate_key().decode()
    done = running.manage(data, "setup_portal", SECRET_KEY="x" * 60, FIELD_ENCRYPTION_KEYS=key, DIGEST_KEYS=key)
    assert done.returncode == 0, done.stderr
    password = (data / "first_password").read_text().strip()
    assert f"Created the user “admin”. The password is in {data / 'first_password'}" in done.stdout
    assert password not in done.stdout + done.stderr
    assert [mode(path) for path in (data, data / "portal.sqlite3", data / "first_password")] == [0o700, 0o600, 0o600]
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
