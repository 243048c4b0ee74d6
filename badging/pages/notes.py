"""What keeps a course's badges from being issued: each trouble in plain words, with what to do."""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from moodle_sync.models import Course, MoodleSite

from ..meanings import AWAITS_ANSWER, MEANINGS, Meaning, Outcome
from ..models import CourseBadgeMapping, Issuance

ASK_AN_ADMIN = _("Tell a site admin.")
DELETED = _("This course was deleted in Moodle, so nobody can complete it any more.")
SAY_THAT_IT_IS_THE_SAME = _("A site admin must say whether it is still the same Moodle; then it goes on by itself.")

# What has to be done about these is done in the admin, or by whoever looks after Moodle's roles.
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
    Outcome.AWAITS_MOODLE: _(
        "Nothing to do: Moodle is asked again every few minutes. If the Moodle site is switched off for good, a site "
        "admin can send it without asking."
    ),
    Outcome.NAMES_HIDDEN: _(
        "A site admin must have the portal's account in Moodle allowed to see names and addresses. The badge is then "
        "sent by itself."
    ),
    Outcome.IMPLAUSIBLE_DATE: _(
        "Correct the date in Moodle, and it is sent by itself. Or ask a site admin to issue the badge all the same."
    ),
    Outcome.LEARNER_SUSPENDED: _(
        "Nothing to do: it is sent when the account is active again. A site admin can allow badges for suspended "
        "accounts."
    ),
    Outcome.NO_SCORE: _(
        "Nothing to do when the grade is still to come. Otherwise check in the gradebook whether the course total has "
        "a grade; if it has one, tell a site admin that the portal cannot see it."
    ),
    Outcome.SCORE_HIDDEN: _(
        "Show the course total in Moodle's gradebook, or lower or remove the minimum score; the badge is then sent by "
        "itself."
    ),
}

# Moodle's web-service functions, error codes and capabilities: " (core_x_y: nopermissions)", "moodle/site:view".
_WHERE_IT_FAILED = re.compile(r" \(\w+_\w+: .*\)$", re.MULTILINE)
_CODE_NAME = re.compile(r"[a-z]+_[a-z_]+|[a-z]+/[a-z]+:[a-z]+")


class Note(NamedTuple):
    """One trouble: what is wrong, what to do, and perhaps a link to where that is done."""

    what: "str | Promise"
    todo: "str | Promise"
    url: str = ""
    link: "str | Promise" = ""


class Successor(NamedTuple):
    """The course that most likely took the place of a deleted one; `url`: where to map it, "" for who may not."""

    course: Course
    url: str


def for_managers(reason: str) -> Meaning | None:
    """What the reason means, and what to do, told to somebody who cannot enter the admin; None without a reason."""
    meaning = MEANINGS.get(reason)
    return meaning and meaning._replace(todo=_FOR_AN_ADMIN.get(reason, meaning.todo))


def issuance_for_managers(issuance: Issuance) -> Meaning | None:
    """Why the issuance stands where it stands, and what to do; None where it only waits for its turn."""
    if issuance.awaits_answer:
        return AWAITS_ANSWER._replace(todo=SAY_THAT_IT_IS_THE_SAME)
    return for_managers(issuance.reason)


def notes_on(
    course: Course, mapping: CourseBadgeMapping | None, now: datetime, successor: Successor | None = None
) -> list[Note]:
    """All that is wrong with the course, its badge, connection and Moodle, the nearest first. Makes no queries.

    Without a mapping only what matters to whoever chooses a badge is told.
    """
    gone = course.gone_at is not None
    if mapping is None:
        return [Note(DELETED, _("Choose a badge for the course that took its place."))] if gone else []
    deleted = [deletion_note(successor)] if gone else []
    return [*deleted, *_on_mapping(mapping, now), *_on_course(course), *_on_site(course.site)]


def deletion_note(successor: Successor | None) -> Note:
    """What to do about a mapped course that was deleted in Moodle."""
    if successor is None:
        return Note(DELETED, _("If another course took its place, map that one. Then remove the badge here."))
    name = {"course": successor.course.full_label}
    if not successor.url:
        todo = gettext("Its successor seems to be “%(course)s”. Ask a site admin to assign that course to you.") % name
        return Note(DELETED, todo)
    todo = gettext("Its successor seems to be “%(course)s”. Choose the badge there, then remove it here.") % name
    return Note(DELETED, todo, successor.url, gettext("Choose a badge for “%(course)s”") % {"course": successor.course})


def _on_mapping(mapping: CourseBadgeMapping, now: datetime) -> Iterator[Note]:
    connection = mapping.connection
    if mapping.badge_problem:
        # It says what to do itself.
        yield Note(mapping.badge_problem, "")
    reason = str(mapping.hold_reason or "")
    if not reason and connection.not_before and connection.not_before > now:
        reason = connection.last_outcome
    if meaning := for_managers(reason):
        yield Note(*meaning)


def _on_course(course: Course) -> Iterator[Note]:
    if course.completion_enabled is False:
        yield Note(
            _("Completion tracking is switched off in this course, so nobody can complete it."),
            _("Switch it on in the course's settings in Moodle, and set the completion criteria."),
        )
    if course.error:
        yield Note(_("The portal could not read this course from Moodle."), _in_plain_words(course.error))


def _on_site(site: MoodleSite) -> Iterator[Note]:
    if not site.enabled:
        yield Note(_("The portal does not read this Moodle site at present."), ASK_AN_ADMIN)
    elif site.state.doubt:
        yield Note(AWAITS_ANSWER.what, SAY_THAT_IT_IS_THE_SAME)
    # Without failed polls the text is about single courses, which are not this manager's to know.
    elif site.state.failures and site.state.error:
        yield Note(
            _("The portal could not read Moodle when it last tried. It tries again by itself."),
            _in_plain_words(site.state.error),
        )


def _in_plain_words(error: str) -> "str | Promise":
    """What an error says to do, for a course manager: without codes, and not what only a Moodle administrator reads."""
    told = _WHERE_IT_FAILED.sub("", error)
    return ASK_AN_ADMIN if _CODE_NAME.search(told) else told
