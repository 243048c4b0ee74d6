"""The admin site. Its search fields show a course with its short name and site, because names repeat."""

from typing import Any, cast

from django.contrib.admin import AdminSite
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.http import HttpRequest, HttpResponse

from moodle_sync.models import Course


class _Autocomplete(AutocompleteJsonView):
    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        result = super().serialize_result(obj, to_field_name)
        return {**result, "text": obj.full_label} if isinstance(obj, Course) else result


class PortalAdminSite(AdminSite):
    """Django's admin site with the portal's autocomplete view."""

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """Answer a search field."""
        return cast(HttpResponse, _Autocomplete.as_view(admin_site=self)(request))
