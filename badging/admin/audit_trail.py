"""The audit trail in the admin: what people and commands did."""

from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.models import Feed

from ..models import AuditEntry
from .base import ReadOnlyAdmin
from .display import yes_no


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """What people did. Never changed."""

    list_display = ("at", "who", "action", "subject", "details_text")
    sortable_by = ()
    list_filter = ("action", "at")
    # Searched by `get_search_results`.
    search_fields = ("actor_name", "subject")
    search_help_text = gettext_lazy("The beginning of who did it, or of what was changed")
    fields = ("at", "who", "action", "subject", "details_text")
    readonly_fields = ("who", "details_text")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry], search_term: str
    ) -> tuple[QuerySet[AuditEntry], bool]:
        """What begins with the words that were typed.

        Each sign-in adds an entry, so the table grows long: only beginnings can be found by an index
        (badging/migrations/0008_audit_by_name.py).
        """
        term = search_term.strip()
        if term:
            queryset = queryset.filter(Q(actor_name__istartswith=term) | Q(subject__istartswith=term))
        return queryset, False

    @admin.display(description=gettext_lazy("who"))
    def who(self, obj: AuditEntry) -> str:
        """The user name of that time; "-" for a command and for the portal itself."""
        return obj.actor_name or "-"

    @admin.display(description=gettext_lazy("details"))
    def details_text(self, obj: AuditEntry) -> str:
        """The other values of the entry; a change of the feed as sentences."""
        if obj.action == AuditEntry.Action.FEED_CHANGED:
            feeds = dict(Feed.choices)
            labels = {name: feeds.get(obj.details.get(name), "-") for name in ("before", "feed")}
            change = _("From “%(before)s” to “%(feed)s”.") % labels
            return f"{change} {obj.details.get('reason', '')}".strip()
        return "; ".join(f"{name}: {_in_words(value)}" for name, value in obj.details.items()) or "-"


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return yes_no(value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return str(value)
