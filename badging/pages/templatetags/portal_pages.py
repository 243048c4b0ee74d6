"""Filters of pages: `issuance|standing`, `attempt|refused_fields`, `time|moment`, `url|web_address`, `url|picture`."""

from datetime import datetime

from django import template

from outbound_http import web_address

from ... import moments
from ...pictures import picture_path
from ..standing import refused_fields, standing_of

register = template.Library()
register.filter("standing", standing_of)
register.filter("refused_fields", refused_fields)


@register.filter
def moment(at: datetime | None) -> str:
    """The time as all pages show it, with its zone; "" without one."""
    return moments.moment(at) if at else ""


@register.filter
def picture(url: str | None) -> str:
    """The portal's own address for a badge's picture, or ""."""
    return picture_path(url or "")


@register.filter("web_address")
def link(url: str | None) -> str:
    """The link if a page may show it, or ""."""
    return web_address(url or "")
