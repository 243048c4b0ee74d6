"""The history of a row in the admin: who changed what, as sentences, linked from the row's page as *History*."""

from typing import TYPE_CHECKING, Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from ..history import MOST_CHANGES, history_of

# Its place in the bases is before PortalAdmin.
if TYPE_CHECKING:
    from .base import PortalAdmin as _PortalAdmin
else:
    _PortalAdmin = object


class ToldHistory(_PortalAdmin):
    """Shows the kept versions where Django shows the entries of its own log."""

    tells_history = True

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Who changed what of this row. For all who may view it."""
        row: Any = self.get_object(request, object_id)
        if row is None:
            raise Http404
        if not self.has_view_or_change_permission(request, row):
            raise PermissionDenied
        changes = history_of(row)
        context = {
            **self.admin_site.each_context(request),
            "title": _("History of %(name)s") % {"name": row},
            "opts": self.opts,
            "original": row,
            "row_url": self._url("change", row.pk),
            "changes": changes,
            "is_cut": len(changes) == MOST_CHANGES,
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/portal_history.html", context)
