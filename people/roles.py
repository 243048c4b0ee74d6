"""What users may do, and who may change it.

A role is a group, such as *Site admins*; whoever has a role has staff status as well, and nobody else has. Course
managers need no role. Who may manage users (`MANAGE_USERS`) can grant only the roles whose permissions they have
themselves, and change only users who may do no more than themselves. Superusers may do everything.
"""

from collections.abc import Iterable

from django.contrib.auth.models import AnonymousUser, Group, Permission, User
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.db.models import Q, QuerySet

from badging.models import CourseManager
from moodle_sync.models import Course

from . import sessions

Person = User | AnonymousUser

MANAGE_USERS = "people.manage_users"
MANAGE_COURSE_MANAGERS = ("badging.add_coursemanager", "badging.delete_coursemanager")


def changeable_by(actor: Person) -> QuerySet[User]:
    """The users whom the actor may change: all for superusers, else those with no permission that the actor lacks.

    Permissions of inactive users and of users without staff status count too: both may come back.
    """
    users = User.objects.all()
    if not actor.has_perm(MANAGE_USERS):
        return users.none()
    if actor.is_superuser:
        return users
    beyond = _permissions_beyond(actor)
    stronger = User.objects.filter(Q(user_permissions__in=beyond) | Q(groups__permissions__in=beyond))
    return users.filter(is_superuser=False).exclude(pk__in=stronger.values("pk"))


def may_change(actor: Person, user: User) -> bool:
    """Whether the actor may change the user."""
    return changeable_by(actor).filter(pk=user.pk).exists()


def grantable_by(actor: Person) -> QuerySet[Group]:
    """The roles that the actor may grant: those without a permission that the actor lacks."""
    groups = Group.objects.order_by("name")
    if not actor.has_perm(MANAGE_USERS):
        return groups.none()
    if actor.is_superuser:
        return groups
    stronger = Group.objects.filter(permissions__in=_permissions_beyond(actor))
    return groups.exclude(pk__in=stronger.values("pk"))


def may_make_course_managers(actor: Person) -> bool:
    """Whether the actor may say who manages which course."""
    return actor.has_perms(MANAGE_COURSE_MANAGERS)


@transaction.atomic
def set_roles(user: User, groups: Iterable[Group], *, actor: Person) -> None:
    """Give the user these roles and no others, and staff status with the first of them.

    Raises PermissionDenied for a user or a role beyond the actor, and for the actor themselves.
    """
    wanted = list(groups)
    _require_change(actor, user)
    if user == actor or {group.pk for group in wanted} - set(grantable_by(actor).values_list("pk", flat=True)):
        raise PermissionDenied
    user.groups.set(wanted)
    set_staff_status(user)


def is_to_be_staff(user: User) -> bool:
    """Whether the user has a role or is a superuser."""
    return user.is_superuser or user.groups.exists()


def set_staff_status(user: User) -> None:
    """Give staff status to whom `is_to_be_staff` says, and to nobody else."""
    user.is_staff = is_to_be_staff(user)
    user.save(update_fields=["is_staff"])


@transaction.atomic
def set_courses(user: User, courses: Iterable[Course], *, actor: Person) -> None:
    """Make the user the manager of these courses and of no others. Raises PermissionDenied."""
    if not may_make_course_managers(actor):
        raise PermissionDenied
    _require_change(actor, user)
    wanted = {course.pk: course for course in courses}
    present = CourseManager.objects.filter(user=user)
    present.exclude(course__in=wanted).delete()
    for pk in wanted.keys() - set(present.values_list("course_id", flat=True)):
        CourseManager.objects.create(user=user, course=wanted[pk])


@transaction.atomic
def deactivate(user: User, *, actor: Person) -> None:
    """Keep the user from signing in, and end their sessions. Roles and courses are kept and give nothing meanwhile.

    Raises PermissionDenied for a user beyond the actor, and for the actor themselves.
    """
    _require_change(actor, user)
    if user == actor:
        raise PermissionDenied
    user.is_active = False
    user.save(update_fields=["is_active"])
    sessions.end_all(user)


@transaction.atomic
def reactivate(user: User, *, actor: Person) -> None:
    """Let the user sign in again, with the roles and courses of before. Raises PermissionDenied."""
    _require_change(actor, user)
    user.is_active = True
    user.save(update_fields=["is_active"])


def _require_change(actor: Person, user: User) -> None:
    if not may_change(actor, user):
        raise PermissionDenied


def _permissions_beyond(actor: Person) -> QuerySet[Permission]:
    own = Permission.objects.filter(Q(user=actor) | Q(group__user=actor))
    return Permission.objects.exclude(pk__in=own.values("pk"))
