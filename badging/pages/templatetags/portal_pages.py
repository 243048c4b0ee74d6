"""The filters of the course managers' pages: `issuance|standing`, `link|web_address` and `link|picture`."""

from django import template

from outbound_http import web_address

from ...pictures import picture_path
from ..standing import standing_of

register = template.Library()
register.filter("standing", standing_of)


@register.filter
def picture(url: str | None) -> str:
    """The portal's own address for a badge's picture, or ""."""
    return picture_path(url or "")


@register.filter("web_address")
def link(url: str | None) -> str:
    """The link if a page may show it, or ""."""
    return web_address(url or "")
