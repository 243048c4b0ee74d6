"""Issuances in the admin: who is owed which badge, in which state it is, and what happened to it.

They are sent again, looked up again and cancelled by hand: a few at once, many in the background.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

from django.contrib import admin, messages
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import bulk, by_hand, tasks
from ..doubles import possible_doubles
from ..meanings import AWAITS_ANSWER
from ..models import BulkRun, Issuance, IssuanceAttempt, IssuanceQuerySet
from ..timeline import sent_as, timeline_of
from .base import BoundedPaginator, ReadOnlyAdmin
from .display import (
    badge_of,
    link,
    link_to,
    list_link,
    moment,
    outside_link,
    page_url,
    reason_of,
    state_of,
    state_pill,
    yes_no,
)
from .filters import CourseFilter, EnvironmentFilter, ReasonFilter, SiteFilter, StandingFilter, WhenFilter
from .search import courses_matching, learners_matching

State = Issuance.State


@admin.register(Issuance)
class IssuanceAdmin(ReadOnlyAdmin):
    """The state of an issuance is changed by the three actions only."""

    list_display = (
        "badge", "state_and_reason", "learner_link", "course_link", "todo_line", "when", "completed",
        "environment_shown",
    )  # fmt: skip
    sortable_by = ()
    list_filter = (
        StandingFilter, ReasonFilter, WhenFilter, CourseFilter, SiteFilter, "connection", EnvironmentFilter,
    )  # fmt: skip
    link_filters = ("completion__id__exact", "learner__id__exact")
    search_fields = ("learner",)
    search_help_text = gettext_lazy(
        "The learner's e-mail address, names or Moodle user id, or the beginning of the course's name"
    )
    actions = ("send_again", "look_up_again", "cancel")
    button_actions = ("send_again", "look_up_again", "cancel")
    fieldsets = (
        (None, {"fields": ("state_shown", "why", "what", "todo", "next_try", "issued_at", "assertion")}),
        (gettext_lazy("What happened"), {"fields": ("timeline",)}),
        (
            gettext_lazy("Badge, learner and course"),
            {
                "fields": (
                    "learner_link", "doubles", "course_link", "course_in_moodle", "completed", "completed_again",
                    "completion", "badge", "badge_number", "provider_number", "connection_link", "environment_shown",
                    "mapping_link",
                ),
            },
        ),
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
        "state_shown", "why", "what", "todo", "next_try", "assertion", "timeline", "answer_unknown", "past_completion",
        "learner_link", "doubles", "course_link", "course_in_moodle", "completed", "completed_again", "mapping_link",
        "badge", "badge_number", "provider_number", "connection_link", "environment_shown",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[Issuance]:
        """With what tells in which state each is."""
        rows = cast(IssuanceQuerySet, super().get_queryset(request)).with_standing()
        return rows.select_related("learner", "completion")

    def get_paginator(self, request: HttpRequest, *args: Any, **kwargs: Any) -> BoundedPaginator:
        """A paginator that counts recently completed ones as the list sorts them.

        Without an order PostgreSQL reads both tables from their old ends, because it takes old and new completions to
        be mixed: 400 ms of a million, in order 3 ms.
        """
        paginator = super().get_paginator(request, *args, **kwargs)
        paginator.in_order = request.GET.get(WhenFilter.parameter_name, "").startswith("completed")
        return paginator

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
        """The provider's id in Navigatr. The timeline tells its name."""
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

    @admin.display(description=gettext_lazy("course in Moodle"))
    def course_in_moodle(self, obj: Issuance) -> str:
        """The course's page in Moodle."""
        return outside_link(obj.course.url)

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
        reason = reason_of(obj)
        return format_html("{} {}", state_pill(obj), "" if reason in ("-", state_of(obj)) else reason)

    @admin.display(description=gettext_lazy("what to do"))
    def todo_line(self, obj: Issuance) -> str:
        """What to do about it, in one sentence."""
        text = str(
            AWAITS_ANSWER.todo if obj.awaits_answer else obj.meaning.todo if obj.meaning else _("Nothing to do.")
        )
        return re.split(r"[.;] ", text, maxsplit=1)[0].removesuffix(".") + "."

    @admin.display(description=gettext_lazy("state"))
    def state_shown(self, obj: Issuance) -> str:
        """The state."""
        return state_pill(obj)

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

    @admin.display(description=gettext_lazy("issued, or next try"))
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

    @admin.display(description=gettext_lazy("from the completion on"))
    def timeline(self, obj: Issuance) -> str:
        """What happened to it, as a list of sentences; links lead to the attempts."""
        context = {"events": timeline_of(obj), "sent_as": sent_as(obj)}
        everything = list_link(IssuanceAttempt, _("All attempts"), issuance__id__exact=obj.pk)
        return render_to_string("admin/portal_timeline.html", context | {"everything": everything})

    # Actions

    def buttons_for(self, obj: Issuance) -> list[str]:
        """Only what `by_hand` would do to this row."""
        can = {
            "send_again": by_hand.can_send_again(),
            "look_up_again": by_hand.can_look_up(),
            "cancel": by_hand.can_cancel(),
        }
        row = Issuance.objects.filter(pk=obj.pk)
        return [name for name in self.button_actions if row.filter(can[name]).exists()]

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether the user may send again, look up again and cancel."""
        return request.user.has_perm("badging.change_issuance")

    @admin.action(description=gettext_lazy("Send again"), permissions=["retry"])
    def send_again(self, request: HttpRequest, queryset: QuerySet[Issuance]) -> HttpResponse | None:
        """Ask, then queue what failed, was not met or was cancelled."""
        return self._act(request, queryset, BulkRun.Kind.SEND_AGAIN)

    @admin.action(description=gettext_lazy("Look up again in Navigatr"), permissions=["retry"])
    def look_up_again(self, request: HttpRequest, queryset: QuerySet[Issuance]) -> HttpResponse | None:
        """Ask, then have Navigatr asked whether those are there whose answer is missing."""
        return self._act(request, queryset, BulkRun.Kind.LOOK_UP)

    @admin.action(description=gettext_lazy("Cancel"), permissions=["retry"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Issuance]) -> HttpResponse | None:
        """Ask, then cancel what is waiting or has failed."""
        return self._act(request, queryset, BulkRun.Kind.CANCEL)

    def _act(self, request: HttpRequest, queryset: QuerySet[Issuance], kind: BulkRun.Kind) -> HttpResponse | None:
        """Ask, then do it: at once to a few, in the background to many."""
        rows = self.chosen(request, queryset.select_related("learner", "course__site"))
        if rows is None:
            return None
        if not rows:
            text = _(
                "The chosen issuances are not in this list any more. Nothing was done. Look for them, and choose anew."
            )
            self.message_user(request, text, messages.WARNING)
            return None
        words = WORDS[kind]
        many = len(rows) > bulk.AT_ONCE
        effects = [str(text) for text in words.effects] + ([str(IN_BACKGROUND)] if many else [])
        if page := self.confirmation(
            request, rows, title=str(words.title), effects=effects, label=str(words.label), describe=full_label
        ):
            return page
        pks = [row.pk for row in rows]
        if many:
            run = bulk.start_chosen(kind=kind, chosen=pks, actor=request.user, now=timezone.now())
            tasks.nudge_bulk(run.pk)
            return HttpResponseRedirect(page_url(run))
        count = ACTS[kind](Issuance.objects.filter(pk__in=pks), request.user)
        self.message_user(request, str(words.done) % {"count": count, "left": len(rows) - count})
        if count and kind != BulkRun.Kind.CANCEL:
            self.nudge(request)
        return None


class Words(NamedTuple):
    """What the pages of an action say."""

    title: Promise
    label: Promise
    effects: Sequence[Promise]
    done: Promise


WORDS = {
    BulkRun.Kind.SEND_AGAIN: Words(
        gettext_lazy("Send again"),
        gettext_lazy("Yes, send again"),
        [
            gettext_lazy(
                "Failed, not met and cancelled ones are sent again, with the badge that their course awards now."
            ),
            gettext_lazy(
                "What may have been sent before is looked up in Navigatr first. Issued badges are never sent again."
            ),
            gettext_lazy(
                "Those held for an implausible date are sent too; a date in the future is replaced by the present date."
            ),
            gettext_lazy("Those whose course has no mapping, and those of erased learners, are left alone."),
        ],
        gettext_lazy("%(count)d queued, %(left)d left alone."),
    ),
    BulkRun.Kind.LOOK_UP: Words(
        gettext_lazy("Look up again in Navigatr"),
        gettext_lazy("Yes, look up again"),
        [
            gettext_lazy(
                "Those whose answer is missing are looked up in Navigatr. What is found there is issued and not sent."
            ),
            gettext_lazy("What is not there is sent, as its course's mapping says."),
            gettext_lazy("Where Navigatr does not let the connection's account look, nothing is sent."),
            gettext_lazy("All others are left alone: Navigatr has answered, so there is nothing to look up."),
        ],
        gettext_lazy("%(count)d are looked up, %(left)d left alone."),
    ),
    BulkRun.Kind.CANCEL: Words(
        gettext_lazy("Cancel issuances"),
        gettext_lazy("Yes, cancel them"),
        [
            gettext_lazy("Queued, held, failed and not met ones are cancelled and not sent. “Send again” undoes this."),
            gettext_lazy("Issued badges, and those that may have been sent, are left alone."),
        ],
        gettext_lazy("%(count)d cancelled, %(left)d left alone."),
    ),
}
IN_BACKGROUND = gettext_lazy(
    "They are many, so a worker does it in the background. The next page shows how far it is, and can stop it."
)
ACTS: dict[BulkRun.Kind, Callable[[IssuanceQuerySet, Any], int]] = {
    BulkRun.Kind.SEND_AGAIN: lambda rows, actor: by_hand.send_again(rows, actor=actor, now=timezone.now()),
    BulkRun.Kind.LOOK_UP: lambda rows, actor: by_hand.look_up_again(rows, actor=actor, now=timezone.now()),
    BulkRun.Kind.CANCEL: lambda rows, actor: by_hand.cancel(rows, actor=actor),
}


def full_label(row: Issuance) -> str:
    """The badge, the learner and the course, unambiguous among others of the same name."""
    values = {"badge": badge_of(row), "learner": row.learner.full_label, "course": row.course.full_label}
    return _("%(badge)s – %(learner)s, %(course)s") % values
