"""Template tags for the menu."""

from typing import Any

from django import template

from . import admin_menu

register = template.Library()


@register.simple_tag(takes_context=True)
def header_links(context: template.Context) -> list[dict[str, Any]]:
    """The links of the header for the user of the page; empty where nobody is signed in."""
    request, user = context.get("request"), context.get("user")
    if request is None or user is None or not user.is_authenticated:
        return []
    return admin_menu.header(user, request.path)
