"""What the admin's pages share: lists that stay quick with a million rows, read-only rows, and asking first."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG, ChangeList
from django.core.paginator import Paginator
from django.db import DataError
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.formats import date_format, number_format
from django.utils.functional import Promise, cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters

from moodle_sync.models import Course, Learner, MoodleSite

from .. import tasks

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _ModelAdmin = admin.ModelAdmin[Any]
    _Paginator = Paginator[Any]
else:
    _ModelAdmin = admin.ModelAdmin
    _Paginator = Paginator

Text = str | Promise

PAGES_AHEAD = 10
# What an action takes at once: Django accepts 1,000 form fields, and a person should see what they confirm.
MOST_CHOSEN = 500
# How many rows a page about one thing shows of what belongs to it; a link leads to the rest.
MOST_SHOWN = 50
# How many people or courses a search may mean before it has to be narrowed.
MOST_FOUND = 500
MOST_COUNTED = 1000
LONGEST_KEY = 18


class BoundedPaginator(_Paginator):
    """Counts to some pages past the one shown and no further: `count(*)` reads all of a million rows."""

    reach = MOST_COUNTED
    capped = False

    @cached_property
    def count(self) -> int:
        """How many rows there are, at most `reach`; `capped` then says that there are more."""
        rows: Any = self.object_list
        seen: int = rows.order_by().values("pk")[: self.reach + 1].count()
        self.capped = seen > self.reach
        return min(seen, self.reach)


class PortalChangeList(ChangeList):
    """A list whose address was made up: Django's own answer to that, where it forgets what databases refuse."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().__init__(*args, **kwargs)
        except (OverflowError, DataError) as error:
            # A number that no column holds.
            raise IncorrectLookupParameters from error


class Button(NamedTuple):
    """One button on the page of a row: it runs an action of the list on this row alone."""

    action: str
    label: str


class PortalAdmin(_ModelAdmin):
    """A list that never counts or loads a whole table, and a page with the row's actions as buttons."""

    paginator = BoundedPaginator
    show_full_result_count = False
    # Its counts beside each filter would read the whole table once for each choice.
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 50
    change_form_template = "admin/portal_change_form.html"
    # Actions that the page of a single row offers as buttons too.
    button_actions: Sequence[str] = ()

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list that stands every address."""
        return PortalChangeList

    def get_paginator(
        self, request: HttpRequest, queryset: Any, per_page: int, orphans: int = 0, allow_empty_first_page: bool = True
    ) -> BoundedPaginator:
        """Reach a few pages past the one asked for, whichever that is."""
        paginator = BoundedPaginator(queryset, per_page, orphans, allow_empty_first_page)
        asked = request.GET.get("p") or request.GET.get("page") or ""
        page = int(asked) if asked.isdecimal() and len(asked) < 10 else 1
        paginator.reach = (page + PAGES_AHEAD) * per_page
        return paginator

    def buttons_for(self, obj: Any) -> Sequence[str]:
        """The names of the actions that make sense for this row."""
        return self.button_actions

    def buttons(self, request: HttpRequest, obj: Any) -> list[Button]:
        """The actions that this user may run on this row."""
        allowed = {name: label for _run, name, label in filter(None, self.get_actions(request).values())}
        return [Button(name, str(allowed[name])) for name in self.buttons_for(obj) if name in allowed]

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """The page of one row, with its buttons."""
        if obj is not None:
            context |= {
                "portal_buttons": self.buttons(request, obj),
                "portal_list_url": reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"),
            }
        return super().render_change_form(request, context, add, change, form_url, obj)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list. A zero byte, which PostgreSQL cannot even compare, is answered as any other made-up filter."""
        if any("\0" in value for _name, values in request.GET.lists() for value in values):
            return HttpResponseRedirect(f"{request.path}?{ERROR_FLAG}=1")
        return super().changelist_view(request, extra_context)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Run the action; one that was started on a row's page returns there while the row exists.

        What is no row's number was made up, and counts as not chosen.
        """
        posted = request.POST.copy()
        posted.setlist(ACTION_CHECKBOX_NAME, [key for key in posted.getlist(ACTION_CHECKBOX_NAME) if is_key(key)])
        request.POST = QueryDict(posted.urlencode())
        response = super().response_action(request, queryset, *args, **kwargs)
        back = request.POST.get("back", "")
        if isinstance(response, HttpResponseRedirect) and is_key(back) and queryset.filter(pk=back).exists():
            return HttpResponseRedirect(
                reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_change", args=[back])
            )
        return response

    def chosen(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any] | None:
        """The rows that an action was asked for; None after telling the user that they are too many."""
        rows = list(queryset[: MOST_CHOSEN + 1])
        if len(rows) <= MOST_CHOSEN:
            return rows
        self.message_user(
            request,
            _("Choose at most %(count)d at a time. Nothing was done.") % {"count": MOST_CHOSEN},
            messages.ERROR,
        )
        return None

    def confirmation(
        self,
        request: HttpRequest,
        rows: Iterable[Any],
        *,
        title: str,
        effects: Sequence[str],
        label: str,
        told: Callable[[Any], str] = str,
    ) -> TemplateResponse | None:
        """The page that says what will happen to which rows, each as `told`; None once the user has said yes to it."""
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
            "rows": [(row, told(row)) for row in rows],
            "effects": effects,
            "label": label,
        }
        return TemplateResponse(request, "admin/portal_confirm.html", context)

    def nudge(self, request: HttpRequest) -> None:
        """Wake a worker for what is due now, and say so when none can be told."""
        if not tasks.nudge():
            told = _("The worker cannot be reached now: it will be sent when the worker is back.")
            self.message_user(request, told, messages.WARNING)


class TokenAdmin(PortalAdmin):
    """A page whose form asks another service before it saves."""

    if TYPE_CHECKING:

        def _changeform_view(
            self, request: HttpRequest, object_id: str | None, form_url: str, extra_context: dict[str, Any] | None
        ) -> HttpResponse: ...

    @method_decorator(sensitive_post_parameters("new_token"))
    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """As Django's, but without its transaction: no call to another service may hold the database."""
        return self._changeform_view(request, object_id, form_url, extra_context)


class ReadOnlyAdmin(PortalAdmin):
    """Rows that the portal itself writes: looked at, never added, changed or deleted by hand."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody may."""
        return False


def is_key(text: str) -> bool:
    """Whether a row may have that number; what is longer, databases choke on."""
    return text.isascii() and text.isdecimal() and len(text) <= LONGEST_KEY


def link(row: Model | None) -> str:
    """A link to a row's own page in the admin, named as the row; "-" for none."""
    return link_to(row, str(row)) if row is not None else "-"


def link_to(row: Model, text: Text) -> SafeString:
    """A link to a row's own page in the admin."""
    url = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a href="{}">{}</a>', url, text)


def moment(at: datetime | None) -> str:
    """A time as pages show it. Django formats what a method returns in lists, but not on the page of a row."""
    return date_format(timezone.localtime(at), "DATETIME_FORMAT") if at else "-"


def seconds(duration: timedelta | None) -> str:
    """A duration as pages show it, such as "1.5 s" or "0:02:10"."""
    if duration is None:
        return "-"
    if duration < timedelta(minutes=1):
        return _("%(seconds)s s") % {"seconds": number_format(f"{duration.total_seconds():.2g}")}
    return str(timedelta(seconds=round(duration.total_seconds())))


def list_url(model: type[Model], **query: Any) -> str:
    """The address of a model's list, filtered."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist", query=query or None)


def list_link(model: type[Model], text: Text, **query: Any) -> SafeString:
    """A link to a model's list, filtered."""
    return format_html('<a href="{}">{}</a>', list_url(model, **query), text)


def rows_table(model: type[Model], headers: Sequence[Text], rows: Iterable[Sequence[Any]], **query: Any) -> SafeString:
    """The newest rows that belong to another one, at most MOST_SHOWN, and a link to the list of all of them."""
    lines = list(rows)
    context = {
        "label": model._meta.verbose_name_plural,
        "headers": headers,
        "rows": lines,
        "everything": list_url(model, **query),
        "cut": len(lines) >= MOST_SHOWN,
    }
    return render_to_string("admin/portal_rows.html", context)


def counted(rows: QuerySet[Any]) -> str:
    """How many rows there are, counting no further than MOST_COUNTED."""
    count = rows.order_by().values("pk")[: MOST_COUNTED + 1].count()
    return f"{MOST_COUNTED:,}+" if count > MOST_COUNTED else f"{count:,}"


def learners_matching(term: str) -> list[int]:
    """The ids of at most MOST_FOUND learners: by e-mail address (its start will do), Moodle user id, or names."""
    term = term.strip()
    if term.isdecimal() and len(term) < 19:
        # With the sites named, the constraint's index answers.
        found = Learner.objects.filter(site__in=list(MoodleSite.objects.values_list("pk", flat=True)), moodle_id=term)
    elif "@" in term:
        found = Learner.objects.filter(email_key__startswith=Learner.key_of(term))
    else:
        found = Learner.objects.all()
        for word in term.split():
            found = found.filter(Q(firstname__istartswith=word) | Q(lastname__istartswith=word))
    return list(found.order_by().values_list("pk", flat=True)[:MOST_FOUND])


def courses_matching(term: str) -> list[int]:
    """The ids of at most MOST_FOUND courses whose name begins so."""
    term = term.strip()
    found = Course.objects.filter(Q(fullname__istartswith=term) | Q(shortname__istartswith=term))
    return list(found.order_by().values_list("pk", flat=True)[:MOST_FOUND])
