"""Sessions: how long they last, and ending all of a user's at once.

A session ends SESSION_IDLE_MINUTES after the last request that a person made; SESSION_COOKIE_AGE says so to Django.
Staff's also end with the browser. SESSION_ENGINE names this module.
"""

from collections.abc import Callable, Mapping
from typing import Any

from django.contrib.auth import SESSION_KEY, get_user_model
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends import db
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from badging import audit, by_itself
from badging.models import AuditEntry

# When the session's user was last seen, in seconds since 1970.
SEEN = "people.seen"
# A request moves the end of its session only if this time has passed: not every page writes to the database.
REFRESH_SECONDS = 60


class SessionStore(db.SessionStore):
    """Sessions in the database, with their user's id."""

    @classmethod
    def get_model_class(cls) -> Any:
        """The model of this app."""
        # Django imports this module before the models are loaded.
        from .models import Session

        return Session

    def create_model_instance(self, data: Mapping[str, Any]) -> Any:
        """The row for this data."""
        row: Any = super().create_model_instance(dict(data))
        user_id = data.get(SESSION_KEY)
        row.user_id = get_user_model()._meta.pk.to_python(user_id) if user_id else None
        return row


class SessionLimits:
    """Moves the end of a session that is in use, and ends staff's with the browser.

    Belongs behind AuthenticationMiddleware.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer the request; look at the session afterwards, because the view may have signed in or out."""
        response = self.get_response(request)
        is_in_use = not by_itself.is_by_itself(request)
        if is_in_use and request.session.get(SESSION_KEY) and request.user.is_authenticated:
            limit(request, request.user)
        return response


def limit(request: HttpRequest, user: User) -> None:
    """Set the end of the session, at most once a minute."""
    # Also where signing in has chosen otherwise, and for who became staff since then.
    if user.is_staff and not request.session.get_expire_at_browser_close():
        request.session.set_expiry(0)
    now = int(timezone.now().timestamp())
    if now - request.session.get(SEEN, 0) >= REFRESH_SECONDS:
        request.session[SEEN] = now


def end_all(user: User) -> int:
    """End all sessions of the user; returns how many there were.

    A request that is under way cannot bring its session back: Django updates the row and does not create it.
    """
    ended, _by_model = SessionStore.get_model_class().objects.filter(user_id=user.pk).delete()
    return int(ended)


@transaction.atomic
def sign_out_everywhere(user: User, *, actor: Any) -> int:
    """End all sessions of the user, and record it; returns how many there were."""
    ended = end_all(user)
    audit.record(AuditEntry.Action.SIGNED_OUT_ALL, user, actor=actor, sessions=ended)
    return ended


def clear_expired(**kwargs: Any) -> None:
    """Delete the expired sessions. Receives `badging.tasks.once_a_day`."""
    SessionStore.clear_expired()


def connect() -> None:
    """Limit sessions from the moment of signing in."""
    user_logged_in.connect(_limit_new, dispatch_uid="people.sessions.limit")


def _limit_new(request: HttpRequest, user: User, **kwargs: Any) -> None:
    limit(request, user)
