"""Every change of users and groups is recorded, through whichever door."""

import io
import sys
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.urls import reverse

from badging import audit
from badging.models import AuditEntry, CourseManager
from badging.setup import SITE_ADMINS
from people.acting import acting, nobody
from tests.badging.admin.browsing import rows_shown, search
from tests.builders import make_course

from .users import make_user, recorded

pytestmark = pytest.mark.django_db


@pytest.fixture
def at_the_shell() -> Any:
    """As manage.py does it."""
    with acting(nobody):
        yield


def test_data_that_a_program_prepares_is_not_recorded() -> None:
    make_user("mina", SITE_ADMINS).delete()
    assert not AuditEntry.objects.exists()


def test_createsuperuser_and_changepassword_are_recorded(at_the_shell: None, monkeypatch: pytest.MonkeyPatch) -> None:
    call_command("createsuperuser", username="ada", email="ada@example.org", interactive=False, verbosity=0)
    assert recorded("user_created") == [("", "ada", {"staff": True, "superuser": True})]
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr("getpass.getpass", lambda prompt="", stream=None: "plausible-lantern-42")
    call_command("changepassword", "ada", stdout=io.StringIO())
    assert User.objects.get().check_password("plausible-lantern-42")
    assert recorded("password_set") == [("", "ada", {})]


def test_a_password_changed_by_its_user_is_recorded_once(client: Client) -> None:
    client.force_login(make_user("mina"))
    new = "plausible-lantern-42"
    client.post(
        reverse("account_change_password"), {"oldpassword": "correct horse", "password1": new, "password2": new}
    )
    assert [who for who, _whom, _details in recorded("password_changed")] == ["mina"]
    assert recorded("password_set") == []


def test_signing_in_records_no_change_even_when_the_hash_is_renewed(client: Client, settings: Any) -> None:
    user = make_user("mina")
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.ScryptPasswordHasher", *settings.PASSWORD_HASHERS]
    client.post(reverse("account_login"), {"login": "mina", "password": "correct horse"})
    assert User.objects.get().password != user.password
    assert set(AuditEntry.objects.values_list("action", flat=True)) == {"signed_in"}


def test_names_and_addresses_are_recorded_as_changed_only(at_the_shell: None) -> None:
    user = make_user("mina")
    user.username, user.email, user.last_name = "mina.o", "private@example.org", "Okafor"
    user.save()
    (entry,) = recorded("user_changed")
    assert entry == ("", "mina.o", {"username": "mina → mina.o", "changed": "email, last_name"})


def test_roles_are_recorded_from_either_side(at_the_shell: None) -> None:
    user, group = make_user("mina"), Group.objects.get(name=SITE_ADMINS)
    group.user_set.add(user)
    user.groups.remove(group)
    user.groups.add(group)
    group.user_set.clear()
    given, taken = {"from": [], "to": [SITE_ADMINS]}, {"from": [SITE_ADMINS], "to": []}
    assert [details for _who, _whom, details in recorded("roles_changed")] == [given, taken, given, taken]


def test_permissions_of_users_and_groups_are_recorded(at_the_shell: None) -> None:
    user, group = make_user("mina"), Group.objects.create(name="Auditors")
    permission = Permission.objects.get(codename="view_auditentry")
    user.user_permissions.add(permission)
    group.permissions.add(permission)
    group.permissions.clear()
    group.name = "Readers"
    group.save()
    group.delete()
    given = {"added": ["badging.view_auditentry"], "removed": []}
    assert recorded("roles_changed") == [("", "mina", given)]
    assert recorded("group_changed") == [
        ("", "Auditors", {"created": True}),
        ("", "Auditors", given),
        ("", "Auditors", {"added": [], "removed": ["badging.view_auditentry"]}),
        ("", "Readers", {"name": "Auditors → Readers"}),
        ("", "Readers", {"deleted": True}),
    ]


def test_a_superusers_change_of_a_group_in_the_admin_is_recorded(superuser: Client) -> None:
    group = Group.objects.create(name="Auditors")
    permission = Permission.objects.get(codename="view_auditentry")
    superuser.post(
        reverse("admin:auth_group_change", args=[group.pk]), {"name": "Auditors", "permissions": [permission.pk]}
    )
    assert recorded("group_changed") == [
        ("root", "Auditors", {"added": ["badging.view_auditentry"], "removed": []}),
    ]


def test_course_managers_added_and_deleted_in_their_own_list_are_recorded(site_admin: Client) -> None:
    user, course = make_user("mina"), make_course()
    site_admin.post(reverse("admin:badging_coursemanager_add"), {"users": [user.pk], "courses": [course.pk]})
    row = CourseManager.objects.get()
    assert recorded("manager_granted") == [("sara", "mina", {"course": course.full_label})]
    site_admin.post(reverse("admin:badging_coursemanager_delete", args=[row.pk]), {"post": "yes"})
    assert recorded("manager_removed") == [("sara", "mina", {"course": course.full_label})]


def test_an_entry_keeps_the_name_of_who_acted(site_admin: Client) -> None:
    user = make_user("mina")
    audit.record(AuditEntry.Action.SITE_SAVED, "Moodle", actor=user)
    user.username = "other"
    user.save()
    assert AuditEntry.objects.get().actor_name == "mina"
    user.delete()
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.actor_name) == (None, "mina")
    found = search(site_admin, "badging_auditentry", "mina")
    assert rows_shown(found) == [entry.pk]
    for answer in (found, site_admin.get(reverse("admin:badging_auditentry_change", args=[entry.pk]))):
        page = answer.content.decode()
        assert "mina" in page
        assert "Moodle" in page


def test_the_database_refuses_another_name(sara: User) -> None:
    audit.record(AuditEntry.Action.SITE_SAVED, "Moodle", actor=sara)
    with connection.cursor() as cursor:
        for change in ("actor_name = 'otto'", "actor_id = NULL, actor_name = ''", "subject = 'x'"):
            with pytest.raises(DatabaseError, match="never changed"), transaction.atomic():
                cursor.execute(f"UPDATE badging_auditentry SET {change}")  # noqa: S608 - written above
        cursor.execute("UPDATE badging_auditentry SET actor_id = NULL")
    assert AuditEntry.objects.get().actor_name == "sara"
