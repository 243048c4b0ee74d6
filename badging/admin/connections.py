"""Navigatr connections in the admin: added, tested, reconnected, removed."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from vault.keys import WrongKey

from .. import audit, connections, past, waiting
from ..models import AuditEntry, ConnectionGrant, CourseBadgeMapping, Environment, Issuance, NavigatrConnection
from ..status import connection_reason
from .display import MOST_SHOWN, counted, link_to, list_link, page_url, rows_table
from .going_live import may_go_live
from .history import ToldHistory
from .tokens import TokenAdmin, require_token_of_new, token_field

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[NavigatrConnection]
else:
    _ModelForm = forms.ModelForm

State = NavigatrConnection.State

ADVANCED = ("timeout", "send_score", "send_evidence", "calls_per_second", "calls_at_once", "past_limit")
SETTINGS = ("name", "environment", *ADVANCED)
# What a test of what was typed needs.
TESTED = {"new_token", "environment", "timeout"}
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
        help_texts = {
            "environment": gettext_lazy(
                "Staging is for trying out: its badges are test badges. It cannot be changed later; “Go live” moves "
                "the courses to a connection to production."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        require_token_of_new(self)
        if self.instance.pk is not None:
            hint = self.instance.pat_hint
            self.fields["new_token"].help_text = (
                _("The stored token ends in %(hint)s. Leave this empty to keep it.") % {"hint": hint}
                if hint
                else _("No token is stored. It is tested before it is saved, stored encrypted, and not shown again.")
            )


@admin.register(NavigatrConnection)
class ConnectionAdmin(ToldHistory, TokenAdmin):
    """Connections are tested before they are saved. One that badges were mapped or issued with is never deleted."""

    form = ConnectionForm
    change_form_template = "admin/connection_form.html"
    tests_typed = True
    list_display = (
        "name", "environment", "status", "open_to", "pat_hint", "account", "tested_at", "test_ok", "issuances",
    )  # fmt: skip
    list_filter = ("environment", "state")
    search_fields = ("name",)
    actions = ("test_connection", "resume", "remove_connection")

    def buttons_for(self, obj: NavigatrConnection) -> tuple[str, ...]:
        """None for a removed connection, which has no token. What is typed is tested by a button of the form."""
        if obj.state == State.REMOVED:
            return ()
        return ("resume", "remove_connection") if obj.state == State.PAUSED else ("remove_connection",)

    def get_fieldsets(self, request: HttpRequest, obj: NavigatrConnection | None = None) -> Any:
        """The settings, with the token's field for who may change them; then the status and the use."""
        writes = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        removed = obj is not None and obj.state == State.REMOVED
        fields = ["name", "environment"]
        if writes:
            fields += ["new_token", "token_page", *(["enable_mappings"] if removed else [])]
        status = (
            "state", "what_to_do", "pat_hint", "account", "provider_names", "tested_at", "test_ok", "test_message",
            "not_before", "failures", "last_outcome",
        )  # fmt: skip
        title = gettext_lazy("Reconnect") if obj is not None and obj.state != State.ACTIVE else None
        fieldsets: list[tuple[Any, dict[str, Any]]] = [
            (title, {"fields": fields}),
            (gettext_lazy("Advanced"), {"fields": ADVANCED, "classes": ["collapse"]}),
        ]
        if obj:
            opens = request.user.has_perm("badging.add_connectiongrant")
            fieldsets += [
                (gettext_lazy("Open to"), {"fields": ("grants", "opening") if opens else ("targets",)}),
                (gettext_lazy("Use"), {"fields": ("mappings", "issuances", "deleting")}),
                (gettext_lazy("Status"), {"fields": status}),
            ]
        return fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: NavigatrConnection | None = None) -> list[str]:
        """What the portal writes, and the environment, which is fixed once the connection is saved."""
        written = [name for _title, part in self.get_fieldsets(request, obj)[2:] for name in part["fields"]]
        return ["token_page", "environment", *written] if obj else ["token_page", *written]

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
        lines = [(*line, take_back_button(grant)) for grant, line in _grants_of(obj)]
        if not lines:
            return _("Nobody but site admins. Course managers do not see it.")
        headers = (gettext_lazy("open to"), gettext_lazy("providers"), gettext_lazy("take back"))
        return rows_table(ConnectionGrant, headers, lines, connection__id__exact=obj.pk)

    @admin.display(description=gettext_lazy("open to"))
    def targets(self, obj: NavigatrConnection) -> str:
        """To whom it is open, for who may only look."""
        lines = [line for _grant, line in _grants_of(obj)]
        headers = (gettext_lazy("open to"), gettext_lazy("providers"))
        return rows_table(ConnectionGrant, headers, lines, connection__id__exact=obj.pk)

    @admin.display(description=gettext_lazy("opening"))
    def opening(self, obj: NavigatrConnection) -> str:
        """A link to open it to somebody."""
        url = reverse("admin:badging_connectiongrant_add", query={"connection": obj.pk})
        return format_html(
            '<a class="button quiet" href="{}">{}</a>', url, _("Open it to courses or to a course manager")
        )

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def status(self, obj: NavigatrConnection) -> str:
        """Whether badges can be sent with it now; if not, since when, why, how many wait, and what to do."""
        if standing := connections.standing_of(obj):
            return format_html("{} {}", standing, link_to(obj, _("Reconnect")))
        if reason := connection_reason(obj, timezone.now()):
            return format_html('<span class="state waiting">{}</span> {}', _("Rests"), reason)
        return format_html('<span class="state good">{}</span>', _("Active"))

    @admin.display(description=gettext_lazy("create a token"))
    def token_page(self, obj: NavigatrConnection | None) -> str:
        """A link to where a token is created in Navigatr: for the environment, or for each while none is chosen."""
        chosen = [obj.environment] if obj is not None and obj.pk else Environment.values
        return format_html_join("", '<span class="only-{}">{}</span> ', ((name, token_link(name)) for name in chosen))

    @admin.display(description=gettext_lazy("providers"))
    def provider_names(self, obj: NavigatrConnection) -> str:
        """For which providers the account may issue, as the last test found."""
        names = [f"{name or '?'} ({number})" for number, name in obj.providers[:MOST_SHOWN]]
        more = ["…"] if len(obj.providers) > MOST_SHOWN else []
        return ", ".join(names + more) or (
            _("None. The account is no provider administrator in Navigatr.") if obj.account else _("Not known yet.")
        )

    @admin.display(description=gettext_lazy("what to do"))
    def what_to_do(self, obj: NavigatrConnection) -> str:
        """Why nothing is sent with it, and what to do about it."""
        if standing := connections.standing_of(obj):
            return str(standing)
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
        for row in rows:
            row.connection = obj
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

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """The page, with why nothing is sent, and the way to production."""
        obj = context.get("original")
        if obj is not None:
            context |= {
                "standing": connections.standing_of(obj),
                "token_page": token_link(obj.environment),
                "goes_live": self._goes_live(request, obj),
            }
        # One way to save, so that there is room for the test.
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def _goes_live(self, request: HttpRequest, obj: NavigatrConnection) -> bool:
        """Whether the page offers to move its courses to production."""
        is_trial = obj.environment == Environment.STAGING
        return is_trial and may_go_live(request.user) and obj.mappings.exists()

    def response_post_save_add(self, request: HttpRequest, obj: NavigatrConnection) -> HttpResponseRedirect:
        """On to the page of the new connection, which says what comes next."""
        return self.to_set_up(request) or HttpResponseRedirect(page_url(obj))

    def response_post_save_change(self, request: HttpRequest, obj: NavigatrConnection) -> HttpResponseRedirect:
        """Back to its page, which says how it stands now."""
        return self.to_set_up(request) or HttpResponseRedirect(page_url(obj))

    def try_out(self, request: HttpRequest, form: Any) -> dict[str, Any]:
        """Test what was typed; without a token, the stored one. Nothing is saved, and nothing is resumed."""
        for name in set(form.errors) - TESTED:
            del form.errors[name]
        if form.errors:
            return {}
        typed, stored = form.cleaned_data, form.instance
        connection = NavigatrConnection(
            environment=typed.get("environment", stored.environment), timeout=typed.get("timeout", stored.timeout)
        )
        try:
            connection.pat = typed["new_token"] or stored.pat
            with waiting.place(request.user.pk):
                return {"tested": connections.try_out(connection)}
        except (WrongKey, ImproperlyConfigured, waiting.Busy) as error:
            form.add_error("new_token", str(error))
            return {}

    def connect(self, request: HttpRequest, form: Any) -> list[str]:
        """Test the token, and save and resume the connection when it passes.

        One that does not pass is saved, as paused, only when the admin insists after that was said.
        """
        connection = form.instance
        connection.pat = form.cleaned_data["new_token"]
        try:
            with waiting.place(request.user.pk):
                tested = connections.try_out(connection)
        except waiting.Busy as error:
            return [str(error)]
        if not tested.ok and "_anyway" not in request.POST:
            form.may_insist = True
            return [tested.message]
        if not tested.ok:
            connections.save_paused(connection, tested, actor=request.user, now=timezone.now())
            text = _("%(name)s was saved, but is paused: %(why)s")
            self.message_user(request, text % {"name": connection, "why": tested.message}, messages.WARNING)
            return []
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
        if obj.state != State.ACTIVE:
            text = _("The settings were saved. Nothing is sent with it until you enter a new token.")
            self.message_user(request, text, messages.WARNING)
        values = {name: getattr(obj, name) for name in names}
        audit.record(AuditEntry.Action.CONNECTION_SAVED, obj, actor=request.user, changed=values)
        if "past_limit" in names and past.limit_changed(obj, now=timezone.now()):
            self.nudge(request)

    def has_delete_permission(self, request: HttpRequest, obj: NavigatrConnection | None = None) -> bool:
        """Only a single connection that was never used."""
        return super().has_delete_permission(request, obj) and obj is not None and not is_used(obj)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """What goes with it. Who may delete it needs no permission to delete to whom it is open: nobody has that."""
        deleted, counts, perms_needed, protected = super().get_deleted_objects(objs, request)
        return deleted, counts, set(perms_needed) - {ConnectionGrant._meta.verbose_name}, protected

    def delete_model(self, request: HttpRequest, obj: NavigatrConnection) -> None:
        """Delete the connection, and record who did it."""
        audit.record(AuditEntry.Action.CONNECTION_REMOVED, obj, actor=request.user, deleted=True)
        obj.delete()

    # Actions

    @admin.action(description=gettext_lazy("Resume with the stored token"), permissions=["change"])
    def resume(self, request: HttpRequest, queryset: QuerySet[NavigatrConnection]) -> None:
        """Test the stored tokens of paused connections, and go on where they pass."""
        paused = queryset.filter(state=State.PAUSED)
        if not paused.exists():
            self.message_user(request, _("None of these is paused. Nothing was done."), messages.WARNING)
        self.test_connection(request, paused)

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
            _("Courses that award no badge until it is reconnected: %(count)s.") % {"count": counted(active)},
            _("Queued badges held until you reconnect: %(count)s. None is lost.") % {"count": waiting},
            _("Issued badges stay as they are."),
        ]
        title = _("Remove Connection")
        if page := self.confirmation(request, rows, title=title, effects=effects, label=_("Yes, remove it")):
            return page
        for connection in rows:
            held = connections.remove(connection, actor=request.user, now=timezone.now())
            values = {"name": connection, "held": held}
            self.message_user(request, _("%(name)s was removed. Badges held: %(held)d.") % values)
        return None

    def _with_token(self, request: HttpRequest, rows: list[NavigatrConnection]) -> list[NavigatrConnection]:
        """The rows that are not removed, with a message for each of the others."""
        kept = []
        for row in rows:
            if row.state != State.REMOVED:
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
        elif tested.is_clean:
            level = messages.SUCCESS
        else:
            level = messages.WARNING
        self.message_user(request, f"{connection}: {tested.message}", level)


def _use_of(mapping: CourseBadgeMapping) -> str:
    """Whether badges are sent under a mapping that was read `with_reach`."""
    if not mapping.active:
        return _("disabled")
    if mapping.connection.state != State.ACTIVE:
        return _("waits for this connection")
    if not mapping.is_open:
        return _("held: not open to this course")
    return _("active, chosen by a site admin") if mapping.by_admin else _("active")


def _grants_of(connection: NavigatrConnection) -> list[tuple[ConnectionGrant, tuple[str, str]]]:
    """The first grants, each with the cells of its line: to whom what is open."""
    rows = connection.grants.select_related("site", "user").order_by("pk")[:MOST_SHOWN]
    return [(row, (link_to(row, row.target), row.provider_label)) for row in rows]


def take_back_button(grant: ConnectionGrant) -> SafeString:
    """A button that asks whether to take the grant back. Its form stands beside the page's own."""
    return format_html(
        '<button type="submit" form="take-back" class="button quiet" name="{}" value="{}">{}'
        '<span class="visually-hidden">: {}</span></button>',
        ACTION_CHECKBOX_NAME, grant.pk, _("Take back"), grant.target,
    )  # fmt: skip


def token_link(environment: str) -> SafeString:
    """A link to where a token is created in Navigatr's environment, in a new tab: the form stays as it is."""
    return format_html(
        '<a href="{}" target="_blank" rel="noopener noreferrer">{}</a>',
        settings.NAVIGATR_TOKEN_PAGES[environment],
        _("Create a token in Navigatr: %(environment)s (new tab)") % {"environment": Environment(environment).label},
    )


def is_used(connection: NavigatrConnection) -> bool:
    """Whether badges were mapped or issued with the connection."""
    return (
        CourseBadgeMapping.objects.filter(connection=connection).exists()
        or Issuance.objects.filter(connection=connection).exists()
    )
