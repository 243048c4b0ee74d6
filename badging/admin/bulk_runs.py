"""Background actions in the admin: how far each is, and the button that stops it."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import bulk
from ..meanings import Outcome
from ..models import BulkRun
from .base import ReadOnlyAdmin
from .search import is_key


@admin.register(BulkRun)
class BulkRunAdmin(ReadOnlyAdmin):
    """Whoever may view issuances may view it; whoever may send them again may stop it."""

    list_display = ("kind", "what", "state", "done_of_total", "changed", "created_at", "actor")
    sortable_by = ()
    list_filter = ("state", "kind")
    list_select_related = ("course__site", "actor")
    actions = ("stop",)
    button_actions = ("stop",)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may view issuances."""
        return request.user.has_perm("badging.view_issuance")

    def has_module_permission(self, request: HttpRequest) -> bool:
        """The same."""
        return self.has_view_permission(request)

    def has_stop_permission(self, request: HttpRequest) -> bool:
        """Whoever may send issuances again."""
        return request.user.has_perm("badging.change_issuance")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of a run, which updates itself while there is something to be done."""
        rows = self.get_queryset(request).select_related("course__site", "actor", "stopped_by")
        run: BulkRun | None = rows.filter(pk=object_id).first() if is_key(object_id) else None
        if run is None or not self.has_view_permission(request):
            raise Http404
        context = {
            **self.admin_site.each_context(request),
            "title": run.get_kind_display(),
            "opts": self.opts,
            "run": run,
            "what": what_of(run),
            "by": _("a command") if run.actor is None else run.actor.get_username(),
            "portal_buttons": self.buttons(request, run),
            "portal_list_url": self._url("changelist"),
        }
        return TemplateResponse(request, "admin/portal_bulk_run.html", context)

    @admin.display(description=gettext_lazy("what"))
    def what(self, obj: BulkRun) -> str:
        """Which issuances it is about."""
        return what_of(obj)

    @admin.display(description=gettext_lazy("done"))
    def done_of_total(self, obj: BulkRun) -> str:
        """How far it is."""
        return _("%(done)d of %(total)d") % {"done": obj.done, "total": obj.total}

    def buttons_for(self, obj: BulkRun) -> tuple[str, ...]:
        """Stop, while it has not ended."""
        return ("stop",) if obj.is_open else ()

    @admin.action(description=gettext_lazy("Stop"), permissions=["stop"])
    def stop(self, request: HttpRequest, queryset: QuerySet[BulkRun]) -> HttpResponse | None:
        """Ask, then stop the runs."""
        rows = self.chosen(request, queryset.select_related("course__site"))
        if rows is None:
            return None
        effects = [
            _("Nothing more is done. What is done already stays done."),
            _("The rest can be done later, by the same action."),
        ]
        if page := self.confirmation(
            request, rows, title=_("Stop"), effects=effects, label=_("Yes, stop"), describe=_label
        ):
            return page
        count = sum(bulk.stop(row, actor=request.user, now=timezone.now()) for row in rows)
        left = len(rows) - count
        self.message_user(request, _("%(count)d stopped, %(left)d had ended already.") % {"count": count, "left": left})
        return None


def what_of(run: BulkRun) -> str:
    """Which issuances a run is about."""
    if run.course is None:
        return _("chosen issuances")
    if run.reason:
        values = {"course": run.course.full_label, "reason": Outcome(run.reason).label}
        return _("failed issuances of %(course)s: %(reason)s") % values
    return _("all failed issuances of %(course)s") % {"course": run.course.full_label}


def _label(run: BulkRun) -> str:
    values = {"kind": run.get_kind_display(), "what": what_of(run), "done": run.done, "total": run.total}
    return _("%(kind)s, %(what)s: %(done)d of %(total)d done") % values
