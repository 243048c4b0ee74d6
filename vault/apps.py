"""Registers the system checks."""

from django.apps import AppConfig


class VaultConfig(AppConfig):
    """Encrypted model fields and their keys."""

    name = "vault"

    def ready(self) -> None:
        """Register the system checks."""
        from . import checks  # noqa: F401
