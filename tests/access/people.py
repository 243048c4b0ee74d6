"""The roles of the table: one browser for each."""

from collections.abc import Callable

from django.contrib.auth.models import Group, User
from django.test import Client

from badging.models import CourseManager
from badging.setup import DATA_PROTECTION_OFFICERS, SITE_ADMINS
from moodle_sync.models import Course

# The columns of the table, in their order.
ROLES = ("anonymous", "plain", "manager", "other", "officer", "admin", "super", "inactive", "member")


def browsers(course: Course, foreign: Course) -> dict[str, Client]:
    """A browser for each role.

    `manager` manages the course of the table's addresses, `other` a foreign one. `inactive` is a superuser who was
    deactivated while signed in. `member` is in the group of site admins without staff status.
    """
    people: dict[str, Callable[[], User | None]] = {
        "anonymous": lambda: None,
        "plain": lambda: _user("plain"),
        "manager": lambda: _manager("manager", course),
        "other": lambda: _manager("other", foreign),
        "officer": lambda: _user("officer", DATA_PROTECTION_OFFICERS, is_staff=True),
        "admin": lambda: _user("admin", SITE_ADMINS, is_staff=True),
        "super": lambda: _user("super", is_staff=True, is_superuser=True),
        "inactive": lambda: _user("inactive", is_staff=True, is_superuser=True),
        "member": lambda: _user("member", SITE_ADMINS),
    }
    assert tuple(people) == ROLES
    found = {role: _browser(make()) for role, make in people.items()}
    User.objects.filter(username="inactive").update(is_active=False)
    return found


def _user(name: str, group: str = "", **fields: bool) -> User:
    user = User.objects.create_user(name, f"{name}@example.org", "correct horse", **fields)
    if group:
        user.groups.add(Group.objects.get(name=group))
    return user


def _manager(name: str, course: Course) -> User:
    user = _user(name)
    CourseManager.objects.create(user=user, course=course)
    return user


def _browser(user: User | None) -> Client:
    client = Client()
    if user is not None:
        client.force_login(user)
    return client
