"""Searches in the admin go by POST: what is searched for may be a person, and addresses end up in logs and histories.

The words are kept in the session, encrypted, under a number. The list's address holds the number only, and so paging,
filters and links back go on with the same search. The number means nothing in another session.
"""

import secrets
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.views.main import PAGE_VAR, SEARCH_VAR, ChangeList
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _

from vault import keys

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
else:
    _ModelAdmin = admin.ModelAdmin

# The name of the field that tells a search from an action, which is a POST to the same address.
SEARCH_FIELD = "_search"
SESSION_KEY = "searches"
# How many searches a session remembers.
MOST_KEPT = 20
# Each word of a search makes the query longer, and SQLite's queries are limited. In characters.
LONGEST_SEARCH = 200


def typed(request: HttpRequest, field: str = SEARCH_VAR) -> str:
    """The words that were posted in a field, as far as they can be searched for."""
    return request.POST.get(field, "").replace("\0", "").strip()[:LONGEST_SEARCH]


def see_other(url: str) -> HttpResponseRedirect:
    """A redirect after a POST, which the browser follows with GET."""
    answer = HttpResponseRedirect(url)
    answer.status_code = 303
    return answer


def keep(request: HttpRequest, words: str) -> int:
    """Remember the words in the session; returns their number."""
    number = secrets.randbelow(900_000_000) + 100_000_000
    kept = [*request.session.get(SESSION_KEY, []), [number, keys.encrypt(words)]]
    request.session[SESSION_KEY] = kept[-MOST_KEPT:]
    return number


def words_of(request: HttpRequest) -> str | None:
    """The words of the search whose number the address holds; "" without one, None for a number that is not known."""
    number = request.GET.get(SEARCH_VAR, "")
    if not number:
        return ""
    sealed = next((words for known, words in request.session.get(SESSION_KEY, []) if str(known) == number), None)
    try:
        return keys.decrypt(sealed) if sealed else None
    except keys.WrongKey:
        return None


class _KeptSearch(ChangeList):
    """A list that finds the words by their number. Its links keep the number."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> Any:
        """The rows that the words mean."""
        self.query = words_of(request) or ""
        return super().get_queryset(request, exclude_parameters)


class SearchByPost(_ModelAdmin):
    """A list whose search goes by POST. `config.admin_site` makes every list one."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list's own class, with kept searches."""
        own = super().get_changelist(request, **kwargs)
        return type(own.__name__, (_KeptSearch, own), {})

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list; a search by POST leads to the address with its number."""
        if request.method == "POST" and SEARCH_FIELD in request.POST:
            if not self.has_view_or_change_permission(request):
                raise PermissionDenied
            return self._search(request)
        if words_of(request) is None:
            messages.warning(request, _("This search is over. Enter the words into the search box."))
            return _to_list(request, {name: value for name, value in request.GET.items() if name != SEARCH_VAR})
        return super().changelist_view(request, extra_context)

    def _search(self, request: HttpRequest) -> HttpResponse:
        others = (SEARCH_FIELD, SEARCH_VAR, PAGE_VAR, "csrfmiddlewaretoken")
        query: dict[str, Any] = {name: value for name, value in request.POST.items() if name not in others}
        if words := typed(request):
            query[SEARCH_VAR] = keep(request, words)
        return _to_list(request, query)


def _to_list(request: HttpRequest, query: dict[str, Any]) -> HttpResponse:
    """A redirect to the list."""
    return see_other(f"{request.path}?{urlencode(query)}" if query else request.path)
