"""What site admins may do to users, and what not, whatever they post."""

from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group, Permission, User
from django.db import connection as database
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from badging.models import CourseManager
from badging.setup import DATA_PROTECTION_OFFICERS, SITE_ADMINS
from tests.badging.admin.browsing import confirm, listed, page_of, rows_shown, run, said, search
from tests.builders import make_course

from .users import USERS, browser_of, can_sign_in, change, invite, make_user, recorded

pytestmark = pytest.mark.django_db

# What somebody might add to a form.
EXTRA = {
    "is_superuser": "on",
    "is_staff": "on",
    "is_active": "",
    "password": "x",
    "username": "other",
    "last_login_0": "2020-01-01",
}


def permissions_of(user: User) -> set[str]:
    return User.objects.get(pk=user.pk).get_all_permissions()


def test_a_site_admin_sees_who_is_what(site_admin: Client, root: User) -> None:
    manager = make_user("mina", first_name="Mina", last_name="Okafor")
    CourseManager.objects.create(user=manager, course=make_course())
    make_user("omar", DATA_PROTECTION_OFFICERS)
    page = site_admin.get(listed(USERS)).content.decode()
    for words in ("Mina Okafor", "mina@example.org", "Course manager", DATA_PROTECTION_OFFICERS, "Superuser"):
        assert words in page
    assert rows_shown(search(site_admin, USERS, "okafor")) == [manager.pk]


def test_the_list_makes_as_many_queries_for_fifty_users_as_for_one(site_admin: Client) -> None:
    def queries() -> int:
        with CaptureQueriesContext(database) as seen:
            assert site_admin.get(listed(USERS)).status_code == 200
        return len(seen)

    alone = queries()
    for number in range(50):
        make_user(f"user{number}", DATA_PROTECTION_OFFICERS)
    # Session, user, two for permissions, the roles of the filter, the bounded count, the users, and their roles.
    assert queries() == alone == 8


def test_people_are_filtered_by_what_they_are(site_admin: Client, sara: User, root: User) -> None:
    nobody, manager, officer = make_user("nia"), make_user("mina"), make_user("omar", DATA_PROTECTION_OFFICERS)
    CourseManager.objects.create(user=manager, course=make_course())
    role = str(Group.objects.get(name=DATA_PROTECTION_OFFICERS).pk)
    for value, found in (("manager", manager), ("superuser", root), ("none", nobody), (role, officer)):
        assert rows_shown(site_admin.get(listed(USERS, role=value))) == [found.pk], value
    page = site_admin.get(listed(USERS)).content.decode()
    assert [words for words in ("Select user", "Add user", "By groups") if words in page] == []
    assert "Invite a person" in page


def test_roles_and_courses_are_changed(site_admin: Client) -> None:
    user, kept, lost, new = make_user("mina"), make_course(), make_course(), make_course()
    for course in (kept, lost):
        CourseManager.objects.create(user=user, course=course)
    officers = Group.objects.get(name=DATA_PROTECTION_OFFICERS)
    change(site_admin, user, first_name="Mina", roles=[officers.pk], courses=[kept.pk, new.pk])
    user.refresh_from_db()
    assert (user.first_name, user.is_staff, list(user.groups.all())) == ("Mina", True, [officers])
    assert set(user.managed_courses.values_list("course", flat=True)) == {kept.pk, new.pk}
    assert recorded("manager_granted") == [("sara", "mina", {"course": new.full_label})]
    assert recorded("manager_removed") == [("sara", "mina", {"course": lost.full_label})]
    assert recorded("roles_changed") == [("sara", "mina", {"from": [], "to": [DATA_PROTECTION_OFFICERS]})]
    change(site_admin, user, courses=[kept.pk, new.pk])
    user.refresh_from_db()
    # Staff status goes with the last role.
    assert (user.is_staff, user.groups.count()) == (False, 0)


def test_extra_fields_in_an_invitation_change_nothing(site_admin: Client, sara: User) -> None:
    every = [str(pk) for pk in Permission.objects.values_list("pk", flat=True)]
    invite(site_admin, **EXTRA, user_permissions=every, groups=[sara.groups.get().pk])
    user = User.objects.get(email="mina@example.org")
    assert (user.username, user.is_superuser, user.is_staff, user.is_active) == ("mina", False, False, True)
    assert not user.has_usable_password()
    assert not user.groups.exists()
    assert not user.user_permissions.exists()


def test_extra_fields_in_a_change_change_nothing(site_admin: Client, sara: User) -> None:
    every = [str(pk) for pk in Permission.objects.values_list("pk", flat=True)]
    for user in (make_user("mina"), sara):
        before = User.objects.values().get(pk=user.pk)
        roles = [group.pk for group in user.groups.all()]
        change(site_admin, user, **EXTRA, user_permissions=every, groups=[], roles=roles)
        assert User.objects.values().get(pk=user.pk) == before
        assert not user.user_permissions.exists()
        assert [group.pk for group in user.groups.all()] == roles


@pytest.fixture
def strong(db: None) -> Group:
    """A role with a permission that site admins lack."""
    group = Group.objects.create(name="Strong")
    group.permissions.add(Permission.objects.get(codename="change_permission"))
    return group


def test_nobody_grants_more_than_they_have(site_admin: Client, sara: User, strong: Group) -> None:
    user = make_user("mina")
    assert "Strong" not in site_admin.get(page_of(USERS, user.pk)).content.decode()
    for target in (user, sara):
        change(site_admin, target, roles=[strong.pk])
        assert not target.groups.filter(pk=strong.pk).exists()
    invite(site_admin, "new@example.org", roles=[strong.pk])
    assert not User.objects.filter(email="new@example.org").exists()


def test_a_site_admin_who_lost_a_permission_cannot_grant_it(site_admin: Client, sara: User) -> None:
    group = Group.objects.get(name=SITE_ADMINS)
    group.permissions.remove(Permission.objects.get(codename="erase_learner"))
    officers = Group.objects.get(name=DATA_PROTECTION_OFFICERS)
    user = make_user("mina")
    change(site_admin, user, roles=[officers.pk])
    assert not user.groups.exists()
    change(site_admin, user, roles=[group.pk])
    assert list(user.groups.all()) == [group]


def test_without_the_right_to_make_course_managers_nobody_makes_one(site_admin: Client) -> None:
    Group.objects.get(name=SITE_ADMINS).permissions.remove(Permission.objects.get(codename="add_coursemanager"))
    user = make_user("mina")
    change(site_admin, user, courses=[make_course().pk])
    assert not CourseManager.objects.exists()


@pytest.mark.parametrize("active", [True, False])
def test_nobody_but_a_superuser_changes_who_may_do_more(
    site_admin: Client, root: User, strong: Group, active: bool
) -> None:
    member = make_user("paula", "Strong")
    direct = make_user("dora")
    direct.user_permissions.add(Permission.objects.get(codename="change_permission"))
    for user in (root, member, direct):
        user.is_active = active
        user.save()
        before = User.objects.values().get(pk=user.pk)
        client = browser_of(user) if active else None
        page = site_admin.get(page_of(USERS, user.pk)).content.decode()
        assert 'name="email"' not in page
        assert change(site_admin, user, email="mine@example.org", roles=[]).status_code == 403
        for action in ("send_link", "remove_factors", "deactivate", "reactivate", "sign_out"):
            assert "a superuser must do this" in said(confirm(site_admin, USERS, action, user.pk))
            assert f'value="{action}"' not in page
        after = User.objects.values().get(pk=user.pk)
        assert after == before | {"last_login": after["last_login"]}
        if client:
            assert client.get(reverse("courses")).status_code == 200
    assert recorded("password_link") == recorded("user_deactivated") == recorded("signed_out_all") == []


def test_nobody_changes_their_own_roles_or_deactivates_themselves(site_admin: Client, sara: User, root: User) -> None:
    officers = Group.objects.get(name=DATA_PROTECTION_OFFICERS)
    for client, user in ((site_admin, sara), (browser_of(root), root)):
        before = permissions_of(user)
        change(client, user, username=user.username, roles=[officers.pk])
        assert permissions_of(user) == before
        assert User.objects.get(pk=user.pk).is_superuser == user.is_superuser
        assert "You cannot deactivate yourself" in said(confirm(client, USERS, "deactivate", user.pk))
        assert User.objects.get(pk=user.pk).is_active


def test_a_deactivated_user_is_out_at_once_and_comes_back_with_everything(site_admin: Client, sara: User) -> None:
    user, course = make_user("mina", SITE_ADMINS), make_course()
    CourseManager.objects.create(user=user, course=course)
    there = browser_of(user)
    assert "sign in" in run(site_admin, USERS, "deactivate", user.pk).content.decode()
    assert there.get(reverse("courses")).status_code == 200
    confirm(site_admin, USERS, "deactivate", user.pk)
    assert there.get(reverse("courses")).status_code == 302
    assert not can_sign_in("mina")
    assert not permissions_of(user)
    confirm(site_admin, USERS, "reactivate", user.pk)
    # The old session stays gone.
    assert there.get(reverse("courses")).status_code == 302
    assert browser_of(user).get(reverse("course", args=[course.pk])).status_code == 200
    assert permissions_of(user) == permissions_of(sara)
    assert recorded("user_deactivated") == recorded("user_reactivated") == [("sara", "mina", {})]


def test_signing_somebody_out_everywhere(site_admin: Client) -> None:
    user, other = make_user("mina"), make_user("otto")
    browsers = [browser_of(user), browser_of(user)]
    others = browser_of(other)
    confirm(site_admin, USERS, "sign_out", user.pk)
    assert [client.get(reverse("courses")).status_code for client in browsers] == [302, 302]
    assert others.get(reverse("courses")).status_code == 200
    assert recorded("signed_out_all") == [("sara", "mina", {"sessions": 2})]


def test_second_factors_that_somebody_lost_are_removed(site_admin: Client) -> None:
    user, other = make_user("mina"), make_user("otto")
    for owner in (user, other):
        Authenticator.objects.create(user=owner, type="totp", data={})
        Authenticator.objects.create(user=owner, type="recovery_codes", data={})
    asked = run(site_admin, USERS, "remove_factors", user.pk)
    assert "really they who ask" in asked.content.decode()
    assert Authenticator.objects.filter(user=user).count() == 2
    confirm(site_admin, USERS, "remove_factors", user.pk)
    assert set(Authenticator.objects.values_list("user", flat=True)) == {other.pk}
    assert recorded("factor_removed") == [("sara", "mina", {"kind": "totp, recovery_codes"})]


@pytest.mark.parametrize("action", ["send_link", "remove_factors", "sign_out", "deactivate", "reactivate"])
def test_actions_ask_first_and_answer_no_get(site_admin: Client, action: str) -> None:
    user = make_user("mina", is_active=action != "reactivate")
    there = browser_of(user)
    assert "What will happen" in run(site_admin, USERS, action, user.pk).content.decode()
    site_admin.get(listed(USERS, action=action, confirmed="yes", _selected_action=user.pk))
    user.refresh_from_db()
    assert user.is_active == (action != "reactivate")
    assert there.get(reverse("courses")).status_code == (200 if user.is_active else 302)
    assert recorded("password_link") == []


@pytest.mark.parametrize("who", ["sara", "root"])
def test_nobody_deletes_a_user(who: str, request: pytest.FixtureRequest) -> None:
    client = browser_of(request.getfixturevalue(who))
    user = make_user("mina")
    assert client.post(reverse("admin:auth_user_delete", args=[user.pk]), {"post": "yes"}).status_code == 403
    confirm(client, USERS, "delete_selected", user.pk)
    assert User.objects.filter(pk=user.pk).exists()


def test_no_page_shows_or_sets_a_password(site_admin: Client, superuser: Client) -> None:
    user = make_user("mina")
    for client in (site_admin, superuser):
        page = client.get(page_of(USERS, user.pk)).content.decode()
        assert user.password not in page
        assert 'type="password"' not in page
        assert client.get(f"{page_of(USERS, user.pk)}../password/").status_code in (302, 404)


def test_groups_are_for_superusers(site_admin: Client, superuser: Client, sara: User) -> None:
    group = Group.objects.get(name=SITE_ADMINS)
    # Even a permission given by mistake does not help.
    sara.user_permissions.set(Permission.objects.filter(codename__endswith="_group"))
    before = set(group.permissions.all())
    for address in (listed("auth_group"), reverse("admin:auth_group_add"), page_of("auth_group", group.pk)):
        assert site_admin.get(address).status_code == 403
        assert site_admin.post(address, {"name": "Mine", "permissions": []}).status_code == 403
        assert superuser.get(address).status_code == 200
    assert set(group.permissions.all()) == before


def test_officers_and_course_managers_reach_no_users() -> None:
    user = make_user("otto")
    for client in (browser_of(make_user("omar", DATA_PROTECTION_OFFICERS)), browser_of(make_user("mina"))):
        for address in (listed(USERS), reverse("admin:auth_user_add"), page_of(USERS, user.pk)):
            assert client.get(address).status_code in (302, 403)
            assert client.post(address, {"email": "x@example.org"}).status_code in (302, 403)
        confirm(client, USERS, "deactivate", user.pk)
    assert User.objects.filter(is_active=True).count() == 3


def test_a_superuser_makes_a_superuser_and_unmakes_one(superuser: Client) -> None:
    user = make_user("mina")
    change(superuser, user, username="mina", is_superuser="on")
    user.refresh_from_db()
    assert (user.is_superuser, user.is_staff) == (True, True)
    assert recorded("user_changed")[-1] == (
        "root",
        "mina",
        {"is_staff": "False → True", "is_superuser": "False → True"},
    )
    change(superuser, user, username="mina.okafor")
    user.refresh_from_db()
    assert (user.username, user.is_superuser, user.is_staff) == ("mina.okafor", False, False)


def test_who_manages_very_many_courses_is_changed_under_course_managers(site_admin: Client) -> None:
    user, site = make_user("mina"), make_course().site
    for _number in range(201):
        CourseManager.objects.create(user=user, course=make_course(site))
    page = site_admin.get(page_of(USERS, user.pk)).content.decode()
    assert 'name="courses"' not in page
    link = listed("badging_coursemanager", user__id__exact=user.pk)
    assert link in page
    assert len(rows_shown(site_admin.get(link))) == 25
    change(site_admin, user, first_name="Mina", courses=[])
    assert user.managed_courses.count() == 201


def test_changing_the_address_keeps_it_one_users_own(site_admin: Client) -> None:
    user: Any = make_user("mina")
    make_user("otto")
    assert "Somebody has this" in change(site_admin, user, email="OTTO@example.org").content.decode()
    change(site_admin, user, email="Mina@example.org")
    user.refresh_from_db()
    assert user.email == "Mina@example.org"


def test_a_name_that_differs_in_case_only_is_refused(root: User) -> None:
    mina = make_user("mina")
    superuser = browser_of(root)
    page = change(superuser, mina, username=root.username.upper())
    assert "Capitals make no difference." in page.content.decode()
    mina.refresh_from_db()
    assert mina.username == "mina"


@pytest.mark.parametrize("made_up", ["abc", "9" * 24, "-1"])
def test_made_up_roles_and_courses_are_told_and_change_nothing(site_admin: Client, made_up: str) -> None:
    before = User.objects.count()
    form = {"email": "b@example.org", "first_name": "B", "last_name": "", "roles": [made_up], "courses": [made_up]}
    answer = site_admin.post(reverse("admin:auth_user_add"), form)
    assert answer.status_code == 200
    assert answer.content.decode().count("is not one of the available choices") == 2
    assert User.objects.count() == before
