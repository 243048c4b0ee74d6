"""Issuances, their attempts, and the audit trail."""

from datetime import datetime
from typing import Any

from django.contrib import admin
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.models import Feed

from .. import by_hand
from ..doubles import possible_doubles
from ..meanings import AWAITS_ANSWER
from ..models import AuditEntry, Issuance, IssuanceAttempt
from .filters import CourseFilter, EnvironmentFilter, ReasonFilter
from .tools import MOST_SHOWN, ReadOnlyAdmin, courses_matching, learners_matching, link, link_to, moment, rows_table


@admin.register(Issuance)
class IssuanceAdmin(ReadOnlyAdmin):
    """What is owed to whom, where it stands and what to do. Its state is changed by the two actions only."""

    list_display = (
        "badge_name", "learner_link", "course_link", "completed", "state", "why", "connection", "when",
    )  # fmt: skip
    sortable_by = ()
    list_filter = ("state", EnvironmentFilter, "connection", CourseFilter, ReasonFilter)
    list_select_related = ("learner", "course__site__state", "completion", "connection")
    search_fields = ("learner",)
    search_help_text = gettext_lazy(
        "The learner's e-mail address, names or Moodle user id, or the beginning of the course's name"
    )
    actions = ("send_again", "cancel")
    button_actions = ("send_again", "cancel")
    fieldsets = (
        (None, {"fields": ("state", "why", "what", "todo", "next_try", "issued_at", "assertion")}),
        (
            gettext_lazy("What and for whom"),
            {
                "fields": (
                    "learner_link", "doubles", "course_link", "completed", "completed_again", "completion",
                    "badge_name", "badge_id", "provider_id", "connection", "environment", "mapping",
                ),
            },
        ),
        (gettext_lazy("Attempts"), {"fields": ("attempts",)}),
        (
            gettext_lazy("In the queue"),
            {
                "fields": (
                    "queued_at", "first_attempt_at", "failures", "leased_until", "answer_unknown", "past_completion",
                ),
            },
        ),
    )  # fmt: skip
    readonly_fields = (
        "why", "what", "todo", "next_try", "assertion", "attempts", "answer_unknown", "past_completion", "learner_link",
        "doubles", "course_link", "completed", "completed_again",
    )  # fmt: skip

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Issuance], search_term: str
    ) -> tuple[QuerySet[Issuance], bool]:
        """By learner and course, looked up first, so that the indexes of both answer."""
        if not search_term.strip():
            return queryset, False
        wanted = Q(learner__in=learners_matching(search_term)) | Q(course__in=courses_matching(search_term))
        return queryset.filter(wanted), False

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
        """Others of the same name who completed the course in the same minute, each with a link."""
        lines = [(link_to(other, other.learner.full_label),) for other in possible_doubles(obj)]
        return format_html_join(", ", "{}", lines) or "-"

    @admin.display(description=gettext_lazy("completed"))
    def completed(self, obj: Issuance) -> str:
        """When the course was completed, as far as is known."""
        return moment(obj.completion.completed_at)

    @admin.display(description=gettext_lazy("why"))
    def why(self, obj: Issuance) -> str:
        """The reason in a few words."""
        return _("Question about the Moodle site") if obj.awaits_answer else obj.get_reason_display() or "-"

    @admin.display(description=gettext_lazy("what happened"))
    def what(self, obj: Issuance) -> Any:
        """What the reason means."""
        if obj.awaits_answer:
            return AWAITS_ANSWER.what
        return obj.meaning.what if obj.meaning else "-"

    @admin.display(description=gettext_lazy("what to do"))
    def todo(self, obj: Issuance) -> Any:
        """What a person does about it."""
        if obj.awaits_answer:
            return format_html("{} {}", AWAITS_ANSWER.todo, link(obj.course.site))
        return obj.meaning.todo if obj.meaning else _("Nothing to do.")

    @admin.display(description=gettext_lazy("next try"))
    def next_try(self, obj: Issuance) -> str:
        """When it is tried next, if it waits for that; a time that is kept in any other state means nothing."""
        waits = obj.state == Issuance.State.QUEUED and not obj.awaits_answer
        return moment(obj.next_attempt_at if waits else None)

    @admin.display(description=gettext_lazy("when"))
    def when(self, obj: Issuance) -> str:
        """When it was issued; of one that waits, when it is tried next."""
        return moment(obj.issued_at) if obj.issued_at else self.next_try(obj)

    @admin.display(description=gettext_lazy("answer unknown"))
    def answer_unknown(self, obj: Issuance) -> str:
        """Whether it may have been sent without an answer."""
        return _("Yes") if obj.is_unknown else _("No")

    @admin.display(description=gettext_lazy("past completion"))
    def past_completion(self, obj: Issuance) -> str:
        """Whether the course had been completed before it was mapped."""
        return _("Yes") if obj.past else _("No")

    @admin.display(description=gettext_lazy("completed again on"))
    def completed_again(self, obj: Issuance) -> datetime | None:
        """When the learner completed the course once more; there is no second badge for that."""
        return obj.completion.completed_again_at

    @admin.display(description=gettext_lazy("assertion"))
    def assertion(self, obj: Issuance) -> str:
        """The issued badge's page in Navigatr."""
        if obj.assertion_url:
            return format_html('<a href="{}">{}</a>', obj.assertion_url, obj.assertion_id)
        return obj.assertion_id or "-"

    @admin.display(description=gettext_lazy("newest first"))
    def attempts(self, obj: Issuance) -> str:
        """The newest attempts; the list of attempts has all of them."""
        rows = obj.attempts.order_by("-pk")[:MOST_SHOWN]
        headers = (
            gettext_lazy("time"), gettext_lazy("kind"), gettext_lazy("HTTP status"), gettext_lazy("outcome"),
            gettext_lazy("Navigatr's words"), gettext_lazy("what was looked up"), gettext_lazy("next try"),
        )  # fmt: skip
        lines = [
            (
                link_to(row, f"{timezone.localtime(row.at):%Y-%m-%d %H:%M:%S}"), row.get_kind_display(),
                row.status or "-", row.get_outcome_display(), row.detail, row.looked_up, row.next_attempt_at or "-",
            )
            for row in rows
        ]  # fmt: skip
        return rows_table(IssuanceAttempt, headers, lines, issuance__id__exact=obj.pk)

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
            _("Those that failed, were not met or were cancelled are sent anew, with their course's badge of today."),
            _("What may have been sent before is looked up in Navigatr first. Issued badges are never sent again."),
            _(
                "Those held for an implausible date are sent all the same; one dated in the future is issued with the "
                "present date."
            ),
            _("Those whose course has no mapping, and those of erased learners, are left alone."),
        ]
        title = _("Send again")
        if page := self.confirmation(
            request, rows, title=title, effects=effects, label=_("Yes, send again"), told=what_and_for_whom
        ):
            return page
        chosen = Issuance.objects.filter(pk__in=[row.pk for row in rows])
        count = by_hand.send_again(chosen, actor=request.user, now=timezone.now())
        left = len(rows) - count
        told = _("%(count)d queued, %(left)d left alone.") % {"count": count, "left": left}
        self.message_user(request, told)
        if count:
            self.nudge(request)
        return None

    @admin.action(description=gettext_lazy("Cancel"), permissions=["retry"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Issuance]) -> HttpResponse | None:
        """Ask, then cancel what waits or has failed."""
        rows = self.chosen(request, queryset.select_related("learner", "course__site"))
        if rows is None:
            return None
        effects = [
            _("Those that wait or have failed are cancelled and not sent. “Send again” takes them back."),
            _("Issued badges, and those that may have been sent, are left alone."),
        ]
        title = _("Cancel issuances")
        if page := self.confirmation(
            request, rows, title=title, effects=effects, label=_("Yes, cancel them"), told=what_and_for_whom
        ):
            return page
        count = by_hand.cancel(Issuance.objects.filter(pk__in=[row.pk for row in rows]), actor=request.user)
        left = len(rows) - count
        self.message_user(request, _("%(count)d cancelled, %(left)d left alone.") % {"count": count, "left": left})
        return None


def what_and_for_whom(row: Issuance) -> str:
    """The issuance told apart from others of the same names."""
    told = {"badge": row.badge_name or row.badge_id, "learner": row.learner.full_label, "course": row.course.full_label}
    return _("%(badge)s – %(learner)s, %(course)s") % told


@admin.register(IssuanceAttempt)
class AttemptAdmin(ReadOnlyAdmin):
    """The audit rows: each attempt to issue, each look-up, each decision not to call."""

    list_display = ("at", "issuance_link", "kind", "status", "outcome", "detail", "next_attempt_at", "environment")
    sortable_by = ()
    list_filter = ("outcome", "at")
    list_select_related = ("issuance__learner", "issuance__course__site")
    search_fields = ("issuance",)
    search_help_text = gettext_lazy("The learner's e-mail address, names or Moodle user id")
    fields = (
        "at", "issuance", "kind", "duration", "status", "outcome", "what", "todo", "detail", "looked_up",
        "next_attempt_at", "environment", "provider_id", "badge_id",
    )  # fmt: skip
    readonly_fields = ("what", "todo")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[IssuanceAttempt], search_term: str
    ) -> tuple[QuerySet[IssuanceAttempt], bool]:
        """By learner, looked up first."""
        if not search_term.strip():
            return queryset, False
        issuances = Issuance.objects.filter(learner__in=learners_matching(search_term))
        found = queryset.filter(issuance__in=issuances.order_by().values("pk"))
        # The sum keeps PostgreSQL from walking down all attempts in their order until it has met enough of these few.
        return found.order_by((F("pk") + 0).desc()), False

    @admin.display(description=gettext_lazy("issuance"))
    def issuance_link(self, obj: IssuanceAttempt) -> str:
        """The issuance, with a link."""
        return link_to(obj.issuance, what_and_for_whom(obj.issuance))

    @admin.display(description=gettext_lazy("what happened"))
    def what(self, obj: IssuanceAttempt) -> Any:
        """What the outcome means."""
        return obj.meaning.what

    @admin.display(description=gettext_lazy("what to do"))
    def todo(self, obj: IssuanceAttempt) -> Any:
        """What a person does about it."""
        return obj.meaning.todo


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """What people did. Kept as it was written."""

    list_display = ("at", "actor", "action", "subject", "told")
    sortable_by = ()
    list_filter = ("action", "at")
    list_select_related = ("actor",)
    # Grows by what people do and not by what the portal does, so that looking through it is quick.
    search_fields = ("actor__username", "subject__istartswith")
    search_help_text = gettext_lazy("Who, or the beginning of what was changed")
    fields = ("at", "actor", "action", "subject", "told")
    readonly_fields = ("told",)

    @admin.display(description=gettext_lazy("details"))
    def told(self, obj: AuditEntry) -> str:
        """What else was kept: a change of the feed as sentences, all else by its names."""
        if obj.action == AuditEntry.Action.FEED_CHANGED:
            feeds = dict(Feed.choices)
            names = {name: feeds.get(obj.details.get(name), "-") for name in ("before", "feed")}
            changed = _("From “%(before)s” to “%(feed)s”.") % names
            return f"{changed} {obj.details.get('reason', '')}".strip()
        return ", ".join(f"{name}: {value}" for name, value in obj.details.items()) or "-"
