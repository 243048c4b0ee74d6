"""“Look now”: a person has Moodle read at once, to see what becomes of a course."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _

from .. import tasks
from ..looking import why_not_now
from . import access


@login_required
@access.posted_from_course
def look_now(request: HttpRequest, pk: int) -> HttpResponse:
    """Have the course's Moodle site read now, unless it was just now, or cannot be."""
    course = access.course_or_404(request.user, pk)
    if refusal := why_not_now(course.site, timezone.now()):
        messages.info(request, refusal)
    elif start_poll(request, course.site_id):
        messages.success(request, _("Moodle is read now. This page shows what is new by itself."))
    return redirect("course", course.pk)


def start_poll(request: HttpRequest, site_id: int) -> bool:
    """Have the site polled now; False, and a message to the person, where no worker can be told."""
    told = tasks.nudge_poll(site_id)
    if not told:
        tell_of_no_worker(request)
    return told


def tell_of_no_worker(request: HttpRequest) -> None:
    """Say that what was wanted waits for the worker."""
    messages.warning(
        request, _("The portal's worker cannot be reached just now. Nothing is lost: badges are sent when it is back.")
    )
