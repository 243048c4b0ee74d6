"""What django-axes asks before and tells after each sign-in. The rules are in `people.guessing`."""

from typing import Any

from axes.handlers.base import AxesHandler
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.shortcuts import render
from django.utils import timezone

from . import guessing


class SignInHandler(AxesHandler):
    """Keeps `people.SignInLock` in place of the tables of axes, which would keep typed names and whole requests."""

    def is_locked(self, request: Any, credentials: dict[str, Any] | None = None) -> bool:
        """Whether the account's place must wait. Remembers on the request until when."""
        account = account_of(credentials or {})
        until = guessing.locked_until(account, guessing.place_of(request, account), timezone.now())
        request.sign_in_locked_until = until
        return until is not None

    def user_login_failed(self, sender: Any, credentials: dict[str, Any], request: Any = None, **kwargs: Any) -> None:
        """Count a wrong password; what was refused unseen counts for nothing."""
        if request is None or request.axes_locked_out:
            return
        account = account_of(credentials)
        until = guessing.record_failure(account, guessing.place_of(request, account), timezone.now())
        if until:
            lock_out(request, until)

    def user_logged_in(self, sender: Any, request: Any, user: User, **kwargs: Any) -> None:
        """Forget the failures of the place, and remember the browser."""
        account = guessing.account_of_user(user)
        guessing.forget_place(account, guessing.place_of(request, account))
        # `people.middleware` sets the cookie.
        request.signed_in_user_pk = user.pk


def account_of(credentials: dict[str, Any]) -> guessing.Account:
    """The account that the credentials of an attempt mean: allauth names an address, a user name, or both."""
    return guessing.account_of_name(str(credentials.get("email") or credentials.get("username") or ""))


def lock_out(request: Any, until: Any) -> None:
    """Have axes answer this request with `locked_page`."""
    request.axes_locked_out = True
    request.sign_in_locked_until = until


def locked_page(request: Any, response: Any, credentials: dict[str, Any] | None) -> HttpResponse:
    """`AXES_LOCKOUT_CALLABLE`: the page that says how long to wait and what else to do."""
    seconds = guessing.wait_seconds(request.sign_in_locked_until)
    page = render(request, "account/locked.html", {"minutes": -(-seconds // 60)}, status=429)
    page["Retry-After"] = str(seconds)
    return page
