"""Who manages which course."""

from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db import transaction

from moodle_sync.models import Course

from .models import CourseManager


@transaction.atomic
def add_managers(users: Iterable[User], courses: Iterable[Course]) -> list[CourseManager]:
    """Make each of these users a manager of each of these courses; returns what is new.

    Saved one by one, so that `people.changes` writes each into the audit.
    """
    wanted = {(user.pk, course.pk): (user, course) for user in users for course in courses}
    known = CourseManager.objects.filter(
        user__in={user for user, _course in wanted}, course__in={course for _user, course in wanted}
    )
    present = set(known.values_list("user", "course"))
    return [
        CourseManager.objects.create(user=user, course=course)
        for key, (user, course) in wanted.items()
        if key not in present
    ]
