"""The page *Privacy*: what is stored and for how long, where it is exported and erased, and what was done lately."""

from datetime import timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_safe

from moodle_sync.models import Completion, Learner

from .. import page_permissions
from ..models import AuditEntry, CourseBadgeMapping, Issuance, IssuanceAttempt
from ..sentences import sentence
from .display import list_url

Action = AuditEntry.Action

# What was done with learners' data.
DONE_WITH_DATA = (Action.LEARNER_EXPORTED, Action.LEARNER_ERASED)
# How many of the newest entries are shown.
MOST_RECENT = 20


class Stored(NamedTuple):
    """A kind of data: what it is, where it is seen, and until when it is kept."""

    what: str
    where: str
    url: str
    until: str


@require_safe
def privacy(request: HttpRequest) -> HttpResponse:
    """For data protection officers and site admins."""
    if not request.user.has_perms(page_permissions.PRIVACY):
        raise PermissionDenied
    entries = AuditEntry.objects.filter(action__in=DONE_WITH_DATA).order_by("-pk")[:MOST_RECENT]
    context = {
        **admin.site.each_context(request),
        "title": _("Privacy"),
        "stored": stored(),
        "entries": [(entry, sentence(entry)) for entry in entries],
        "erasures_url": list_url(AuditEntry, action__exact=Action.LEARNER_ERASED),
        "exports_url": list_url(AuditEntry, action__exact=Action.LEARNER_EXPORTED),
        "learners_url": list_url(Learner),
        "may_export": request.user.has_perm("moodle_sync.export_learner"),
        "may_erase": request.user.has_perm("moodle_sync.erase_learner"),
    }
    return TemplateResponse(request, "admin/privacy.html", context)


def stored() -> list[Stored]:
    """The data that the portal holds of people, with the times of the settings."""
    erased, kept = _("erased"), _("kept")
    longest = _days(timedelta(seconds=settings.SESSION_COOKIE_AGE))
    return [
        Stored(_("Name, e-mail address, state of the Moodle account"), _("Learners"), list_url(Learner), erased),
        Stored(_("Moodle user id"), _("Learners"), list_url(Learner), _("kept, so that nobody erased comes back")),
        Stored(_("Completion dates and scores"), _("Completions"), list_url(Completion), erased),
        Stored(_("Link to the badge, digest of the address"), _("Issuances"), list_url(Issuance), erased),
        Stored(_("That a badge was issued, and when"), _("Issuances"), list_url(Issuance), _("kept, without the name")),
        Stored(
            _("What Navigatr answered in words"), _("Attempts"), list_url(IssuanceAttempt),
            _("erased, or %(age)s old") % {"age": _days(settings.WORDS_KEPT)},
        ),
        Stored(_("What staff did"), _("Audit"), list_url(AuditEntry), kept),
        Stored(
            _("Who changed which setting"), _("History of each connection, site and mapping"),
            list_url(CourseBadgeMapping), kept,
        ),
        Stored(
            _("Who is signed in, and what they searched for"), _("not shown"), "",
            _("the session ends, after %(age)s without use") % {"age": longest},
        ),
    ]  # fmt: skip


def _days(age: timedelta) -> str:
    """A time in days, or in hours if it is shorter."""
    values: dict[str, Any] = {"days": age.days, "hours": round(age.total_seconds() / 3600)}
    if age.days:
        return ngettext("%(days)d day", "%(days)d days", age.days) % values
    return ngettext("%(hours)d hour", "%(hours)d hours", values["hours"]) % values
