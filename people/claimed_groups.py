"""Groups that the OpenID Connect provider says somebody is in, taken over at each sign-in."""

from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import transaction

from badging import audit
from badging.models import AuditEntry

from . import acting, roles


@transaction.atomic
def take_over(user: User, claims: dict[str, Any]) -> None:
    """Put the user into the groups of OIDC_GROUPS that the claim names, and out of the others of OIDC_GROUPS.

    Groups that OIDC_GROUPS does not name stay as they are. Nobody becomes or ceases to be a superuser. Without the
    claim nothing changes: the provider may be set up wrongly.
    """
    claimed = _claimed(claims)
    if claimed is None:
        return
    # Only groups that exist: `people.checks` warns of the others.
    mapped = set(Group.objects.filter(name__in=settings.OIDC_GROUPS.values()))
    wanted = {name for value, name in settings.OIDC_GROUPS.items() if value in claimed}
    before = set(user.groups.all())
    after = (before - mapped) | {group for group in mapped if group.name in wanted}
    if after == before:
        return
    # One entry instead of one for each step.
    with acting.acting(None):
        user.groups.set(after)
        roles.set_staff_status(user)
    names = {"from": sorted(group.name for group in before), "to": sorted(group.name for group in after)}
    audit.record(AuditEntry.Action.ROLES_CHANGED, user, **names, by="single sign-on")


def _claimed(claims: dict[str, Any]) -> set[str] | None:
    """The values of the claim, which may be one text or a list; None without the claim or the setting."""
    if not settings.OIDC_GROUPS_CLAIM:
        return None
    found: Any = None
    # From the user info, or the identity token where there is none.
    for part in (claims.get("userinfo"), claims.get("id_token")):
        if isinstance(part, dict) and found is None:
            found = part.get(settings.OIDC_GROUPS_CLAIM)
    if isinstance(found, str):
        return {found}
    return {str(value) for value in found} if isinstance(found, list) else None
