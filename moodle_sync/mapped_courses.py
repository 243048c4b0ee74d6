"""Follows mapped courses in Moodle: their names, and whether they still exist."""

from collections.abc import Sequence

from django.utils.translation import gettext as _

from .client.errors import MoodleError, MoodleGone, MoodleTokenRefused, MoodleUnavailable
from .client.functions import BATCH, COURSES, ENROLLED_USERS
from .identity import check_courses
from .models import Course
from .plain_letters import set_plain_letters
from .reading import Batch, Poll, for_people
from .site_check import LONGEST_FULL_NAME, LONGEST_SHORT_NAME, store_courses, sync_courses
from .storing import fitting


def follow_renames(poll: Poll, batch: Batch) -> None:
    """Read the names of courses whose name in the report has changed. Raises AnotherMoodle, MoodleError."""
    renamed = {}
    for seen in batch.seen:
        if seen.course_name and seen.course_name not in (seen.course.report_name, seen.course.fullname):
            renamed[seen.course.pk] = (seen.course, fitting(seen.course_name, LONGEST_FULL_NAME))
    if not renamed:
        return
    courses = [course for course, _name in renamed.values()]
    found = _read_courses(poll, courses)
    for course, name in renamed.values():
        course.report_name = name
        if course.moodle_id not in found:
            # If the account may not see the course, the report's name is the only one.
            course.fullname = name
        set_plain_letters(course)
    Course.objects.bulk_update(courses, ["report_name", "fullname", "search_text"])


def check_mapped_courses(poll: Poll) -> None:
    """Read the names of all mapped courses, and mark the deleted ones; once in a poll.

    Raises AnotherMoodle, MoodleError.
    """
    courses = [course for course in poll.courses if course.gone_at is None]
    if poll.courses_checked or not courses:
        return
    poll.courses_checked = True
    found = _read_courses(poll, courses)
    missing = [course for course in courses if course.moodle_id not in found]
    deleted = [course for course in missing if _is_deleted(poll, course)] if COURSES in poll.functions else []
    if not deleted:
        return
    for course in deleted:
        course.gone_at = poll.now
        poll.note(_("The course “%(course)s” was deleted in Moodle.") % {"course": course.full_label})
    Course.objects.bulk_update(deleted, ["gone_at"])
    # So that courses that replace them can be mapped.
    sync_courses(poll.site, poll.client)


def _read_courses(poll: Poll, courses: Sequence[Course]) -> dict[int, Course]:
    """Read these courses and store their names; returns those that Moodle lists, by Moodle id.

    Returns all of them if Moodle refuses the list. Raises AnotherMoodle, and MoodleError for what concerns the whole
    site.
    """
    if COURSES not in poll.functions or not courses:
        return {}
    try:
        found = poll.client.courses([course.moodle_id for course in courses], batch=BATCH in poll.functions)
    except (MoodleUnavailable, MoodleTokenRefused):
        raise
    except MoodleError as error:
        poll.note(for_people(error))
        return {course.moodle_id: course for course in courses}
    in_moodle = {record.id: record for record in found}
    listed = {course.moodle_id: course for course in courses if course.moodle_id in in_moodle}
    both_names_changed = [
        (course, in_moodle[number].fullname)
        for number, course in listed.items()
        if course.fullname not in ("", in_moodle[number].fullname)
        and course.shortname not in ("", in_moodle[number].shortname)
    ]
    check_courses(poll, both_names_changed)
    store_courses(poll.site, found)
    for number, course in listed.items():
        course.fullname = fitting(in_moodle[number].fullname, LONGEST_FULL_NAME)
        course.shortname = fitting(in_moodle[number].shortname, LONGEST_SHORT_NAME)
    return listed


def _is_deleted(poll: Poll, course: Course) -> bool:
    """Whether a course that Moodle does not list was deleted. For a hidden course Moodle has another error."""
    if ENROLLED_USERS not in poll.functions:
        return False
    try:
        poll.client.enrolled_users(course.moodle_id, limit=1)
    except (MoodleUnavailable, MoodleTokenRefused):
        raise
    except MoodleError as error:
        return isinstance(error, MoodleGone)
    return False
