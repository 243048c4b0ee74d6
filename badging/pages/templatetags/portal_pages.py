"""The filter of the course managers' pages: `issuance|standing`."""

from django import template

from ..standing import standing_of

register = template.Library()
register.filter("standing", standing_of)
