"""Lists of the admin that accept only the filters that they declare.

Django's own lists accept every look-up of every column in the address, such as `?token__startswith=` or `?url__regex=`.
These would read secrets letter by letter, and a bad pattern would keep the process busy for ever.
"""

import types
from typing import TYPE_CHECKING, Any

from django.contrib.admin import ModelAdmin
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG, ChangeList
from django.db import DataError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from badging.searches import LONGEST_SEARCH

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _ModelAdmin = ModelAdmin[Any]
else:
    _ModelAdmin = ModelAdmin


def is_searchable(text: str) -> bool:
    """Whether the text can be searched for: it is short, and without NUL, which PostgreSQL cannot compare."""
    return len(text) <= LONGEST_SEARCH and "\0" not in text


def strict(admin_class: type[_ModelAdmin] | None) -> type[_ModelAdmin]:
    """The class of a ModelAdmin, with a list that accepts only what it declares."""
    base = admin_class or ModelAdmin
    if issubclass(base, _StrictAdmin):
        return base
    return types.new_class(
        base.__name__, (_StrictAdmin, base), exec_body=lambda body: body.update(__doc__=base.__doc__)
    )


class _StrictAdmin(_ModelAdmin):
    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        values = [value for _name, found in request.GET.lists() for value in found]
        if any("\0" in value for value in values):
            return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")
        return super().changelist_view(request, extra_context)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        base = super().get_changelist(request, **kwargs)
        return types.new_class(base.__name__, (_StrictList, base))


class _StrictList(ChangeList):
    """Everything that no declared filter has taken from the address is an invalid filter.

    So are numbers that no column can hold. A ModelAdmin names in `link_filters` what links to it use in addition.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except (OverflowError, DataError, DisallowedModelAdminLookup) as error:
            raise IncorrectLookupParameters from error

    def get_filters(self, request: HttpRequest) -> Any:
        found = super().get_filters(request)
        allowed = {*getattr(self.model_admin, "link_filters", ())}
        if self.date_hierarchy:
            # What Django makes of the chosen year, month or day.
            allowed |= {f"{self.date_hierarchy}__gte", f"{self.date_hierarchy}__lt"}
        # The third part is what would be passed to `filter()`.
        if not allowed.issuperset(found[2]):
            raise IncorrectLookupParameters
        return found
