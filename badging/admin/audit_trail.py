"""The audit trail in the admin: what people and commands did."""

from django.contrib import admin
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.models import Feed

from ..models import AuditEntry
from .base import ReadOnlyAdmin


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """What people did. Never changed."""

    list_display = ("at", "actor", "action", "subject", "details_text")
    sortable_by = ()
    list_filter = ("action", "at")
    list_select_related = ("actor",)
    # Only people add entries, so the table stays small enough to be searched without an index.
    search_fields = ("actor__username", "subject__istartswith")
    search_help_text = gettext_lazy("Who, or the beginning of what was changed")
    fields = ("at", "actor", "action", "subject", "details_text")
    readonly_fields = ("details_text",)

    @admin.display(description=gettext_lazy("details"))
    def details_text(self, obj: AuditEntry) -> str:
        """The other values of the entry; a change of the feed as sentences."""
        if obj.action == AuditEntry.Action.FEED_CHANGED:
            feeds = dict(Feed.choices)
            labels = {name: feeds.get(obj.details.get(name), "-") for name in ("before", "feed")}
            change = _("From “%(before)s” to “%(feed)s”.") % labels
            return f"{change} {obj.details.get('reason', '')}".strip()
        return ", ".join(f"{name}: {value}" for name, value in obj.details.items()) or "-"
