"""The list of courses, the page of one course, and removing the course's badge.

Every view asks `access` for the course: a course of somebody else looks like one that does not exist.
"""

from typing import Any

from django.contrib import messages
from django.contrib.admin.views.main import SEARCH_VAR
from django.contrib.auth.decorators import login_required
from django.db.models import Exists, OuterRef, Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from moodle_sync.models import Course
from moodle_sync.plain_letters import has_words

from .. import by_itself, searches
from ..course_learners import find_in_course
from ..looking import reading_of
from ..mapping import ChangedMeanwhile, remove_mapping, version_of
from ..models import CourseBadgeMapping, Issuance
from ..reach import is_site_admin
from ..successors import Successor, likely_successor
from . import access
from .course_badge import effects_of_change, has_no_scores, mapping_of, what_changed
from .forms import CourseFilter, IssuanceFilter, LearnerSearch
from .notes import NO_SCORES, notes_on
from .numbers import NONE, numbers_of
from .paging import number_in, page_number, page_of

COURSES_PER_PAGE = 25
ISSUANCES_PER_PAGE = 25


@login_required
@require_safe
def course_list(request: HttpRequest) -> HttpResponse:
    """The user's courses with their badges: searched, filtered and paged."""
    form = CourseFilter(request.GET)
    filters = form.cleaned_data if form.is_valid() else {}
    mappings = Prefetch("mapping", CourseBadgeMapping.objects.with_reach().select_related("connection"))
    courses = access.visible_courses(request.user).select_related("site__state").prefetch_related(mappings)
    courses = _named(courses, filters.get("q", ""))
    if filters.get("badge"):
        courses = courses.filter(mapping__isnull=filters["badge"] == "no")
    number = page_number(request.GET.get("page"))
    ordered = _with_namesakes(courses).order_by("fullname", "pk")
    page = page_of(ordered, COURSES_PER_PAGE, start=(number - 1) * COURSES_PER_PAGE)
    numbers = numbers_of([course.pk for course in page.rows]) if page.rows else {}
    return render(
        request,
        "courses/list.html",
        {
            "form": form,
            "filtered": any(filters.values()),
            "words": filters.get("q", ""),
            "manages_all": is_site_admin(request.user),
            "courses": [(course, numbers.get(course.pk, NONE)) for course in page.rows],
            "page": number,
            "previous": number - 1 if page.rows else None,
            "next": number + 1 if page.has_more else None,
        },
    )


def _named(courses: "QuerySet[Course]", words: str) -> "QuerySet[Course]":
    """Those of the courses whose names have all of the words, in any order and whatever their accents."""
    named = has_words("search_text", words)
    # The names are looked through by themselves, which reads far less than the courses do.
    return courses.filter(pk__in=Course.objects.filter(named).order_by().values("pk")) if named else courses


def _with_namesakes(courses: "QuerySet[Course]") -> "QuerySet[Course]":
    """Mark the courses that another one of their site has the same names as; the list shows their Moodle id."""
    same_names = {"site": OuterRef("site"), "fullname": OuterRef("fullname"), "shortname": OuterRef("shortname")}
    return courses.annotate(has_namesake=Exists(Course.objects.filter(**same_names).exclude(pk=OuterRef("pk"))))


@login_required
@require_safe
def course_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One course: its badge, what needs attention, when Moodle is read, and its learners, newest first."""
    course = access.course_or_404(request.user, pk)
    if (searched := searches.words_of(request)) is None:
        messages.warning(request, _("This search is over. Enter the name again."))
        return redirect("course", course.pk)
    mapping = mapping_of(course)
    notes = notes_on(course, mapping, timezone.now(), _successor_of(request, course, mapping))
    if mapping is not None and mapping.min_score is not None and has_no_scores(course):
        notes.append(NO_SCORES)
    context = _learners(request, course, mapping, searched) | {"notes": notes}
    return render(request, "courses/course.html", context)


@login_required
@require_safe
def course_news(request: HttpRequest, pk: int) -> HttpResponse:
    """The part of a course's page that changes by itself, which its script asks for again and again.

    Does not keep the session alive.
    """
    by_itself.mark(request)
    course = access.course_or_404(request.user, pk)
    searched = searches.words_of(request) or ""
    return render(request, "includes/course_news.html", _learners(request, course, mapping_of(course), searched))


def _learners(
    request: HttpRequest, course: Course, mapping: CourseBadgeMapping | None, searched: str
) -> dict[str, Any]:
    """The learners of a course that the address asks for: those of a search, else a page of all with their state."""
    context: dict[str, Any] = {
        "course": course,
        "mapping": mapping,
        "reading": reading_of(course.site, timezone.now()),
        "numbers": numbers_of([course.pk]).get(course.pk, NONE),
        "search": LearnerSearch(initial={"q": searched}),
        "searched": searched,
        "may_map": course.gone_at is None,
    }
    if searched:
        return context | {"result": find_in_course(course, mapping, searched)}
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
    return context | {
        "form": form,
        "filtered": state,
        "issuances": page.rows,
        "before": before,
        "older": page.rows[-1].pk if page.has_more else None,
    }


@login_required
@access.posted_from_course
def find_learner(request: HttpRequest, pk: int) -> HttpResponse:
    """Search for a learner of the course. The name stays out of the address: it holds the number of the search."""
    course = access.course_or_404(request.user, pk)
    form = LearnerSearch(request.POST)
    words = form.cleaned_data["q"].strip() if form.is_valid() else ""
    query = {SEARCH_VAR: searches.keep(request, words)} if words else {}
    return searches.see_other(reverse("course", args=[course.pk], query=query, fragment="learners"))


def _successor_of(request: HttpRequest, course: Course, mapping: CourseBadgeMapping | None) -> Successor | None:
    """The course that most likely replaces a mapped course that was deleted in Moodle."""
    successor = likely_successor(course) if mapping and course.gone_at else None
    if successor is None:
        return None
    may_map = access.visible_courses(request.user).filter(pk=successor.pk).exists()
    return Successor(successor, reverse("choose-provider", args=[successor.pk]) if may_map else "")


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
        return _ask_to_remove(request, course, mapping)
    try:
        cancelled = remove_mapping(mapping, seen=request.POST.get("seen", ""), actor=request.user)
    except CourseBadgeMapping.DoesNotExist:
        # Somebody else, or a second click, removed it since it was read above.
        messages.info(request, _("This course awards no badge any more."))
    except ChangedMeanwhile:
        return _ask_to_remove(request, course, mapping, changed=what_changed(course, mapping, request.user))
    else:
        values = {"badge": mapping.badge_name, "count": cancelled}
        messages.success(request, _("The badge “%(badge)s” was removed. Cancelled before sending: %(count)d.") % values)
    return redirect("course", course.pk)


def _ask_to_remove(
    request: HttpRequest, course: Course, mapping: CourseBadgeMapping, *, changed: str = ""
) -> HttpResponse:
    context = {"course": course, "mapping": mapping, "effects": effects_of_change(course), "changed": changed}
    return render(request, "courses/remove.html", context | {"seen": version_of(mapping)})
