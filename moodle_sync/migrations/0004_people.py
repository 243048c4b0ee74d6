"""Versions of Moodle sites. `badging.migrations.0010_people` fills in the first."""

import datetime

import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("moodle_sync", "0003_categories"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoricalMoodleSite",
            fields=[
                ("id", models.BigIntegerField(auto_created=True, blank=True, db_index=True)),
                ("actor_name", models.CharField(blank=True, editable=False, max_length=150)),
                ("token_changed", models.BooleanField(default=False, editable=False)),
                ("name", models.CharField(db_index=True, max_length=100)),
                ("url", models.URLField(max_length=500)),
                ("enabled", models.BooleanField(default=True)),
                ("poll_interval", models.DurationField(default=datetime.timedelta(seconds=60))),
                ("busy_interval", models.DurationField(default=datetime.timedelta(seconds=5))),
                ("send_suspended", models.BooleanField(default=True)),
                ("history_id", models.AutoField(primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField(db_index=True)),
                (
                    "history_type",
                    models.CharField(choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1),
                ),
                (
                    "history_user",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "verbose_name": "historical Moodle site",
                "verbose_name_plural": "historical Moodle sites",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
                "default_permissions": (),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
    ]
