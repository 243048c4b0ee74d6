"""What a fresh database holds, and that what an admin changes stays."""

import pytest
from celery import current_app
from django.contrib.auth.models import Group, Permission
from django_celery_beat.models import PeriodicTask

from badging import schedule, setup

pytestmark = pytest.mark.django_db


def names(group: str) -> set[str]:
    return set(Group.objects.get(name=group).permissions.values_list("codename", flat=True))


def test_the_groups_may_do_what_they_are_for() -> None:
    admins = names(setup.SITE_ADMINS)
    assert not {name for name in admins if name.endswith(("_user", "_group", "_permission"))}
    assert "manage_users" in admins
    assert {"change_navigatrconnection", "change_moodlesite", "change_scheduledtask", "erase_learner"} <= admins
    assert not {name for name in admins if name.endswith(("_periodictask", "_intervalschedule", "_crontabschedule"))}
    assert "change_coursebadgemapping" in admins
    assert Group.objects.count() == 2
    officers = names(setup.DATA_PROTECTION_OFFICERS)
    assert {"view_learner", "view_issuanceattempt", "view_auditentry", "export_learner", "erase_learner"} <= officers
    assert all(name.startswith("view_") for name in officers - {"export_learner", "erase_learner"})


def test_the_schedule_stands_and_names_tasks_that_exist() -> None:
    current_app.loader.import_default_modules()
    scheduled = dict(PeriodicTask.objects.values_list("task", "interval__every"))
    for entry in schedule.SCHEDULE:
        assert scheduled[entry.task] == entry.every
        assert entry.least <= entry.every <= entry.most
        assert entry.task in current_app.tasks


def test_what_an_admin_changed_stays() -> None:
    task = PeriodicTask.objects.get(task="badging.tasks.poll_due")
    task.enabled, task.name = False, "Ours"
    task.save()
    Group.objects.get(name=setup.SITE_ADMINS).permissions.clear()
    count = PeriodicTask.objects.count()
    setup.create_groups_and_schedule()
    task.refresh_from_db()
    assert (task.enabled, task.name) == (False, "Ours")
    assert PeriodicTask.objects.count() == count
    assert names(setup.SITE_ADMINS) == set()


def test_rights_to_the_raw_rows_of_the_schedule_are_taken_away() -> None:
    group = Group.objects.get(name=setup.SITE_ADMINS)
    raw = Permission.objects.filter(content_type__app_label="django_celery_beat")
    assert raw.exists()
    group.permissions.add(*raw)
    setup.create_groups_and_schedule()
    assert not group.permissions.filter(pk__in=raw).exists()
    assert "change_moodlesite" in names(setup.SITE_ADMINS)
