"""What keeps a course's badges from being issued: each trouble in plain words, with what to do."""

from collections.abc import Iterator
from datetime import datetime

from django.utils.translation import gettext_lazy as _

from moodle_sync.models import Course, MoodleSite

from .meanings import MEANINGS, Meaning
from .models import CourseBadgeMapping

ASK_AN_ADMIN = _("Tell a site admin.")


def notes_on(course: Course, mapping: CourseBadgeMapping, now: datetime) -> list[Meaning]:
    """All that is wrong with the mapped course's badge, connection and Moodle, the nearest first. Makes no queries."""
    return [*_on_mapping(mapping, now), *_on_course(course), *_on_site(course.site)]


def _on_mapping(mapping: CourseBadgeMapping, now: datetime) -> Iterator[Meaning]:
    connection = mapping.connection
    if mapping.badge_problem:
        # It says what to do itself.
        yield Meaning(mapping.badge_problem, "")
    if reason := mapping.hold_reason:
        yield MEANINGS[reason]
    elif connection.not_before and connection.not_before > now and connection.last_outcome:
        yield MEANINGS[connection.last_outcome]


def _on_course(course: Course) -> Iterator[Meaning]:
    if course.completion_enabled is False:
        yield Meaning(
            _("Completion tracking is switched off in this course, so nobody can complete it."),
            _("Switch it on in the course's settings in Moodle, and set the completion criteria."),
        )
    if course.error:
        yield Meaning(_("The portal could not read this course from Moodle."), course.error)


def _on_site(site: MoodleSite) -> Iterator[Meaning]:
    if not site.enabled:
        yield Meaning(_("The portal does not read this Moodle site at present."), ASK_AN_ADMIN)
    # Without failed polls the text is about single courses, which are not this manager's to know.
    elif site.failures and site.error:
        yield Meaning(_("The portal could not read Moodle when it last tried."), site.error)
