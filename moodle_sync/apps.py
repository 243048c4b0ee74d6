"""The Django app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MoodleSyncConfig(AppConfig):
    """Moodle sites and what is read from them."""

    name = "moodle_sync"
    verbose_name = _("Moodle")
