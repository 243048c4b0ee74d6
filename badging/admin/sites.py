"""Moodle sites and their courses in the admin."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.client.findings import NOTES
from moodle_sync.models import Completion, Course, Feed, Learner, MoodleSite, MoodleSiteState
from moodle_sync.site_check import feed_reason, finding_text

from .. import audit, queueing, sites, tasks
from ..meanings import Outcome
from ..models import AuditEntry, CourseManager, Issuance
from ..status import slow_feed
from ..successors import likely_successor
from .forms import SiteForm, check_and_explain
from .tools import MOST_SHOWN, ReadOnlyAdmin, TokenAdmin, link, link_to, list_link, moment, rows_table, seconds

SETTINGS = ("name", "url", "enabled", "poll_interval", "busy_interval", "send_suspended")


STATUS = (
    "error", "findings_list", "feed", "why_this_feed", "checked_at", "zone", "clock_skew", "wwwroot", "last_poll",
    "last_poll_took", "next_poll", "pace", "failures", "read_up_to", "read_whole_at", "courses", "learners", "deleting",
)  # fmt: skip


@admin.register(MoodleSite)
class SiteAdmin(TokenAdmin):
    """A token is typed once and tried out before anything is saved. What was read stays, so that nothing is lost."""

    form = SiteForm
    list_display = ("name", "wrong", "feed", "in_order", "last_poll", "next_poll", "enabled", "courses")
    list_filter = ("enabled", "state__feed")
    list_select_related = ("state",)
    search_fields = ("name", "url")
    actions = ("check_now", "poll_now", "same_moodle")
    button_actions = ("check_now", "poll_now")

    def buttons_for(self, obj: MoodleSite) -> tuple[str, ...]:
        """The answer to the question, first, while there is one."""
        return ("same_moodle", *self.button_actions) if obj.state.doubt else self.button_actions

    def get_fieldsets(self, request: HttpRequest, obj: MoodleSite | None = None) -> Any:
        """The settings with room for a token for those who may change them; then how it stands."""
        writes = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        fields = list(SETTINGS)
        if writes:
            fields.insert(2, "new_token")
        settings: tuple[Any, dict[str, Any]] = (None, {"fields": fields})
        if obj is None:
            return [settings]
        fieldsets = [settings, (gettext_lazy("Status"), {"fields": STATUS})]
        if obj.state.doubt:
            fieldsets.insert(0, (gettext_lazy("Is this still the same Moodle?"), {"fields": ("question",)}))
        return fieldsets

    def get_readonly_fields(self, request: HttpRequest, obj: MoodleSite | None = None) -> list[str]:
        """What the portal itself writes."""
        return ["question", *STATUS] if obj else []

    def get_form(
        self, request: HttpRequest, obj: MoodleSite | None = None, change: bool = False, **kwargs: Any
    ) -> type[SiteForm]:
        """The form, told who fills it in: it saves the site in the same step as it checks it."""
        # Django makes a new class for each request.
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        form.actor = request.user
        filled: type[SiteForm] = form
        return filled

    @admin.display(description=gettext_lazy("in order"), boolean=True)
    def in_order(self, obj: MoodleSite) -> bool:
        """Whether it can be read and the last poll found nothing wrong."""
        return bool(obj.state.feed) and not obj.state.error

    @admin.display(description=gettext_lazy("feed"), ordering="state__feed")
    def feed(self, obj: MoodleSite) -> str:
        """How completions are read, and that it is the slower way where it is."""
        told = str(obj.state.get_feed_display())
        slow = obj.state.feed == Feed.PER_LEARNER
        return _("%(feed)s (slower)") % {"feed": told} if slow else told

    @admin.display(description=gettext_lazy("why not the report"))
    def why_this_feed(self, obj: MoodleSite) -> str:
        """What keeps the portal from reading the report, and what to do."""
        return slow_feed(obj) or feed_reason(obj.state) or "-"

    @admin.display(description=gettext_lazy("what to do"))
    def wrong(self, obj: MoodleSite) -> str:
        """What a person must see to, the most important only; the site's page says the rest."""
        return obj.state.doubt or obj.state.error or slow_feed(obj) or "-"

    @admin.display(description=gettext_lazy("question"))
    def question(self, obj: MoodleSite) -> str:
        """What an admin is asked, and everything waits for."""
        return obj.state.doubt

    @admin.display(description=gettext_lazy("last poll"), ordering="state__last_poll_at")
    def last_poll(self, obj: MoodleSite) -> str:
        """When it was last read."""
        return moment(obj.state.last_poll_at)

    @admin.display(description=gettext_lazy("next poll"), ordering="state__next_poll_at")
    def next_poll(self, obj: MoodleSite) -> str:
        """When it is read next; never while a question is open."""
        return moment(None if obj.state.doubt else obj.state.next_poll_at)

    @admin.display(description=gettext_lazy("present poll interval"))
    def pace(self, obj: MoodleSite) -> str:
        """How long the portal waits between two polls at present: less while people complete courses."""
        return seconds(obj.state.pace or obj.poll_interval)

    @admin.display(description=gettext_lazy("last poll took"))
    def last_poll_took(self, obj: MoodleSite) -> str:
        """How long the last poll took."""
        return seconds(obj.state.last_poll_took)

    @admin.display(description=gettext_lazy("what is wrong"))
    def error(self, obj: MoodleSite) -> str:
        """What the last poll found wrong, with what to do."""
        return "-" if obj.state.error in ("", obj.state.doubt) else obj.state.error

    @admin.display(description=gettext_lazy("last checked"))
    def checked_at(self, obj: MoodleSite) -> str:
        """When it was last checked."""
        return moment(obj.state.checked_at)

    @admin.display(description=gettext_lazy("time zone of the report"))
    def zone(self, obj: MoodleSite) -> str:
        """The zone that the report's times are read in."""
        return obj.state.zone or _("unknown: each learner's exact time is asked for")

    @admin.display(description=gettext_lazy("clock difference"))
    def clock_skew(self, obj: MoodleSite) -> str:
        """How far Moodle's clock is ahead."""
        return seconds(obj.state.clock_skew)

    @admin.display(description=gettext_lazy("address as Moodle names it"))
    def wwwroot(self, obj: MoodleSite) -> str:
        """Moodle's own idea of where it is."""
        return obj.state.wwwroot or "-"

    @admin.display(description=gettext_lazy("polls failed in a row"))
    def failures(self, obj: MoodleSite) -> int:
        """How many polls failed in a row."""
        return obj.state.failures

    @admin.display(description=gettext_lazy("read up to"))
    def read_up_to(self, obj: MoodleSite) -> str:
        """Start of the last poll that was read to its end."""
        return moment(obj.state.read_up_to)

    @admin.display(description=gettext_lazy("last full reading"))
    def read_whole_at(self, obj: MoodleSite) -> str:
        """When everything was last read."""
        return moment(obj.state.read_whole_at)

    @admin.display(description=gettext_lazy("courses"))
    def courses(self, obj: MoodleSite) -> str:
        """A link to its courses."""
        return list_link(Course, _("courses"), site__id__exact=obj.pk)

    @admin.display(description=gettext_lazy("learners"))
    def learners(self, obj: MoodleSite) -> str:
        """A link to its learners."""
        return list_link(Learner, _("learners"), site__id__exact=obj.pk)

    @admin.display(description=gettext_lazy("last findings"))
    def findings_list(self, obj: MoodleSite) -> str:
        """What the last check found, each with what the Moodle administrator must do."""
        good = format_html('<span aria-hidden="true">✓</span><span class="visually-hidden">{}</span>', _("In order:"))
        bad = format_html('<span aria-hidden="true">✗</span><span class="visually-hidden">{}</span>', _("Wrong:"))
        note = format_html('<span aria-hidden="true">ⓘ</span><span class="visually-hidden">{}</span>', _("Note:"))
        lines = [
            (note if finding["check"] in NOTES else good if finding["ok"] else bad, finding_text(finding))
            for finding in obj.state.findings
        ]
        return format_html("<ul>{}</ul>", format_html_join("", "<li>{} {}</li>", lines)) if lines else "-"

    @admin.display(description=gettext_lazy("deleting"))
    def deleting(self, obj: MoodleSite) -> str:
        """Why there is no Delete, where there is none."""
        if is_used(obj):
            return _("Courses or learners were read from it, so it is kept. To stop polling it, untick “enabled”.")
        return _("Nothing was read from it yet; it may be deleted.")

    def has_delete_permission(self, request: HttpRequest, obj: MoodleSite | None = None) -> bool:
        """Only a single site that nothing was read from."""
        return super().has_delete_permission(request, obj) and obj is not None and not is_used(obj)

    def save_model(self, request: HttpRequest, obj: MoodleSite, form: SiteForm, change: bool) -> None:
        """With a new token the check has saved it. Without one only the changed settings are written."""
        if form.saved:
            self._tell(request, obj)
            return
        changed = [name for name in form.changed_data if name in SETTINGS]
        obj.save(update_fields=changed)
        if {"poll_interval", "busy_interval"} & set(changed):
            # The next poll was set by the old interval, which may be a day.
            MoodleSiteState.objects.filter(site=obj).update(next_poll_at=None, pace=None)
        audit.record(AuditEntry.Action.SITE_SAVED, obj, actor=request.user, feed=obj.state.feed)
        if "send_suspended" in changed and obj.send_suspended:
            held = Issuance.objects.filter(
                learner__site=obj, state=Issuance.State.HELD, reason=Outcome.LEARNER_SUSPENDED
            )
            if queueing.requeue(held, now=timezone.now()):
                self.nudge(request)

    @admin.action(description=gettext_lazy("Check now"), permissions=["change"])
    def check_now(self, request: HttpRequest, queryset: QuerySet[MoodleSite]) -> None:
        """Look at everything that the portal needs of this Moodle, and keep what was found."""
        for site in self.chosen(request, queryset) or []:
            check, problems = check_and_explain(site, actor=request.user)
            if not problems:
                self._tell(request, site)
                continue
            if check is not None:
                # The next poll that reaches the site checks it again.
                MoodleSiteState.objects.filter(site=site).update(findings=check.findings, checked_at=None)
            self.message_user(request, " ".join([f"{site}:", *problems]), messages.ERROR)

    @admin.action(description=gettext_lazy("Poll now"), permissions=["change"])
    def poll_now(self, request: HttpRequest, queryset: QuerySet[MoodleSite]) -> None:
        """Ask a worker for a poll."""
        for site in self.chosen(request, queryset.select_related("state")) or []:
            if site.state.doubt:
                self.message_user(request, f"{site}: {site.state.doubt}", messages.WARNING)
            elif tasks.nudge_poll(site.pk):
                self.message_user(request, _("%(site)s: a worker was asked to poll it now.") % {"site": site})
            else:
                told = _("%(site)s: the worker cannot be reached; the site is polled when it is back.") % {"site": site}
                self.message_user(request, told, messages.WARNING)

    @admin.action(description=gettext_lazy("It is the same Moodle"), permissions=["change"])
    def same_moodle(self, request: HttpRequest, queryset: QuerySet[MoodleSite]) -> HttpResponse | None:
        """Ask, then take it as the answer to the question: everything goes on, and what has changed is accepted."""
        chosen = self.chosen(request, queryset.select_related("state")) or []
        for site in chosen:
            if not site.state.doubt:
                self.message_user(request, _("%(site)s: there is no open question.") % {"site": site})
        doubted = [site for site in chosen if site.state.doubt]
        if not doubted:
            return None
        effects = [
            _("The site is read again from the beginning, and what has changed in it is accepted: names, addresses, "
              "courses."),
            _("What waits is sent, to whom Moodle now names under each user id."),
            _("If it is another Moodle, its people would get badges that others have earned. Connect it as a new site "
              "instead."),
        ]  # fmt: skip
        title = _("It is the same Moodle")
        if page := self.confirmation(
            request, doubted, title=title, effects=effects, label=_("Yes, it is the same Moodle"), told=_asked
        ):
            return page
        for site in doubted:
            try:
                sites.confirm_same(site, actor=request.user, now=timezone.now())
            except sites.ConnectedAgain as error:
                self.message_user(request, f"{site}: {error}", messages.ERROR)
                continue
            tasks.nudge_poll(site.pk)
            self.message_user(request, _("%(site)s is read again, and what waits is sent.") % {"site": site})
        return None

    def _tell(self, request: HttpRequest, site: MoodleSite) -> None:
        """That a site can be read, and how; what could be better stands on its page."""
        state = MoodleSiteState.objects.get(site=site)
        wrong = [finding_text(finding) for finding in state.findings if not finding["ok"]]
        wrong += [state.doubt] if state.doubt else []
        told = _("%(site)s can be read. Feed %(feed)s.") % {"site": site, "feed": state.get_feed_display()}
        self.message_user(request, " ".join([told, *wrong]), messages.WARNING if wrong else messages.SUCCESS)


def _asked(site: MoodleSite) -> str:
    """The site with the question about it."""
    return f"{site}: {site.state.doubt}"


def is_used(site: MoodleSite) -> bool:
    """Whether anything was read from the site."""
    return Course.objects.filter(site=site).exists() or Learner.objects.filter(site=site).exists()


@admin.register(Course)
class CourseAdmin(ReadOnlyAdmin):
    """Courses as read from Moodle, with the badge that each awards and who looks after it."""

    list_display = (
        "fullname_or_id", "shortname", "site", "moodle_id", "mapping_link", "managers_list", "no_error",
    )  # fmt: skip
    sortable_by = ()
    list_filter = ("site",)
    search_fields = ("fullname", "shortname", "=moodle_id")
    search_help_text = gettext_lazy("Name, short name or Moodle id")
    fields = (
        "fullname", "shortname", "site", "moodle_id", "in_moodle", "visible", "completion_enabled", "gone_at",
        "successor", "error", "read_at", "past_read_at", "mapping_link", "managers", "completions", "issuances",
    )  # fmt: skip
    readonly_fields = (
        "in_moodle", "gone_at", "successor", "error", "read_at", "past_read_at", "mapping_link", "managers",
        "completions", "issuances",
    )  # fmt: skip

    def get_fields(self, request: HttpRequest, obj: Course | None = None) -> Any:
        """What is asked about a deleted course only where it was deleted."""
        gone = obj is not None and obj.gone_at is not None
        return [name for name in self.fields if gone or name not in ("gone_at", "successor")]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Course]:
        """With each course's managers in one query."""
        managers = CourseManager.objects.select_related("user").order_by("pk")
        rows: QuerySet[Course] = (
            super()
            .get_queryset(request)
            .select_related("site__state", "mapping")
            .prefetch_related(Prefetch("managers", managers))
        )
        return rows

    @admin.display(description=gettext_lazy("course"))
    def fullname_or_id(self, obj: Course) -> str:
        """Its name, and that it was deleted in Moodle."""
        return _("%(course)s (deleted in Moodle)") % {"course": obj} if obj.gone_at else str(obj)

    @admin.display(description=gettext_lazy("badge"))
    def mapping_link(self, obj: Course) -> str:
        """The badge that it awards, with a link to the mapping."""
        mapping = getattr(obj, "mapping", None)
        return link_to(mapping, mapping.badge_name or str(mapping.badge_id)) if mapping else "-"

    @admin.display(description=gettext_lazy("course managers"))
    def managers_list(self, obj: Course) -> str:
        """Who looks after it."""
        return ", ".join(str(row.user) for row in obj.managers.all()) or "-"

    @admin.display(description=gettext_lazy("in order"), boolean=True)
    def no_error(self, obj: Course) -> bool:
        """Whether it is there, and the last poll could read it."""
        return not obj.error and obj.gone_at is None

    @admin.display(description=gettext_lazy("what took its place"))
    def successor(self, obj: Course) -> str:
        """The likely successor of a deleted course, with a link to map it."""
        found = likely_successor(obj)
        if found is None:
            return _("No course of this name was found. Map the one that took its place, then remove this badge.")
        link = reverse("choose-provider", args=[found.pk])
        return format_html('{} · <a href="{}">{}</a>', link_to(found, found.full_label), link, _("Choose its badge"))

    @admin.display(description=gettext_lazy("in Moodle"))
    def in_moodle(self, obj: Course) -> str:
        """The course's page in Moodle."""
        return format_html('<a href="{0}">{0}</a>', obj.url)

    @admin.display(description=gettext_lazy("course managers"))
    def managers(self, obj: Course) -> str:
        """Who looks after it, with links to change that."""
        rows = [(link(row),) for row in obj.managers.all()[:MOST_SHOWN]]
        return rows_table(CourseManager, (gettext_lazy("course manager"),), rows, course__id__exact=obj.pk)

    @admin.display(description=gettext_lazy("completions"))
    def completions(self, obj: Course) -> str:
        """A link to its completions."""
        return list_link(Completion, _("Completions of this course"), course=obj.pk)

    @admin.display(description=gettext_lazy("issuances"))
    def issuances(self, obj: Course) -> str:
        """A link to its issuances."""
        return list_link(Issuance, _("Issuances of this course"), course=obj.pk)
