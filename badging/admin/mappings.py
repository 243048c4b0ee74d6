"""Course badge mappings in the admin: enabled, disabled, removed. Badges are chosen on the pages of the course."""

from typing import cast

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import mapping, past
from ..models import NOTHING_OPEN, PAST_HELD, CourseBadgeMapping, Issuance, MappingQuerySet, Past
from .base import ReadOnlyAdmin
from .display import counted, list_link, outside_link
from .history import ToldHistory


@admin.register(CourseBadgeMapping)
class MappingAdmin(ToldHistory, ReadOnlyAdmin):
    """Which badge each course awards."""

    list_display = ("course_link", "badge_name", "connection", "in_order", "active", "minimum_score", "since")
    list_filter = ("active", "connection")
    list_select_related = ("course__site", "connection")
    search_fields = ("course__fullname", "course__shortname", "badge_name", "provider_name")
    search_help_text = gettext_lazy("Course, badge or provider")
    actions = ("enable", "disable", "release_past", "remove")
    fields = (
        "change_here", "course_link", "connection", "provider_name", "provider_id", "badge_name", "badge_id",
        "badge_link", "badge_problem", "minimum_score", "active", "is_open", "since", "past_completions", "created_by",
        "created_at", "chosen_by", "by_admin", "issuances",
    )  # fmt: skip
    readonly_fields = (
        "change_here", "course_link", "badge_link", "badge_problem", "minimum_score", "is_open", "past_completions",
        "created_by", "created_at", "chosen_by", "by_admin", "issuances",
    )  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[CourseBadgeMapping]:
        """With whether the connection is open to the course."""
        return cast(MappingQuerySet, super().get_queryset(request)).with_reach()

    @admin.display(description=gettext_lazy("course"), ordering="course__fullname")
    def course_link(self, obj: CourseBadgeMapping) -> str:
        """The course with its short name and site."""
        return obj.course.full_label

    @admin.display(description=gettext_lazy("in order"), boolean=True)
    def in_order(self, obj: CourseBadgeMapping) -> bool:
        """Whether the connection is open to it and, as last seen, the badge can be issued and the course exists."""
        return not obj.badge_problem and obj.course.gone_at is None and obj.is_open

    @admin.display(description=gettext_lazy("connection open to it"), boolean=True)
    def is_open(self, obj: CourseBadgeMapping) -> bool:
        """Whether it may use its connection and provider."""
        return obj.is_open

    @admin.display(description=gettext_lazy("minimum score"), ordering="min_score")
    def minimum_score(self, obj: CourseBadgeMapping) -> str:
        """The minimum score in percent."""
        return "-" if obj.min_score is None else f"{obj.min_score} %"

    @admin.display(description=gettext_lazy("change"))
    def change_here(self, obj: CourseBadgeMapping) -> str:
        """A link to the course's page, where a badge is chosen."""
        url = reverse("course", args=[obj.course_id])
        return format_html('<a href="{}">{}</a>', url, _("Change the badge on the course's page"))

    @admin.display(description=gettext_lazy("badge page"))
    def badge_link(self, obj: CourseBadgeMapping) -> str:
        """The badge's page in Navigatr."""
        return outside_link(obj.badge_url)

    @admin.display(description=gettext_lazy("issuances"))
    def issuances(self, obj: CourseBadgeMapping) -> str:
        """A link to the issuances of the course."""
        return list_link(Issuance, _("Issuances of this course"), course=obj.course_id)

    @admin.display(description=gettext_lazy("past completions"))
    def past_completions(self, obj: CourseBadgeMapping) -> str:
        """Whether completions from before the mapping are awarded too, and what they wait for."""
        if not obj.include_past and obj.past_release not in PAST_HELD:
            return _("not included")
        values = {"how": obj.get_past_release_display(), "count": past.numbers_past([obj])[obj.course_id].learners}
        return _("included, %(how)s; learners found: %(count)d") % values

    # Actions

    def buttons_for(self, obj: CourseBadgeMapping) -> tuple[str, ...]:
        """Disable an active mapping, and enable a disabled one; release past completions that wait."""
        release = ("release_past",) if obj.past_release in PAST_HELD else ()
        return ("disable" if obj.active else "enable", *release, "remove")

    def has_switch_permission(self, request: HttpRequest) -> bool:
        """Whether the user may enable and disable mappings."""
        return request.user.has_perm("badging.change_coursebadgemapping")

    def has_remove_permission(self, request: HttpRequest) -> bool:
        """Whether the user may remove mappings."""
        return request.user.has_perm("badging.delete_coursebadgemapping")

    @admin.action(description=gettext_lazy("Enable"), permissions=["switch"])
    def enable(self, request: HttpRequest, queryset: QuerySet[CourseBadgeMapping]) -> HttpResponse | None:
        """Ask, then enable the mappings and queue what they held."""
        rows = self.chosen(request, queryset.select_related("course__site", "connection"))
        if rows is None:
            return None
        effects = [
            _("Badges that were held because of the mapping are sent."),
            _("Badges that are held because of the connection stay held until it is reconnected."),
        ]
        title = _("Enable mappings")
        if page := self.confirmation(
            request, rows, title=title, effects=effects, label=_("Yes, enable"), describe=course_and_badge
        ):
            return page
        released = sum(mapping.enable_mapping(row, actor=request.user, now=timezone.now()) for row in rows)
        self.message_user(request, _("Enabled; %(count)d badge(s) that waited go on.") % {"count": released})
        if released:
            self.nudge(request)
        return None

    @admin.action(description=gettext_lazy("Disable"), permissions=["switch"])
    def disable(self, request: HttpRequest, queryset: QuerySet[CourseBadgeMapping]) -> HttpResponse | None:
        """Ask, then disable the mappings and hold what is queued."""
        rows = self.chosen(request, queryset.select_related("course__site", "connection"))
        if rows is None:
            return None
        queued = Issuance.objects.filter(NOTHING_OPEN, course__mapping__in=rows, state=Issuance.State.QUEUED)
        effects = [
            _("%(count)s queued badge(s) are held until the mapping is enabled again.") % {"count": counted(queued)},
            _("Completions are still read, and their badges are held too."),
        ]
        title = _("Disable mappings")
        if page := self.confirmation(
            request, rows, title=title, effects=effects, label=_("Yes, disable"), describe=course_and_badge
        ):
            return page
        held = sum(mapping.disable_mapping(row, actor=request.user) for row in rows)
        self.message_user(request, _("Disabled; %(count)d badge(s) are held.") % {"count": held})
        return None

    @admin.action(description=gettext_lazy("Release past completions"), permissions=["switch"])
    def release_past(self, request: HttpRequest, queryset: QuerySet[CourseBadgeMapping]) -> HttpResponse | None:
        """Ask, saying how many, then let the past completions of these mappings go on."""
        held = queryset.filter(past_release__in=PAST_HELD)
        rows = self.chosen(request, held.select_related("course__site", "connection"))
        if not rows:
            self.message_user(request, _("No past completions wait there. Nothing was done."), messages.WARNING)
            return None
        numbers = past.numbers_past(rows)
        waiting = sum(numbers[row.course_id].waiting for row in rows)
        effects = [
            _("%(count)d past completion(s) that wait are sent.") % {"count": waiting},
            _("Past completions of these courses that are found later are sent too."),
        ]
        if any(row.past_release == Past.COUNTING for row in rows):
            effects.append(_("Not all of these courses have been read yet, so there may be many more."))
        title = _("Release past completions")
        if page := self.confirmation(
            request,
            rows,
            title=title,
            effects=effects,
            label=_("Yes, release them"),
            describe=lambda row: _with_past(row, numbers[row.course_id].learners),
        ):
            return page
        count = sum(past.release_past(row, actor=request.user, now=timezone.now()) for row in rows)
        self.message_user(request, _("Released; %(count)d past completion(s) go on.") % {"count": count})
        self.nudge(request)
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
            request, rows, title=title, effects=effects, label=_("Yes, remove"), describe=course_and_badge
        ):
            return page
        cancelled = sum(mapping.remove_mapping(row, actor=request.user) for row in rows)
        self.message_user(request, _("Removed; %(count)d badge(s) were cancelled.") % {"count": cancelled})
        return None


def _with_past(row: CourseBadgeMapping, learners: int) -> str:
    """The mapping, with how many learners have already completed its course."""
    values = {"mapping": course_and_badge(row), "count": learners, "limit": row.connection.past_limit}
    return _("%(mapping)s: %(count)d learner(s) have already completed the course; the limit is %(limit)d") % values


def course_and_badge(row: CourseBadgeMapping) -> str:
    """The mapping, with the course's short name and site."""
    return f"{row.course.full_label} → {row.badge_name or row.badge_id}"
