"""Moodle sites in the admin: connected, checked, polled, confirmed as the same Moodle."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ImproperlyConfigured
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from moodle_sync.client.findings import NOTES
from moodle_sync.models import Course, Feed, Learner, MoodleSite, MoodleSiteState
from moodle_sync.site_check import feed_reason, finding_text, site_address
from vault.keys import WrongKey

from .. import audit, queueing, sites, tasks, waiting
from ..models import AuditEntry
from ..status import slow_feed
from .display import list_link, moment, seconds
from .history import ToldHistory
from .tokens import TokenAdmin, require_token_of_new, token_field

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[MoodleSite]
else:
    _ModelForm = forms.ModelForm

SETTINGS = ("name", "url", "enabled", "poll_interval", "busy_interval", "send_suspended")
STATUS = (
    "error", "findings_list", "feed", "why_this_feed", "checked_at", "zone", "clock_skew", "wwwroot", "last_poll",
    "last_poll_took", "next_poll", "pace", "failures", "read_up_to", "read_whole_at", "courses", "learners", "deleting",
)  # fmt: skip


class SiteForm(_ModelForm):
    """The settings of a site, and a new token."""

    url = forms.URLField(
        label=gettext_lazy("Address"),
        max_length=500,
        assume_scheme="https",
        widget=forms.URLInput(attrs={"size": 60}),
        help_text=gettext_lazy("The address of the Moodle site's front page."),
    )
    new_token = token_field(gettext_lazy("Web-service token"))
    # What a check of what was typed has found, for the steps beside the form.
    checked: Sequence[dict[str, Any]] | None = None

    class Meta:
        model = MoodleSite
        fields = SETTINGS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        require_token_of_new(self)

    def clean_url(self) -> str:
        """The address of the front page, whichever of Moodle's pages was pasted."""
        try:
            return site_address(self.cleaned_data["url"])
        except ValueError as error:
            raise forms.ValidationError(_(str(error))) from error

    def clean(self) -> dict[str, Any]:
        """A new address needs the token again: the stored one is never sent there."""
        cleaned = super().clean() or self.cleaned_data
        # The instance still has the old values here.
        old = self.instance
        if old.pk and cleaned.get("url", old.url) != old.url and not cleaned.get("new_token"):
            self.add_error("new_token", _("Enter the token again, as the address has changed."))
        if old.pk and cleaned.get("enabled") and not old.enabled:
            try:
                sites.see_that_nobody_else_reads(old)
            except sites.ConnectedAgain as error:
                self.add_error("enabled", str(error))
        return cleaned


@admin.register(MoodleSite)
class SiteAdmin(ToldHistory, TokenAdmin):
    """Sites are checked before they are saved. One that courses or learners were read from is never deleted."""

    form = SiteForm
    change_form_template = "admin/moodle_sync/moodlesite/change_form.html"
    list_display = ("name", "wrong", "feed", "in_order", "last_poll", "next_poll", "enabled", "courses")
    list_filter = ("enabled", "state__feed")
    list_select_related = ("state",)
    search_fields = ("name", "url")
    actions = ("check_now", "poll_now", "same_moodle")
    button_actions = ("check_now", "poll_now")

    def buttons_for(self, obj: MoodleSite) -> tuple[str, ...]:
        """While there is a question, the answer to it comes first."""
        return ("same_moodle", *self.button_actions) if obj.state.doubt else self.button_actions

    def get_fieldsets(self, request: HttpRequest, obj: MoodleSite | None = None) -> Any:
        """The settings, with the token's field for who may change them; then the status."""
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
        """What the portal writes."""
        return ["question", *STATUS] if obj else []

    # Columns and fields

    @admin.display(description=gettext_lazy("in order"), boolean=True)
    def in_order(self, obj: MoodleSite) -> bool:
        """Whether it can be read and the last poll found nothing wrong."""
        return bool(obj.state.feed) and not obj.state.error

    @admin.display(description=gettext_lazy("feed"), ordering="state__feed")
    def feed(self, obj: MoodleSite) -> str:
        """How completions are read, and whether that is the slower way."""
        label = str(obj.state.get_feed_display())
        return _("%(feed)s (slower)") % {"feed": label} if obj.state.feed == Feed.PER_LEARNER else label

    @admin.display(description=gettext_lazy("why not the report"))
    def why_this_feed(self, obj: MoodleSite) -> str:
        """What keeps the portal from reading the report, and what to do."""
        return slow_feed(obj) or feed_reason(obj.state) or "-"

    @admin.display(description=gettext_lazy("what to do"))
    def wrong(self, obj: MoodleSite) -> str:
        """The most important thing that needs a person; the site's page shows the rest."""
        return obj.state.doubt or obj.state.error or slow_feed(obj) or "-"

    @admin.display(description=gettext_lazy("question"))
    def question(self, obj: MoodleSite) -> str:
        """The question that a site admin must answer before anything goes on."""
        return obj.state.doubt

    @admin.display(description=gettext_lazy("last poll"), ordering="state__last_poll_at")
    def last_poll(self, obj: MoodleSite) -> str:
        """When it was last read."""
        return moment(obj.state.last_poll_at)

    @admin.display(description=gettext_lazy("next poll"), ordering="state__next_poll_at")
    def next_poll(self, obj: MoodleSite) -> str:
        """When it is read next; it is not while a question is open."""
        return moment(None if obj.state.doubt else obj.state.next_poll_at)

    @admin.display(description=gettext_lazy("present poll interval"))
    def pace(self, obj: MoodleSite) -> str:
        """The present pause between two polls, which is shorter while people complete courses."""
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
        """The address that Moodle itself reports."""
        return obj.state.wwwroot or "-"

    @admin.display(description=gettext_lazy("polls failed in a row"))
    def failures(self, obj: MoodleSite) -> int:
        """How many polls failed in a row."""
        return obj.state.failures

    @admin.display(description=gettext_lazy("read up to"))
    def read_up_to(self, obj: MoodleSite) -> str:
        """The start of the last poll that was read to its end."""
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
        """What the last check found, with what the Moodle administrator must do."""
        lines = [(*_sign(finding), finding_text(finding)) for finding in obj.state.findings]
        line = '<li><span aria-hidden="true">{}</span><span class="visually-hidden">{}</span> {}</li>'
        return format_html("<ul>{}</ul>", format_html_join("", line, lines)) if lines else "-"

    @admin.display(description=gettext_lazy("deleting"))
    def deleting(self, obj: MoodleSite) -> str:
        """Whether it may be deleted, and what to do instead."""
        if is_used(obj):
            return _("Courses or learners were read from it, so it is kept. To stop polling it, untick “enabled”.")
        return _("Nothing was read from it yet; it may be deleted.")

    # Saving and deleting

    def connect(self, request: HttpRequest, form: Any) -> list[str]:
        """Check the site, and save it when it can be read."""
        site = form.instance
        site.token = form.cleaned_data["new_token"]
        check, problems = check_site(site, actor=request.user)
        if not problems:
            self._show_check(request, site)
        elif check is not None:
            form.checked = check.findings
        return problems

    def save_settings(self, request: HttpRequest, obj: MoodleSite, changed: list[str]) -> None:
        """Write only what was changed, so that the stored token is not touched."""
        changed = [name for name in changed if name in SETTINGS]
        obj.save(update_fields=changed)
        if {"poll_interval", "busy_interval"} & set(changed):
            # The next poll was set by the old interval, which may be a day.
            MoodleSiteState.objects.filter(site=obj).update(next_poll_at=None, pace=None)
        audit.record(AuditEntry.Action.SITE_SAVED, obj, actor=request.user, feed=obj.state.feed)
        let_suspended_go = "send_suspended" in changed and obj.send_suspended
        if let_suspended_go and queueing.requeue_suspended(obj, now=timezone.now()):
            self.nudge(request)

    def has_delete_permission(self, request: HttpRequest, obj: MoodleSite | None = None) -> bool:
        """Only a single site that nothing was read from."""
        return super().has_delete_permission(request, obj) and obj is not None and not is_used(obj)

    # Actions

    @admin.action(description=gettext_lazy("Check now"), permissions=["change"])
    def check_now(self, request: HttpRequest, queryset: QuerySet[MoodleSite]) -> None:
        """Check everything that the portal needs of this Moodle, and store the findings."""
        for site in self.chosen(request, queryset) or []:
            check, problems = check_site(site, actor=request.user)
            if not problems:
                self._show_check(request, site)
                continue
            if check is not None:
                # The next poll that reaches the site checks it again.
                MoodleSiteState.objects.filter(site=site).update(findings=check.findings, checked_at=None)
            self.message_user(request, " ".join([f"{site}:", *problems]), messages.ERROR)

    @admin.action(description=gettext_lazy("Poll now"), permissions=["change"])
    def poll_now(self, request: HttpRequest, queryset: QuerySet[MoodleSite]) -> None:
        """Ask a worker to poll the sites."""
        for site in self.chosen(request, queryset.select_related("state")) or []:
            if site.state.doubt:
                self.message_user(request, f"{site}: {site.state.doubt}", messages.WARNING)
            elif tasks.nudge_poll(site.pk):
                self.message_user(request, _("%(site)s: a worker was asked to poll it now.") % {"site": site})
            else:
                text = _("%(site)s: the worker cannot be reached; the site is polled when it is back.") % {"site": site}
                self.message_user(request, text, messages.WARNING)

    @admin.action(description=gettext_lazy("It is the same Moodle"), permissions=["change"])
    def same_moodle(self, request: HttpRequest, queryset: QuerySet[MoodleSite]) -> HttpResponse | None:
        """Ask, then go on with the sites and accept what has changed in them."""
        rows = self.chosen(request, queryset.select_related("state")) or []
        for site in rows:
            if not site.state.doubt:
                self.message_user(request, _("%(site)s: there is no open question.") % {"site": site})
        rows = [site for site in rows if site.state.doubt]
        if not rows:
            return None
        effects = [
            _("The site is read again from the beginning, and what has changed in it is accepted: names, addresses, "
              "courses."),
            _("Waiting badges are sent, to the person whom Moodle now names under each user id."),
            _("If it is another Moodle, its people would get badges that others have earned. Connect it as a new site "
              "instead."),
        ]  # fmt: skip
        title = _("It is the same Moodle")
        if page := self.confirmation(
            request, rows, title=title, effects=effects, label=_("Yes, it is the same Moodle"), describe=_with_question
        ):
            return page
        for site in rows:
            try:
                sites.confirm_same(site, actor=request.user, now=timezone.now())
            except sites.ConnectedAgain as error:
                self.message_user(request, f"{site}: {error}", messages.ERROR)
                continue
            tasks.nudge_poll(site.pk)
            self.message_user(request, _("%(site)s is read again, and what waits is sent.") % {"site": site})
        return None

    def _show_check(self, request: HttpRequest, site: MoodleSite) -> None:
        """Show how the site is read, and what is wrong with it, as a message."""
        state = MoodleSiteState.objects.get(site=site)
        wrong = [finding_text(finding) for finding in state.findings if not finding["ok"]]
        wrong += [state.doubt] if state.doubt else []
        text = _("%(site)s can be read. Feed %(feed)s.") % {"site": site, "feed": state.get_feed_display()}
        self.message_user(request, " ".join([text, *wrong]), messages.WARNING if wrong else messages.SUCCESS)


def check_site(site: MoodleSite, *, actor: Any) -> tuple[sites.SiteCheck | None, list[str]]:
    """Check a site, and save it when it can be read. Returns the check, and what keeps it from being saved.

    Never raises for what Moodle answers, nor for a stored token that cannot be decrypted.
    """
    try:
        with waiting.place(actor.pk):
            check = sites.save_when_readable(site, actor=actor, now=timezone.now())
    except waiting.Busy as error:
        return None, [str(error)]
    except sites.BeingPolled:
        return None, [_("This site is being polled right now. Try again in a minute.")]
    except (WrongKey, ImproperlyConfigured, ValueError) as error:
        return None, [_(str(error))]
    wrong = [finding_text(finding) for finding in check.findings if not finding["ok"]]
    return check, [] if check.saved else wrong


def is_used(site: MoodleSite) -> bool:
    """Whether courses or learners were read from the site."""
    return Course.objects.filter(site=site).exists() or Learner.objects.filter(site=site).exists()


def _with_question(site: MoodleSite) -> str:
    return f"{site}: {site.state.doubt}"


def _sign(finding: dict[str, Any]) -> tuple[str, str]:
    """The sign of a finding, and the words for who cannot see it."""
    if finding["check"] in NOTES:
        return "ⓘ", _("Note:")
    return ("✓", _("In order:")) if finding["ok"] else ("✗", _("Wrong:"))
