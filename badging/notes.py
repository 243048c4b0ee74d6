"""What keeps a course's badges from being issued: each trouble in plain words, with what to do."""

from collections.abc import Iterator
from datetime import datetime

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from moodle_sync.models import Course, MoodleSite

from .meanings import MEANINGS, Meaning, Outcome
from .models import CourseBadgeMapping

ASK_AN_ADMIN = _("Tell a site admin.")

# What has to be done about these is done in the admin.
_FOR_AN_ADMIN: dict[str, Promise] = {
    Outcome.TOKEN_REFUSED: _(
        "A site admin must reconnect Navigatr with a new token; what waits then goes on by itself."
    ),
    Outcome.CONNECTION_PAUSED: _("A site admin must reconnect it with a new token; what waits then goes on by itself."),
    Outcome.CONNECTION_REMOVED: _(
        "A site admin must reconnect it, and enable its mappings again; what waits then goes on by itself."
    ),
    Outcome.MAPPING_DISABLED: _("A site admin must enable the mapping again; what waits then goes on by itself."),
    Outcome.OUR_BUG: _("Tell a site admin: the server's log says more."),
}


def for_managers(reason: str) -> Meaning | None:
    """What the reason means, and what to do, told to somebody who cannot enter the admin; None without a reason."""
    meaning = MEANINGS.get(reason)
    return meaning and meaning._replace(todo=_FOR_AN_ADMIN.get(reason, meaning.todo))


def notes_on(course: Course, mapping: CourseBadgeMapping, now: datetime) -> list[Meaning]:
    """All that is wrong with the mapped course's badge, connection and Moodle, the nearest first. Makes no queries."""
    return [*_on_mapping(mapping, now), *_on_course(course), *_on_site(course.site)]


def _on_mapping(mapping: CourseBadgeMapping, now: datetime) -> Iterator[Meaning]:
    connection = mapping.connection
    if mapping.badge_problem:
        # It says what to do itself.
        yield Meaning(mapping.badge_problem, "")
    reason = str(mapping.hold_reason or "")
    if not reason and connection.not_before and connection.not_before > now:
        reason = connection.last_outcome
    if meaning := for_managers(reason):
        yield meaning


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
    elif site.state.doubt or site.state.doubt:
        what = _("This Moodle site looks like another one than before, so nothing is read from it or sent.")
        yield Meaning(what, _("A site admin must say whether it is still the same Moodle."))
    # Without failed polls the text is about single courses, which are not this manager's to know.
    elif site.state.failures and site.state.error:
        yield Meaning(
            _("The portal could not read Moodle when it last tried. It tries again by itself."), site.state.error
        )
