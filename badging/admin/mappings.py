"""Which badge each course awards, and who looks after it."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import get_script_prefix
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.models import Course

from .. import mapping
from ..models import CourseBadgeMapping, CourseManager, Issuance
from .tools import PortalAdmin, ReadOnlyAdmin, counted, link_to, list_link

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _CourseField = forms.ModelChoiceField[Course]
else:
    _CourseField = forms.ModelChoiceField


@admin.register(CourseBadgeMapping)
class MappingAdmin(ReadOnlyAdmin):
    """Made and changed on the course's own pages; here they are found, switched off and on, and removed."""

    list_display = (
        "course_link",
        "badge_name",
        "connection",
        "problem",
        "active",
        "minimum_score",
        "since",
    )
    list_filter = ("active", "connection")
    list_select_related = ("course__site", "connection")
    search_fields = ("course__fullname", "course__shortname", "badge_name", "provider_name")
    search_help_text = gettext_lazy("Course, badge or provider")
    actions = ("enable", "disable", "remove")
    button_actions = ("enable", "disable", "remove")
    fields = (
        "change_here", "course_link", "connection", "provider_name", "provider_id", "badge_name", "badge_id",
        "badge_link", "badge_problem", "min_score", "active", "since", "include_past", "created_by", "created_at",
        "issuances",
    )  # fmt: skip
    readonly_fields = (
        "change_here", "course_link", "badge_link", "badge_problem", "created_by", "created_at", "issuances",
    )  # fmt: skip

    @admin.display(description=gettext_lazy("course"), ordering="course__fullname")
    def course_link(self, obj: CourseBadgeMapping) -> str:
        """The course with its short name and site."""
        return obj.course.full_label

    @admin.display(description=gettext_lazy("in order"), boolean=True)
    def problem(self, obj: CourseBadgeMapping) -> bool:
        """Whether the badge can still be issued, and the course is still there, as last seen."""
        return not obj.badge_problem and obj.course.gone_at is None

    @admin.display(description=gettext_lazy("minimum score"), ordering="min_score")
    def minimum_score(self, obj: CourseBadgeMapping) -> str:
        """The score that is asked for, in percent."""
        return "-" if obj.min_score is None else f"{obj.min_score} %"

    @admin.display(description=gettext_lazy("change it"))
    def change_here(self, obj: CourseBadgeMapping) -> str:
        """A link to the pages where a badge is chosen."""
        url = f"{get_script_prefix()}courses/{obj.course_id}/"
        return format_html('<a href="{}">{}</a>', url, _("Change the badge on the course's page"))

    @admin.display(description=gettext_lazy("badge page"))
    def badge_link(self, obj: CourseBadgeMapping) -> str:
        """The badge's page in Navigatr."""
        return format_html('<a href="{0}">{0}</a>', obj.badge_url) if obj.badge_url else "-"

    @admin.display(description=gettext_lazy("issuances"))
    def issuances(self, obj: CourseBadgeMapping) -> str:
        """A link to what was and is to be issued for the course."""
        return list_link(Issuance, _("Issuances of this course"), course=obj.course_id)

    def has_switch_permission(self, request: HttpRequest) -> bool:
        """Whether the user may switch mappings off and on."""
        return request.user.has_perm("badging.change_coursebadgemapping")

    def has_remove_permission(self, request: HttpRequest) -> bool:
        """Whether the user may remove mappings."""
        return request.user.has_perm("badging.delete_coursebadgemapping")

    @admin.action(description=gettext_lazy("Enable"), permissions=["switch"])
    def enable(self, request: HttpRequest, queryset: QuerySet[CourseBadgeMapping]) -> HttpResponse | None:
        """Ask, then let what waited go on."""
        rows = self.chosen(request, queryset.select_related("course__site", "connection"))
        if rows is None:
            return None
        effects = [
            _("Badges that were held because of the mapping are sent."),
            _("What its connection holds back stays held until that is reconnected."),
        ]
        title = _("Enable mappings")
        if page := self.confirmation(
            request, rows, title=title, effects=effects, label=_("Yes, enable"), told=course_and_badge
        ):
            return page
        released = sum(mapping.enable_mapping(row, actor=request.user, now=timezone.now()) for row in rows)
        self.message_user(request, _("Enabled; %(count)d badge(s) that waited go on.") % {"count": released})
        if released:
            self.nudge(request)
        return None

    @admin.action(description=gettext_lazy("Disable"), permissions=["switch"])
    def disable(self, request: HttpRequest, queryset: QuerySet[CourseBadgeMapping]) -> HttpResponse | None:
        """Ask, then hold what waits."""
        rows = self.chosen(request, queryset.select_related("course__site", "connection"))
        if rows is None:
            return None
        queued = Issuance.objects.filter(course__mapping__in=rows, state=Issuance.State.QUEUED)
        effects = [
            _("%(count)s queued badge(s) are held until the mapping is enabled again.") % {"count": counted(queued)},
            _("Completions go on being read; their badges wait as well."),
        ]
        title = _("Disable mappings")
        if page := self.confirmation(
            request, rows, title=title, effects=effects, label=_("Yes, disable"), told=course_and_badge
        ):
            return page
        held = sum(mapping.disable_mapping(row, actor=request.user) for row in rows)
        self.message_user(request, _("Disabled; %(count)d badge(s) are held.") % {"count": held})
        return None

    @admin.action(description=gettext_lazy("Remove"), permissions=["remove"])
    def remove(self, request: HttpRequest, queryset: QuerySet[CourseBadgeMapping]) -> HttpResponse | None:
        """Ask, then remove the mappings and cancel what was not sent."""
        rows = self.chosen(request, queryset.select_related("course__site", "connection"))
        if rows is None:
            return None
        courses = [row.course_id for row in rows]
        unsent = Issuance.objects.filter(course__in=courses).unsent()
        effects = [
            _("%(count)s badge(s) that were not sent yet are cancelled.") % {"count": counted(unsent)},
            _("Badges whose answer is unknown stay until Navigatr has been asked. Issued badges stay as they are."),
            _("The course awards no badge until it is mapped again."),
        ]
        title = _("Remove mappings")
        if page := self.confirmation(
            request, rows, title=title, effects=effects, label=_("Yes, remove"), told=course_and_badge
        ):
            return page
        cancelled = sum(mapping.remove_mapping(row, actor=request.user) for row in rows)
        self.message_user(request, _("Removed; %(count)d badge(s) were cancelled.") % {"count": cancelled})
        return None


def course_and_badge(row: CourseBadgeMapping) -> str:
    """The mapping told apart from those of other courses of the same name."""
    return f"{row.course.full_label} → {row.badge_name or row.badge_id}"


class CourseField(_CourseField):
    """A choice of a course."""

    def label_from_instance(self, obj: Course) -> str:
        """The course with its short name and site."""
        return obj.full_label


@admin.register(CourseManager)
class CourseManagerAdmin(PortalAdmin):
    """Who may map and change the badge of which course."""

    list_display = ("user", "course_link", "site")
    list_display_links = ("user",)
    list_filter = ("course__site",)
    list_select_related = ("user", "course__site")
    autocomplete_fields = ("user", "course")
    search_fields = ("user__username", "user__email", "course__fullname", "course__shortname")
    search_help_text = gettext_lazy("User or course")

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """The chosen course is told apart from others of the same name, as in the search for it."""
        if db_field.name == "course":
            kwargs["form_class"] = CourseField
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    @admin.display(description=gettext_lazy("course"), ordering="course__fullname")
    def course_link(self, obj: CourseManager) -> str:
        """The course, with a link."""
        return link_to(obj.course, obj.course.full_label)

    @admin.display(description=gettext_lazy("site"))
    def site(self, obj: CourseManager) -> Any:
        """The Moodle that the course belongs to."""
        return obj.course.site
