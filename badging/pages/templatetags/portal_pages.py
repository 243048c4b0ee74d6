"""What the course managers' pages tell."""

from django import template

from ..notes import for_managers, issuance_for_managers

register = template.Library()
register.filter(for_managers)
register.filter(issuance_for_managers)
