"""The audit trail in the admin: what people and commands did, as sentences."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from ..audit_search import entries_matching
from ..models import AuditEntry
from ..sentences import sentence
from .base import ReadOnlyAdmin

# How many people the filter offers: staff first, by user name.
MOST_PEOPLE = 100


class PersonFilter(admin.SimpleListFilter):
    """By who did it, under the user name of that time. The index `audit_by_actor` answers it."""

    title = gettext_lazy("person")
    parameter_name = "who"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The portal's users, and the chosen name, which may be of an account that is gone or renamed."""
        users = User.objects.order_by("-is_staff", "username").values_list("username", flat=True)[:MOST_PEOPLE]
        names = sorted({*users, *filter(None, [self.value()])}, key=str.lower)
        return [(name, name) for name in names]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """What this person did."""
        return queryset.filter(actor_name=self.value()) if self.value() else queryset


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """What people did. Never changed."""

    list_display = ("at", "told")
    list_display_links = ("at",)
    sortable_by = ()
    list_filter = ("action", PersonFilter, "at")
    # Searched by `get_search_results`.
    search_fields = ("actor_name", "subject")
    search_help_text = gettext_lazy("Words: who did it, what was done, a course, a learner's number")
    fields = ("told", "at", "who", "action", "subject")
    readonly_fields = ("told", "who")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry], search_term: str
    ) -> tuple[QuerySet[AuditEntry], bool]:
        """What has all words that were typed."""
        return entries_matching(queryset, search_term), False

    @admin.display(description=gettext_lazy("who"))
    def who(self, obj: AuditEntry) -> str:
        """The user name of that time; "-" for a command and for the portal itself."""
        return obj.actor_name or "-"

    @admin.display(description=gettext_lazy("what happened"))
    def told(self, obj: AuditEntry) -> str:
        """The entry as sentences."""
        return sentence(obj)
