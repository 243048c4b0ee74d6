"""To whom connections are open, in the admin: added and taken back, never changed, so that the audit tells all."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.contrib.admin.widgets import AdminRadioSelect
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from .. import reach
from ..models import ConnectionGrant, CourseBadgeMapping, NavigatrConnection
from .base import PortalAdmin
from .display import link, page_url
from .search import is_key

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[ConnectionGrant]
else:
    _ModelForm = forms.ModelForm

Kind = ConnectionGrant.Kind

# Which of the form's fields each kind needs; it takes no other.
NEEDS: dict[str, tuple[str, ...]] = {
    Kind.ALL: (),
    Kind.SITE: ("site",),
    Kind.CATEGORY: ("site", "category_id"),
    Kind.MANAGER: ("user",),
}


# How many courses a page names.
MOST_NAMED = 10
_CANNOT_CHOOSE = gettext_lazy("Course managers do not see it any more when they choose a badge. Site admins still do.")


class GrantForm(_ModelForm):
    """What is opened, and to whom."""

    what = forms.ChoiceField(
        label=gettext_lazy("Connection and provider"),
        choices=lambda: _openable(),
        help_text=gettext_lazy("Providers are those that the connection's last test found."),
    )

    kind = forms.ChoiceField(
        label=gettext_lazy("Open to"), choices=Kind.choices, widget=AdminRadioSelect(attrs={"class": "radiolist"})
    )

    class Meta:
        model = ConnectionGrant
        fields = ("kind", "site", "category_id", "user")
        labels = {"user": gettext_lazy("Course manager")}
        help_texts = {
            "site": gettext_lazy("For all courses of a Moodle site, and for a category."),
            "category_id": gettext_lazy(
                "The number at the end of the category's address in Moodle. Only the course's own category counts: "
                "courses of its sub-categories are not included."
            ),
            "user": gettext_lazy(
                "They may choose the connection for each course that they manage. Badges that they chose are held "
                "when they are deactivated or no longer manage the course."
            ),
        }

    def clean(self) -> dict[str, Any]:
        """The fields that the kind needs, and no others."""
        cleaned: dict[str, Any] = super().clean() or {}
        needed = NEEDS.get(cleaned.get("kind", ""))
        if needed is None:
            return cleaned
        for name in ("site", "category_id", "user"):
            if name in needed and cleaned.get(name) is None and name not in self.errors:
                self.add_error(name, _("This is needed for what you chose above."))
            elif name not in needed and cleaned.get(name) is not None:
                self.add_error(name, _("Leave this empty for what you chose above."))
        if needed == NEEDS[Kind.CATEGORY] and not self.errors:
            try:
                reach.check_category(cleaned["site"], cleaned["category_id"])
            except reach.NotOpened as error:
                self.add_error("category_id", str(error))
        if "what" in cleaned:
            connection, _dash, provider = cleaned["what"].partition("-")
            self.instance.connection_id = int(connection)
            self.instance.provider_id = int(provider) if provider else None
        return cleaned


def _openable() -> list[tuple[str, str]]:
    """Each connection with all its providers, and each single one."""
    choices = []
    for connection in NavigatrConnection.objects.defer("pat"):
        choices.append((f"{connection.pk}-", _("%(connection)s: all providers") % {"connection": connection}))
        for number, name in connection.providers:
            values = {"connection": connection, "name": name, "id": number}
            label = _("%(connection)s: only %(name)s (%(id)d)") % values
            choices.append((f"{connection.pk}-{number}", label))
    return choices


@admin.register(ConnectionGrant)
class GrantAdmin(PortalAdmin):
    """Whoever may change connections may open and close them."""

    form = GrantForm
    list_display = ("connection", "what_is_open", "to_whom")
    list_filter = ("connection", "kind")
    list_select_related = ("connection", "site", "user")
    autocomplete_fields = ("user",)
    actions = ("take_back",)
    button_actions = ("take_back",)
    fields = ("what", "kind", "site", "category_id", "user")

    @admin.display(description=gettext_lazy("providers"))
    def what_is_open(self, obj: ConnectionGrant) -> str:
        """All providers of the connection, or one."""
        return obj.provider_label

    @admin.display(description=gettext_lazy("open to"))
    def to_whom(self, obj: ConnectionGrant) -> str:
        """To whom it is open."""
        return obj.target

    @admin.display(description=gettext_lazy("connection"))
    def connection_link(self, obj: ConnectionGrant) -> str:
        """The connection, with a link."""
        return link(obj.connection)

    def get_fields(self, request: HttpRequest, obj: ConnectionGrant | None = None) -> Any:
        """The form for a new one; what stands is only shown."""
        return ("connection_link", "what_is_open", "to_whom") if obj else self.fields

    def get_readonly_fields(self, request: HttpRequest, obj: ConnectionGrant | None = None) -> Any:
        """All of what stands."""
        return self.get_fields(request, obj) if obj else ()

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The form, with what it does as its title."""
        return super().add_view(request, form_url, {"title": _("Open a connection"), **(extra_context or {})})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """The connection whose page led here."""
        connection = request.GET.get("connection", "")
        return {"what": f"{connection}-"} if is_key(connection) else {}

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may view connections."""
        return request.user.has_perm("badging.view_navigatrconnection") or self.has_add_permission(request)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Whoever may change connections."""
        return request.user.has_perm("badging.change_navigatrconnection")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: it is taken back, and another one added."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody: it is taken back, after a page that says what that stops."""
        return False

    def has_close_permission(self, request: HttpRequest) -> bool:
        """Whether the user may take grants back: whoever may add them."""
        return self.has_add_permission(request)

    def response_post_save_add(self, request: HttpRequest, obj: ConnectionGrant) -> HttpResponseRedirect:
        """Back to the page of the connection."""
        return self.to_set_up(request) or HttpResponseRedirect(page_url(obj.connection))

    def save_model(self, request: HttpRequest, obj: ConnectionGrant, form: Any, change: bool) -> None:
        """Open the connection, and wake a worker for what waited."""
        opened = reach.open_connection(obj, actor=request.user, now=timezone.now())
        obj.pk = opened.pk
        self.nudge(request)

    @admin.action(description=gettext_lazy("Take back"), permissions=["close"])
    def take_back(self, request: HttpRequest, queryset: QuerySet[ConnectionGrant]) -> HttpResponse | None:
        """Ask, saying which courses this stops, then close the connection; back to its page."""
        rows = self.chosen(request, queryset.select_related("connection", "site", "user"))
        if not rows:
            return None
        stopped = reach.stopped_without(rows)
        title = _("Take back who may use it")
        effects = _effects_of_closing(stopped)
        if page := self.confirmation(request, rows, title=title, effects=effects, label=_("Yes, take it back")):
            return page
        for grant in rows:
            reach.close_connection(grant, actor=request.user)
        text = ngettext("Taken back: %(count)d opening.", "Taken back: %(count)d openings.", len(rows))
        self.message_user(request, text % {"count": len(rows)})
        connections = {grant.connection_id: grant.connection for grant in rows}
        return HttpResponseRedirect(page_url(*connections.values())) if len(connections) == 1 else None


def _effects_of_closing(stopped: Sequence[CourseBadgeMapping]) -> list[str]:
    """What taking back stops, for the page that asks."""
    if not stopped:
        return [_("No course awards badges only because of this, so no badge is held."), str(_CANNOT_CHOOSE)]
    text = ngettext(
        "%(count)d course may not use it any more. Its badges that were not sent are held, not lost: %(names)s.",
        "%(count)d courses may not use it any more. Their badges that were not sent are held, not lost: %(names)s.",
        len(stopped),
    )
    names = [row.course.full_label for row in stopped[:MOST_NAMED]] + (["…"] if len(stopped) > MOST_NAMED else [])
    return [
        text % {"count": len(stopped), "names": ", ".join(names)},
        _("Opening it to them again lets what is held go on by itself."),
        str(_CANNOT_CHOOSE),
    ]
