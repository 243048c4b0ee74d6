"""The Django app of these pages; it holds their static files and template tags, and no models."""

from django.apps import AppConfig


class PagesConfig(AppConfig):
    """The course managers' pages."""

    name = "badging.pages"
