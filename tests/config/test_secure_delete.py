"""SQLite keeps nothing of a deleted row in its file."""

from pathlib import Path

from tests.launcher import running

PERSON = "Zoe-Quillfeather-Oyelaran"
CODE = """
from django.db import connection
from moodle_sync.models import Course, MoodleSite
site = MoodleSite.objects.create(name="Hub", url="https://hub.example")
rows = [Course(site=site, moodle_id=number, fullname="%s" * 8) for number in range(50)]
Course.objects.bulk_create(rows)
connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
"""
DELETE = """
from django.db import connection
from moodle_sync.models import Course
Course.objects.all().delete()
connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
"""


def run(data: Path, code: str) -> None:
    done = running.manage(data, "shell", "--no-imports", "-c", code)
    assert done.returncode == 0, done.stderr


def test_a_deleted_text_is_not_in_the_file(data: Path) -> None:
    run(data, CODE % PERSON)
    files = [*data.glob("portal.sqlite3*")]
    assert any(PERSON.encode() in file.read_bytes() for file in files)
    run(data, DELETE)
    assert not any(PERSON.encode() in file.read_bytes() for file in data.glob("portal.sqlite3*"))
