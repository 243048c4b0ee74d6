"""The Django app of the portal's users."""

from django.apps import AppConfig
from django.db.models.signals import post_save
from django.utils.translation import gettext_lazy as _


class PeopleConfig(AppConfig):
    """Signing in, invitations, roles and sessions."""

    name = "people"
    verbose_name = _("People")

    def ready(self) -> None:
        """Register the checks, the audit of sign-ins, and the secrets of second factors."""
        from django.contrib.auth.models import User

        from vault import secrets

        from . import adapters, checks, factor_secrets, sign_in_audit  # noqa: F401

        sign_in_audit.connect()
        post_save.connect(adapters.keep_one_address, sender=User, dispatch_uid="people.keep_one_address")
        secrets.add_holder(secrets.Holder(factor_secrets.ciphertexts, factor_secrets.rotate))
