from django.db import migrations


def tell_allauth_the_addresses(apps, schema_editor):
    """Store each present user's address as `people.adapters.keep_one_address` does when a user is saved.

    Allauth finds addresses in lower case only, so an address with capitals would not be found in the user's own row.
    """
    email_address = apps.get_model("account", "EmailAddress")
    users = apps.get_model("auth", "User").objects.exclude(email="")
    for pk, email in users.values_list("pk", "email").iterator():
        known = email_address.objects.filter(user_id=pk)
        known.exclude(email=email.lower()).delete()
        if not known.exists():
            email_address.objects.create(user_id=pk, email=email.lower(), primary=True, verified=False)


class Migration(migrations.Migration):
    dependencies = [
        ("people", "0002_users_and_sessions"),
        ("account", "0009_emailaddress_unique_primary_email"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [migrations.RunPython(tell_allauth_the_addresses, migrations.RunPython.noop)]
