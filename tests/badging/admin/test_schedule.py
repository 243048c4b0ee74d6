"""The schedule in the admin: how often may be changed, and nothing else."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from badging.models import AuditEntry, Heartbeat, ScheduledTask
from badging.schedule import SCHEDULE
from tests.builders import NOW, let_everything_run

from .browsing import listed, page_of

pytestmark = pytest.mark.django_db

NAME = "badging_scheduledtask"
SWEEP = "badging.tasks.send_sweep"


@pytest.fixture(autouse=True)
def running() -> None:
    """All is well."""
    let_everything_run()


def sweep() -> Any:
    return PeriodicTask.objects.get(task=SWEEP)


def press(client: Client, action: str, pk: int) -> Any:
    data = {"action": action, "_selected_action": str(pk), "back": str(pk)}
    return client.post(listed(NAME), data, follow=True)


def test_djangos_celery_beat_has_no_pages_of_its_own() -> None:
    assert [model for model in admin.site._registry if model._meta.app_label == "django_celery_beat"] == []


def test_the_list_shows_the_three_tasks_and_not_celerys_own(site_admin: Client) -> None:
    every = IntervalSchedule.objects.get_or_create(every=5, period="seconds")[0]
    PeriodicTask.objects.create(name="celery.backend_cleanup", task="celery.backend_cleanup", interval=every)
    page = site_admin.get(listed(NAME)).content.decode()
    for name in ("Poll Moodle sites that are due", "Send what is due", "Check connections, sites and badges"):
        assert name in page
    assert "24 h" in page
    assert "celery.backend_cleanup" not in page
    assert reverse("admin:index") in page
    assert reverse(f"admin:{NAME}_add") not in page


def test_the_queries_of_the_list_do_not_grow(site_admin: Client) -> None:
    def asked() -> int:
        with CaptureQueriesContext(database) as seen:
            assert site_admin.get(listed(NAME)).status_code == 200
        return len(seen)

    before = asked()
    every = IntervalSchedule.objects.get_or_create(every=5, period="seconds")[0]
    for number in range(10):
        PeriodicTask.objects.create(name=f"strange {number}", task="strange", interval=every)
    assert asked() == before


def test_a_site_admin_changes_how_often_and_nothing_else(site_admin: Client) -> None:
    row = sweep()
    forged = {
        "every_seconds": "20",
        "enabled": "",
        "name": "x",
        "task": "os.system",
        "args": "[1]",
        "queue": "nobody",
        "one_off": "on",
    }
    site_admin.post(page_of(NAME, row.pk), forged)
    after = sweep()
    assert (after.interval.every, after.interval.period) == (20, "seconds")
    for field in ("enabled", "name", "task", "args", "queue", "one_off"):
        assert getattr(after, field) == getattr(row, field)
    entry = AuditEntry.objects.get()
    assert (entry.action, str(entry.actor)) == ("schedule_changed", "site-admin")
    assert entry.details == {"seconds_before": 5.0, "seconds": 20}
    # Saving it unchanged is no change.
    site_admin.post(page_of(NAME, row.pk), {"every_seconds": "20"})
    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize("seconds", ["0", "-5", "61", "0.000001", "1e9", ""])
def test_no_interval_out_of_bounds_is_taken(site_admin: Client, seconds: str) -> None:
    page = site_admin.post(page_of(NAME, sweep().pk), {"every_seconds": seconds})
    assert page.status_code == 200
    assert 'class="errorlist"' in page.content.decode()
    assert sweep().interval.every == 5


def test_nobody_adds_deletes_or_switches_off(site_admin: Client, admin_client: Client) -> None:
    row = sweep()
    for client in (site_admin, admin_client):
        assert client.get(reverse(f"admin:{NAME}_add")).status_code == 403
        assert client.post(reverse(f"admin:{NAME}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
        press(client, "delete_selected", row.pk)
        press(client, "disable_tasks", row.pk)
        assert sweep().enabled


def test_officers_do_not_change_the_schedule(officer: Client) -> None:
    row = sweep()
    page = officer.get(page_of(NAME, row.pk))
    assert page.status_code == 200
    assert "every_seconds" not in page.content.decode()
    assert officer.post(page_of(NAME, row.pk), {"every_seconds": "20"}).status_code == 403
    press(officer, "put_right", row.pk)
    assert sweep().interval.every == 5
    assert not AuditEntry.objects.exists()


def test_a_task_that_was_switched_off_elsewhere_is_shown_and_put_right(site_admin: Client) -> None:
    row = sweep()
    assert "Put right" not in buttons(site_admin, row.pk)
    PeriodicTask.objects.filter(pk=row.pk).update(enabled=False)
    page = site_admin.get(page_of(NAME, row.pk)).content.decode()
    assert "it is switched off, so it never runs" in page
    assert "Put right" in buttons(site_admin, row.pk)
    assert "Send what is due was put right." in press(site_admin, "put_right", row.pk).content.decode()
    assert sweep().enabled
    assert AuditEntry.objects.get().details["switched"] == "on"
    assert site_admin.get(reverse("admin:index")).content.decode().count("Send what is due") == 0


def buttons(client: Client, pk: int) -> str:
    page = client.get(page_of(NAME, pk)).content.decode()
    found = re.search(r'class="portal-buttons".*?</form>', page, re.DOTALL)
    return found[0] if found else ""


def test_a_strange_task_can_only_be_switched_off(site_admin: Client) -> None:
    every = IntervalSchedule.objects.create(every=1, period="microseconds")
    strange = PeriodicTask.objects.create(name="strange", task="os.system", interval=every)
    page = site_admin.get(page_of(NAME, strange.pk)).content.decode()
    assert "Unknown: the portal has no such task." in page
    assert "every_seconds" not in page
    assert site_admin.post(page_of(NAME, strange.pk), {"every_seconds": "20", "enabled": "on"}).status_code == 302
    assert PeriodicTask.objects.get(pk=strange.pk).interval == every
    press(site_admin, "put_right", strange.pk)
    assert not PeriodicTask.objects.get(pk=strange.pk).enabled


def test_the_page_of_a_task_tells_that_beat_is_silent(site_admin: Client) -> None:
    Heartbeat.objects.filter(name="beat").update(at=NOW.replace(year=2020))
    assert "given no sign of life since 23 Nov 2020" in site_admin.get(page_of(NAME, sweep().pk)).content.decode()
    assert ScheduledTask._default_manager.count() == len(SCHEDULE)
