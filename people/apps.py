"""The Django app of the portal's users."""

from django.apps import AppConfig
from django.db.models.signals import post_save
from django.utils.translation import gettext_lazy as _


class PeopleConfig(AppConfig):
    """Signing in, invitations, roles and sessions."""

    name = "people"
    verbose_name = _("People")

    def ready(self) -> None:
        """Register the checks, what is audited, the limits of sessions, and the secrets of second factors."""
        from django.contrib.auth.models import User

        from badging.tasks import once_a_day
        from vault import secrets

        from . import adapters, caches, changes, checks, factor_secrets, guessing, sessions, sign_in_audit  # noqa: F401

        sign_in_audit.connect()
        changes.connect()
        sessions.connect()
        once_a_day.connect(sessions.clear_expired, dispatch_uid="people.sessions.clear_expired")
        once_a_day.connect(caches.clear_expired, dispatch_uid="people.caches.clear_expired")
        once_a_day.connect(guessing.clear_old, dispatch_uid="people.guessing.clear_old")
        post_save.connect(adapters.keep_one_address, sender=User, dispatch_uid="people.keep_one_address")
        secrets.add_holder(secrets.Holder(factor_secrets.ciphertexts, factor_secrets.rotate))
