"""What `manage.py check --deploy` advises about signing in."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register
from django.utils.translation import gettext as _


@register(Tags.security, deploy=True)
def second_factor(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Advise a second factor for staff until it is required."""
    if settings.REQUIRE_SECOND_FACTOR:
        return []
    text = _("Staff can sign in with a password alone. Set REQUIRE_SECOND_FACTOR=true.")
    return [Warning(text, id="people.W001")]
