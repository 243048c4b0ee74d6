"""Navigatr connections in the admin: entered, tested, removed, reconnected."""

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ImproperlyConfigured
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from vault.keys import WrongKey

from .. import audit, connections
from ..meanings import MEANINGS
from ..models import AuditEntry, CourseBadgeMapping, Issuance, NavigatrConnection
from ..status import connection_reason
from .forms import ConnectionForm
from .tools import MOST_SHOWN, TokenAdmin, counted, link_to, list_link, rows_table

SETTINGS = ("name", "environment", "timeout", "send_score", "send_evidence", "calls_per_second", "calls_at_once")


@admin.register(NavigatrConnection)
class ConnectionAdmin(TokenAdmin):
    """A token is typed once and tried out before anything is saved. What holds badges is removed, never deleted."""

    form = ConnectionForm
    list_display = ("name", "environment", "state", "sends", "pat_hint", "account", "tested_at", "test_ok", "issuances")
    list_filter = ("environment", "state")
    search_fields = ("name",)
    actions = ("test_connection", "remove_connection")
    button_actions = ("test_connection", "remove_connection")

    def buttons_for(self, obj: NavigatrConnection) -> tuple[str, ...]:
        """None for a removed one: it has no token to test, and is removed already."""
        return () if obj.state == NavigatrConnection.State.REMOVED else self.button_actions

    def get_fieldsets(self, request: HttpRequest, obj: NavigatrConnection | None = None) -> Any:
        """The settings with room for a token for those who may change them; then how it stands."""
        writes = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        fields = list(SETTINGS)
        if writes:
            fields[2:2] = ["new_token", "enable_mappings"] if obj else ["new_token"]
        standing = ("state", "what_to_do", "pat_hint", "account", "tested_at", "test_ok", "test_message")
        fieldsets: list[tuple[Any, dict[str, Any]]] = [(None, {"fields": fields})]
        if obj:
            fieldsets += [
                (gettext_lazy("Status"), {"fields": (*standing, "not_before", "failures", "last_outcome")}),
                (gettext_lazy("What it is used for"), {"fields": ("mappings", "issuances", "deleting")}),
            ]
        return fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: NavigatrConnection | None = None) -> list[str]:
        """The environment is fixed at the start: ids of staging mean nothing in production."""
        shown = [name for _title, part in self.get_fieldsets(request, obj)[1:] for name in part["fields"]]
        return ["environment", *shown] if obj else shown

    @admin.display(description=gettext_lazy("sends now"), boolean=True)
    def sends(self, obj: NavigatrConnection) -> bool:
        """Whether nothing keeps it from sending."""
        return not connection_reason(obj, timezone.now())

    @admin.display(description=gettext_lazy("what to do"))
    def what_to_do(self, obj: NavigatrConnection) -> str:
        """Why nothing is sent with it, and what a person does about it."""
        if obj.hold_reason:
            return " ".join(map(str, MEANINGS[obj.hold_reason]))
        waits = connection_reason(obj, timezone.now())
        return _("%(why)s. Nothing to do: it goes on by itself.") % {"why": waits} if waits else _("Nothing to do.")

    @admin.display(description=gettext_lazy("issuances"))
    def issuances(self, obj: NavigatrConnection) -> str:
        """A link to what was and is to be sent with it."""
        return list_link(Issuance, gettext_lazy("issuances"), connection__id__exact=obj.pk)

    @admin.display(description=gettext_lazy("mappings"))
    def mappings(self, obj: NavigatrConnection) -> str:
        """Which courses award badges with it."""
        rows = obj.mappings.select_related("course__site").order_by("-pk")[:MOST_SHOWN]
        lines = [
            (link_to(row, row.course.full_label), row.badge_name, _("active") if row.active else _("disabled"))
            for row in rows
        ]
        headers = (gettext_lazy("course"), gettext_lazy("badge"), gettext_lazy("state"))
        return rows_table(CourseBadgeMapping, headers, lines, connection__id__exact=obj.pk)

    @admin.display(description=gettext_lazy("deleting"))
    def deleting(self, obj: NavigatrConnection) -> str:
        """Why there is no Delete, where there is none."""
        if is_used(obj):
            return _("Badges were mapped or issued with it, so it is kept. To stop using it: Remove Connection.")
        return _("It was never used and may be deleted.")

    def has_delete_permission(self, request: HttpRequest, obj: NavigatrConnection | None = None) -> bool:
        """Only a single connection that was never used."""
        return super().has_delete_permission(request, obj) and obj is not None and not is_used(obj)

    def delete_model(self, request: HttpRequest, obj: NavigatrConnection) -> None:
        """Delete a connection that was never used, and keep who did it."""
        audit.record(AuditEntry.Action.CONNECTION_REMOVED, obj, actor=request.user, deleted=True)
        obj.delete()

    def save_model(self, request: HttpRequest, obj: NavigatrConnection, form: ConnectionForm, change: bool) -> None:
        """With a token that passed: reconnect. Without one only the changed settings are written."""
        now = timezone.now()
        if form.tested is None:
            obj.save(update_fields=[name for name in form.changed_data if name in SETTINGS])
            audit.record(AuditEntry.Action.CONNECTION_SAVED, obj, actor=request.user)
            return
        obj.pat = form.cleaned_data["new_token"]
        enable = bool(form.cleaned_data.get("enable_mappings"))
        released = connections.save_tested(obj, form.tested, actor=request.user, now=now, enable_mappings=enable)
        self._tell(request, obj, form.tested)
        if released:
            self._tell_released(request, released)

    @admin.action(description=gettext_lazy("Test Connection"), permissions=["change"])
    def test_connection(self, request: HttpRequest, queryset: QuerySet[NavigatrConnection]) -> None:
        """Try the stored tokens; a failing test changes nothing but the note about it."""
        for connection in self._with_token(request, self.chosen(request, queryset) or []):
            try:
                tested = connections.retest(connection, actor=request.user, now=timezone.now())
            except (WrongKey, ImproperlyConfigured) as error:
                self.message_user(request, f"{connection}: {error}", messages.ERROR)
                continue
            self._tell(request, connection, tested)
            if tested.ok:
                self.nudge(request)

    @admin.action(description=gettext_lazy("Remove Connection"), permissions=["change"])
    def remove_connection(self, request: HttpRequest, queryset: QuerySet[NavigatrConnection]) -> HttpResponse | None:
        """Ask, then forget the tokens, disable the mappings and hold what waits."""
        rows = self._with_token(request, self.chosen(request, queryset) or [])
        if not rows:
            return None
        active = CourseBadgeMapping.objects.filter(connection__in=rows, active=True)
        queued = Issuance.objects.filter(connection__in=rows, state=Issuance.State.QUEUED)
        effects = [
            _("The token is forgotten. Reconnecting needs a new one."),
            _("%(count)s mapping(s) are disabled until it is reconnected.") % {"count": counted(active)},
            _("%(count)s queued badge(s) are held, not lost: reconnecting sends them.") % {"count": counted(queued)},
            _("Issued badges stay as they are."),
        ]
        title = _("Remove Connection")
        if page := self.confirmation(request, rows, title=title, effects=effects, label=_("Yes, remove it")):
            return page
        for connection in rows:
            held = connections.remove(connection, actor=request.user)
            self.message_user(
                request, _("%(name)s was removed; %(held)d badge(s) are held.") % {"name": connection, "held": held}
            )
        return None

    def _with_token(self, request: HttpRequest, rows: list[NavigatrConnection]) -> list[NavigatrConnection]:
        """Those that are not removed; of the others the user is told."""
        for row in rows:
            if row.state == NavigatrConnection.State.REMOVED:
                told = _("%(name)s has been removed. To use it again, reconnect it with a new token.") % {"name": row}
                self.message_user(request, told, messages.WARNING)
        return [row for row in rows if row.state != NavigatrConnection.State.REMOVED]

    def _tell(self, request: HttpRequest, connection: NavigatrConnection, tested: connections.ConnectionTest) -> None:
        """What a test came to."""
        if not tested.ok:
            level = messages.ERROR
        elif all(finding.ok for finding in tested.findings):
            level = messages.SUCCESS
        else:
            level = messages.WARNING
        self.message_user(request, f"{connection}: {tested.message}", level)

    def _tell_released(self, request: HttpRequest, released: int) -> None:
        self.message_user(
            request,
            ngettext("%(count)d badge that waited goes on.", "%(count)d badges that waited go on.", released)
            % {"count": released},
        )
        self.nudge(request)


def is_used(connection: NavigatrConnection) -> bool:
    """Whether anything hangs on the connection."""
    return (
        CourseBadgeMapping.objects.filter(connection=connection).exists()
        or Issuance.objects.filter(connection=connection).exists()
    )
