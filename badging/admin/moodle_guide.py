"""A page for the Moodle administrator, to print or to send: what is to be done in Moodle, and what is still missing."""

from urllib.parse import quote

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from moodle_sync.guide import Guide, Progress, as_text, guide
from moodle_sync.models import MoodleSite

# Mail programs take no longer addresses.
LONGEST_MAIL = 1800


@require_safe
def moodle_guide(request: HttpRequest, pk: int | None = None) -> HttpResponse:
    """The steps: all of them, or for a site those that its last check found missing before the others."""
    user = request.user
    if not (user.has_perm("moodle_sync.view_moodlesite") or user.has_perm("moodle_sync.add_moodlesite")):
        raise PermissionDenied
    sites = MoodleSite.objects.select_related("state").defer("token")
    site = get_object_or_404(sites, pk=pk) if pk is not None else None
    found = guide(site.state.findings if site else ())
    # A check that only found something to mend asks for that alone.
    is_partial = any(step.progress == Progress.LEFT for step in found.steps)
    steps = [step for step in found.steps if step.progress == Progress.LEFT] if is_partial else list(found.steps)
    text = text_of(found, site)
    context = admin.site.each_context(request) | {
        "title": _("For the Moodle administrator"),
        "site": site,
        "guide": found,
        "steps": steps,
        "done": [step for step in found.steps if step.progress == Progress.DONE] if is_partial else [],
        "is_partial": is_partial,
        "text": text,
        "mail": mail_url(text),
        "back": reverse("admin:moodle_sync_moodlesite_change", args=[site.pk]) if site else "",
    }
    return TemplateResponse(request, "admin/moodle_guide.html", context)


def text_of(found: Guide, site: MoodleSite | None) -> str:
    """The page as plain text. It names the site's address, and nobody."""
    left = [step for step in found.steps if step.progress == Progress.LEFT]
    lines = [_("For the Moodle administrator: what the Navigatr badge portal needs")]
    if site:
        lines.append(_("Moodle: %(url)s") % {"url": site.state.wwwroot or site.url})
    if left:
        lines.append(_("A check of the connection has found that the following is still missing."))
    else:
        lines.append(_("Done once. Moodle needs no plugin. The portal only reads."))
    steps = as_text(left or found.steps)
    others = "".join(f"- {text}\n" for text in found.others)
    return "\n".join(lines) + "\n\n" + steps + (f"\n{others}" if others else "")


def mail_url(text: str) -> str:
    """A link that opens a new mail with the text, or with where to paste it if it is too long for that."""
    subject = quote(_("Navigatr badges: please set up Moodle"))
    body = quote(text.replace("\n", "\r\n"))
    if len(body) > LONGEST_MAIL:
        body = quote(_("(Paste here what “Copy as text” has copied.)"))
    return f"mailto:?subject={subject}&body={body}"
