"""Navigatr connections in the admin: added, tested, reconnected, removed."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from vault.keys import WrongKey

from .. import audit, connections, past, waiting
from ..meanings import MEANINGS
from ..models import AuditEntry, ConnectionGrant, CourseBadgeMapping, Issuance, NavigatrConnection
from ..status import connection_reason
from .display import MOST_SHOWN, counted, link_to, list_link, rows_table
from .tokens import TokenAdmin, require_token_of_new, token_field

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[NavigatrConnection]
else:
    _ModelForm = forms.ModelForm

SETTINGS = (
    "name", "environment", "timeout", "send_score", "send_evidence", "calls_per_second", "calls_at_once", "past_limit",
)  # fmt: skip
# How many targets the list names.
MOST_TARGETS = 3


class ConnectionForm(_ModelForm):
    """The settings of a connection, and a new token."""

    new_token = token_field(gettext_lazy("Personal Access Token"))
    enable_mappings = forms.BooleanField(
        label=gettext_lazy("Award its courses' badges again"),
        required=False,
        initial=True,
        help_text=gettext_lazy(
            "For a removed connection that gets a new token. Without the tick its mappings are disabled, so that their "
            "badges stay held."
        ),
    )

    class Meta:
        model = NavigatrConnection
        fields = SETTINGS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        require_token_of_new(self)


@admin.register(NavigatrConnection)
class ConnectionAdmin(TokenAdmin):
    """Connections are tested before they are saved. One that badges were mapped or issued with is never deleted."""

    form = ConnectionForm
    list_display = (
        "name", "environment", "state", "sends", "open_to", "pat_hint", "account", "tested_at", "test_ok", "issuances",
    )  # fmt: skip
    list_filter = ("environment", "state")
    search_fields = ("name",)
    actions = ("test_connection", "remove_connection")
    button_actions = ("test_connection", "remove_connection")

    def buttons_for(self, obj: NavigatrConnection) -> tuple[str, ...]:
        """None for a removed connection, which has no token."""
        return () if obj.state == NavigatrConnection.State.REMOVED else self.button_actions

    def get_fieldsets(self, request: HttpRequest, obj: NavigatrConnection | None = None) -> Any:
        """The settings, with the token's field for who may change them; then the status and the use."""
        writes = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        fields = list(SETTINGS)
        if writes:
            removed = obj is not None and obj.state == NavigatrConnection.State.REMOVED
            fields[2:2] = ["new_token", "enable_mappings"] if removed else ["new_token"]
        status = (
            "state", "what_to_do", "pat_hint", "account", "tested_at", "test_ok", "test_message", "not_before",
            "failures", "last_outcome",
        )  # fmt: skip
        fieldsets: list[tuple[Any, dict[str, Any]]] = [(None, {"fields": fields})]
        if obj:
            fieldsets += [
                (gettext_lazy("Status"), {"fields": status}),
                (gettext_lazy("Open to"), {"fields": ("grants", "opening")}),
                (gettext_lazy("Use"), {"fields": ("mappings", "issuances", "deleting")}),
            ]
        return fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: NavigatrConnection | None = None) -> list[str]:
        """What the portal writes, and the environment, which is fixed once the connection is saved."""
        written = [name for _title, part in self.get_fieldsets(request, obj)[1:] for name in part["fields"]]
        return ["environment", *written] if obj else written

    def get_queryset(self, request: HttpRequest) -> QuerySet[NavigatrConnection]:
        """With the first few that each is open to, and one more if there are more: it may be open to thousands."""
        first = ConnectionGrant.objects.select_related("site", "user").order_by("pk")[: MOST_TARGETS + 1]
        grants = Prefetch("grants", first, to_attr="first_grants")
        rows: QuerySet[NavigatrConnection] = super().get_queryset(request).prefetch_related(grants)
        return rows

    # Columns and fields

    @admin.display(description=gettext_lazy("open to"))
    def open_to(self, obj: Any) -> str:
        """To whom it is open, in a few words."""
        labels = [grant.label for grant in obj.first_grants]
        named = labels if len(labels) <= MOST_TARGETS else [*labels[:MOST_TARGETS], _("and more")]
        return "; ".join(named) or _("nobody")

    @admin.display(description=gettext_lazy("open to"))
    def grants(self, obj: NavigatrConnection) -> str:
        """To whom it is open, each with a link to take that back."""
        rows = obj.grants.select_related("site", "user").order_by("pk")[:MOST_SHOWN]
        lines = [(link_to(row, row.target), row.provider_label) for row in rows]
        if not lines:
            return _("Nobody but site admins. Course managers do not see it.")
        headers = (gettext_lazy("open to"), gettext_lazy("providers"))
        return rows_table(ConnectionGrant, headers, lines, connection__id__exact=obj.pk)

    @admin.display(description=gettext_lazy("opening"))
    def opening(self, obj: NavigatrConnection) -> str:
        """A link to open it to somebody."""
        url = reverse("admin:badging_connectiongrant_add", query={"connection": obj.pk})
        return format_html('<a href="{}">{}</a>', url, _("Open it to courses or to a course manager"))

    @admin.display(description=gettext_lazy("sends now"), boolean=True)
    def sends(self, obj: NavigatrConnection) -> bool:
        """Whether badges can be sent with it now."""
        return not connection_reason(obj, timezone.now())

    @admin.display(description=gettext_lazy("what to do"))
    def what_to_do(self, obj: NavigatrConnection) -> str:
        """Why nothing is sent with it, and what to do about it."""
        if obj.hold_reason:
            return " ".join(map(str, MEANINGS[obj.hold_reason]))
        reason = connection_reason(obj, timezone.now())
        return _("%(why)s. Nothing to do: it goes on by itself.") % {"why": reason} if reason else _("Nothing to do.")

    @admin.display(description=gettext_lazy("issuances"))
    def issuances(self, obj: NavigatrConnection) -> str:
        """A link to its issuances."""
        return list_link(Issuance, gettext_lazy("issuances"), connection__id__exact=obj.pk)

    @admin.display(description=gettext_lazy("mappings"))
    def mappings(self, obj: NavigatrConnection) -> str:
        """The courses that award badges with it."""
        rows = obj.mappings.with_reach().select_related("course__site", "chosen_by").order_by("-pk")[:MOST_SHOWN]
        lines = [
            (
                link_to(row, row.course.full_label), row.provider_name or row.provider_id, row.badge_name,
                row.chosen_by or "-", _use_of(row),
            )
            for row in rows
        ]  # fmt: skip
        headers = (
            gettext_lazy("course"), gettext_lazy("provider"), gettext_lazy("badge"), gettext_lazy("chosen by"),
            gettext_lazy("state"),
        )  # fmt: skip
        return rows_table(CourseBadgeMapping, headers, lines, connection__id__exact=obj.pk)

    @admin.display(description=gettext_lazy("deleting"))
    def deleting(self, obj: NavigatrConnection) -> str:
        """Whether it may be deleted, and what to do instead."""
        if is_used(obj):
            return _("Badges were mapped or issued with it, so it is kept. To stop using it: Remove Connection.")
        return _("It was never used and may be deleted.")

    # Saving and deleting

    def connect(self, request: HttpRequest, form: Any) -> list[str]:
        """Test the token, and save and resume the connection when it passes."""
        connection = form.instance
        connection.pat = form.cleaned_data["new_token"]
        try:
            with waiting.place(request.user.pk):
                tested = connections.try_out(connection)
        except waiting.Busy as error:
            return [str(error)]
        if not tested.ok:
            return [tested.message]
        enable = bool(form.cleaned_data.get("enable_mappings"))
        now = timezone.now()
        released = connections.save_tested(connection, tested, actor=request.user, now=now, enable_mappings=enable)
        self._show_test(request, connection, tested)
        if not connection.grants.exists():
            text = _("%(name)s is open to nobody yet. Its page says how to open it to courses or a course manager.")
            self.message_user(request, text % {"name": connection}, messages.WARNING)
        if released:
            text = ngettext("%(count)d badge that waited goes on.", "%(count)d badges that waited go on.", released)
            self.message_user(request, text % {"count": released})
            self.nudge(request)
        return []

    def save_settings(self, request: HttpRequest, obj: NavigatrConnection, changed: list[str]) -> None:
        """Write only what was changed, so that the stored token is not touched."""
        names = [name for name in changed if name in SETTINGS]
        obj.save(update_fields=names)
        values = {name: getattr(obj, name) for name in names}
        audit.record(AuditEntry.Action.CONNECTION_SAVED, obj, actor=request.user, changed=values)
        if "past_limit" in names and past.limit_changed(obj, now=timezone.now()):
            self.nudge(request)

    def has_delete_permission(self, request: HttpRequest, obj: NavigatrConnection | None = None) -> bool:
        """Only a single connection that was never used."""
        return super().has_delete_permission(request, obj) and obj is not None and not is_used(obj)

    def delete_model(self, request: HttpRequest, obj: NavigatrConnection) -> None:
        """Delete the connection, and record who did it."""
        audit.record(AuditEntry.Action.CONNECTION_REMOVED, obj, actor=request.user, deleted=True)
        obj.delete()

    # Actions

    @admin.action(description=gettext_lazy("Test Connection"), permissions=["change"])
    def test_connection(self, request: HttpRequest, queryset: QuerySet[NavigatrConnection]) -> None:
        """Test the stored tokens. One that passes resumes its connection; one that fails is only noted."""
        for connection in self._with_token(request, self.chosen(request, queryset) or []):
            try:
                with waiting.place(request.user.pk):
                    tested = connections.retest(connection, actor=request.user, now=timezone.now())
            except (WrongKey, ImproperlyConfigured, waiting.Busy) as error:
                self.message_user(request, f"{connection}: {error}", messages.ERROR)
                continue
            self._show_test(request, connection, tested)
            if tested.ok:
                self.nudge(request)

    @admin.action(description=gettext_lazy("Remove Connection"), permissions=["change"])
    def remove_connection(self, request: HttpRequest, queryset: QuerySet[NavigatrConnection]) -> HttpResponse | None:
        """Ask, then forget the tokens, so that what is queued is held."""
        rows = self._with_token(request, self.chosen(request, queryset) or [])
        if not rows:
            return None
        active = CourseBadgeMapping.objects.filter(connection__in=rows, active=True)
        waiting = sum(connections.count_waiting(row) for row in rows)
        effects = [
            _("The token is forgotten. Reconnecting needs a new one."),
            _("%(count)s course(s) award no badge until it is reconnected.") % {"count": counted(active)},
            _("%(count)s queued badge(s) are held, not lost: reconnecting sends them.") % {"count": waiting},
            _("Issued badges stay as they are."),
        ]
        title = _("Remove Connection")
        if page := self.confirmation(request, rows, title=title, effects=effects, label=_("Yes, remove it")):
            return page
        for connection in rows:
            held = connections.remove(connection, actor=request.user, now=timezone.now())
            values = {"name": connection, "held": held}
            self.message_user(request, _("%(name)s was removed; %(held)d badge(s) are held.") % values)
        return None

    def _with_token(self, request: HttpRequest, rows: list[NavigatrConnection]) -> list[NavigatrConnection]:
        """The rows that are not removed, with a message for each of the others."""
        kept = []
        for row in rows:
            if row.state != NavigatrConnection.State.REMOVED:
                kept.append(row)
                continue
            text = _("%(name)s has been removed. To use it again, reconnect it with a new token.") % {"name": row}
            self.message_user(request, text, messages.WARNING)
        return kept

    def _show_test(
        self, request: HttpRequest, connection: NavigatrConnection, tested: connections.ConnectionTest
    ) -> None:
        """Show the result of a test as a message."""
        if not tested.ok:
            level = messages.ERROR
        elif all(finding.ok for finding in tested.findings):
            level = messages.SUCCESS
        else:
            level = messages.WARNING
        self.message_user(request, f"{connection}: {tested.message}", level)


def _use_of(mapping: CourseBadgeMapping) -> str:
    """Whether badges are sent under a mapping that was read `with_reach`."""
    if not mapping.active:
        return _("disabled")
    if not mapping.is_open:
        return _("held: not open to this course")
    return _("active, chosen by a site admin") if mapping.by_admin else _("active")


def is_used(connection: NavigatrConnection) -> bool:
    """Whether badges were mapped or issued with the connection."""
    return (
        CourseBadgeMapping.objects.filter(connection=connection).exists()
        or Issuance.objects.filter(connection=connection).exists()
    )
