"""The list of courses, the page of one course, the page of one of its issuances, and removing the course's badge.

Every view asks `access` for the course: a course of somebody else looks like one that does not exist.
"""

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from moodle_sync.models import Course

from ..doubles import possible_doubles
from ..mapping import remove_mapping
from ..models import CourseBadgeMapping, Issuance
from ..reach import is_site_admin
from ..successors import Successor, likely_successor
from . import access
from .course_badge import effects_of_change, mapping_of
from .forms import CourseFilter, IssuanceFilter
from .notes import notes_on
from .paging import number_in, page_number, page_of

COURSES_PER_PAGE = 25
ISSUANCES_PER_PAGE = 25
ATTEMPTS_SHOWN = 100


@login_required
@require_safe
def course_list(request: HttpRequest) -> HttpResponse:
    """The user's courses with their badges: searched, filtered and paged."""
    form = CourseFilter(request.GET)
    filters = form.cleaned_data if form.is_valid() else {}
    mappings = Prefetch("mapping", CourseBadgeMapping.objects.with_reach().select_related("connection"))
    courses = access.visible_courses(request.user).select_related("site__state").prefetch_related(mappings)
    if words := filters.get("q"):
        courses = courses.filter(Q(fullname__icontains=words) | Q(shortname__icontains=words))
    if filters.get("badge"):
        courses = courses.filter(mapping__isnull=filters["badge"] == "no")
    number = page_number(request.GET.get("page"))
    ordered = _with_namesakes(courses).order_by("fullname", "pk")
    page = page_of(ordered, COURSES_PER_PAGE, start=(number - 1) * COURSES_PER_PAGE)
    return render(
        request,
        "courses/list.html",
        {
            "form": form,
            "filtered": any(filters.values()),
            "manages_all": is_site_admin(request.user),
            "courses": page.rows,
            "page": number,
            "previous": number - 1 if page.rows else None,
            "next": number + 1 if page.has_more else None,
        },
    )


def _with_namesakes(courses: "QuerySet[Course]") -> "QuerySet[Course]":
    """Mark the courses that another one of their site has the same names as; the list shows their Moodle id."""
    same_names = {"site": OuterRef("site"), "fullname": OuterRef("fullname"), "shortname": OuterRef("shortname")}
    return courses.annotate(has_namesake=Exists(Course.objects.filter(**same_names).exclude(pk=OuterRef("pk"))))


@login_required
@require_safe
def course_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One course: its badge, what needs attention, and its issuances, newest first."""
    course = access.course_or_404(request.user, pk)
    mapping = mapping_of(course)
    form = IssuanceFilter(request.GET)
    state = form.cleaned_data["state"] if form.is_valid() else ""
    issuances = Issuance.objects.filter(course=course).select_related("learner", "completion", "connection")
    if state:
        issuances = issuances.standing_as(Issuance.State(state))
    # Paged by key and not by offset, so that the last page costs no more than the first.
    before = number_in(request.GET.get("before"))
    if before is not None:
        issuances = issuances.filter(pk__lt=before)
    page = page_of(issuances.order_by("-pk"), ISSUANCES_PER_PAGE)
    for issuance in page.rows:
        # Saves a query for each row.
        issuance.course = course
    return render(
        request,
        "courses/course.html",
        {
            "course": course,
            "mapping": mapping,
            "notes": notes_on(course, mapping, timezone.now(), _successor_of(request, course, mapping)),
            "form": form,
            "filtered": state,
            "issuances": page.rows,
            "before": before,
            "older": page.rows[-1].pk if page.has_more else None,
        },
    )


def _successor_of(request: HttpRequest, course: Course, mapping: CourseBadgeMapping | None) -> Successor | None:
    """The course that most likely replaces a mapped course that was deleted in Moodle."""
    successor = likely_successor(course) if mapping and course.gone_at else None
    if successor is None:
        return None
    may_map = access.visible_courses(request.user).filter(pk=successor.pk).exists()
    return Successor(successor, reverse("choose-provider", args=[successor.pk]) if may_map else "")


@login_required
@require_safe
def issuance_page(request: HttpRequest, pk: int, issuance_pk: int) -> HttpResponse:
    """One issuance of the course with its attempts, newest first."""
    course = access.course_or_404(request.user, pk)
    issuances = Issuance.objects.filter(course=course).select_related("learner", "completion", "connection")
    issuance = get_object_or_404(issuances, pk=issuance_pk)
    issuance.course = course
    attempts = page_of(issuance.attempts.order_by("-pk"), ATTEMPTS_SHOWN)
    return render(
        request,
        "courses/issuance.html",
        {
            "course": course,
            "issuance": issuance,
            "doubles": possible_doubles(issuance),
            "attempts": attempts.rows,
            "has_more_attempts": attempts.has_more,
        },
    )


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def remove_badge(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove the course's badge, after a page that shows what this cancels."""
    course = access.course_or_404(request.user, pk)
    mapping = mapping_of(course)
    if mapping is None:
        messages.info(request, _("This course awards no badge any more."))
        return redirect("course", course.pk)
    if request.method != "POST":
        context = {"course": course, "mapping": mapping, "effects": effects_of_change(course)}
        return render(request, "courses/remove.html", context)
    try:
        cancelled = remove_mapping(mapping, actor=request.user)
    except CourseBadgeMapping.DoesNotExist:
        # Somebody else, or a second click, removed it since it was read above.
        messages.info(request, _("This course awards no badge any more."))
    else:
        values = {"badge": mapping.badge_name, "count": cancelled}
        messages.success(request, _("The badge “%(badge)s” was removed. Cancelled before sending: %(count)d.") % values)
    return redirect("course", course.pk)
