"""The set-up path: five steps from an empty portal to the first badge, each with its button."""

from dataclasses import dataclass

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from moodle_sync.models import Course, MoodleSite

from .. import first_run
from ..first_run import Key, Step
from .display import page_url


@dataclass(frozen=True, slots=True)
class Line:
    """A step with the address at which it is taken, the text of the link there, and whether it comes next."""

    step: Step
    url: str
    label: str
    is_next: bool


@require_safe
def set_up(request: HttpRequest) -> HttpResponse:
    """The five steps as they stand now."""
    if not first_run.may_set_up(request.user):
        raise PermissionDenied
    steps = first_run.steps(timezone.now())
    following = first_run.next_step(steps)
    context = admin.site.each_context(request) | {
        "title": _("Set-up"),
        "lines": [Line(step, *_way_on(step), is_next=step is following) for step in steps],
        "done": sum(step.is_done for step in steps),
        "next": following,
        "guide_url": _guide_url(steps[1]),
    }
    return TemplateResponse(request, "admin/set_up.html", context)


def _way_on(step: Step) -> tuple[str, str]:
    """Where the step is taken, or put right, and the text of the link there."""
    if step.progress == first_run.Progress.WRONG and step.about is not None:
        return _page_of(step.about, step), _("Put it right")
    if step.key == Key.NAVIGATR:
        url = reverse("admin:badging_navigatrconnection_add", query={"setup": step.number})
        return url, _("Connect another one") if step.is_done else _("Connect Navigatr")
    if step.key == Key.MOODLE:
        url = reverse("admin:moodle_sync_moodlesite_add", query={"setup": step.number})
        return url, _("Connect another one") if step.is_done else _("Connect Moodle")
    if step.key == Key.OPENING:
        chosen = {"connection": step.about.pk} if step.about else {}
        url = reverse("admin:badging_connectiongrant_add", query=chosen | {"setup": step.number})
        return url, _("Open it to others too") if step.is_done else _("Open the connection")
    if step.key == Key.MAPPING:
        return reverse("courses"), _("Courses and badges") if step.is_done else _("Choose a course")
    if step.is_done:
        return reverse("admin:verification"), _("Follow another one")
    return reverse("admin:verification", query={"course": step.about.pk} if step.about else None), _("Follow a badge")


def _page_of(about: Model, step: Step) -> str:
    """The page where what is wrong with a row is put right."""
    if isinstance(about, Course):
        return reverse("course", args=[about.pk])
    return f"{page_url(about)}?setup={step.number}"


def _guide_url(step: Step) -> str:
    """The page for the Moodle administrator, matched to the site that the step is about."""
    if isinstance(step.about, MoodleSite):
        return reverse("admin:moodle_guide", args=[step.about.pk])
    return reverse("admin:moodle_guide_new")
