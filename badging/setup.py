"""What a new database needs: the groups and the schedule. Created once; what an admin changes later is kept."""

from typing import Any

from django.apps import apps as registry
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.utils.translation import gettext_noop
from django_celery_beat.models import IntervalSchedule, PeriodicTask

SITE_ADMINS = gettext_noop("Site admins")
DATA_PROTECTION_OFFICERS = gettext_noop("Data protection officers")

# Apps whose rows data protection officers may view.
VIEWED_BY_OFFICERS = ("moodle_sync", "badging")

# Name, task, seconds. Each polling round polls the sites that are due by their own intervals.
SCHEDULE = [
    ("Poll Moodle sites that are due", "badging.tasks.poll_due", 5),
    ("Send what is due", "badging.tasks.send_sweep", 5),
    ("Check connections, sites and badges", "badging.tasks.daily_checks", 24 * 60 * 60),
]


def create_groups_and_schedule(sender: Any = None, **kwargs: Any) -> None:
    """Runs after each migration; adds what is missing and changes nothing that exists."""
    apps = ["moodle_sync", "badging", "django_celery_beat"]
    for label in [*apps, "auth"]:
        # Django creates an app's permissions in a receiver of the same signal, which may run after this one.
        create_permissions(registry.get_app_config(label), verbosity=0)
    permissions = Permission.objects.filter(content_type__app_label__in=apps)
    granted = {
        # To choose course managers. Only superusers create users: whoever may create users may grant them any right.
        SITE_ADMINS: permissions | Permission.objects.filter(content_type__app_label="auth", codename="view_user"),
        DATA_PROTECTION_OFFICERS: permissions.filter(content_type__app_label__in=VIEWED_BY_OFFICERS).filter(
            codename__startswith="view_"
        )
        | permissions.filter(codename__in=["export_learner", "erase_learner"]),
    }
    for name, group_permissions in granted.items():
        group, created = Group.objects.get_or_create(name=name)
        if created:
            group.permissions.set(group_permissions)
    for name, task, seconds in SCHEDULE:
        if not PeriodicTask.objects.filter(task=task).exists():
            every, _created = IntervalSchedule.objects.get_or_create(every=seconds, period=IntervalSchedule.SECONDS)
            # A message that no worker took in time may expire: the next one does the same.
            PeriodicTask.objects.create(name=name, task=task, interval=every, expire_seconds=max(seconds, 10))
