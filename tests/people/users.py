"""Users for the tests of this folder, and their browsers."""

from typing import Any

from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from badging.models import AuditEntry

USERS = "auth_user"


def make_user(name: str, *groups: str, **fields: Any) -> User:
    """A user with these roles, and staff status if there are any."""
    user = User.objects.create_user(name, f"{name}@example.org", "correct horse", is_staff=bool(groups), **fields)
    user.groups.set(Group.objects.filter(name__in=groups))
    return user


def browser_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def can_sign_in(name: str, password: str = "correct horse") -> bool:
    """Whether the sign-in page lets this name and password in."""
    client = signed_in_by_form(name, password)
    return client.get(reverse("courses")).status_code == 200


def signed_in_by_form(name: str, password: str = "correct horse") -> Client:
    client = Client()
    client.post(reverse("account_login"), {"login": name, "password": password})
    return client


def invite(client: Client, email: str = "mina@example.org", **fields: Any) -> Any:
    data = {"email": email, "first_name": "Mina", "last_name": "Okafor"} | fields
    return client.post(reverse("admin:auth_user_add"), data, follow=True)


def change(client: Client, user: User, **fields: Any) -> Any:
    data = {"email": user.email, "first_name": user.first_name, "last_name": user.last_name} | fields
    return client.post(reverse("admin:auth_user_change", args=[user.pk]), data, follow=True)


def recorded(action: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Who did it to whom, with the details, oldest first."""
    rows = AuditEntry.objects.filter(action=action).order_by("pk")
    return [(row.actor_name, row.subject, row.details) for row in rows]
