import django.contrib.auth.models
from django.db import migrations, models

# As in badging/setup.py, when this was written.
SITE_ADMINS = "Site admins"
DATA_PROTECTION_OFFICERS = "Data protection officers"
# What has come since the groups of an existing database were made: app, model, permission, its name, who gets it.
NEW_PERMISSIONS = [
    (
        "people",
        "portaluser",
        "manage_users",
        "Can invite, change and deactivate users who may do no more than themselves",
        (SITE_ADMINS,),
    ),
    ("people", "signinlock", "view_signinlock", "Can view sign-in lock", (SITE_ADMINS,)),
    ("people", "signinlock", "release_signinlock", "Can release a sign-in lock", (SITE_ADMINS,)),
    ("badging", "scheduledtask", "change_scheduledtask", "Can change scheduled task", (SITE_ADMINS,)),
    ("badging", "connectiongrant", "add_connectiongrant", "Can add opened connection", (SITE_ADMINS,)),
    ("badging", "connectiongrant", "delete_connectiongrant", "Can delete opened connection", (SITE_ADMINS,)),
    *(
        ("badging", model, f"view_{model}", f"Can view {name}", (SITE_ADMINS, DATA_PROTECTION_OFFICERS))
        for model, name in (
            ("scheduledtask", "scheduled task"),
            ("connectiongrant", "opened connection"),
            ("attemptwords", "words of an attempt"),
        )
    ),
]


def grant_new_permissions(apps, schema_editor):
    """Give existing groups the new permissions; in a new database the groups are created with them afterwards."""
    groups = {group.name: group for group in apps.get_model("auth", "Group").objects.all()}
    for app, model, codename, name, granted_to in NEW_PERMISSIONS:
        for group in (groups[wanted] for wanted in granted_to if wanted in groups):
            content_type, _created = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
                app_label=app, model=model
            )
            permission, _created = apps.get_model("auth", "Permission").objects.get_or_create(
                content_type=content_type, codename=codename, defaults={"name": name}
            )
            group.permissions.add(permission)


def drop_old_sessions(apps, schema_editor):
    """Remove the table of Django's own sessions, which nothing empties any more. Everybody signs in anew."""
    if "django_session" in schema_editor.connection.introspection.table_names():
        schema_editor.execute("DROP TABLE django_session")


class Migration(migrations.Migration):
    dependencies = [
        ("people", "0001_sign_in_locks"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.CreateModel(
            name="Session",
            fields=[
                (
                    "session_key",
                    models.CharField(max_length=40, primary_key=True, serialize=False, verbose_name="session key"),
                ),
                ("session_data", models.TextField(verbose_name="session data")),
                ("expire_date", models.DateTimeField(db_index=True, verbose_name="expire date")),
                ("user_id", models.BigIntegerField(db_index=True, editable=False, null=True)),
            ],
            options={
                "abstract": False,
                "verbose_name": "session",
                "verbose_name_plural": "sessions",
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="PortalUser",
            fields=[],
            options={
                "permissions": [
                    ("manage_users", "Can invite, change and deactivate users who may do no more than themselves")
                ],
                "proxy": True,
                "default_permissions": (),
                "indexes": [],
                "constraints": [],
            },
            bases=("auth.user",),
            managers=[
                ("objects", django.contrib.auth.models.UserManager()),
            ],
        ),
        migrations.RunPython(grant_new_permissions, migrations.RunPython.noop),
        migrations.RunPython(drop_old_sessions, migrations.RunPython.noop),
    ]
