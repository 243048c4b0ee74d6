"""What all pages of the admin are built on: quick lists, buttons on the page of a row, and asking before acting."""

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.widgets import AutocompleteMixin, AutocompleteSelect, AutocompleteSelectMultiple
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.translation import gettext as _

from .. import first_run, tasks
from ..bulk import MOST_CHOSEN
from ..counting import COUNTED_UP_TO, count_up_to
from .search import is_key

# Only the type checker's Django is generic, and unfold has no types.
if TYPE_CHECKING:
    _AutocompleteMixin = AutocompleteMixin
    _ModelMultipleChoiceField = forms.ModelMultipleChoiceField[Any]
    _ModelAdmin = admin.ModelAdmin[Any]
    _Paginator = Paginator[Any]
else:
    from unfold.admin import ModelAdmin as _ModelAdmin

    # Its place in a widget's bases is before the widget, which has it too.
    _AutocompleteMixin = object
    _ModelMultipleChoiceField = forms.ModelMultipleChoiceField
    _Paginator = Paginator

PAGES_AHEAD = 10


class BoundedPaginator(_Paginator):
    """Counts a few pages past the one shown: counting a whole table reads all of it."""

    reach = COUNTED_UP_TO
    # Whether rows are counted as the list sorts them. Seldom quicker: see who sets it.
    in_order = False
    capped = False

    @cached_property
    def count(self) -> int:
        """The number of rows, at most `reach`; `capped` is set when there are more."""
        rows: Any = self.object_list
        found = rows.values("pk")[: self.reach + 1].count() if self.in_order else count_up_to(rows, self.reach)
        self.capped = found > self.reach
        return min(found, self.reach)


class KeysField(_ModelMultipleChoiceField):
    """A choice of several rows. What cannot be a key is no choice; Django would ask the database for it."""

    def clean(self, value: Any) -> Any:
        """The rows. Raises ValidationError."""
        for key in value or ():
            if not is_key(str(key)):
                raise ValidationError(
                    self.error_messages["invalid_choice"], code="invalid_choice", params={"value": str(key)[:20]}
                )
        return super().clean(value)


class OnlyKeys(_AutocompleteMixin):
    """Lets a search field be shown again after something else than keys was sent."""

    def optgroups(self, name: str, value: Sequence[str], attr: Any = None) -> Any:
        """The chosen rows."""
        return super().optgroups(name, [key for key in value if key == "" or is_key(str(key))], attr)


class KeySelect(OnlyKeys, AutocompleteSelect):
    """A search field for a row."""


class KeySelectMultiple(OnlyKeys, AutocompleteSelectMultiple):
    """A search field for several rows."""

    def __init__(self, field: Any) -> None:
        super().__init__(field, admin.site, attrs={"class": "unfold-admin-autocomplete"})

    def build_attrs(self, base_attrs: Any, extra_attrs: Any = None) -> dict[str, Any]:
        """Without the button that clears all, which select2 puts between the items of a list."""
        return {**super().build_attrs(base_attrs, extra_attrs), "data-allow-clear": "false"}


class Button(NamedTuple):
    """A button on the page of a row, which runs an action of the list on this row."""

    action: str
    label: str


class PortalAdmin(_ModelAdmin):
    """A list that stays quick with a million rows, and a page with the row's actions as buttons."""

    paginator = BoundedPaginator
    show_full_result_count = False
    # The counts beside each filter would read the whole table once for each choice.
    show_facets = admin.ShowFacets.NEVER
    # Each row costs a millisecond of computing or two (benchmarks/admin.py).
    list_per_page = 25
    list_max_show_all = 25
    change_form_template = "admin/portal_change_form.html"
    # What links to this list filter by, besides `list_filter`. `config.admin_lists` refuses everything else.
    link_filters: Sequence[str] = ()
    # Whether a row has a page that tells its history.
    tells_history = False
    # Actions that are buttons on the page of a row too.
    button_actions: Sequence[str] = ()

    def get_paginator(
        self, request: HttpRequest, queryset: Any, per_page: int, orphans: int = 0, allow_empty_first_page: bool = True
    ) -> BoundedPaginator:
        """A paginator that counts PAGES_AHEAD pages past the requested one."""
        paginator = BoundedPaginator(queryset, per_page, orphans, allow_empty_first_page)
        number = request.GET.get("p") or request.GET.get("page") or ""
        page = int(number) if number.isdecimal() and len(number) < 10 else 1
        paginator.reach = (page + PAGES_AHEAD) * per_page
        return paginator

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """A choice of rows whose search field can be shown again."""
        if db_field.name in self.get_autocomplete_fields(request):
            kwargs.setdefault(
                "widget", KeySelect(db_field, self.admin_site, attrs={"class": "unfold-admin-autocomplete"})
            )
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def buttons_for(self, obj: Any) -> Sequence[str]:
        """The names of the actions that can be run on this row."""
        return self.button_actions

    def buttons(self, request: HttpRequest, obj: Any) -> list[Button]:
        """The buttons of this row for this user."""
        allowed = {name: label for _run, name, label in filter(None, self.get_actions(request).values())}
        return [Button(name, str(allowed[name])) for name in self.buttons_for(obj) if name in allowed]

    def render_change_form(  # noqa: PLR0917 - the arguments are Django's
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """The page of a row, with its buttons."""
        if obj is not None:
            context |= {
                "portal_buttons": self.buttons(request, obj),
                "portal_list_url": self._url("changelist"),
                "show_history": self.tells_history,
            }
        return super().render_change_form(request, context, add, change, form_url, obj)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Run the action. One that was started by a button returns to the row's page if the row still exists.

        Selected values that are no primary keys are ignored.
        """
        data = request.POST.copy()
        data.setlist(ACTION_CHECKBOX_NAME, [key for key in data.getlist(ACTION_CHECKBOX_NAME) if is_key(key)])
        request.POST = QueryDict(data.urlencode())
        response = super().response_action(request, queryset, *args, **kwargs)
        back = request.POST.get("back", "")
        if isinstance(response, HttpResponseRedirect) and is_key(back) and queryset.filter(pk=back).exists():
            return HttpResponseRedirect(self._url("change", back))
        return response

    def chosen(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any] | None:
        """The rows that an action was chosen for; None, with a message, when there are too many."""
        rows = list(queryset[: MOST_CHOSEN + 1])
        if len(rows) <= MOST_CHOSEN:
            return rows
        text = _("Choose at most %(count)d at a time. Nothing was done.") % {"count": MOST_CHOSEN}
        self.message_user(request, text, messages.ERROR)
        return None

    def confirmation(
        self,
        request: HttpRequest,
        rows: Iterable[Any],
        *,
        title: str,
        effects: Sequence[str],
        label: str,
        describe: Callable[[Any], str] = str,
    ) -> TemplateResponse | None:
        """The page that says what will happen to which rows; None when the user has confirmed it.

        `label` is the text of the button, and `describe` names a row.
        """
        if request.POST.get("confirmed") == "yes":
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "opts": self.opts,
            "media": self.media,
            "action_name": request.POST["action"],
            "back": request.POST.get("back", ""),
            "checkbox_name": ACTION_CHECKBOX_NAME,
            "rows": [(row, describe(row)) for row in rows],
            "effects": effects,
            "label": label,
        }
        return TemplateResponse(request, "admin/portal_confirm.html", context)

    def response_post_save_add(self, request: HttpRequest, obj: Any) -> HttpResponseRedirect:
        """Back to the set-up path, if that led to the form; else to the list."""
        return self.to_set_up(request) or super().response_post_save_add(request, obj)

    def response_post_save_change(self, request: HttpRequest, obj: Any) -> HttpResponseRedirect:
        """The same for a row that was changed."""
        return self.to_set_up(request) or super().response_post_save_change(request, obj)

    def to_set_up(self, request: HttpRequest) -> HttpResponseRedirect | None:
        """Back to the set-up path, if that led to the form."""
        is_on_path = "setup" in request.GET and first_run.may_set_up(request.user)
        return HttpResponseRedirect(reverse("admin:set_up")) if is_on_path else None

    def nudge(self, request: HttpRequest) -> None:
        """Wake a worker for what is due now, with a message when none can be reached."""
        if not tasks.nudge():
            text = _("The worker cannot be reached now: it will be sent when the worker is back.")
            self.message_user(request, text, messages.WARNING)

    def _url(self, page: str, *args: Any) -> str:
        return reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}", args=args)


class ReadOnlyAdmin(PortalAdmin):
    """Rows that only the portal writes: nobody adds, changes or deletes them by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False
