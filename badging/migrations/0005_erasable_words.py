"""What others said in words moves out of the rows that are never changed; digests are keyed.

The words of earlier attempts are not kept. SQLite rebuilds the table of attempts, which loses its trigger.
"""

from importlib import import_module

import django.db.models.deletion
from django.db import migrations, models

import vault.fields

append_only = import_module("badging.migrations.0002_append_only_attempts")


class Migration(migrations.Migration):
    dependencies = [
        ("badging", "0004_open_connections"),
        ("moodle_sync", "0002_search_by_name"),
    ]

    operations = [
        migrations.RunPython(append_only.remove_triggers, append_only.add_triggers),
        migrations.CreateModel(
            name="AttemptWords",
            fields=[
                (
                    "attempt",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="words",
                        serialize=False,
                        to="badging.issuanceattempt",
                        verbose_name="attempt",
                    ),
                ),
                ("at", models.DateTimeField(db_index=True, verbose_name="time")),
                ("detail", models.TextField(blank=True, verbose_name="Navigatr's message")),
                ("looked_up", models.TextField(blank=True, verbose_name="what was looked up")),
            ],
            options={
                "verbose_name": "words of an attempt",
                "verbose_name_plural": "words of attempts",
            },
        ),
        migrations.RemoveConstraint(
            model_name="issuance",
            name="one_badge_per_recipient",
        ),
        migrations.RemoveConstraint(
            model_name="issuance",
            name="issued_has_an_assertion",
        ),
        migrations.RemoveField(
            model_name="issuanceattempt",
            name="detail",
        ),
        migrations.RemoveField(
            model_name="issuanceattempt",
            name="looked_up",
        ),
        migrations.AddField(
            model_name="issuanceattempt",
            name="fields",
            field=models.CharField(blank=True, max_length=255, verbose_name="malformed fields"),
        ),
        migrations.AlterField(
            model_name="issuance",
            name="recipient_key",
            field=vault.fields.DigestField(blank=True, editable=False, max_length=64),
        ),
        migrations.AddConstraint(
            model_name="issuance",
            constraint=models.UniqueConstraint(
                condition=models.Q(
                    models.Q(("recipient_key", ""), _negated=True),
                    models.Q(
                        ("state__in", ["sending", "issued"]),
                        models.Q(("unanswered", ""), _negated=True),
                        _connector="OR",
                    ),
                ),
                fields=("recipient_key", "environment", "badge_id"),
                name="one_badge_per_recipient",
            ),
        ),
        migrations.AddConstraint(
            model_name="issuance",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("state", "issued"), _negated=True),
                    models.Q(("assertion_id", ""), _negated=True),
                    ("reason", "erased"),
                    _connector="OR",
                ),
                name="issued_has_an_assertion",
            ),
        ),
        migrations.RunPython(append_only.add_triggers, append_only.remove_triggers),
    ]
