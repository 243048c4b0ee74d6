"""Indexes that find learners by the beginning of a name, whatever its case, as the admin's search asks.

For PostgreSQL only: the operator class that makes them answer a LIKE under any collation is unknown to SQLite, and a
portal on SQLite has few learners.
"""

from django.db import migrations

INDEXES = {"firstname": "learner_by_firstname", "lastname": "learner_by_lastname"}


def add_indexes(apps, schema_editor):
    """The expression is the one that Django writes for `istartswith`."""
    if schema_editor.connection.vendor == "postgresql":
        for column, name in INDEXES.items():
            schema_editor.execute(
                f"CREATE INDEX {name} ON moodle_sync_learner (upper({column}::text) text_pattern_ops)"
            )


def remove_indexes(apps, schema_editor):
    """Names are then looked for in the whole table."""
    if schema_editor.connection.vendor == "postgresql":
        for name in INDEXES.values():
            schema_editor.execute(f"DROP INDEX {name}")


class Migration(migrations.Migration):
    dependencies = [("moodle_sync", "0001_initial")]

    operations = [migrations.RunPython(add_indexes, remove_indexes)]
