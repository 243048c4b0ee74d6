"""What becomes of the rows of a database that was set up before."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group, User
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client

from badging.history import history_of
from badging.models import AuditEntry
from badging.setup import DATA_PROTECTION_OFFICERS, SITE_ADMINS
from moodle_sync.models import MoodleSite

pytestmark = pytest.mark.django_db(transaction=True)

BEFORE = [("badging", "0006_sign_in_audit"), ("people", "0001_sign_in_locks")]


@pytest.fixture
def before() -> Iterator[None]:
    """The database as it was."""
    MigrationExecutor(connection).migrate(BEFORE)
    yield
    latest()


def latest() -> None:
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())


def test_present_rows_begin_their_history(before: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO moodle_sync_moodlesite (name, url, token, enabled, poll_interval, busy_interval,"
            " send_suspended) VALUES ('North', 'https://moodle.example', '', %s, %s, %s, %s)",
            [True, *[60_000_000 if connection.vendor == "sqlite" else timedelta(minutes=1)] * 2, True],
        )
    latest()
    site = MoodleSite.objects.get()
    site.name = "South"
    site.save()
    [change, beginning] = history_of(site)
    assert "from North to South" in change.sentences[0]
    assert beginning.sentences == ["The history of this Moodle site begins here."]


def test_present_entries_get_their_actors_name_and_stay_append_only(before: None) -> None:
    sara = User.objects.create_user("sara")
    with connection.cursor() as cursor:
        for actor in (sara.pk, None):
            cursor.execute(
                "INSERT INTO badging_auditentry (at, actor_id, action, subject, details)"
                " VALUES (CURRENT_TIMESTAMP, %s, 'site_saved', 'Moodle', '{}')",
                [actor],
            )
    latest()
    assert set(AuditEntry.objects.values_list("actor_name", flat=True)) == {"sara", ""}
    with connection.cursor() as cursor, pytest.raises(DatabaseError, match="never changed"):
        cursor.execute("UPDATE badging_auditentry SET subject = 'x'")
    sara.delete()
    assert AuditEntry.objects.filter(actor=None).count() == 2


def test_present_groups_get_what_has_come_since(before: None) -> None:
    groups = {name: Group.objects.get(name=name) for name in (SITE_ADMINS, DATA_PROTECTION_OFFICERS)}
    for group in groups.values():
        group.permissions.clear()
    latest()
    seen = {"view_attemptwords", "view_connectiongrant", "view_scheduledtask"}
    done = {"manage_users", "release_signinlock", "view_signinlock", "change_scheduledtask", "add_connectiongrant"}
    granted = {name: {row.codename for row in group.permissions.all()} for name, group in groups.items()}
    assert granted[SITE_ADMINS] == seen | done | {"delete_connectiongrant"}
    assert granted[DATA_PROTECTION_OFFICERS] == seen


def test_present_users_are_found_by_their_addresses_whatever_their_case(before: None) -> None:
    anna = User.objects.create_user("anna", "", "correct horse")
    # As before: no signal told allauth.
    User.objects.filter(pk=anna.pk).update(email="Anna@Example.org")
    User.objects.create_user("otto")
    assert not EmailAddress.objects.exists()
    latest()
    [address] = EmailAddress.objects.all()
    assert (address.user, address.email, address.primary, address.verified) == (anna, "anna@example.org", True, False)
    client = Client()
    client.post("/sign-in/", {"login": "Anna@Example.org", "password": "correct horse"})
    assert client.session["_auth_user_id"] == str(anna.pk)
