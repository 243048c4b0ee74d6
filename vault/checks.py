"""System checks of the keys and SECRET_KEY."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Critical, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _

from . import digests, keys


@register(Tags.security)
def encryption_keys(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check that there are valid keys, none that encrypts twice, and that SECRET_KEY is set."""
    messages: list[CheckMessage] = []
    try:
        keys.cipher()
    except ImproperlyConfigured as error:
        messages.append(Critical(str(error), id="vault.E001"))
    try:
        digests.all_keys()
    except ImproperlyConfigured as error:
        messages.append(Critical(str(error), id="vault.E003"))
    if settings.SECRET_KEY == settings.SECRET_KEY_NOT_SET:
        messages.append(Critical(_("SECRET_KEY is not set. Run “make setup”, which creates one."), id="vault.E002"))
    if len(set(settings.FIELD_ENCRYPTION_KEYS)) < len(settings.FIELD_ENCRYPTION_KEYS):
        messages.append(Warning(_("FIELD_ENCRYPTION_KEYS names a key twice."), id="vault.W001"))
    return messages
