"""Audit entries keep the name of who acted.

The triggers of 0002 are taken away meanwhile and put back afterwards: they refuse the filling in of the names, and
SQLite loses them when it rebuilds the table. SQLite's trigger names each column, so it is a new one.
"""

from importlib import import_module

from django.db import migrations, models

append_only = import_module("badging.migrations.0002_append_only_attempts")

SQLITE_ENTRIES = f"""
    CREATE TRIGGER badging_entries_append_only BEFORE UPDATE ON {append_only.ENTRIES}
    WHEN NOT (NEW.actor_id IS NULL AND NEW.id IS OLD.id AND NEW.at IS OLD.at AND NEW.actor_name IS OLD.actor_name
        AND NEW.action IS OLD.action AND NEW.subject IS OLD.subject AND NEW.details IS OLD.details)
    BEGIN SELECT RAISE(ABORT, 'audit rows are never changed or deleted'); END
"""


def fill_in_names(apps, schema_editor):
    """Name the actors whose accounts exist."""
    name = apps.get_model("auth", "User").objects.filter(pk=models.OuterRef("actor")).values("username")
    entries = apps.get_model("badging", "AuditEntry").objects.filter(actor__isnull=False)
    entries.update(actor_name=models.Subquery(name))


def add_triggers(apps, schema_editor):
    """Let the database refuse changes again."""
    append_only.add_triggers(apps, schema_editor)
    if schema_editor.connection.vendor == "sqlite":
        schema_editor.execute("DROP TRIGGER badging_entries_append_only", params=None)
        schema_editor.execute(SQLITE_ENTRIES, params=None)


class Migration(migrations.Migration):
    dependencies = [
        ("badging", "0006_sign_in_audit"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.RunPython(append_only.remove_triggers, append_only.add_triggers),
        migrations.AddField(
            model_name="auditentry",
            name="actor_name",
            field=models.CharField(blank=True, default="", editable=False, max_length=150, verbose_name="who"),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name="auditentry",
            name="action",
            field=models.CharField(
                choices=[
                    ("connection_saved", "Connection saved"),
                    ("connection_tested", "Connection tested"),
                    ("connection_paused", "Connection paused"),
                    ("connection_resumed", "Connection resumed"),
                    ("connection_removed", "Connection removed"),
                    ("connection_opened", "Connection opened"),
                    ("connection_closed", "Connection closed"),
                    ("site_saved", "Moodle site saved"),
                    ("site_confirmed", "Confirmed as the same Moodle"),
                    ("feed_changed", "Moodle is read in another way"),
                    ("mapping_saved", "Mapping created"),
                    ("mapping_changed", "Mapping changed"),
                    ("mapping_enabled", "Mapping enabled"),
                    ("mapping_disabled", "Mapping disabled"),
                    ("mapping_removed", "Mapping removed"),
                    ("past_released", "Past completions released"),
                    ("badge_back", "Badge can be issued again"),
                    ("sent_again", "Sent again by hand"),
                    ("cancelled", "Cancelled by hand"),
                    ("schedule_changed", "Schedule changed"),
                    ("learner_exported", "Learner's data exported"),
                    ("learner_erased", "Learner's data erased"),
                    ("signed_in", "Signed in"),
                    ("signed_out", "Signed out"),
                    ("sign_in_failed", "Wrong password"),
                    ("sign_in_locked", "Must wait after wrong sign-ins"),
                    ("sign_in_released", "Sign-in released"),
                    ("password_changed", "Password changed"),
                    ("reset_sent", "Link for a new password sent"),
                    ("password_reset", "Password chosen by a link"),
                    ("factor_added", "Second factor added"),
                    ("factor_removed", "Second factor removed"),
                    ("factor_renewed", "Recovery codes renewed"),
                    ("factor_failed", "Wrong second factor"),
                    ("account_linked", "Single sign-on used for the first time"),
                    ("groups_claimed", "Groups taken over from single sign-on"),
                    ("user_created", "User created"),
                    ("user_invited", "User invited"),
                    ("user_changed", "User changed"),
                    ("user_deactivated", "User deactivated"),
                    ("user_reactivated", "User reactivated"),
                    ("user_deleted", "User deleted"),
                    ("roles_changed", "Roles changed"),
                    ("group_changed", "Group changed"),
                    ("manager_granted", "Course manager added"),
                    ("manager_removed", "Course manager removed"),
                    ("password_link", "Password link made"),
                    ("password_set", "Password set"),
                    ("signed_out_all", "Signed out everywhere"),
                ],
                max_length=20,
                verbose_name="what",
            ),
        ),
        migrations.RunPython(fill_in_names, migrations.RunPython.noop),
        migrations.RunPython(add_triggers, append_only.remove_triggers),
    ]
