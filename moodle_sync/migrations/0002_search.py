"""Indexes for searches by name, which each database needs in another form.

PostgreSQL finds learners by the beginning of a name, whatever its case, as the admin's search asks. The operator class
that makes the index answer a LIKE under any collation is unknown to SQLite, and a portal on SQLite has few learners.

On SQLite, where a look through a table reads all of its columns, indexes hold the names in plain letters that searches
look through. PostgreSQL needs none, and could not take the longest names into one.
"""

from django.db import migrations

INDEXES = {
    # The expression is the one that Django writes for `istartswith`.
    "postgresql": {
        "learner_by_firstname": "moodle_sync_learner (upper(firstname::text) text_pattern_ops)",
        "learner_by_lastname": "moodle_sync_learner (upper(lastname::text) text_pattern_ops)",
    },
    "sqlite": {
        "course_search_text": "moodle_sync_course (search_text)",
        "learner_search_name": "moodle_sync_learner (search_name)",
    },
}


def add_indexes(apps, schema_editor):
    for name, columns in INDEXES[schema_editor.connection.vendor].items():
        schema_editor.execute(f"CREATE INDEX {name} ON {columns}")


def remove_indexes(apps, schema_editor):
    """Names are then looked for in the whole table."""
    for name in INDEXES[schema_editor.connection.vendor]:
        schema_editor.execute(f"DROP INDEX {name}")


class Migration(migrations.Migration):
    dependencies = [("moodle_sync", "0001_initial")]

    operations = [migrations.RunPython(add_indexes, remove_indexes)]
