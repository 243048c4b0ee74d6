"""Indexes that find audit entries by the beginning of who acted and of what was changed, whatever its case.

For PostgreSQL only, as in `moodle_sync.migrations.0002_search_by_name`: a portal on SQLite has few people who sign in.
"""

from django.db import migrations

INDEXES = {"actor_name": "audit_by_actor_name", "subject": "audit_by_subject"}


def add_indexes(apps, schema_editor):
    """The expression is the one that Django writes for `istartswith`."""
    if schema_editor.connection.vendor == "postgresql":
        for column, name in INDEXES.items():
            schema_editor.execute(f"CREATE INDEX {name} ON badging_auditentry (upper({column}::text) text_pattern_ops)")


def remove_indexes(apps, schema_editor):
    """Names are then looked for in the whole table."""
    if schema_editor.connection.vendor == "postgresql":
        for name in INDEXES.values():
            schema_editor.execute(f"DROP INDEX {name}")


class Migration(migrations.Migration):
    dependencies = [("badging", "0007_actor_name")]

    operations = [migrations.RunPython(add_indexes, remove_indexes)]
