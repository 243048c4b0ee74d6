"""A course with its manager's browser, against a pretend Navigatr over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from django.contrib.auth.models import User
    from django.test import Client

    from badging.models import NavigatrConnection
    from moodle_sync.models import Course
    from sandbox import Sandbox

# This file is loaded before Django is, so models are imported in the fixtures.


@pytest.fixture
def staging(sandbox: Sandbox) -> NavigatrConnection:
    """A connection to the pretend staging environment."""
    from tests.builders import make_connection

    return make_connection(name="Trial", pat=sandbox.pat)


@pytest.fixture
def course() -> Course:
    """A course that the manager looks after."""
    from tests.builders import make_course

    return make_course(fullname="First Aid at Work")


@pytest.fixture
def manager(course: Course) -> User:
    """The manager of the course, and of no other."""
    from django.contrib.auth.models import User

    from badging.models import CourseManager

    user = User.objects.create_user("mina", password="correct horse", first_name="Mina", last_name="Okafor")
    CourseManager.objects.create(user=user, course=course)
    return user


@pytest.fixture
def web(client: Client, manager: User) -> Client:
    """The manager's browser."""
    client.force_login(manager)
    return client
