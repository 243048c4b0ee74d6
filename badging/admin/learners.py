"""Learners in the admin, as read from Moodle: exported and erased."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.models import Completion, Learner

from .. import privacy
from ..models import Issuance
from .base import ReadOnlyAdmin
from .completions import why_doubtful
from .display import MOST_SHOWN, badge_of, link_to, moment, reason_of, rows_table, state_of
from .search import learners_matching


@admin.register(Learner)
class LearnerAdmin(ReadOnlyAdmin):
    """People as Moodle knows them."""

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
        """The newest issuances."""
        rows = obj.issuances.with_standing().order_by("-pk")[:MOST_SHOWN]
        headers = (gettext_lazy("badge"), gettext_lazy("course"), gettext_lazy("state"), gettext_lazy("why"))
        lines = [(link_to(row, badge_of(row)), row.course.full_label, state_of(row), reason_of(row)) for row in rows]
        return rows_table(Issuance, headers, lines, learner__id__exact=obj.pk)

    @admin.display(description=gettext_lazy("completions"))
    def completions(self, obj: Learner) -> str:
        """The newest completions."""
        rows = obj.completions.select_related("course__site").order_by("-pk")[:MOST_SHOWN]
        headers = (
            gettext_lazy("course"), gettext_lazy("completed"), gettext_lazy("doubt"), gettext_lazy("score"),
        )  # fmt: skip
        lines = [
            (link_to(row, row.course.full_label), moment(row.completed_at), why_doubtful(row), row.score_text or "-")
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
        """Download all that is held about the chosen people, as a JSON file."""
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
        """Ask, then erase the chosen people for good."""
        rows = self.chosen(request, queryset.select_related("site"))
        if rows is None:
            return None
        effects = [
            _("Names, e-mail address, scores and links to badges are blanked for good. This cannot be undone."),
            _("What Navigatr said about them in words is deleted."),
            _("Badges that were not sent yet are cancelled, and nothing is issued to them again."),
            _("Audit rows are kept; they hold no personal data."),
            _("Badges already issued stay in Navigatr, and the account stays in Moodle: erase them there too."),
        ]
        title = _("Erase personal data")
        if page := self.confirmation(
            request, rows, title=title, effects=effects, label=_("Yes, erase for good"), describe=name_and_id
        ):
            return page
        now = timezone.now()
        cancelled = sum(privacy.erase_learner(row, actor=request.user, now=now) for row in rows)
        values = {"count": len(rows), "cancelled": cancelled}
        self.message_user(request, _("Erased: %(count)d. Badges cancelled: %(cancelled)d.") % values)
        return None


def name_and_id(learner: Learner) -> str:
    """The learner, unambiguous among others of the same name."""
    values = {"name": learner, "site": learner.site, "id": learner.moodle_id}
    return _("%(name)s (%(site)s, Moodle id %(id)s)") % values
