"""Removing the second factors of somebody who has lost them."""

from typing import Any

from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.db import transaction

from badging import audit
from badging.models import AuditEntry


@transaction.atomic
def remove_all(user: User, *, actor: Any) -> int:
    """Remove app, passkeys and recovery codes, and record it; returns how many there were.

    The user then signs in with the password alone, and adds new ones.
    """
    removed = list(Authenticator.objects.filter(user=user).order_by("pk"))
    for authenticator in removed:
        authenticator.delete()
    if removed:
        kinds = ", ".join(authenticator.type for authenticator in removed)
        audit.record(AuditEntry.Action.FACTOR_REMOVED, user, actor=actor, kind=kinds)
    return len(removed)
