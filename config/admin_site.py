"""The admin site: Django's, with what needs a person on its first page, and unambiguous courses in search fields."""

from typing import Any, cast

from django.contrib.admin import AdminSite
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from moodle_sync.models import Course


class _Autocomplete(AutocompleteJsonView):
    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        result = super().serialize_result(obj, to_field_name)
        return {**result, "text": obj.full_label} if isinstance(obj, Course) else result


class PortalAdminSite(AdminSite):
    """Named in `config.apps` as the default site."""

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The first page."""
        # Importing badging.admin registers its pages with this site, so it cannot be imported before the site exists.
        from badging.admin.first_page import what_needs_a_person

        return super().index(request, {"problems": what_needs_a_person(request.user), **(extra_context or {})})

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """The choices that a search field offers."""
        return cast(HttpResponse, _Autocomplete.as_view(admin_site=self)(request))
