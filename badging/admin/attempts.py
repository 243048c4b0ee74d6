"""Attempts in the admin: the audit rows of every issuance."""

from typing import Any

from django.contrib import admin
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from ..models import Issuance, IssuanceAttempt
from .base import ReadOnlyAdmin
from .display import link_to
from .issuances import full_label
from .search import learners_matching


@admin.register(IssuanceAttempt)
class AttemptAdmin(ReadOnlyAdmin):
    """Each attempt to issue, each look-up, each decision not to call. Never changed."""

    list_display = ("at", "issuance_link", "kind", "status", "outcome", "detail", "next_attempt_at", "environment")
    sortable_by = ()
    list_filter = ("outcome", "at")
    link_filters = ("issuance__id__exact",)
    list_select_related = ("words", "issuance__learner", "issuance__course__site", "issuance__course__mapping")
    search_fields = ("issuance",)
    search_help_text = gettext_lazy("The learner's e-mail address, names or Moodle user id")
    fields = (
        "at", "issuance", "kind", "duration", "status", "outcome", "what", "todo", "fields", "detail", "looked_up",
        "next_attempt_at", "environment", "provider_id", "badge_id",
    )  # fmt: skip
    readonly_fields = ("what", "todo", "detail", "looked_up")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[IssuanceAttempt], search_term: str
    ) -> tuple[QuerySet[IssuanceAttempt], bool]:
        """By learner: their ids are found first, so that indexes are used."""
        if not search_term.strip():
            return queryset, False
        issuances = Issuance.objects.filter(learner__in=learners_matching(search_term))
        found = queryset.filter(issuance__in=issuances.order_by().values("pk"))
        # Sorting by a sum keeps PostgreSQL from reading all attempts in the order of the key to find these few.
        return found.order_by((F("pk") + 0).desc()), False

    @admin.display(description=gettext_lazy("issuance"))
    def issuance_link(self, obj: IssuanceAttempt) -> str:
        """The issuance, with a link."""
        return link_to(obj.issuance, full_label(obj.issuance))

    @admin.display(description=gettext_lazy("what happened"))
    def what(self, obj: IssuanceAttempt) -> Any:
        """What the outcome means."""
        return obj.meaning.what

    @admin.display(description=gettext_lazy("what to do"))
    def todo(self, obj: IssuanceAttempt) -> Any:
        """What to do about it."""
        return obj.meaning.todo

    @admin.display(description=gettext_lazy("Navigatr's message"), empty_value="-")
    def detail(self, obj: IssuanceAttempt) -> str:
        """What Navigatr said in words, while that is kept."""
        return obj.detail

    @admin.display(description=gettext_lazy("what was looked up"), empty_value="-")
    def looked_up(self, obj: IssuanceAttempt) -> str:
        """What was looked at, while that is kept."""
        return obj.looked_up
