import django.contrib.auth.models
from django.db import migrations, models

# As in badging/setup.py, when this was written.
SITE_ADMINS = "Site admins"


def let_site_admins_manage_users(apps, schema_editor):
    """Give an existing group the new permission; in a new database the group is created with it afterwards."""
    for group in apps.get_model("auth", "Group").objects.filter(name=SITE_ADMINS):
        content_type, _created = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
            app_label="people", model="portaluser"
        )
        permission, _created = apps.get_model("auth", "Permission").objects.get_or_create(
            content_type=content_type,
            codename="manage_users",
            defaults={"name": "Can invite, change and deactivate users who may do no more than themselves"},
        )
        group.permissions.add(permission)


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
        migrations.RunPython(let_site_admins_manage_users, migrations.RunPython.noop),
    ]
