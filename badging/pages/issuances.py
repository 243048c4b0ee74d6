"""The page of one issuance of a course, and sending it again."""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from moodle_sync.models import Course

from .. import by_hand, tasks
from ..doubles import possible_doubles
from ..meanings import AWAITS_ANSWER, Meaning
from ..models import Issuance
from . import access
from .looking import tell_of_no_worker
from .notes import CONFIRM_THE_SITE, for_managers
from .paging import page_of
from .standing import may_send_again

ATTEMPTS_SHOWN = 100


@login_required
@require_safe
def issuance_page(request: HttpRequest, pk: int, issuance_pk: int) -> HttpResponse:
    """One issuance of the course with its attempts, newest first."""
    course = access.course_or_404(request.user, pk)
    issuance = _issuance_or_404(course, issuance_pk)
    attempts = page_of(issuance.attempts.order_by("-pk"), ATTEMPTS_SHOWN)
    return render(
        request,
        "courses/issuance.html",
        {
            "course": course,
            "issuance": issuance,
            "may_map": course.gone_at is None,
            "doubles": possible_doubles(issuance),
            "attempts": attempts.rows,
            "has_more_attempts": attempts.has_more,
        },
    )


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def send_again(request: HttpRequest, pk: int, issuance_pk: int) -> HttpResponse:
    """Send one issuance again, after a page that says what this does and whether anything holds it."""
    course = access.course_or_404(request.user, pk)
    issuance = _issuance_or_404(course, issuance_pk)
    if not may_send_again(issuance):
        messages.info(request, _("This badge cannot be sent again from here now. Look at its status."))
        return redirect("issuance", course.pk, issuance.pk)
    if request.method != "POST":
        context = {"course": course, "issuance": issuance, "held": _held(issuance)}
        return render(request, "courses/send_again.html", context)
    rows = Issuance.objects.filter(by_hand.managers_can_send_again(), pk=issuance.pk, course=course)
    if by_hand.send_again(rows, actor=request.user, now=timezone.now()):
        _tell(request, _issuance_or_404(course, issuance.pk))
    else:
        messages.info(request, _("Somebody was faster: its status has changed meanwhile."))
    return redirect("issuance", course.pk, issuance.pk)


def _issuance_or_404(course: Course, pk: int) -> Issuance:
    issuances = Issuance.objects.filter(course=course).select_related("learner", "completion", "connection")
    issuance = get_object_or_404(issuances, pk=pk)
    issuance.course = course
    return issuance


def _held(issuance: Issuance) -> Meaning | None:
    """Why a badge that is sent again would not go out now, and what to do; None where it would."""
    if issuance.course.site.state.doubt:
        return Meaning(AWAITS_ANSWER.what, CONFIRM_THE_SITE)
    return for_managers(issuance.mapping.holds(issuance) or "") if issuance.mapping else None


def _tell(request: HttpRequest, issuance: Issuance) -> None:
    """Say what becomes of the badge, and have it sent if nothing holds it."""
    if held := _held(issuance):
        text = _("It will be sent again, but stays held for now. %(what)s %(todo)s")
        messages.warning(request, text % {"what": held.what, "todo": held.todo})
        return
    messages.success(request, _("It is queued, and sent again in a moment."))
    if not tasks.nudge():
        tell_of_no_worker(request)
