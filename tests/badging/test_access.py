"""Who sees which course."""

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.http import Http404

from badging.models import CourseManager
from badging.pages import access
from badging.setup import COURSE_MANAGERS, DATA_PROTECTION_OFFICERS, SITE_ADMINS
from tests.builders import make_course, make_site

pytestmark = pytest.mark.django_db


def make_user(name: str = "mina", group: str = "", **fields: object) -> User:
    """A user with a usable password, in a group if one is named."""
    user = User.objects.create_user(name, password="correct horse", **fields)
    if group:
        user.groups.add(Group.objects.get(name=group))
    return user


def test_a_manager_sees_only_the_courses_assigned_to_her() -> None:
    site = make_site()
    own, foreign = make_course(site), make_course(site)
    user = make_user(group=COURSE_MANAGERS)
    CourseManager.objects.create(user=user, course=own)
    CourseManager.objects.create(user=make_user("otto"), course=foreign)
    assert list(access.visible_courses(user)) == [own]
    assert access.course_or_404(user, own.pk) == own
    for pk in (foreign.pk, foreign.pk + 1000):
        with pytest.raises(Http404):
            access.course_or_404(user, pk)


def test_site_admins_see_every_course() -> None:
    course = make_course()
    for user in (make_user("root", is_superuser=True), make_user("sara", group=SITE_ADMINS)):
        assert access.is_site_admin(user)
        assert access.course_or_404(user, course.pk) == course


@pytest.mark.parametrize("group", ["", COURSE_MANAGERS, DATA_PROTECTION_OFFICERS])
def test_everybody_else_sees_no_course_until_one_is_assigned(group: str) -> None:
    make_course()
    user = make_user(group=group, is_staff=True)
    assert not access.is_site_admin(user)
    assert not access.has_courses(user)
    assert list(access.visible_courses(user)) == []


def test_nobody_signed_in_sees_nothing() -> None:
    make_course()
    assert list(access.visible_courses(AnonymousUser())) == []
    assert not access.has_courses(AnonymousUser())
