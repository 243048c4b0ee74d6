"""Which course replaces one that was deleted in Moodle, and what to do about it."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from django.db.models import Q
from django.utils.translation import gettext as _

from moodle_sync.models import Course

# What Moodle appends to the full name of a copied or restored course.
_COPY = re.compile(r"\s+\(?copy(\s+\d+)?\)?$", re.IGNORECASE)
# How many courses of similar names are compared.
MOST_COMPARED = 500


class Successor(NamedTuple):
    """The course that most likely replaces a deleted one; `url` leads to mapping it, "" for who may not."""

    course: Course
    url: str


class Advice(NamedTuple):
    """What to do, and perhaps a link to where that is done."""

    todo: str
    url: str = ""
    link: str = ""


def deletion_advice(successor: Successor | None) -> Advice:
    """What to do about a mapped course that was deleted in Moodle."""
    if successor is None:
        return Advice(_("If another course took its place, map that one. Then remove the badge here."))
    label = {"course": successor.course.full_label}
    if not successor.url:
        return Advice(
            _("Its successor seems to be “%(course)s”. Ask a site admin to assign that course to you.") % label
        )
    todo = _("Its successor seems to be “%(course)s”. Choose the badge there, then remove it here.") % label
    return Advice(todo, successor.url, _("Choose a badge for “%(course)s”") % {"course": successor.course})


def likely_successor(course: Course) -> Course | None:
    """The course that most likely replaces this one, or None. See `likely_successors`."""
    return likely_successors([course]).get(course.pk)


def likely_successors(courses: Sequence[Course]) -> dict[int, Course]:
    """The course that most likely replaces each of these, by the primary key of the replaced one. One query.

    A successor is a newer course of the same site that exists and awards no badge. It has the same short name, the
    same full name, or the full name with "copy" as Moodle appends it.
    """
    if not courses:
        return {}
    similar = Q()
    for course in courses:
        names = Q(fullname__istartswith=_without_copy(course.fullname)) if course.fullname else Q()
        if course.shortname:
            names |= Q(shortname__iexact=course.shortname)
        if names:
            similar |= Q(names, site=course.site_id, moodle_id__gt=course.moodle_id)
    if not similar:
        return {}
    found = Course.objects.filter(similar, gone_at=None, mapping=None).select_related("site__state")
    others = list(found.order_by("-moodle_id")[:MOST_COMPARED])
    best = {course.pk: _best(course, others) for course in courses}
    return {pk: successor for pk, successor in best.items() if successor is not None}


def _best(course: Course, others: Sequence[Course]) -> Course | None:
    """The most similar name wins; of equally similar ones the newest."""
    candidates = [
        other
        for other in others
        if other.site_id == course.site_id and other.moodle_id > course.moodle_id and _similarity(course, other)
    ]
    return max(candidates, key=lambda other: (_similarity(course, other), other.moodle_id), default=None)


def _similarity(course: Course, other: Course) -> int:
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
