"""A site admin and a superuser with their browsers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.test import Client

# This file is loaded before Django is, so models are imported in the fixtures.


@pytest.fixture
def sara(db: None) -> User:
    """A site admin."""
    from badging.setup import SITE_ADMINS

    from .users import make_user

    return make_user("sara", SITE_ADMINS)


@pytest.fixture
def site_admin(sara: User) -> Client:
    """The site admin's browser."""
    from .users import browser_of

    return browser_of(sara)


@pytest.fixture
def root(db: None) -> User:
    """A superuser."""
    from django.contrib.auth.models import User

    return User.objects.create_superuser("root", "root@example.org", "correct horse")


@pytest.fixture
def superuser(root: User) -> Client:
    """The superuser's browser."""
    from .users import browser_of

    return browser_of(root)
