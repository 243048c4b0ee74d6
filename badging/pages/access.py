"""Who may see which course. Every view under `/courses/` asks here."""

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet
from django.http import Http404

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
