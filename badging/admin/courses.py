"""Courses in the admin, as read from Moodle, with the badge that each awards and its course managers."""

from typing import Any

from django.contrib import admin
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.models import Completion, Course

from ..models import CourseManager, Issuance
from ..reach import is_site_admin
from ..successors import likely_successor
from .base import ReadOnlyAdmin
from .display import MOST_SHOWN, link, link_to, list_link, outside_link, rows_table
from .filters import CourseBadgeFilter


@admin.register(Course)
class CourseAdmin(ReadOnlyAdmin):
    """Courses as read from Moodle."""

    list_display = (
        "fullname_or_id", "shortname", "site", "moodle_id", "mapping_link", "course_page", "managers_list", "no_error",
    )  # fmt: skip
    sortable_by = ()
    list_filter = (CourseBadgeFilter, "site")
    search_fields = ("fullname", "shortname", "=moodle_id")
    search_help_text = gettext_lazy("Name, short name or Moodle id")
    fields = (
        "fullname", "shortname", "course_page", "mapping_link", "site", "category", "moodle_id", "in_moodle", "visible",
        "completion_enabled", "gone_at", "successor", "error", "read_at", "past_read_at", "managers", "completions",
        "issuances",
    )  # fmt: skip
    readonly_fields = (
        "category", "course_page", "in_moodle", "gone_at", "successor", "error", "read_at", "past_read_at",
        "mapping_link", "managers", "completions", "issuances",
    )  # fmt: skip

    def get_list_display(self, request: HttpRequest) -> Any:
        """The link to the course's page only for who may see it."""
        shown = super().get_list_display(request)
        return shown if is_site_admin(request.user) else [name for name in shown if name != "course_page"]

    def get_fields(self, request: HttpRequest, obj: Course | None = None) -> Any:
        """The fields about the deletion only of a deleted course, the link only for who may see the course's page."""
        is_deleted = obj is not None and obj.gone_at is not None
        hidden = set() if is_deleted else {"gone_at", "successor"}
        if not is_site_admin(request.user):
            hidden.add("course_page")
        return [name for name in self.fields if name not in hidden]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Course]:
        """With the managers of all courses in one query."""
        managers = CourseManager.objects.select_related("user").order_by("pk")
        rows: QuerySet[Course] = (
            super()
            .get_queryset(request)
            .select_related("site__state", "mapping")
            .prefetch_related(Prefetch("managers", managers))
        )
        return rows

    @admin.display(description=gettext_lazy("course"))
    def fullname_or_id(self, obj: Course) -> str:
        """Its name, and whether it was deleted in Moodle."""
        return _("%(course)s (deleted in Moodle)") % {"course": obj} if obj.gone_at else str(obj)

    @admin.display(description=gettext_lazy("badge"))
    def mapping_link(self, obj: Course) -> str:
        """The badge that it awards, linked to the mapping."""
        mapping = getattr(obj, "mapping", None)
        return link_to(mapping, mapping.badge_name or str(mapping.badge_id)) if mapping else "-"

    @admin.display(description=gettext_lazy("page of the course"))
    def course_page(self, obj: Course) -> str:
        """A link to the page where its badge is chosen and its learners are seen."""
        awards = getattr(obj, "mapping", None) is not None
        if awards or obj.gone_at:
            return format_html('<a href="{}">{}</a>', reverse("course", args=[obj.pk]), _("Badge and learners"))
        return format_html('<a href="{}">{}</a>', reverse("choose-provider", args=[obj.pk]), _("Choose a badge"))

    @admin.display(description=gettext_lazy("course managers"))
    def managers_list(self, obj: Course) -> str:
        """The user names of its course managers."""
        return ", ".join(str(row.user) for row in obj.managers.all()) or "-"

    @admin.display(description=gettext_lazy("in order"), boolean=True)
    def no_error(self, obj: Course) -> bool:
        """Whether it exists and the last poll could read it."""
        return not obj.error and obj.gone_at is None

    @admin.display(description=gettext_lazy("what took its place"))
    def successor(self, obj: Course) -> str:
        """The course that most likely replaces a deleted one, with a link to map it."""
        found = likely_successor(obj)
        if found is None:
            return _("No course of this name was found. Map the one that took its place, then remove this badge.")
        map_url = reverse("choose-provider", args=[found.pk])
        return format_html('{} · <a href="{}">{}</a>', link_to(found, found.full_label), map_url, _("Choose its badge"))

    @admin.display(description=gettext_lazy("category"))
    def category(self, obj: Course) -> str:
        """The course's own Moodle category with its id, which connections are opened to."""
        return "-" if obj.category_id is None else f"{obj.category_name} ({obj.category_id})"

    @admin.display(description=gettext_lazy("in Moodle"))
    def in_moodle(self, obj: Course) -> str:
        """The course's page in Moodle."""
        return outside_link(obj.url)

    @admin.display(description=gettext_lazy("course managers"))
    def managers(self, obj: Course) -> str:
        """Its course managers, with links to change them."""
        rows = [(link(row),) for row in obj.managers.all()[:MOST_SHOWN]]
        return rows_table(CourseManager, (gettext_lazy("course manager"),), rows, course__id__exact=obj.pk)

    @admin.display(description=gettext_lazy("completions"))
    def completions(self, obj: Course) -> str:
        """A link to its completions."""
        return list_link(Completion, _("Completions of this course"), course=obj.pk)

    @admin.display(description=gettext_lazy("issuances"))
    def issuances(self, obj: Course) -> str:
        """A link to its issuances."""
        return list_link(Issuance, _("Issuances of this course"), course=obj.pk)
