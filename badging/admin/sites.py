"""Moodle sites in the admin: connected, checked, polled, confirmed as the same Moodle."""

import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ImproperlyConfigured
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from moodle_sync.client.front_page import LONGEST_TYPED
from moodle_sync.models import Course, Learner, MoodleSite, MoodleSiteState
from moodle_sync.poll_records import longest_lags
from moodle_sync.site_check import finding_text, typed_site
from vault.keys import WrongKey

from .. import audit, queueing, site_state, sites, tasks, waiting
from ..models import AuditEntry
from .display import in_words, list_link
from .history import ToldHistory
from .site_page import feed_label, shown_findings, site_panel
from .tokens import TokenAdmin, require_token_of_new, token_field

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[MoodleSite]
else:
    _ModelForm = forms.ModelForm

SETTINGS = ("name", "url", "enabled", "poll_interval", "busy_interval", "send_suspended")
# User name and password at the beginning of an address.
_CREDENTIALS = re.compile(r"(?<![^/\s])[^/?#\s]*@")
# A site that was read so lately is not polled once more because somebody presses the button again.
JUST_READ = timedelta(seconds=5)


class SiteForm(_ModelForm):
    """The settings of a site, and a new token."""

    url = forms.CharField(
        label=gettext_lazy("Address"),
        max_length=LONGEST_TYPED,
        widget=forms.TextInput(attrs={"size": 60, "inputmode": "url", "autocapitalize": "none", "spellcheck": "false"}),
        help_text=gettext_lazy("The address of any page of the Moodle site, as the browser shows it."),
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
        """The front page that was most likely meant; `typed` has all others. Nobody is asked yet."""
        try:
            self.typed = typed_site(self.cleaned_data["url"])
        except ValueError as error:
            self.show_address(_CREDENTIALS.sub("", self.cleaned_data["url"]))
            raise forms.ValidationError(_(str(error))) from error
        urls = self.typed.urls
        known = self.instance.url if self.instance.pk else ""
        url = known if known in urls else urls[0]
        MoodleSite._meta.get_field("url").run_validators(url)
        return url

    def show_address(self, address: str) -> None:
        """Show this address when the form is shown again: the one that was found, or one without its password."""
        self.data = dict(self.data.items()) | {"url": address}

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
    tests_typed = True
    list_display = ("name", "standing", "feed", "courses", "lag", "enabled")
    sortable_by = ()
    list_filter = ("enabled", "state__feed")
    list_select_related = ("state",)
    search_fields = ("name", "url")
    actions = ("check_now", "poll_now", "same_moodle")
    button_actions = ("check_now", "poll_now")
    change_form_template = "admin/site_form.html"

    def get_fieldsets(self, request: HttpRequest, obj: MoodleSite | None = None) -> Any:
        """The settings, with the token's field for who may change them. The rest of the page is `site_panel`."""
        writes = self.has_change_permission(request, obj) if obj else self.has_add_permission(request)
        fields = ["name", "url", *(["new_token"] if writes else []), "enabled"]
        rest = [name for name in SETTINGS if name not in fields]
        return [
            (gettext_lazy("Settings") if obj else None, {"fields": fields}),
            (gettext_lazy("Advanced"), {"fields": rest, "classes": ("collapse",)}),
        ]

    def render_change_form(  # noqa: PLR0917 - the arguments are Django's
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """The page of a site: how it is doing, above its settings."""
        if obj is not None:
            # As it is stored: the form may have filled the row with what was typed.
            stored = MoodleSite.objects.select_related("state").defer("token").get(pk=obj.pk)
            context |= {
                "panel": site_panel(stored, timezone.now()),
                "question": stored.state.doubt,
                "may_answer": "same_moodle" in self.get_actions(request),
                "deleting": deleting(stored),
            }
        response: HttpResponse = super().render_change_form(request, context, add, change, form_url, obj)
        return response

    # Testing what is typed

    def try_out(self, request: HttpRequest, form: Any) -> dict[str, Any]:
        """Try the typed address and token, saving nothing; returns what the page shows of it."""
        if {"url", "new_token"} & form.errors.keys():
            return {}
        site = form.instance
        # The stored token is only ever sent to the address that it was entered with.
        typed = form.typed if form.cleaned_data["new_token"] else None
        if typed is not None:
            site.token = form.cleaned_data["new_token"]
        now = timezone.now()
        check, problems = in_turn(
            request.user,
            lambda: sites.try_typed(site, typed, now=now) if typed else sites.try_out(site, now=now),
        )
        if check is None or not check.url:
            form.add_error("url", problems)
            return {}
        form.show_address(check.url)
        form.checked = check.findings
        return {"tried": {"readable": check.readable, "url": check.url, "findings": shown_findings(check.findings)}}

    # Columns

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The list, with the lags and mapped courses of the sites shown: two queries, however many there are."""
        changes = super().get_changelist_instance(request)
        rows = list(changes.result_list)
        lags = longest_lags(rows, timezone.now())
        mapped = site_state.count_mapped(rows)
        for site in rows:
            site.lag_shown, site.mapped_shown = lags.get(site.pk), mapped.get(site.pk, 0)
        changes.result_list = rows
        return changes

    @admin.display(description=gettext_lazy("status"))
    def standing(self, obj: MoodleSite) -> str:
        """How it is doing, and what to do."""
        return render_to_string("admin/site_state.html", {"state": site_state.state_of_site(obj, timezone.now())})

    @admin.display(description=gettext_lazy("feed"))
    def feed(self, obj: MoodleSite) -> str:
        """How completions are read, and whether that is the slower way."""
        return feed_label(obj)

    @admin.display(description=gettext_lazy("lag within the hour"))
    def lag(self, obj: Any) -> str:
        """How long a completion may have waited to be read, at most, within the last hour."""
        return in_words(obj.lag_shown)

    @admin.display(description=gettext_lazy("courses"))
    def courses(self, obj: Any) -> str:
        """How many award a badge, linked to all of its courses."""
        text = ngettext("%(count)d awards a badge", "%(count)d award a badge", obj.mapped_shown)
        return list_link(Course, text % {"count": obj.mapped_shown}, site__id__exact=obj.pk)

    # Saving and deleting

    def connect(self, request: HttpRequest, form: Any) -> list[str]:
        """Check the site, and save it when it can be read."""
        site = form.instance
        site.token = form.cleaned_data["new_token"]
        check, problems = in_turn(
            request.user, lambda: sites.save_typed(site, form.typed, actor=request.user, now=timezone.now())
        )
        if problems and check is not None:
            form.checked = check.findings
        if check is not None and not check.url:
            form.add_error("url", problems)
            return [_("The token was sent nowhere.")]
        if not problems:
            self._show_check(request, site)
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
            if refused := _why_not_now(site, timezone.now()):
                self.message_user(request, f"{site}: {refused}", messages.WARNING)
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
    """Check a site again, and save it when it can be read. As `in_turn`."""
    return in_turn(
        actor,
        lambda: sites.save_when_readable(site, actor=actor, now=timezone.now(), until=sites.page_deadline()),
    )


def in_turn(actor: Any, check: Callable[[], sites.SiteCheck]) -> tuple[sites.SiteCheck | None, list[str]]:
    """Run a check when there is a place for it. Returns it, and what keeps the site from being read.

    Never raises for what Moodle answers, nor for a stored token that cannot be decrypted.
    """
    try:
        with waiting.place(actor.pk):
            found = check()
    except waiting.Busy as error:
        return None, [str(error)]
    except sites.BeingPolled:
        return None, [_("This site is being polled right now. Try again in a minute.")]
    except (WrongKey, ImproperlyConfigured, ValueError) as error:
        return None, [_(str(error))]
    wrong = [finding_text(finding) for finding in found.findings if not finding["ok"]]
    return found, [] if found.readable else wrong


def is_used(site: MoodleSite) -> bool:
    """Whether courses or learners were read from the site."""
    return Course.objects.filter(site=site).exists() or Learner.objects.filter(site=site).exists()


def deleting(site: MoodleSite) -> str:
    """Whether a site may be deleted, and what to do instead."""
    if is_used(site):
        return _("Courses or learners were read from it, so it is kept. To stop polling it, untick “enabled”.")
    return _("Nothing was read from it yet; it may be deleted.")


def _why_not_now(site: MoodleSite, now: datetime) -> str:
    """Why a site is not polled at once, or ""."""
    state = site.state
    if state.doubt:
        return state.doubt
    if not site.enabled:
        return _("it is switched off. Tick “enabled” and save.")
    if state.polling_until is not None and state.polling_until > now:
        return _("it is being read right now.")
    if state.last_poll_at is not None and not state.failures and now - state.last_poll_at < JUST_READ:
        return _("it was read a moment ago.")
    return ""


def _with_question(site: MoodleSite) -> str:
    return f"{site}: {site.state.doubt}"
