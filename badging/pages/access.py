"""Who may see which course. Every page asks here; what a person may not see does not exist for them."""

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet
from django.http import Http404

from moodle_sync.models import Course

from ..models import CourseManager
from ..setup import SITE_ADMINS

Person = User | AnonymousUser


def is_site_admin(user: Person) -> bool:
    """Whether the user looks after the whole portal: a superuser, or one of the group of site admins."""
    return user.is_superuser or user.groups.filter(name=SITE_ADMINS).exists()


def has_courses(user: Person) -> bool:
    """Whether the user manages any course in person."""
    return user.is_authenticated and CourseManager.objects.filter(user=user).exists()


def visible_courses(user: Person) -> QuerySet[Course]:
    """The courses that the user manages, or all of them for a site admin, each with its site."""
    courses = Course.objects.select_related("site__state")
    if not user.is_authenticated:
        return courses.none()
    return courses if is_site_admin(user) else courses.filter(managers__user=user)


def course_or_404(user: Person, pk: int) -> Course:
    """One of the user's courses. Raises Http404 for an unknown and for a foreign one: they look alike."""
    course = visible_courses(user).filter(pk=pk).first()
    if course is None:
        raise Http404
    return course
