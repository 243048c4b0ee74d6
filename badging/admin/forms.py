"""Forms for what holds a token: it is typed once, tried out before anything is saved, and never shown again."""

from typing import TYPE_CHECKING, Any

from django import forms
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy
from django.utils.translation import gettext_lazy as _

from moodle_sync.client import normalise_url
from moodle_sync.models import MoodleSite
from moodle_sync.site_check import finding_text
from vault.keys import WrongKey

from .. import connections, sites
from ..models import NavigatrConnection

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _ConnectionForm = forms.ModelForm[NavigatrConnection]
    _SiteForm = forms.ModelForm[MoodleSite]
else:
    _ConnectionForm = forms.ModelForm
    _SiteForm = forms.ModelForm

KEEP = gettext_lazy("It is not shown again. Leave this empty to keep the token that is stored.")
NEW = gettext_lazy("It is tried out before it is saved, stored encrypted, and not shown again.")


def token_field(label: Any) -> forms.CharField:
    """A field for a secret: blanks around it are dropped, browsers do not keep it, and no page ever holds it."""
    widget = forms.PasswordInput(render_value=False, attrs={"autocomplete": "off", "size": 60})
    return forms.CharField(label=label, required=False, strip=True, max_length=2000, widget=widget)


class ConnectionForm(_ConnectionForm):
    """A Navigatr connection. A new token is tried out with Navigatr; one that fails leaves everything as it was."""

    new_token = token_field(_("Personal Access Token"))
    enable_mappings = forms.BooleanField(
        label=_("Enable its mappings again"),
        required=False,
        initial=True,
        help_text=_("With a new token: also enable the mappings that “Remove Connection” had disabled."),
    )

    class Meta:
        model = NavigatrConnection
        fields = [
            "name",
            "environment",
            "timeout",
            "send_score",
            "send_evidence",
            "calls_per_second",
            "calls_at_once",
        ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.tested: connections.ConnectionTest | None = None
        self.fields["new_token"].required = self.instance.pk is None
        self.fields["new_token"].help_text = NEW if self.instance.pk is None else KEEP

    def full_clean(self) -> None:
        """Try the token out, last: only when nothing else is wrong."""
        super().full_clean()
        if not self.is_bound or self.errors or not self.cleaned_data["new_token"]:
            return
        tried = NavigatrConnection(
            name=self.instance.name,
            environment=self.instance.environment,
            timeout=self.instance.timeout,
            pat=self.cleaned_data["new_token"],
        )
        tested = connections.try_out(tried)
        if tested.ok:
            self.tested = tested
        else:
            self.add_error("new_token", gettext("Nothing was saved. %(message)s") % {"message": tested.message})


class SiteForm(_SiteForm):
    """A Moodle site. A new token or address is checked with Moodle; what cannot be read leaves everything as it was."""

    url = forms.URLField(
        label=_("Address"),
        max_length=500,
        assume_scheme="https",
        widget=forms.URLInput(attrs={"size": 60}),
        help_text=_("The address of the Moodle site's front page."),
    )
    new_token = token_field(_("Web-service token"))
    actor: Any = None

    class Meta:
        model = MoodleSite
        fields = ["name", "url", "enabled", "poll_interval", "busy_interval", "send_suspended"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Whether the site was checked, and with that saved.
        self.saved = False
        self.fields["new_token"].required = self.instance.pk is None
        self.fields["new_token"].help_text = NEW if self.instance.pk is None else KEEP

    def clean_url(self) -> str:
        """The address of the front page, whichever of Moodle's pages was pasted."""
        try:
            return normalise_url(self.cleaned_data["url"])
        except ValueError as error:
            raise forms.ValidationError(gettext(str(error))) from error

    def clean(self) -> dict[str, Any]:
        """The stored token is never sent to a new address: whoever enters one enters its token as well."""
        cleaned = super().clean() or self.cleaned_data
        # Not yet changed: the instance is filled after this.
        known = self.instance.url
        if self.instance.pk and cleaned.get("url", known) != known and not cleaned.get("new_token"):
            self.add_error("new_token", gettext("Enter the token again, as the address has changed."))
        if self.instance.pk and cleaned.get("enabled") and not self.instance.enabled:
            try:
                sites.see_that_nobody_else_reads(self.instance)
            except sites.ConnectedAgain as error:
                self.add_error("enabled", str(error))
        return cleaned

    def full_clean(self) -> None:
        """Check the site, last, and save it when a way to read it was found: both are one verb."""
        super().full_clean()
        if not self.is_bound or self.errors or not self.cleaned_data["new_token"]:
            return
        self.instance.token = self.cleaned_data["new_token"]
        _check, problems = check_and_explain(self.instance, actor=self.actor)
        self.saved = not problems
        if problems:
            self.add_error("new_token", [gettext("Nothing was saved."), *problems])


def check_and_explain(site: MoodleSite, *, actor: Any) -> tuple[sites.SiteCheck | None, list[str]]:
    """Check a site and save it when it can be read. Returns the check, and what is in the way, each with what to do.

    Never raises for what Moodle answers or for a stored token that cannot be decrypted.
    """
    try:
        check = sites.save_when_readable(site, actor=actor, now=timezone.now())
    except sites.BeingPolled:
        return None, [gettext("This site is being polled right now. Try again in a minute.")]
    except (WrongKey, ImproperlyConfigured, ValueError) as error:
        return None, [gettext(str(error))]
    wrong = [finding_text(finding) for finding in check.findings if not finding["ok"]]
    return check, [] if check.saved else wrong
