"""Who sees which course, and may use which page."""

import pytest
from django.contrib.auth.models import AnonymousUser, Group, User
from django.http import Http404
from django.test import Client
from django.urls import reverse

from badging import reach
from badging.models import (
    CourseBadgeMapping,
    CourseManager,
    NavigatrConnection,
)
from badging.pages import access
from badging.setup import DATA_PROTECTION_OFFICERS, SITE_ADMINS
from moodle_sync.models import Course
from tests.builders import (
    make_connection,
    make_course,
    make_issuance,
    make_mapping,
    make_site,
)

from .reading import pages_of, review_url, text

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
    user = make_user()
    CourseManager.objects.create(user=user, course=own)
    CourseManager.objects.create(user=make_user("otto"), course=foreign)
    assert list(access.visible_courses(user)) == [own]
    assert access.course_or_404(user, own.pk) == own
    for pk in (foreign.pk, foreign.pk + 1000):
        with pytest.raises(Http404):
            access.course_or_404(user, pk)


def test_site_admins_see_every_course_whatever_their_group_is_called() -> None:
    course = make_course()
    Group.objects.filter(name=SITE_ADMINS).update(name="Administrateurs")
    for user in (make_user("root", is_superuser=True), make_user("sara", group="Administrateurs", is_staff=True)):
        assert reach.is_site_admin(user)
        assert access.course_or_404(user, course.pk) == course


def test_a_site_admin_without_staff_status_has_no_leftover_power(client: Client) -> None:
    course = make_course()
    user = make_user(group=SITE_ADMINS, is_staff=True)
    user.is_staff = False
    user.save()
    assert not reach.is_site_admin(user)
    assert not user.has_perms(["people.manage_users"])
    assert not user.has_module_perms("badging")
    client.force_login(user)
    assert client.get(reverse("course", args=[course.pk])).status_code == 404
    assert text(client.get(reverse("courses"))).count("First Aid") == 0


def test_a_group_called_site_admins_gives_nothing_by_its_name() -> None:
    course = make_course()
    Group.objects.get(name=SITE_ADMINS).permissions.clear()
    with pytest.raises(Http404):
        access.course_or_404(make_user(group=SITE_ADMINS, is_staff=True), course.pk)


@pytest.mark.parametrize("group", ["", DATA_PROTECTION_OFFICERS])
def test_everybody_else_sees_no_course_until_one_is_assigned(group: str) -> None:
    make_course()
    user = make_user(group=group, is_staff=True)
    assert not reach.is_site_admin(user)
    assert not access.has_courses(user)
    assert list(access.visible_courses(user)) == []


def test_nobody_signed_in_sees_nothing() -> None:
    make_course()
    assert list(access.visible_courses(AnonymousUser())) == []
    assert not access.has_courses(AnonymousUser())


def test_nobody_signed_in_is_sent_to_sign_in_by_every_address(client: Client, course: Course) -> None:
    there = [
        reverse("home"),
        reverse("courses"),
        *pages_of(course, make_connection()),
        reverse("account_change_password"),
    ]
    for address in there:
        for answer in (client.get(address), client.post(address)):
            # A wrong method is refused before anybody is asked who they are.
            assert answer.status_code in (302, 405), address
            if answer.status_code == 302:
                assert answer["Location"].startswith(reverse("account_login"))


def test_a_foreign_course_looks_like_an_unknown_one_on_every_address(web: Client) -> None:
    foreign = make_mapping()
    row = make_issuance(foreign)
    for address in pages_of(foreign.course, foreign.connection, row.pk):
        answers = [web.get(address)]
        if "review" in address or "remove" in address:
            answers.append(web.post(address, {"who": "now"}))
        unknown = web.get(address.replace(f"/courses/{foreign.course_id}/", "/courses/999999/"))
        for answer in answers:
            assert answer.status_code == unknown.status_code == 404
            assert text(answer) == text(unknown)
    assert CourseBadgeMapping.objects.filter(pk=foreign.pk).exists()


def test_an_issuance_of_another_course_is_not_shown_under_ones_own(web: Client, course: Course) -> None:
    row = make_issuance()
    assert web.get(reverse("issuance", args=[course.pk, row.pk])).status_code == 404


def test_a_superuser_may_map_any_course(admin_client: Client, staging: NavigatrConnection) -> None:
    course = make_course()
    admin_client.post(review_url(course, staging), {"who": "now"})
    assert CourseBadgeMapping.objects.get().course == course
