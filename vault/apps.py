"""Registers the system checks, and what is done after each migration."""

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class VaultConfig(AppConfig):
    """Encrypted fields, keyed digests, and their keys."""

    name = "vault"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks; let a new database begin with the digest keys of the settings."""
        from . import checks  # noqa: F401

        post_migrate.connect(_adopt_digest_keys, sender=self)


def _adopt_digest_keys(**kwargs: Any) -> None:
    from . import digests

    digests.adopt()
