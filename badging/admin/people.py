"""Learners and their completions, as read from Moodle; export and erasure of all that is held about a person."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.models import Completion, Learner

from .. import privacy
from ..models import Issuance
from .filters import CourseFilter, DoubtfulFilter
from .tools import MOST_SHOWN, ReadOnlyAdmin, courses_matching, learners_matching, link_to, rows_table


@admin.register(Learner)
class LearnerAdmin(ReadOnlyAdmin):
    """People as Moodle knows them, found by address, name or Moodle user id."""

    list_display = ("name", "email", "site", "moodle_id", "suspended", "deleted", "erased_at")
    sortable_by = ()
    list_filter = ("site",)
    list_select_related = ("site",)
    search_fields = ("email_key",)
    search_help_text = gettext_lazy("E-mail address (its beginning with @ will do), names, or Moodle user id")
    actions = ("export", "erase")
    button_actions = ("export", "erase")
    fields = (
        "firstname", "lastname", "email", "site", "moodle_id", "names_hidden", "suspended", "deleted", "erased_at",
        "issuances", "completions",
    )  # fmt: skip
    readonly_fields = ("erased_at", "issuances", "completions")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Learner], search_term: str
    ) -> tuple[QuerySet[Learner], bool]:
        """By address, name or Moodle user id."""
        if not search_term.strip():
            return queryset, False
        return queryset.filter(pk__in=learners_matching(search_term)), False

    @admin.display(description=gettext_lazy("learner"))
    def name(self, obj: Learner) -> str:
        """First and last name, or that the person was erased."""
        return str(obj)

    @admin.display(description=gettext_lazy("issuances"))
    def issuances(self, obj: Learner) -> str:
        """The newest badges owed and issued."""
        rows = obj.issuances.select_related("course__site").order_by("-pk")[:MOST_SHOWN]
        headers = (gettext_lazy("badge"), gettext_lazy("course"), gettext_lazy("state"), gettext_lazy("why"))
        lines = [
            (
                link_to(row, badge(row)),
                row.course.full_label,
                row.get_state_display(),
                row.get_reason_display(),
            )
            for row in rows
        ]
        return rows_table(Issuance, headers, lines, learner__id__exact=obj.pk)

    @admin.display(description=gettext_lazy("completions"))
    def completions(self, obj: Learner) -> str:
        """The newest completions read from Moodle."""
        rows = obj.completions.select_related("course__site").order_by("-pk")[:MOST_SHOWN]
        headers = (
            gettext_lazy("course"), gettext_lazy("completed"), gettext_lazy("what is odd"), gettext_lazy("score"),
        )  # fmt: skip
        lines = [
            (link_to(row, row.course.full_label), row.completed_at or "-", oddity(row), row.score_text or "-")
            for row in rows
        ]
        return rows_table(Completion, headers, lines, learner__id__exact=obj.pk)

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Whether the user may export what is held about a person."""
        return request.user.has_perm("moodle_sync.export_learner")

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """Whether the user may erase a person."""
        return request.user.has_perm("moodle_sync.erase_learner")

    @admin.action(description=gettext_lazy("Export everything held about them"), permissions=["export"])
    def export(self, request: HttpRequest, queryset: QuerySet[Learner]) -> HttpResponse | None:
        """All that is held about the chosen people, as a JSON file."""
        rows = self.chosen(request, queryset.select_related("site"))
        if rows is None:
            return None
        response = JsonResponse(
            privacy.export_learners(rows, actor=request.user), json_dumps_params={"ensure_ascii": False, "indent": 2}
        )
        response["Content-Disposition"] = 'attachment; filename="learners.json"'
        return response

    @admin.action(description=gettext_lazy("Erase their personal data"), permissions=["erase"])
    def erase(self, request: HttpRequest, queryset: QuerySet[Learner]) -> HttpResponse | None:
        """Ask, then blank the chosen people for good."""
        rows = self.chosen(request, queryset.select_related("site"))
        if rows is None:
            return None
        effects = [
            _("Names and e-mail address are blanked for good. This cannot be undone."),
            _("Badges that were not sent yet are cancelled, and nothing is issued to them again."),
            _("Audit rows are kept; they hold no personal data."),
            _("Badges already issued live in Navigatr, and the account in Moodle: erase them there too."),
        ]
        title = _("Erase personal data")
        if page := self.confirmation(
            request, rows, title=title, effects=effects, label=_("Yes, erase for good"), told=who
        ):
            return page
        now = timezone.now()
        cancelled = sum(privacy.erase_learner(row, actor=request.user, now=now) for row in rows)
        told = {"count": len(rows), "cancelled": cancelled}
        self.message_user(request, _("%(count)d erased; %(cancelled)d badge(s) were cancelled.") % told)
        return None


@admin.register(Completion)
class CompletionAdmin(ReadOnlyAdmin):
    """Who completed what, as read from Moodle."""

    list_display = ("seen_at", "learner_link", "course_link", "completed_at", "time_source", "odd", "score_text")
    sortable_by = ()
    list_filter = ("completed_at", DoubtfulFilter, CourseFilter)
    list_select_related = ("learner", "course__site")
    search_fields = ("learner",)
    search_help_text = gettext_lazy(
        "The learner's e-mail address, names or Moodle user id, or the beginning of the course's name"
    )
    fields = (
        "learner_link", "course_link", "completed_at", "time_source", "completed_again_at", "implausible", "undone_at",
        "confirmed_at", "score_text", "score_hidden", "seen_at", "issuances",
    )  # fmt: skip
    readonly_fields = ("completed_again_at", "learner_link", "course_link", "score_text", "issuances")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Completion], search_term: str
    ) -> tuple[QuerySet[Completion], bool]:
        """By learner and course, looked up first."""
        if not search_term.strip():
            return queryset, False
        mine = queryset.filter(learner__in=learners_matching(search_term))
        return mine | queryset.filter(course__in=courses_matching(search_term)), False

    @admin.display(description=gettext_lazy("learner"))
    def learner_link(self, obj: Completion) -> str:
        """The learner, with a link."""
        return link_to(obj.learner, obj.learner.full_label)

    @admin.display(description=gettext_lazy("course"))
    def course_link(self, obj: Completion) -> str:
        """The course with its site, and a link."""
        return link_to(obj.course, obj.course.full_label)

    @admin.display(description=gettext_lazy("what is odd"))
    def odd(self, obj: Completion) -> str:
        """Why it does not count, if it does not."""
        return oddity(obj)

    @admin.display(description=gettext_lazy("score"))
    def score_text(self, obj: Completion) -> str:
        """The score as the pages show it."""
        return obj.score_text or "-"

    @admin.display(description=gettext_lazy("issuances"))
    def issuances(self, obj: Completion) -> Any:
        """What was owed for it."""
        rows = obj.issuances.order_by("-pk")[:MOST_SHOWN]
        headers = (gettext_lazy("badge"), gettext_lazy("environment"), gettext_lazy("state"), gettext_lazy("why"))
        lines = [
            (
                link_to(row, badge(row)), row.get_environment_display(),
                row.get_state_display(), row.get_reason_display(),
            )
            for row in rows
        ]  # fmt: skip
        return rows_table(Issuance, headers, lines, completion__id__exact=obj.pk)


def who(learner: Learner) -> str:
    """The learner told apart from others of the same name."""
    told = {"name": learner, "site": learner.site, "id": learner.moodle_id}
    return _("%(name)s (%(site)s, Moodle id %(id)s)") % told


def oddity(row: Completion) -> str:
    """Why a completion does not count, in a few words; "-" where it does."""
    if row.undone_at is not None:
        return _("undone in Moodle")
    return _("implausible date") if row.implausible else "-"


def badge(row: Issuance) -> str:
    """The badge's name as last seen, or its number."""
    return row.badge_name or str(row.badge_id)
