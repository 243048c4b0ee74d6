"""The admin site: Django's, with what needs a person on its first page, strict lists, and unambiguous courses."""

from typing import Any, cast

from django.contrib.admin import AdminSite
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from moodle_sync.models import Course

from .admin_lists import is_searchable, strict


class _Autocomplete(AutocompleteJsonView):
    def process_request(self, request: HttpRequest) -> Any:
        if not is_searchable(request.GET.get("term", "")):
            raise PermissionDenied
        return super().process_request(request)

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

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register models as Django does, with lists that accept only their declared filters."""
        super().register(model_or_iterable, strict(admin_class), **options)

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """The choices that a search field offers."""
        return cast(HttpResponse, _Autocomplete.as_view(admin_site=self)(request))
