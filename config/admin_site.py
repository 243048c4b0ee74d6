"""The admin's site: Django's, with courses that can be told apart where one is searched for."""

from typing import Any, cast

from django.contrib.admin import AdminSite
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.http import HttpRequest, HttpResponse

from moodle_sync.models import Course


class _Autocomplete(AutocompleteJsonView):
    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        found = super().serialize_result(obj, to_field_name)
        return {**found, "text": obj.full_label} if isinstance(obj, Course) else found


class PortalAdminSite(AdminSite):
    """Django's site; only the answers of its search fields differ."""

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """What a search field offers."""
        return cast(HttpResponse, _Autocomplete.as_view(admin_site=self)(request))
