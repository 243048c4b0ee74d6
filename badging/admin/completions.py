"""Completions in the admin, as read from Moodle."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.models import Completion

from ..models import Issuance
from .base import ReadOnlyAdmin
from .display import MOST_SHOWN, badge_of, link_to, reason_of, rows_table, state_of
from .filters import CourseFilter, DoubtfulFilter
from .search import courses_matching, learners_matching


@admin.register(Completion)
class CompletionAdmin(ReadOnlyAdmin):
    """Who completed which course."""

    list_display = ("seen_at", "learner_link", "course_link", "completed_at", "time_source", "doubt", "score_text")
    sortable_by = ()
    list_filter = ("completed_at", DoubtfulFilter, CourseFilter)
    link_filters = ("learner__id__exact",)
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
        """By learner and course: their ids are found first, so that indexes are used."""
        if not search_term.strip():
            return queryset, False
        by_learner = queryset.filter(learner__in=learners_matching(search_term))
        return by_learner | queryset.filter(course__in=courses_matching(search_term)), False

    @admin.display(description=gettext_lazy("learner"))
    def learner_link(self, obj: Completion) -> str:
        """The learner, with a link."""
        return link_to(obj.learner, obj.learner.full_label)

    @admin.display(description=gettext_lazy("course"))
    def course_link(self, obj: Completion) -> str:
        """The course with its site, and a link."""
        return link_to(obj.course, obj.course.full_label)

    @admin.display(description=gettext_lazy("doubt"))
    def doubt(self, obj: Completion) -> str:
        """Why it does not count, if it does not."""
        return why_doubtful(obj)

    @admin.display(description=gettext_lazy("score"))
    def score_text(self, obj: Completion) -> str:
        """The score in percent."""
        return obj.score_text or "-"

    @admin.display(description=gettext_lazy("issuances"))
    def issuances(self, obj: Completion) -> Any:
        """The issuances for it."""
        rows = obj.issuances.with_standing().order_by("-pk")[:MOST_SHOWN]
        headers = (gettext_lazy("badge"), gettext_lazy("environment"), gettext_lazy("state"), gettext_lazy("why"))
        lines = [
            (link_to(row, badge_of(row)), row.get_environment_display(), state_of(row), reason_of(row)) for row in rows
        ]
        return rows_table(Issuance, headers, lines, completion__id__exact=obj.pk)


def why_doubtful(row: Completion) -> str:
    """Why a completion does not count, in a few words; "-" where it does."""
    if row.undone_at is not None:
        return _("undone in Moodle")
    return _("implausible date") if row.implausible else "-"
