"""Which course took the place of one that was deleted in Moodle."""

import re
from collections.abc import Sequence

from django.db.models import Q

from moodle_sync.models import Course

# What Moodle adds to the full name of a course that is copied or restored beside the first one.
_COPY = re.compile(r"\s+\(?copy(\s+\d+)?\)?$", re.IGNORECASE)
MOST_LOOKED_AT = 500


def likely_successor(course: Course) -> Course | None:
    """The course that most likely took this one's place, or None. See `likely_successors`."""
    return likely_successors([course]).get(course.pk)


def likely_successors(courses: Sequence[Course]) -> dict[int, Course]:
    """For each of these courses the one that most likely took its place, where there is one, by the course's key.

    That is a newer course of the same site that still exists and awards no badge, and has the same short name, the
    same full name, or the full name with "copy" as Moodle adds it. One query, whatever the number of courses.
    """
    if not courses:
        return {}
    alike = Q()
    for course in courses:
        names = Q(fullname__istartswith=_without_copy(course.fullname)) if course.fullname else Q()
        if course.shortname:
            names |= Q(shortname__iexact=course.shortname)
        if names:
            alike |= Q(names, site=course.site_id, moodle_id__gt=course.moodle_id)
    if not alike:
        return {}
    found = Course.objects.filter(alike, gone_at=None, mapping=None).select_related("site__state")
    others = list(found.order_by("-moodle_id")[:MOST_LOOKED_AT])
    best = {course.pk: _best(course, others) for course in courses}
    return {pk: successor for pk, successor in best.items() if successor is not None}


def _best(course: Course, others: Sequence[Course]) -> Course | None:
    """The closest by name; of equally close ones the newest."""
    fits = [
        other
        for other in others
        if other.site_id == course.site_id and other.moodle_id > course.moodle_id and _likeness(course, other)
    ]
    return max(fits, key=lambda other: (_likeness(course, other), other.moodle_id), default=None)


def _likeness(course: Course, other: Course) -> int:
    """3: the same short name; 2: the same full name; 1: the name of a copy; 0: another name."""
    if course.shortname and _is_same(course.shortname, other.shortname):
        return 3
    if course.fullname and _is_same(course.fullname, other.fullname):
        return 2
    copied = course.fullname and _is_same(_without_copy(course.fullname), _without_copy(other.fullname))
    return 1 if copied else 0


def _without_copy(fullname: str) -> str:
    return _COPY.sub("", fullname.strip())


def _is_same(one: str, other: str) -> bool:
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()
