"""Registers the start-up check of the encryption keys."""

from django.apps import AppConfig


class VaultConfig(AppConfig):
    """Encrypted model fields and their keys."""

    name = "vault"

    def ready(self) -> None:
        """Register the system check."""
        from . import checks  # noqa: F401
