"""The database itself refuses to change or delete audit rows.

PostgreSQL refuses both. SQLite refuses changes; there a deletion is refused by the models only, because a trigger
could not tell it from the emptying of tables by `manage.py flush`. In an audit entry the person may be blanked, which
is what deleting a user does; the name of that time stays. A migration that alters one of these tables on SQLite
rebuilds it without its trigger: it must call `remove_triggers` before and `add_triggers` after. SQLite's trigger on
entries names each column, so a new column needs a new one.
"""

from django.db import migrations

ATTEMPTS, ENTRIES = "badging_issuanceattempt", "badging_auditentry"

POSTGRESQL = f"""
CREATE FUNCTION badging_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit rows are never changed or deleted' USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {ATTEMPTS}
    FOR EACH ROW EXECUTE FUNCTION badging_append_only();
CREATE TRIGGER append_only_update BEFORE UPDATE ON {ENTRIES}
    FOR EACH ROW WHEN (NOT (NEW.actor_id IS NULL AND to_jsonb(NEW) - 'actor_id' = to_jsonb(OLD) - 'actor_id'))
    EXECUTE FUNCTION badging_append_only();
CREATE TRIGGER append_only_delete BEFORE DELETE ON {ENTRIES}
    FOR EACH ROW EXECUTE FUNCTION badging_append_only();
"""
POSTGRESQL_AWAY = f"""
DROP TRIGGER append_only ON {ATTEMPTS};
DROP TRIGGER append_only_update ON {ENTRIES};
DROP TRIGGER append_only_delete ON {ENTRIES};
DROP FUNCTION badging_append_only();
"""
SQLITE = [
    f"""
    CREATE TRIGGER badging_attempts_append_only BEFORE UPDATE ON {ATTEMPTS}
    BEGIN SELECT RAISE(ABORT, 'audit rows are never changed or deleted'); END
    """,
    f"""
    CREATE TRIGGER badging_entries_append_only BEFORE UPDATE ON {ENTRIES}
    WHEN NOT (NEW.actor_id IS NULL AND NEW.id IS OLD.id AND NEW.at IS OLD.at AND NEW.actor_name IS OLD.actor_name
        AND NEW.action IS OLD.action AND NEW.subject IS OLD.subject AND NEW.details IS OLD.details)
    BEGIN SELECT RAISE(ABORT, 'audit rows are never changed or deleted'); END
    """,
]
SQLITE_AWAY = ["DROP TRIGGER badging_attempts_append_only", "DROP TRIGGER badging_entries_append_only"]


def add_triggers(apps, schema_editor):
    """Let the database refuse."""
    statements = SQLITE if schema_editor.connection.vendor == "sqlite" else [POSTGRESQL]
    for statement in statements:
        schema_editor.execute(statement, params=None)


def remove_triggers(apps, schema_editor):
    """Let the models alone refuse."""
    statements = SQLITE_AWAY if schema_editor.connection.vendor == "sqlite" else [POSTGRESQL_AWAY]
    for statement in statements:
        schema_editor.execute(statement, params=None)


class Migration(migrations.Migration):
    dependencies = [("badging", "0001_initial")]

    operations = [migrations.RunPython(add_triggers, remove_triggers)]
