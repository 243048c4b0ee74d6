"""The admin site: unfold's, with pages and a menu of the portal's own, strict lists, and searches by POST."""

from typing import TYPE_CHECKING, Any, cast

from allauth.account.decorators import secure_admin_login
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext_lazy

from badging.searches import SearchByPost
from moodle_sync.models import Course

from . import admin_menu
from .admin_lists import is_searchable, strict

# Unfold has no types.
if TYPE_CHECKING:
    from django.contrib.admin import AdminSite as UnfoldAdminSite
    from django.contrib.admin import ModelAdmin
else:
    from unfold.admin import ModelAdmin
    from unfold.sites import UnfoldAdminSite


class _Autocomplete(AutocompleteJsonView):
    """By POST only: what is searched for may be a person. `admin/js/autocomplete.js` is ours for that."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """The choices that match the words."""
        # Django's view, and the paginators, read everything from there.
        request.GET = request.POST
        return self.get(request, *args, **kwargs)

    def process_request(self, request: HttpRequest) -> Any:
        """Django's, except that words which no database can compare are refused."""
        if not is_searchable(request.GET.get("term", "")):
            raise PermissionDenied
        return super().process_request(request)

    def serialize_result(self, obj: Any, to_field_name: str) -> dict[str, str]:
        """Courses unambiguously."""
        result = super().serialize_result(obj, to_field_name)
        return {**result, "text": obj.full_label} if isinstance(obj, Course) else result


def _go_on(request: HttpRequest) -> HttpResponse:
    """Where staff who are signed in already wanted to go."""
    wanted = request.GET.get(REDIRECT_FIELD_NAME, "")
    is_safe = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, request.is_secure())
    return redirect(wanted if is_safe else "admin:index")


class PortalAdminSite(UnfoldAdminSite):
    """Named in `config.apps` as the default site."""

    index_title = gettext_lazy("Start")

    def get_urls(self) -> list[Any]:
        """Unfold's addresses without its search, which takes words by GET, and the portal's own pages."""
        # Importing badging.admin registers its pages with this site, so it cannot be imported before the site exists.
        from badging.admin.pages import PAGES

        own = [path(page.route, self.admin_view(page.view), name=page.name) for page in PAGES]
        return own + [found for found in super().get_urls() if getattr(found, "name", "") != "search"]

    def get_sidebar_list(self, request: HttpRequest) -> list[dict[str, Any]]:
        """The menu."""
        return admin_menu.sidebar(request)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The first page."""
        from badging.admin.start import start_context

        return super().index(request, {**start_context(request.user), **(extra_context or {})})

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register models as Django does, in unfold's looks, with strict lists that search by POST."""
        base = admin_class or ModelAdmin
        if not issubclass(base, ModelAdmin):
            base = type(base.__name__, (base, ModelAdmin), {"__doc__": base.__doc__, "__module__": base.__module__})
        if not issubclass(base, SearchByPost):
            base = type(base.__name__, (SearchByPost, base), {"__doc__": base.__doc__, "__module__": base.__module__})
        super().register(model_or_iterable, strict(base), **options)

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The admin has no sign-in form of its own: go to the portal's, and come back."""
        return cast(HttpResponse, secure_admin_login(_go_on)(request))

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Redirect to the portal's page for signing out."""
        return redirect("account_logout")

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Redirect to the portal's page for the password."""
        return redirect("account_change_password")

    def autocomplete_view(self, request: HttpRequest) -> HttpResponse:
        """The choices that a search field offers."""
        return cast(HttpResponse, _Autocomplete.as_view(admin_site=self)(request))
