"""The names of courses and learners in plain letters, which searches look through.

On SQLite, where a look through a table reads all of its columns, indexes hold what is looked through. PostgreSQL needs
none, and could not take the longest names into one.
"""

from django.db import migrations

import moodle_sync.plain_letters

ROWS_AT_ONCE = 1000
INDEXES = {
    "course_search_text": "moodle_sync_course (search_text)",
    "learner_search_name": "moodle_sync_learner (search_name)",
}


def fill(apps, schema_editor):
    plain = moodle_sync.plain_letters.plain_letters
    for model, column, names in (
        ("Course", "search_text", ("fullname", "shortname")),
        ("Learner", "search_name", ("firstname", "lastname")),
    ):
        rows, last = apps.get_model("moodle_sync", model).objects, 0
        while batch := list(rows.filter(pk__gt=last).order_by("pk").only(column, *names)[:ROWS_AT_ONCE]):
            for row in batch:
                setattr(row, column, plain(" ".join(getattr(row, name) for name in names)))
            rows.bulk_update(batch, [column])
            last = batch[-1].pk


def add_indexes(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        for name, columns in INDEXES.items():
            schema_editor.execute(f"CREATE INDEX {name} ON {columns}")


def remove_indexes(apps, schema_editor):
    if schema_editor.connection.vendor == "sqlite":
        for name in INDEXES:
            schema_editor.execute(f"DROP INDEX {name}")


class Migration(migrations.Migration):
    dependencies = [
        ("moodle_sync", "0005_sites"),
    ]

    operations = [
        migrations.AddField(
            model_name="course",
            name="search_text",
            field=moodle_sync.plain_letters.PlainLettersField(of=("fullname", "shortname")),
        ),
        migrations.AddField(
            model_name="learner",
            name="search_name",
            field=moodle_sync.plain_letters.PlainLettersField(of=("firstname", "lastname")),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop),
        migrations.RunPython(add_indexes, remove_indexes),
    ]
