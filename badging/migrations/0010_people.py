"""Tables of versions of connections, sites and mappings, each beginning with what stands now."""

import django.db.models.deletion
import simple_history.models
from django.conf import settings
from django.db import migrations, models
from django.utils import timezone

# What is kept besides a row's own columns.
OF_THE_CHANGE = {"actor_name", "token_changed", "history_id", "history_date", "history_type", "history_user_id"}


def begin(apps, schema_editor):
    """Keep each row as it is now: a later change then tells from what it changed."""
    for app, name in [
        ("moodle_sync", "MoodleSite"), ("badging", "NavigatrConnection"), ("badging", "CourseBadgeMapping"),
    ]:  # fmt: skip
        versions = apps.get_model(app, f"Historical{name}")
        columns = [field.attname for field in versions._meta.fields if field.attname not in OF_THE_CHANGE]
        rows = apps.get_model(app, name).objects.order_by("pk").values(*columns)
        now = timezone.now()
        versions.objects.bulk_create(
            (versions(**row, history_type="~", history_date=now) for row in rows.iterator()), batch_size=500
        )


# As in `badging.audit_search`. Replaces the indexes of `0008_audit_by_name`, which found beginnings only.
TEXT = "translate(actor_name || ' ' || subject || ' ' || details::text, '.@-/_:+', '       ')"
BEGINNINGS = {"actor_name": "audit_by_actor_name", "subject": "audit_by_subject"}


def index_words(apps, schema_editor):
    """Find entries by their words. For PostgreSQL only: a portal on SQLite has few entries."""
    if schema_editor.connection.vendor == "postgresql":
        for name in BEGINNINGS.values():
            schema_editor.execute(f"DROP INDEX {name}")
        schema_editor.execute(
            f"CREATE INDEX audit_by_words ON badging_auditentry USING gin (to_tsvector('simple', {TEXT}))"
        )


def unindex_words(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX audit_by_words")
        for column, name in BEGINNINGS.items():
            schema_editor.execute(f"CREATE INDEX {name} ON badging_auditentry (upper({column}::text) text_pattern_ops)")


class Migration(migrations.Migration):
    dependencies = [
        ("badging", "0009_sign_on_refused"),
        ("moodle_sync", "0004_people"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="HistoricalCourseBadgeMapping",
            fields=[
                ("id", models.BigIntegerField(auto_created=True, blank=True, db_index=True)),
                ("actor_name", models.CharField(blank=True, editable=False, max_length=150)),
                ("token_changed", models.BooleanField(default=False, editable=False)),
                ("provider_id", models.PositiveBigIntegerField()),
                ("provider_name", models.CharField(blank=True, max_length=255)),
                ("badge_id", models.PositiveBigIntegerField()),
                ("badge_name", models.CharField(blank=True, max_length=255)),
                ("badge_image_url", models.URLField(blank=True, max_length=2000)),
                ("badge_url", models.URLField(blank=True, max_length=2000)),
                ("min_score", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("active", models.BooleanField(default=True)),
                ("since", models.DateTimeField()),
                ("past_wanted_at", models.DateTimeField(editable=False, null=True)),
                ("history_id", models.AutoField(primary_key=True, serialize=False)),
                ("history_date", models.DateTimeField(db_index=True)),
                (
                    "history_type",
                    models.CharField(choices=[("+", "Created"), ("~", "Changed"), ("-", "Deleted")], max_length=1),
                ),
                (
                    "connection",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="badging.navigatrconnection",
                    ),
                ),
                (
                    "course",
                    models.ForeignKey(
                        blank=True,
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="+",
                        to="moodle_sync.course",
                    ),
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
                "verbose_name": "historical course badge mapping",
                "verbose_name_plural": "historical course badge mappings",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
                "default_permissions": (),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.CreateModel(
            name="HistoricalNavigatrConnection",
            fields=[
                ("id", models.BigIntegerField(auto_created=True, blank=True, db_index=True)),
                ("actor_name", models.CharField(blank=True, editable=False, max_length=150)),
                ("token_changed", models.BooleanField(default=False, editable=False)),
                ("name", models.CharField(db_index=True, max_length=100)),
                ("environment", models.CharField(max_length=10)),
                ("timeout", models.PositiveSmallIntegerField(default=30)),
                ("send_score", models.BooleanField(default=True)),
                ("send_evidence", models.BooleanField(default=True)),
                ("calls_per_second", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("calls_at_once", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("past_limit", models.PositiveIntegerField(default=200)),
                ("state", models.CharField(default="active", editable=False, max_length=10)),
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
                "verbose_name": "historical Navigatr connection",
                "verbose_name_plural": "historical Navigatr connections",
                "ordering": ("-history_date", "-history_id"),
                "get_latest_by": ("history_date", "history_id"),
                "default_permissions": (),
            },
            bases=(simple_history.models.HistoricalChanges, models.Model),
        ),
        migrations.RunPython(begin, migrations.RunPython.noop),
        migrations.AddIndex(
            model_name="auditentry",
            index=models.Index(fields=["actor_name", "-id"], name="audit_by_actor"),
        ),
        migrations.RunPython(index_words, unindex_words),
    ]
