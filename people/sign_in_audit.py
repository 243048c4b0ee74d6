"""Audit entries of signing in and of what people change in their account. Failures are in `people.guessing`."""

from typing import Any

from allauth.account import signals as account_signals
from allauth.account.internal.flows.login import get_authentication_records
from allauth.mfa import signals as factor_signals
from allauth.socialaccount import signals as social_signals
from django.contrib.auth import signals as auth_signals
from django.contrib.auth.models import User

from badging import audit
from badging.models import AuditEntry

from . import guessing

Action = AuditEntry.Action


def connect() -> None:
    """Listen, from now on."""
    pairs = [
        # Allauth's own: it comes after the second factor, and all sign-ins go through allauth.
        (account_signals.user_logged_in, _signed_in),
        (auth_signals.user_logged_out, _signed_out),
        (account_signals.password_changed, _password_changed),
        (account_signals.password_set, _password_changed),
        (account_signals.password_reset, _password_reset),
        (factor_signals.authenticator_added, _factor_added),
        (factor_signals.authenticator_removed, _factor_removed),
        (factor_signals.authenticator_reset, _factor_renewed),
        (factor_signals.authentication_failed, _factor_failed),
        (social_signals.social_account_added, _linked),
    ]
    for signal, receiver in pairs:
        signal.connect(receiver, dispatch_uid=f"{__name__}.{receiver.__name__}")


def _record(action: AuditEntry.Action, user: User, **details: Any) -> None:
    audit.record(action, user, actor=user, **details)


def _signed_in(sender: Any, request: Any, user: User, **kwargs: Any) -> None:
    records = get_authentication_records(request, user)
    # Such as "password, totp".
    _record(Action.SIGNED_IN, user, by=", ".join(row.get("type") or row["method"] for row in records))


def _signed_out(sender: Any, request: Any, user: User | None, **kwargs: Any) -> None:
    if user is not None and user.pk:
        _record(Action.SIGNED_OUT, user)


def _password_changed(sender: Any, user: User, **kwargs: Any) -> None:
    _record(Action.PASSWORD_CHANGED, user)


def _password_reset(sender: Any, user: User, **kwargs: Any) -> None:
    """The link proves who it is: all locks of the account end."""
    guessing.forget_account(guessing.account_of_user(user))
    _record(Action.PASSWORD_RESET, user)


def _factor_added(sender: Any, user: User, authenticator: Any, **kwargs: Any) -> None:
    _record(Action.FACTOR_ADDED, user, kind=authenticator.type)


def _factor_removed(sender: Any, user: User, authenticator: Any, **kwargs: Any) -> None:
    _record(Action.FACTOR_REMOVED, user, kind=authenticator.type)


def _factor_renewed(sender: Any, user: User, authenticator: Any, **kwargs: Any) -> None:
    _record(Action.FACTOR_RENEWED, user, kind=authenticator.type)


def _factor_failed(sender: Any, user: User, authenticator: Any, **kwargs: Any) -> None:
    audit.record(Action.FACTOR_FAILED, user, kind=authenticator.type)


def _linked(sender: Any, sociallogin: Any, **kwargs: Any) -> None:
    _record(Action.ACCOUNT_LINKED, sociallogin.user, provider=sociallogin.account.provider)
