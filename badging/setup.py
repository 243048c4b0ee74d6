"""What a new database needs: the groups and the schedule. Created once; what an admin changes later is kept."""

from typing import Any

from django.apps import apps as registry
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.utils import timezone
from django.utils.translation import gettext_noop

from . import schedule

SITE_ADMINS = gettext_noop("Site admins")
DATA_PROTECTION_OFFICERS = gettext_noop("Data protection officers")

# Apps whose rows data protection officers may view.
VIEWED_BY_OFFICERS = ("moodle_sync", "badging")


def create_groups_and_schedule(sender: Any = None, **kwargs: Any) -> None:
    """Runs after each migration; adds what is missing and changes nothing that exists.

    Except: nobody keeps rights to the raw rows of the schedule, which `badging.admin.schedule` replaces.
    """
    apps = ["moodle_sync", "badging", "people"]
    for label in apps:
        # Django creates an app's permissions in a receiver of the same signal, which may run after this one.
        create_permissions(registry.get_app_config(label), verbosity=0)
    permissions = Permission.objects.filter(content_type__app_label__in=apps)
    granted = {
        # Not Django's own permissions to add and change users: with those, anybody could be made a superuser.
        SITE_ADMINS: permissions,
        DATA_PROTECTION_OFFICERS: permissions.filter(content_type__app_label__in=VIEWED_BY_OFFICERS).filter(
            codename__startswith="view_"
        )
        | permissions.filter(codename__in=["export_learner", "erase_learner"]),
    }
    for name, group_permissions in granted.items():
        group, created = Group.objects.get_or_create(name=name)
        if created:
            group.permissions.set(group_permissions)
    raw = Permission.objects.filter(content_type__app_label="django_celery_beat")
    for group in Group.objects.filter(permissions__in=raw).distinct():
        group.permissions.remove(*raw)
    schedule.create_missing(timezone.now())
