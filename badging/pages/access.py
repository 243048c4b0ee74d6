"""Who may see which course. Every view under `/courses/` asks here."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_http_methods

from moodle_sync.models import Course

from ..models import CourseManager
from ..reach import is_site_admin

Person = User | AnonymousUser


def has_courses(user: Person) -> bool:
    """Whether courses are assigned to the user."""
    return user.is_authenticated and CourseManager.objects.filter(user=user).exists()


def visible_courses(user: Person) -> QuerySet[Course]:
    """The courses that are assigned to the user, or all for who may manage all of them, each with its site."""
    courses = Course.objects.select_related("site__state")
    if not user.is_authenticated:
        return courses.none()
    return courses if is_site_admin(user) else courses.filter(managers__user=user)


def course_or_404(user: Person, pk: int) -> Course:
    """One of the user's courses. Raises Http404 for a course of somebody else, as for one that does not exist."""
    course = visible_courses(user).filter(pk=pk).first()
    if course is None:
        raise Http404
    return course


def posted_from_course(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Only POST runs the view. GET leads to the course's page: who had to sign in again is sent on by GET."""

    @require_http_methods(["GET", "HEAD", "POST"])
    @wraps(view)
    def answer(request: HttpRequest, pk: int, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.method != "POST":
            return redirect("course", course_or_404(request.user, pk).pk)
        return view(request, pk, *args, **kwargs)

    return answer
