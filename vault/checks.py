"""Speaks up at start when there is no usable encryption key."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Critical, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from . import keys


@register(Tags.security)
def encryption_keys(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """The keys exist and are well formed, and SECRET_KEY is a real one."""
    found: list[CheckMessage] = []
    try:
        keys.cipher()
    except ImproperlyConfigured as error:
        found.append(Critical(str(error), id="vault.E001"))
    if settings.SECRET_KEY == settings.SECRET_KEY_NOT_SET:
        found.append(Critical(_("SECRET_KEY is not set. Run “make setup”, which creates one."), id="vault.E002"))
    if len(set(settings.FIELD_ENCRYPTION_KEYS)) < len(settings.FIELD_ENCRYPTION_KEYS):
        found.append(Warning(_("FIELD_ENCRYPTION_KEYS names a key twice."), id="vault.W001"))
    return found
