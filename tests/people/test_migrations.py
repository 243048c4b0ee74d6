"""What becomes of the rows of a database that was set up before."""

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group, User
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from badging.models import AuditEntry
from badging.setup import SITE_ADMINS

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


def test_a_present_group_of_site_admins_may_manage_users(before: None) -> None:
    group = Group.objects.get(name=SITE_ADMINS)
    group.permissions.clear()
    latest()
    assert [row.codename for row in group.permissions.all()] == ["manage_users"]
