"""SQLite keeps nothing of a deleted row in its file."""

from pathlib import Path

from tests.launcher import running

PERSON = "Zoe-Quillfeather-Oyelaran"
CODE = """
from django.conf import settings
from django.db import connection
from moodle_sync.models import Course, MoodleSite
site = MoodleSite.objects.create(name="Hub", url="https://hub.example")
rows = [Course(site=site, moodle_id=number, fullname="%(person)s" * 8) for number in range(50)]
Course.objects.bulk_create(rows)
connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
print(b"%(person)s" in (settings.PORTAL_DATA_DIR / "portal.sqlite3").read_bytes())
Course.objects.all().delete()
connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
"""


def test_a_deleted_text_is_not_in_the_file(data: Path) -> None:
    done = running.manage(data, "shell", "--no-imports", "-c", CODE % {"person": PERSON})
    assert (done.stdout, done.stderr) == ("True\n", "")
    assert not any(PERSON.encode() in file.read_bytes() for file in data.glob("portal.sqlite3*"))
