"""System checks of signing in."""

from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.checks import CheckMessage, Tags, Warning, register
from django.db import connections
from django.utils.translation import gettext as _


@register(Tags.security, deploy=True)
def second_factor(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Advise a second factor for staff until it is required."""
    if settings.REQUIRE_SECOND_FACTOR:
        return []
    text = _("Staff can sign in with a password alone. Set REQUIRE_SECOND_FACTOR=true.")
    return [Warning(text, id="people.W001")]


@register(Tags.database)
def claimed_groups(app_configs: Any, databases: Collection[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Warn of names in OIDC_GROUPS that no group has. `migrate` asks as well, at first before there are tables."""
    names = set(settings.OIDC_GROUPS.values())
    if not names or "default" not in (databases or ()):
        return []
    if Group._meta.db_table not in connections["default"].introspection.table_names():
        return []
    unknown = names - set(Group.objects.using("default").filter(name__in=names).values_list("name", flat=True))
    text = _("OIDC_GROUPS names a group that does not exist: %s. Nobody is put into it. Correct the name.")
    return [Warning(text % name, id="people.W002") for name in sorted(unknown)]
