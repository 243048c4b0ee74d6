"""Keeps mapped courses as they are in Moodle: their names, and whether they still exist."""

from collections.abc import Sequence

from django.utils.translation import gettext as _

from .client.errors import MoodleError, MoodleGone, MoodleTokenRefused, MoodleUnavailable
from .client.functions import BATCH, COURSES, ENROLLED_USERS
from .identity import see_that_courses_are_the_same
from .models import Course
from .reading import Batch, Poll
from .site_check import store_courses, sync_courses
from .storing import fitting


def follow_renames(poll: Poll, batch: Batch) -> None:
    """Ask for the names of courses that the report writes in another way than before. Raises AnotherMoodle."""
    renamed = {}
    for one in batch.seen:
        if one.course_name and one.course_name not in (one.course.report_name, one.course.fullname):
            renamed[one.course.pk] = (one.course, fitting(one.course_name, 1333))
    if not renamed:
        return
    courses = [course for course, _name in renamed.values()]
    found = _look(poll, courses)
    for course, name in renamed.values():
        course.report_name = name
        if course.moodle_id not in found:
            # Without the right to see courses the report's name is the best there is.
            course.fullname = name
    Course.objects.bulk_update(courses, ["report_name", "fullname"])


def look_at(poll: Poll) -> None:
    """Look at all mapped courses: renamed ones get their new names, deleted ones are noted. Raises AnotherMoodle."""
    courses = [course for course in poll.courses if course.gone_at is None]
    if poll.courses_looked_at or not courses:
        return
    poll.courses_looked_at = True
    found = _look(poll, courses)
    missing = [course for course in courses if course.moodle_id not in found]
    gone = [course for course in missing if _is_gone(poll, course)] if COURSES in poll.functions else []
    if not gone:
        return
    for course in gone:
        course.gone_at = poll.now
        poll.note(_("The course “%(course)s” was deleted in Moodle.") % {"course": course.full_label})
    Course.objects.bulk_update(gone, ["gone_at"])
    # So that what took its place can be chosen.
    sync_courses(poll.site, poll.client)


def _look(poll: Poll, courses: Sequence[Course]) -> dict[int, Course]:
    """Ask for these courses and keep what has changed; returns the found ones by their Moodle ids."""
    if COURSES not in poll.functions or not courses:
        return {}
    try:
        found = poll.client.courses([course.moodle_id for course in courses], batch=BATCH in poll.functions)
    except (MoodleUnavailable, MoodleTokenRefused):
        raise
    except MoodleError as error:
        poll.note(f"{error}. {_(error.advice)}")
        return {course.moodle_id: course for course in courses}
    in_moodle = {course.id: course for course in found}
    by_id = {course.moodle_id: course for course in courses}
    others = [
        (course, in_moodle[number].fullname)
        for number, course in by_id.items()
        if number in in_moodle
        and course.fullname not in ("", in_moodle[number].fullname)
        and course.shortname not in ("", in_moodle[number].shortname)
    ]
    see_that_courses_are_the_same(poll, others)
    store_courses(poll.site, found)
    for number, course in by_id.items():
        if number in in_moodle:
            course.fullname = fitting(in_moodle[number].fullname, 1333)
            course.shortname = fitting(in_moodle[number].shortname, 255)
    return {number: course for number, course in by_id.items() if number in in_moodle}


def _is_gone(poll: Poll, course: Course) -> bool:
    """Whether a course that is not listed was deleted: one that is only hidden is refused in another way."""
    if ENROLLED_USERS not in poll.functions:
        return False
    try:
        poll.client.enrolled_users(course.moodle_id, limit=1)
    except (MoodleUnavailable, MoodleTokenRefused):
        raise
    except MoodleError as error:
        return isinstance(error, MoodleGone)
    return False
