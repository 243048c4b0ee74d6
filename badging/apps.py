"""The Django app of connections, mappings, issuances and audit."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class BadgingConfig(AppConfig):
    """Connections, mappings, issuances and audit."""

    name = "badging"
    verbose_name = _("Badges")

    def ready(self) -> None:
        """After each migration, make sure that the schedule and the groups exist."""
        from . import setup

        post_migrate.connect(setup.create_groups_and_schedule, sender=self)
