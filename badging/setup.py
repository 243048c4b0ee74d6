"""What a fresh database needs: the three groups, and the schedule. Made once; what an admin changes later stays."""

from typing import Any

from django.apps import apps as registry
from django.contrib.auth.management import create_permissions
from django.contrib.auth.models import Group, Permission
from django.utils.translation import gettext_noop
from django_celery_beat.models import IntervalSchedule, PeriodicTask

SITE_ADMINS = gettext_noop("Site admins")
COURSE_MANAGERS = gettext_noop("Course managers")
DATA_PROTECTION_OFFICERS = gettext_noop("Data protection officers")

VIEW_ALL = ("moodle_sync", "badging")

# Name, task, seconds. The polling tick wakes a round in which each site is polled by its own interval.
SCHEDULE = [
    ("Poll Moodle sites that are due", "badging.tasks.poll_due", 5),
    ("Send what is due", "badging.tasks.send_sweep", 5),
    ("Check connections, sites and badges", "badging.tasks.daily_checks", 24 * 60 * 60),
]


def create_groups_and_schedule(sender: Any = None, **kwargs: Any) -> None:
    """Runs after each migration; adds what is missing and changes nothing that is there."""
    apps = ["moodle_sync", "badging", "django_celery_beat"]
    for label in [*apps, "auth"]:
        # Django makes an app's permissions in a receiver of the same signal, which may come after this one.
        create_permissions(registry.get_app_config(label), verbosity=0)
    permissions = Permission.objects.filter(content_type__app_label__in=apps)
    wanted = {
        # They choose course managers among the users. Making users is left to superusers: who may, could make more.
        SITE_ADMINS: permissions | Permission.objects.filter(content_type__app_label="auth", codename="view_user"),
        COURSE_MANAGERS: Permission.objects.none(),
        DATA_PROTECTION_OFFICERS: permissions.filter(content_type__app_label__in=VIEW_ALL).filter(
            codename__startswith="view_"
        )
        | permissions.filter(codename__in=["export_learner", "erase_learner"]),
    }
    for name, granted in wanted.items():
        group, created = Group.objects.get_or_create(name=name)
        if created:
            group.permissions.set(granted)
    for name, task, seconds in SCHEDULE:
        if not PeriodicTask.objects.filter(task=task).exists():
            every, _created = IntervalSchedule.objects.get_or_create(every=seconds, period=IntervalSchedule.SECONDS)
            # A message that no worker took in time is worth nothing: the next one says the same.
            PeriodicTask.objects.create(name=name, task=task, interval=every, expire_seconds=max(seconds, 10))
