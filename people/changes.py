"""Records every change of a user, a group or a course manager, whichever door it came through.

The admin, the portal's pages and Django's commands (`createsuperuser`, `changepassword`) all save the same rows, so
the changes are noticed where they are saved. `people.acting` tells who made them. Values of names and addresses are
not recorded, only that they were changed; the user name is.
"""

from collections.abc import Collection
from typing import Any

from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save

from badging import audit
from badging.models import AuditEntry, CourseManager

from . import acting

Action = AuditEntry.Action

# Recorded with both values, and recorded as changed only.
WITH_VALUES = ("username", "is_staff", "is_superuser")
CHANGED_ONLY = ("email", "first_name", "last_name")
_WATCHED = (*WITH_VALUES, *CHANGED_ONLY, "is_active", "password")
# Where a row keeps what it was before it was saved.
_BEFORE = "_before_change"


def connect() -> None:
    """Receive Django's signals."""
    receivers: list[tuple[Any, Any, Any]] = [
        (pre_save, _remember_user, User),
        (post_save, _record_user, User),
        (post_delete, _record_deleted_user, User),
        (pre_save, _remember_group, Group),
        (post_save, _record_group, Group),
        (post_delete, _record_deleted_group, Group),
        (post_save, _record_manager, CourseManager),
        (post_delete, _record_former_manager, CourseManager),
        (m2m_changed, _record_roles, User.groups.through),
        (m2m_changed, _record_own_permissions, User.user_permissions.through),
        (m2m_changed, _record_group_permissions, Group.permissions.through),
    ]
    for signal, receiver, sender in receivers:
        signal.connect(receiver, sender=sender, dispatch_uid=f"people.changes.{receiver.__name__}")


def _record(action: AuditEntry.Action, subject: object, **details: Any) -> None:
    audit.record(action, subject, actor=acting.actor(), **details)


# Users


def _remember_user(instance: User, raw: bool, update_fields: Collection[str] | None, **kwargs: Any) -> None:
    watched = not raw and acting.is_known() and (update_fields is None or not set(_WATCHED).isdisjoint(update_fields))
    before = User.objects.filter(pk=instance.pk).values(*_WATCHED).first() if watched and instance.pk else None
    instance.__dict__[_BEFORE] = before


def _record_user(instance: User, created: bool, raw: bool, **kwargs: Any) -> None:
    before = instance.__dict__.pop(_BEFORE, None)
    if created and not raw and acting.is_known():
        _record(Action.USER_CREATED, instance, staff=instance.is_staff, superuser=instance.is_superuser)
    if before is None:
        return
    if before["is_active"] != instance.is_active:
        _record(Action.USER_REACTIVATED if instance.is_active else Action.USER_DEACTIVATED, instance)
    changed: dict[str, Any] = {
        name: f"{before[name]} → {getattr(instance, name)}"
        for name in WITH_VALUES
        if before[name] != getattr(instance, name)
    }
    if blind := [name for name in CHANGED_ONLY if before[name] != getattr(instance, name)]:
        changed["changed"] = ", ".join(blind)
    if changed:
        _record(Action.USER_CHANGED, instance, **changed)
    # On pages, `people.sign_in_audit` records how the password was changed.
    if acting.at_the_shell() and before["password"] != instance.password and _was_set(instance):
        _record(Action.PASSWORD_SET, instance)


def _was_set(user: User) -> bool:
    """Whether somebody set the password. Signing in also saves it anew, when the hasher has changed."""
    return getattr(user, "_password", None) is not None or not user.has_usable_password()


def _record_deleted_user(instance: User, **kwargs: Any) -> None:
    if acting.is_known():
        _record(Action.USER_DELETED, instance)


# Groups


def _remember_group(instance: Group, raw: bool, **kwargs: Any) -> None:
    watched = not raw and acting.is_known() and instance.pk
    instance.__dict__[_BEFORE] = Group.objects.filter(pk=instance.pk).first() if watched else None


def _record_group(instance: Group, created: bool, raw: bool, **kwargs: Any) -> None:
    before = instance.__dict__.pop(_BEFORE, None)
    if created and not raw and acting.is_known():
        _record(Action.GROUP_CHANGED, instance, created=True)
    if before is not None and before.name != instance.name:
        _record(Action.GROUP_CHANGED, instance, name=f"{before.name} → {instance.name}")


def _record_deleted_group(instance: Group, **kwargs: Any) -> None:
    if acting.is_known():
        _record(Action.GROUP_CHANGED, instance, deleted=True)


# Course managers


def _record_manager(instance: CourseManager, created: bool, raw: bool, **kwargs: Any) -> None:
    if created and not raw and acting.is_known():
        _record(Action.MANAGER_GRANTED, instance.user, course=instance.course.full_label)


def _record_former_manager(instance: CourseManager, **kwargs: Any) -> None:
    if acting.is_known():
        _record(Action.MANAGER_REMOVED, instance.user, course=instance.course.full_label)


# Who is in which group, and who has which permission


def _record_roles(**signal: Any) -> None:
    for user, before, after in _compare("groups", User, **signal):
        _record(Action.ROLES_CHANGED, user, **{"from": sorted(before), "to": sorted(after)})


def _record_own_permissions(**signal: Any) -> None:
    for user, before, after in _compare("user_permissions", User, **signal):
        _record(Action.ROLES_CHANGED, user, added=sorted(after - before), removed=sorted(before - after))


def _record_group_permissions(**signal: Any) -> None:
    for group, before, after in _compare("permissions", Group, **signal):
        _record(Action.GROUP_CHANGED, group, added=sorted(after - before), removed=sorted(before - after))


def _compare(
    relation: str, owner: Any, *, instance: Model, action: str, reverse: bool, pk_set: set[Any] | None, **kwargs: Any
) -> list[tuple[Model, set[str], set[str]]]:
    """The owners whose relation was changed, with the names of before and of now.

    `reverse` tells that the change was made from the other side, as in `group.user_set.add(user)`.
    """
    if not acting.is_known():
        return []
    if action.startswith("pre_"):
        if not reverse:
            owners = [instance]
        elif pk_set is None:
            owners = list(owner.objects.filter(**{relation: instance}))
        else:
            owners = list(owner.objects.filter(pk__in=pk_set))
        instance.__dict__[_BEFORE] = [(row, _names(row, relation)) for row in owners]
        return []
    compared = [(row, before, _names(row, relation)) for row, before in instance.__dict__.pop(_BEFORE, [])]
    return [(row, before, after) for row, before, after in compared if before != after]


def _names(row: Any, relation: str) -> set[str]:
    related = getattr(row, relation).order_by()
    if relation == "groups":
        return set(related.values_list("name", flat=True))
    return {f"{app}.{name}" for app, name in related.values_list("content_type__app_label", "codename")}
