"""Course managers in the admin: who may map and change the badge of which course."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from moodle_sync.models import Course

from ..models import CourseManager
from .base import PortalAdmin
from .display import link_to

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _CourseField = forms.ModelChoiceField[Course]
else:
    _CourseField = forms.ModelChoiceField


class CourseField(_CourseField):
    """A choice of a course."""

    def label_from_instance(self, obj: Course) -> str:
        """The course with its short name and site."""
        return obj.full_label


@admin.register(CourseManager)
class CourseManagerAdmin(PortalAdmin):
    """Being listed here is all that makes a user the manager of a course.

    Entries are added and deleted, never changed, so that the audit trail tells who was granted what.
    """

    list_display = ("user", "course_link", "site")
    list_display_links = ("user",)
    list_filter = ("course__site",)
    link_filters = ("course__id__exact", "user__id__exact")
    list_select_related = ("user", "course__site")
    autocomplete_fields = ("user", "course")
    search_fields = ("user__username", "user__email", "course__fullname", "course__shortname")
    search_help_text = gettext_lazy("User or course")

    def has_change_permission(self, request: HttpRequest, obj: CourseManager | None = None) -> bool:
        """Nobody may."""
        return False

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Show the chosen course with its short name and site, as the search for it does."""
        if db_field.name == "course":
            kwargs["form_class"] = CourseField
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    @admin.display(description=gettext_lazy("course"), ordering="course__fullname")
    def course_link(self, obj: CourseManager) -> str:
        """The course, with a link."""
        return link_to(obj.course, obj.course.full_label)

    @admin.display(description=gettext_lazy("site"))
    def site(self, obj: CourseManager) -> Any:
        """The Moodle site of the course."""
        return obj.course.site
