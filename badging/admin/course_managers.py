"""Course managers in the admin: who may map and change the badge of which course."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.models import Course

from ..managing import add_managers
from ..models import CourseManager
from .base import KeySelectMultiple, KeysField, PortalAdmin
from .display import link_to

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[CourseManager]
else:
    _ModelForm = forms.ModelForm

# How many people with how many courses are added at once: so many entries of the audit are written.
MOST_ADDED = 500


class CoursesField(KeysField):
    """A choice of courses."""

    def label_from_instance(self, obj: Course) -> str:
        """The course with its short name and site."""
        return obj.full_label


class ManagersForm(_ModelForm):
    """People and courses: each of the people manages each of the courses."""

    users = KeysField(
        label=gettext_lazy("People"),
        queryset=User.objects.all(),
        widget=KeySelectMultiple(CourseManager._meta.get_field("user")),
        help_text=gettext_lazy("Type the beginning of a name. Each of them will manage all courses below."),
    )
    courses = CoursesField(
        label=gettext_lazy("Courses"),
        queryset=Course.objects.select_related("site"),
        widget=KeySelectMultiple(CourseManager._meta.get_field("course")),
    )

    class Meta:
        model = CourseManager
        fields = ()

    def clean(self) -> dict[str, Any]:
        """Not too many at once."""
        chosen: dict[str, Any] = super().clean() or self.cleaned_data
        if len(chosen.get("users", ())) * len(chosen.get("courses", ())) > MOST_ADDED:
            text = _("These are more than %(count)d at once. Choose fewer people or courses.")
            raise forms.ValidationError(text % {"count": MOST_ADDED})
        return chosen


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
    search_help_text = gettext_lazy("Person or course")

    def has_change_permission(self, request: HttpRequest, obj: CourseManager | None = None) -> bool:
        """Nobody may."""
        return False

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """People and courses to choose for new entries."""
        if obj is None:
            kwargs["form"] = ManagersForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: CourseManager | None = None) -> tuple[str, ...]:
        """What is chosen for new entries, and what an entry says."""
        return ("users", "courses") if obj is None else ("user", "course_link")

    def get_readonly_fields(self, request: HttpRequest, obj: CourseManager | None = None) -> tuple[str, ...]:
        """The course of an entry, with a link."""
        return () if obj is None else ("course_link",)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The form for several, which leads back to the list."""
        texts = {"title": _("Add course managers"), "show_save_and_continue": False}
        page: HttpResponse = super().add_view(request, form_url, texts | (extra_context or {}))
        return page

    def save_form(self, request: HttpRequest, form: Any, change: bool) -> Any:
        """Add all of them: the form stands for many rows, of which Django goes on with one."""
        users, courses = form.cleaned_data["users"], form.cleaned_data["courses"]
        added = add_managers(users, courses)
        if len(added) == 1:
            text = _("%(user)s manages %(course)s now.") % {"user": added[0].user, "course": added[0].course.full_label}
        else:
            text = _("%(count)d course managers were added.") % {"count": len(added)}
        self.message_user(request, text, messages.SUCCESS)
        return added[0] if added else CourseManager.objects.get(user=users[0], course=courses[0])

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Saved by `save_form`."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """There is nothing more to save."""

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Back to the list, which shows them."""
        again = "_addanother" in request.POST
        return HttpResponseRedirect(self._url("add") if again else self._url("changelist"))

    @admin.display(description=gettext_lazy("course"), ordering="course__fullname")
    def course_link(self, obj: CourseManager) -> str:
        """The course, with a link."""
        return link_to(obj.course, obj.course.full_label)

    @admin.display(description=gettext_lazy("site"))
    def site(self, obj: CourseManager) -> Any:
        """The Moodle site of the course."""
        return obj.course.site
