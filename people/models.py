"""Wrong sign-ins, sessions that know their user, and the permission to manage users."""

from django.conf import settings
from django.contrib.auth.models import User
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.base_session import AbstractBaseSession
from django.db import models
from django.utils.translation import gettext_lazy as _


class SignInLock(models.Model):
    """How often somebody failed to sign in to one account from one place, and until when that place must wait.

    Personal data: which user; the IP address, or a random number of the browser. Removed nightly, a day after the last
    failure.
    """

    # "user 12"; for a name that no user has, a keyed digest of it.
    account = models.CharField(max_length=64)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, related_name="+", verbose_name=_("user")
    )
    # One of the places of `people.guessing`.
    place = models.CharField(_("place"), max_length=64)
    failures = models.PositiveIntegerField(_("failures"), default=0)
    failed_at = models.DateTimeField(_("last failure"), db_index=True)
    locked_until = models.DateTimeField(_("locked until"), null=True)

    class Meta:
        verbose_name = _("sign-in lock")
        verbose_name_plural = _("sign-in locks")
        ordering = ["-failed_at", "-pk"]
        default_permissions = ("view",)
        permissions = [("release_signinlock", "Can release a sign-in lock")]
        constraints = [models.UniqueConstraint(fields=["account", "place"], name="one_lock_for_account_and_place")]

    def __str__(self) -> str:
        return f"{self.user or _('unknown account')}: {self.place}"


class Session(AbstractBaseSession):
    """A session. The user's id stands beside its data, so that all sessions of a user can be ended at once.

    Personal data: which user is signed in, until the session has expired and is cleared.
    """

    user_id = models.BigIntegerField(null=True, db_index=True, editable=False)

    class Meta(AbstractBaseSession.Meta):
        # Sessions are never shown, so the names of Django's base class will do.
        default_permissions = ()

    @classmethod
    def get_session_store_class(cls) -> type[SessionBase]:
        """What reads and writes these rows."""
        from .sessions import SessionStore

        return SessionStore


class PortalUser(User):
    """Holds the permission to manage users. It has no table and no pages; `User` is used everywhere.

    It takes the place of Django's own permissions to add and change users, with which anybody could be made anything.

    Personal data: none of its own.
    """

    class Meta:
        proxy = True
        default_permissions = ()
        permissions = [("manage_users", "Can invite, change and deactivate users who may do no more than themselves")]
