"""Course badge mappings in the admin: enabled, disabled, removed. Badges are chosen on the pages of the course.

Here too a site admin looks who completed a course before it awarded its badge, sends to these or not, and stops that.
"""

from collections.abc import Iterable
from typing import Any, cast

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from .. import mapping, past, tasks, troubles
from ..counting import COUNTED_UP_TO, CountUpTo, capped
from ..models import NOTHING_OPEN, PAST_HELD, CourseBadgeMapping, Issuance, MappingQuerySet
from ..pictures import picture_path
from ..reach import is_site_admin
from .base import ReadOnlyAdmin
from .display import counted, list_link, outside_link
from .history import ToldHistory
from .search import is_key

State = Issuance.State

# Which issuances the list counts for each course: the column, its title, and their states.
COUNTS = {
    "issued": (gettext_lazy("issued"), [State.ISSUED]),
    "waiting": (gettext_lazy("waiting"), [State.QUEUED, State.SENDING, State.HELD]),
    "failed": (gettext_lazy("failed or not met"), [State.FAILED, State.NOT_MET]),
}
# The actions after which the page of past completions is shown.
PAST_ACTIONS = ("look_for_past", "release_past", "stop_past", "decline_past")


def counts_of_course() -> dict[str, CountUpTo]:
    """Issuances of a mapping's course by state, each counted no further than COUNTED_UP_TO, by an index alone."""
    rows = Issuance.objects.filter(course=OuterRef("course")).order_by()
    return {
        f"{name}_count": CountUpTo(rows.filter(state__in=states).values("state")[: COUNTED_UP_TO + 1])
        for name, (_title, states) in COUNTS.items()
    }


@admin.register(CourseBadgeMapping)
class MappingAdmin(ToldHistory, ReadOnlyAdmin):
    """Which badge each course awards."""

    list_display = (
        "course_link", "picture", "badge_name", "in_order", "issued", "waiting", "failed", "connection",
        "minimum_score", "since",
    )  # fmt: skip
    list_filter = ("active", "connection")
    list_select_related = ("course__site", "connection")
    search_fields = ("course__fullname", "course__shortname", "badge_name", "provider_name")
    search_help_text = gettext_lazy("Course, badge or provider")
    actions = ("enable", "disable", "look_for_past", "release_past", "stop_past", "decline_past", "remove")
    fieldsets = (
        (None, {"fields": ("in_order", "badge_checked_at", "change_here", "who_gets", "failures", "issuances")}),
        (
            gettext_lazy("Badge and course"),
            {
                "fields": (
                    "course_link", "course_in_moodle", "picture", "badge_name", "badge_id", "badge_link", "connection",
                    "provider_name", "provider_id", "minimum_score",
                ),
            },
        ),
        (
            gettext_lazy("Settings"),
            {
                "fields": (
                    "active", "is_open", "since", "past_completions", "created_by", "created_at", "chosen_by",
                    "by_admin",
                ),
            },
        ),
    )  # fmt: skip
    readonly_fields = (
        "in_order", "badge_checked_at", "change_here", "who_gets", "failures", "issuances", "course_link",
        "course_in_moodle", "picture", "badge_link", "minimum_score", "is_open", "past_completions", "created_by",
        "created_at", "chosen_by", "by_admin",
    )  # fmt: skip

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """The link to the course's page only for who may change the badge there."""
        if is_site_admin(request.user):
            return super().get_fieldsets(request, obj)
        return [
            (title, options | {"fields": [name for name in options["fields"] if name != "change_here"]})
            for title, options in super().get_fieldsets(request, obj)
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[CourseBadgeMapping]:
        """With whether the connection is open to the course, what waits, and how many issuances it has."""
        mappings = cast(MappingQuerySet, super().get_queryset(request)).with_reach()
        past_waits = Exists(troubles.past_waiting().filter(course=OuterRef("course")))
        return mappings.annotate(past_waits=past_waits, **counts_of_course())

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may change the badge of every course: adding leads to the page where a badge is chosen."""
        return request.user.has_perm("badging.change_coursebadgemapping")

    def add_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Choose a course first, then its badge."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        self.message_user(request, _("Choose the course that is to award a badge."), messages.INFO)
        return redirect(reverse("courses", query={"badge": "no"}))

    def response_action(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | None:
        """Run the action. What is done to the past completions of one mapping is followed on their page."""
        response = super().response_action(request, *args, **kwargs)
        back, action = request.POST.get("back", ""), request.POST.get("action")
        if isinstance(response, HttpResponseRedirect) and is_key(back) and action in PAST_ACTIONS:
            return redirect("admin:who_gets_badge", int(back))
        return response

    @admin.display(description=gettext_lazy("picture"))
    def picture(self, obj: CourseBadgeMapping) -> str:
        """The badge's picture, served by the portal."""
        address = picture_path(obj.badge_image_url)
        return format_html('<img class="portal-picture" src="{}" alt="">', address) if address else "-"

    @admin.display(description=COUNTS["issued"][0])
    def issued(self, obj: CourseBadgeMapping) -> str:
        """How many are issued."""
        return _count_link(obj, "issued")

    @admin.display(description=COUNTS["waiting"][0])
    def waiting(self, obj: CourseBadgeMapping) -> str:
        """How many wait."""
        return _count_link(obj, "waiting")

    @admin.display(description=COUNTS["failed"][0])
    def failed(self, obj: CourseBadgeMapping) -> str:
        """How many failed, or do not meet the requirement."""
        return _count_link(obj, "failed")

    @admin.display(description=gettext_lazy("course in Moodle"))
    def course_in_moodle(self, obj: CourseBadgeMapping) -> str:
        """The course's page in Moodle."""
        return outside_link(obj.course.url)

    @admin.display(description=gettext_lazy("who gets it now"))
    def who_gets(self, obj: CourseBadgeMapping) -> str:
        """A link to who waits for the badge."""
        url = reverse("admin:who_gets_badge", args=[obj.pk])
        return format_html('<a href="{}">{}</a>', url, _("Who would get this badge now"))

    @admin.display(description=gettext_lazy("failed"))
    def failures(self, obj: CourseBadgeMapping) -> str:
        """A link to what failed, by reason."""
        url = reverse("admin:failed_together", args=[obj.pk])
        return format_html('<a href="{}">{}</a>', url, _("What failed, why, and all of it sent again"))

    @admin.display(description=gettext_lazy("course"), ordering="course__fullname")
    def course_link(self, obj: CourseBadgeMapping) -> str:
        """The course with its short name and site."""
        return obj.course.full_label

    @admin.display(description=gettext_lazy("in order"))
    def in_order(self, obj: CourseBadgeMapping) -> str:
        """Yes, or what is wrong, in a sentence."""
        found = troubles.health_of(obj)
        if not found:
            return format_html('<span class="state good">{}</span>', _("In order"))
        return format_html('<span class="state bad">{}</span> {}', _("Needs a person"), " ".join(found))

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
        """Disable an active mapping, and enable a disabled one; what can be done to its past completions."""
        look = () if obj.include_past else ("look_for_past",)
        of_past: tuple[str, ...] = ("stop_past",) if obj.include_past else ()
        if obj.past_release in PAST_HELD:
            of_past = ("release_past", "decline_past")
        return ("disable" if obj.active else "enable", *look, *of_past, "remove")

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
        self.message_user(request, _("Enabled. Badges released: %(count)d.") % {"count": released})
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
            _("Queued badges to be held until the mapping is enabled again: %(count)s.") % {"count": counted(queued)},
            _("Completions are still read, and their badges are held too."),
        ]
        title = _("Disable mappings")
        if page := self.confirmation(
            request, rows, title=title, effects=effects, label=_("Yes, disable"), describe=course_and_badge
        ):
            return page
        held = sum(mapping.disable_mapping(row, actor=request.user) for row in rows)
        self.message_user(request, _("Disabled. Badges held: %(count)d.") % {"count": held})
        return None

    @admin.action(description=gettext_lazy("Find past completions"), permissions=["switch"])
    def look_for_past(self, request: HttpRequest, queryset: QuerySet[CourseBadgeMapping]) -> HttpResponse | None:
        """Ask, then have the courses read whole; whoever completed them before waits."""
        rows = self.chosen(request, queryset.select_related("course__site", "connection"))
        if rows is None:
            return None
        effects = [
            _("The whole course is read from Moodle, which may take some minutes."),
            _("Whoever had completed it before it awarded this badge is listed, and waits. Nothing is sent to them."),
            _("You then see how many they are, and who, and send their badges or not."),
        ]
        if page := self.confirmation(
            request,
            rows,
            title=_("Find past completions"),
            effects=effects,
            label=_("Yes, find them"),
            describe=course_and_badge,
        ):
            return page
        now = timezone.now()
        found = [row for row in rows if past.look_for_past(row, actor=request.user, now=now)]
        for site in {row.course.site_id for row in found}:
            tasks.nudge_poll(site)
        values = {"count": len(found), "left": len(rows) - len(found)}
        self.message_user(request, _("Courses to be read: %(count)d. Already read: %(left)d.") % values)
        return None

    @admin.action(description=gettext_lazy("Stop past completions"), permissions=["switch"])
    def stop_past(self, request: HttpRequest, queryset: QuerySet[CourseBadgeMapping]) -> HttpResponse | None:
        """Ask, then hold the past completions that were not sent yet."""
        rows = self.chosen(request, queryset.select_related("course__site", "connection"))
        if rows is None:
            return None
        numbers = past.numbers_past(rows)
        rows = [row for row in rows if past.can_stop(row, numbers[row.course_id].waiting)]
        if not rows:
            self.message_user(request, _("No past completions are sent there. Nothing was done."), messages.WARNING)
            return None
        waiting = sum(numbers[row.course_id].waiting for row in rows)
        effects = [
            _("Past completions to be held until you release them: %(count)d.") % {"count": waiting},
            _("Badges that are on their way to Navigatr in this moment still arrive. Issued badges stay issued."),
            _("Whoever completes the course from now on gets the badge as before."),
        ]
        if page := self.confirmation(
            request,
            rows,
            title=_("Stop past completions"),
            effects=effects,
            label=_("Yes, hold them"),
            describe=course_and_badge,
        ):
            return page
        held = sum(past.stop_past(row, actor=request.user) for row in rows)
        self.message_user(request, _("Stopped. Past completions held: %(count)d.") % {"count": held})
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
            _("Past completions to be released: %(count)d.") % {"count": waiting},
            *([_("Those with no score, or one below the minimum, get no badge.")] if _has_minimum(rows) else []),
            _("Past completions of these courses that are found later are sent too."),
        ]
        if any(past.is_being_read(row) for row in rows):
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
        self.message_user(request, _("Past completions released: %(count)d.") % {"count": count})
        self.nudge(request)
        return None

    @admin.action(description=gettext_lazy("Do not send past completions"), permissions=["switch"])
    def decline_past(self, request: HttpRequest, queryset: QuerySet[CourseBadgeMapping]) -> HttpResponse | None:
        """Ask, then cancel the past completions that are held, and look for no more of them."""
        held = queryset.filter(past_release__in=PAST_HELD)
        rows = self.chosen(request, held.select_related("course__site", "connection"))
        if not rows:
            self.message_user(request, _("No past completions wait there. Nothing was done."), messages.WARNING)
            return None
        unsent = Issuance.objects.filter(course__in=[row.course_id for row in rows], past=True).unsent()
        effects = [
            _("Past completions to be cancelled: %(count)s. “Send again” undoes this for each.")
            % {"count": counted(unsent)},
            _("No more of them are looked for in Moodle."),
            _("Badges that are on their way to Navigatr, or may have been sent, still arrive."),
            _("Whoever completes the course from now on gets the badge as before."),
        ]
        if page := self.confirmation(
            request,
            rows,
            title=_("Do not send past completions"),
            effects=effects,
            label=_("Yes, do not send them"),
            describe=course_and_badge,
        ):
            return page
        now = timezone.now()
        count = sum(past.decline_past(row, actor=request.user, now=now) for row in rows)
        self.message_user(request, _("Past completions cancelled: %(count)d.") % {"count": count})
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
            _("Unsent badges to be cancelled: %(count)s.") % {"count": counted(unsent)},
            _("Badges whose answer is unknown stay until Navigatr has been asked. Issued badges stay as they are."),
            _("The course awards no badge until it is mapped again."),
        ]
        title = _("Remove mappings")
        if page := self.confirmation(
            request, rows, title=title, effects=effects, label=_("Yes, remove"), describe=course_and_badge
        ):
            return page
        cancelled = sum(mapping.remove_mapping(row, actor=request.user) for row in rows)
        self.message_user(request, _("Removed. Badges cancelled: %(count)d.") % {"count": cancelled})
        return None


def _count_link(obj: CourseBadgeMapping, name: str) -> str:
    """A number as `counts_of_course` counted it, with a link to the list of just these issuances."""
    count, states = getattr(obj, f"{name}_count"), COUNTS[name][1]
    text = capped(count)
    return list_link(Issuance, text, course=obj.course_id, state__exact=",".join(states)) if count else text


def _has_minimum(rows: Iterable[CourseBadgeMapping]) -> bool:
    return any(row.min_score is not None for row in rows)


def _with_past(row: CourseBadgeMapping, learners: int) -> str:
    """The mapping, with how many learners have already completed its course."""
    values = {"mapping": course_and_badge(row), "count": learners, "limit": row.connection.past_limit}
    return _("%(mapping)s (learners who have already completed the course: %(count)d; the limit: %(limit)d)") % values


def course_and_badge(row: CourseBadgeMapping) -> str:
    """The mapping, with the course's short name and site."""
    return f"{row.course.full_label} → {row.badge_name or row.badge_id}"
