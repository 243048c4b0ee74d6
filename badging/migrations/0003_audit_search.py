"""The index that finds audit entries by their words. For PostgreSQL only: a portal on SQLite has few entries."""

from django.db import migrations

# As in `badging.audit_search`.
TEXT = "translate(actor_name || ' ' || subject || ' ' || details::text, '.@-/_:+', '       ')"


def index_words(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(
            f"CREATE INDEX audit_by_words ON badging_auditentry USING gin (to_tsvector('simple', {TEXT}))"
        )


def unindex_words(apps, schema_editor):
    """Words are then looked for in the whole table."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX audit_by_words")


class Migration(migrations.Migration):
    dependencies = [("badging", "0002_append_only")]

    operations = [migrations.RunPython(index_words, unindex_words)]
