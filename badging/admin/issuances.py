"""Issuances in the admin: who is owed which badge, and in which state it is. Sent again and cancelled by hand."""

from typing import Any, cast

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import by_hand
from ..doubles import possible_doubles
from ..meanings import AWAITS_ANSWER
from ..models import Issuance, IssuanceAttempt, IssuanceQuerySet
from .base import ReadOnlyAdmin
from .display import MOST_SHOWN, badge_of, link, link_to, moment, outside_link, reason_of, rows_table, state_of, yes_no
from .filters import CourseFilter, EnvironmentFilter, ReasonFilter, StandingFilter
from .search import courses_matching, learners_matching

State = Issuance.State


@admin.register(Issuance)
class IssuanceAdmin(ReadOnlyAdmin):
    """The state of an issuance is changed by the two actions only."""

    list_display = (
        "badge", "learner_link", "course_link", "completed", "state_and_reason", "environment_shown", "when",
    )  # fmt: skip
    sortable_by = ()
    list_filter = (StandingFilter, EnvironmentFilter, "connection", CourseFilter, ReasonFilter)
    link_filters = ("completion__id__exact", "learner__id__exact")
    search_fields = ("learner",)
    search_help_text = gettext_lazy(
        "The learner's e-mail address, names or Moodle user id, or the beginning of the course's name"
    )
    actions = ("send_again", "cancel")
    button_actions = ("send_again", "cancel")
    fieldsets = (
        (None, {"fields": ("state_shown", "why", "what", "todo", "next_try", "issued_at", "assertion")}),
        (
            gettext_lazy("Badge, learner and course"),
            {
                "fields": (
                    "learner_link", "doubles", "course_link", "completed", "completed_again", "completion",
                    "badge", "badge_number", "provider_number", "connection_link", "environment_shown", "mapping_link",
                ),
            },
        ),
        (gettext_lazy("Attempts"), {"fields": ("attempts",)}),
        (
            gettext_lazy("Queue"),
            {
                "fields": (
                    "queued_at", "first_attempt_at", "failures", "leased_until", "answer_unknown", "past_completion",
                ),
            },
        ),
    )  # fmt: skip
    readonly_fields = (
        "state_shown", "why", "what", "todo", "next_try", "assertion", "attempts", "answer_unknown", "past_completion",
        "learner_link", "doubles", "course_link", "completed", "completed_again", "mapping_link",
        "badge", "badge_number", "provider_number", "connection_link", "environment_shown",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Issuance]:
        """With what tells in which state each is."""
        rows = cast(IssuanceQuerySet, super().get_queryset(request)).with_standing()
        return rows.select_related("learner", "completion")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Issuance], search_term: str
    ) -> tuple[QuerySet[Issuance], bool]:
        """By learner and course: their ids are found first, so that indexes are used."""
        if not search_term.strip():
            return queryset, False
        wanted = Q(learner__in=learners_matching(search_term)) | Q(course__in=courses_matching(search_term))
        return queryset.filter(wanted), False

    @admin.display(description=gettext_lazy("badge"))
    def badge(self, obj: Issuance) -> str:
        """The badge that it was sent as, or will be."""
        return badge_of(obj)

    @admin.display(description=gettext_lazy("environment"))
    def environment_shown(self, obj: Issuance) -> str:
        """The environment that it was sent to, or will be."""
        return obj.sent_as.connection.get_environment_display()

    @admin.display(description=gettext_lazy("badge id"))
    def badge_number(self, obj: Issuance) -> int:
        """The badge's id in Navigatr."""
        return obj.sent_as.badge_id

    @admin.display(description=gettext_lazy("provider id"))
    def provider_number(self, obj: Issuance) -> int:
        """The provider's id in Navigatr."""
        return obj.sent_as.provider_id

    @admin.display(description=gettext_lazy("connection"))
    def connection_link(self, obj: Issuance) -> str:
        """The connection, with a link."""
        return link(obj.sent_as.connection)

    @admin.display(description=gettext_lazy("mapping"))
    def mapping_link(self, obj: Issuance) -> str:
        """The mapping of its course, with a link."""
        return link(obj.mapping)

    @admin.display(description=gettext_lazy("learner"))
    def learner_link(self, obj: Issuance) -> str:
        """The learner, with a link."""
        return link_to(obj.learner, obj.learner.full_label)

    @admin.display(description=gettext_lazy("course"))
    def course_link(self, obj: Issuance) -> str:
        """The course with its site, and a link."""
        return link_to(obj.course, obj.course.full_label)

    @admin.display(description=gettext_lazy("may be the same person as"))
    def doubles(self, obj: Issuance) -> str:
        """Learners of the same name who completed the course in the same minute, linked to their issuances."""
        lines = [(link_to(other, other.learner.full_label),) for other in possible_doubles(obj)]
        return format_html_join(", ", "{}", lines) or "-"

    @admin.display(description=gettext_lazy("completed"))
    def completed(self, obj: Issuance) -> str:
        """When the course was completed, if known."""
        return moment(obj.completion.completed_at)

    @admin.display(description=gettext_lazy("state"))
    def state_and_reason(self, obj: Issuance) -> str:
        """The state, and why it is in it, in one column."""
        state, reason = state_of(obj), reason_of(obj)
        return state if reason in ("-", state) else f"{state}: {reason}"

    @admin.display(description=gettext_lazy("state"))
    def state_shown(self, obj: Issuance) -> str:
        """The state."""
        return state_of(obj)

    @admin.display(description=gettext_lazy("why"))
    def why(self, obj: Issuance) -> str:
        """The reason in a few words."""
        return reason_of(obj)

    @admin.display(description=gettext_lazy("what happened"))
    def what(self, obj: Issuance) -> Any:
        """What the reason means."""
        if obj.awaits_answer:
            return AWAITS_ANSWER.what
        return obj.meaning.what if obj.meaning else "-"

    @admin.display(description=gettext_lazy("what to do"))
    def todo(self, obj: Issuance) -> Any:
        """What to do about it."""
        if obj.awaits_answer:
            return format_html("{} {}", AWAITS_ANSWER.todo, link(obj.course.site))
        return obj.meaning.todo if obj.meaning else _("Nothing to do.")

    @admin.display(description=gettext_lazy("next attempt"))
    def next_try(self, obj: Issuance) -> str:
        """When it is tried next; "-" where it does not wait for that, whatever time the row has."""
        waits = obj.standing == State.QUEUED and not obj.awaits_answer
        return moment(obj.next_attempt_at if waits else None)

    @admin.display(description=gettext_lazy("when"))
    def when(self, obj: Issuance) -> str:
        """When it was issued, or when it is tried next."""
        return moment(obj.issued_at) if obj.issued_at else self.next_try(obj)

    @admin.display(description=gettext_lazy("answer unknown"))
    def answer_unknown(self, obj: Issuance) -> str:
        """Whether it may have been sent without an answer."""
        return yes_no(obj.is_unknown)

    @admin.display(description=gettext_lazy("past completion"))
    def past_completion(self, obj: Issuance) -> str:
        """Whether the course was completed before it was mapped."""
        return yes_no(obj.past)

    @admin.display(description=gettext_lazy("completed again on"))
    def completed_again(self, obj: Issuance) -> str:
        """When the learner completed the course once more, for which there is no second badge."""
        return moment(obj.completion.completed_again_at)

    @admin.display(description=gettext_lazy("assertion"))
    def assertion(self, obj: Issuance) -> str:
        """The issued badge's page in Navigatr."""
        return outside_link(obj.assertion_url, obj.assertion_id)

    @admin.display(description=gettext_lazy("newest first"))
    def attempts(self, obj: Issuance) -> str:
        """The newest attempts; a link leads to all of them."""
        rows = obj.attempts.select_related("words").order_by("-pk")[:MOST_SHOWN]
        headers = (
            gettext_lazy("time"), gettext_lazy("kind"), gettext_lazy("HTTP status"), gettext_lazy("outcome"),
            gettext_lazy("Navigatr's message"), gettext_lazy("what was looked up"), gettext_lazy("next attempt"),
        )  # fmt: skip
        lines = [
            (
                link_to(row, moment(row.at)), row.get_kind_display(),
                row.status or "-", row.get_outcome_display(), row.detail, row.looked_up, moment(row.next_attempt_at),
            )
            for row in rows
        ]  # fmt: skip
        return rows_table(IssuanceAttempt, headers, lines, issuance__id__exact=obj.pk)

    # Actions

    def buttons_for(self, obj: Issuance) -> list[str]:
        """Only what `by_hand` would do to this row."""
        can = {"send_again": by_hand.can_send_again(), "cancel": by_hand.can_cancel()}
        row = Issuance.objects.filter(pk=obj.pk)
        return [name for name in self.button_actions if row.filter(can[name]).exists()]

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether the user may send again and cancel."""
        return request.user.has_perm("badging.change_issuance")

    @admin.action(description=gettext_lazy("Send again"), permissions=["retry"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Issuance]) -> HttpResponse | None:
        """Ask, then queue what failed, was not met or was cancelled."""
        rows = self.chosen(request, queryset.select_related("learner", "course__site"))
        if rows is None:
            return None
        effects = [
            _("Failed, not met and cancelled ones are sent again, with the badge that their course awards now."),
            _("What may have been sent before is looked up in Navigatr first. Issued badges are never sent again."),
            _("Those held for an implausible date are sent too; a date in the future is replaced by the present date."),
            _("Those whose course has no mapping, and those of erased learners, are left alone."),
        ]
        title = _("Send again")
        if page := self.confirmation(
            request, rows, title=title, effects=effects, label=_("Yes, send again"), describe=full_label
        ):
            return page
        chosen = Issuance.objects.filter(pk__in=[row.pk for row in rows])
        count = by_hand.send_again(chosen, actor=request.user, now=timezone.now())
        left = len(rows) - count
        self.message_user(request, _("%(count)d queued, %(left)d left alone.") % {"count": count, "left": left})
        if count:
            self.nudge(request)
        return None

    @admin.action(description=gettext_lazy("Cancel"), permissions=["retry"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Issuance]) -> HttpResponse | None:
        """Ask, then cancel what is waiting or has failed."""
        rows = self.chosen(request, queryset.select_related("learner", "course__site"))
        if rows is None:
            return None
        effects = [
            _("Queued, held, failed and not met ones are cancelled and not sent. “Send again” undoes this."),
            _("Issued badges, and those that may have been sent, are left alone."),
        ]
        title = _("Cancel issuances")
        if page := self.confirmation(
            request, rows, title=title, effects=effects, label=_("Yes, cancel them"), describe=full_label
        ):
            return page
        count = by_hand.cancel(Issuance.objects.filter(pk__in=[row.pk for row in rows]), actor=request.user)
        left = len(rows) - count
        self.message_user(request, _("%(count)d cancelled, %(left)d left alone.") % {"count": count, "left": left})
        return None


def full_label(row: Issuance) -> str:
    """The badge, the learner and the course, unambiguous among others of the same name."""
    values = {"badge": badge_of(row), "learner": row.learner.full_label, "course": row.course.full_label}
    return _("%(badge)s – %(learner)s, %(course)s") % values
