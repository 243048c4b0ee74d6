"""Texts for course managers: what a reason means, and what needs attention on a course, each with what to do.

The texts for site admins are in `badging/meanings.py`. Here are those that differ for people who cannot enter the
admin, and those about courses and Moodle sites.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from moodle_sync.models import Course, MoodleSite

from ..meanings import AWAITS_ANSWER, MEANINGS, Meaning, Outcome
from ..models import CourseBadgeMapping, Past
from ..successors import Successor, deletion_advice

ASK_AN_ADMIN = _("Tell a site admin.")
DELETED = _("This course was deleted in Moodle, so nobody can complete it any more.")
CONFIRM_THE_SITE = _("A site admin must say whether it is still the same Moodle; then it goes on by itself.")

# Reasons whose advice in MEANINGS leads to the admin or to Moodle's roles, with advice for a course manager instead.
_ADVICE_FOR_MANAGERS: dict[str, Promise] = {
    Outcome.TOKEN_REFUSED: _(
        "A site admin must reconnect Navigatr with a new token; what waits then goes on by itself."
    ),
    Outcome.CONNECTION_PAUSED: _("A site admin must reconnect it with a new token; what waits then goes on by itself."),
    Outcome.CONNECTION_REMOVED: _(
        "A site admin must reconnect it with a new token; what waits then goes on by itself."
    ),
    Outcome.MAPPING_DISABLED: _("A site admin must enable the mapping again; what waits then goes on by itself."),
    Outcome.NOT_OPEN: _(
        "A site admin can open the connection to this course; what waits then goes on by itself. Or choose a badge of "
        "another connection."
    ),
    Outcome.PAST_WAITS: _(
        "Nothing to do while they are counted. If there are too many, a site admin must release them; they are then "
        "sent by themselves."
    ),
    Outcome.LOOKUP_REFUSED: _(
        "Tell a site admin: somebody must look in Navigatr whether the learner has the badge, and only if not, send it "
        "again."
    ),
    Outcome.GAVE_UP: _(
        "If Navigatr works again for other learners, use “Send again”. If it does not, tell a site admin."
    ),
    Outcome.BY_HAND: _("Nothing to do. A site admin can take it back."),
    Outcome.OUR_BUG: _("Tell a site admin: the server's log says more."),
    Outcome.REJECTED: _("Tell a site admin, who can read Navigatr's reason and then send it again."),
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

# A web-service function and its error code: " (core_x_y: nopermissions)" at a line's end
_FUNCTION_AND_CODE = re.compile(r" \(\w+_\w+: .*\)$", re.MULTILINE)
# The name of a function or a capability: "core_x_y", "moodle/site:view".
_CODE_NAME = re.compile(r"[a-z]+_[a-z_]+|[a-z]+/[a-z]+:[a-z]+")


class Note(NamedTuple):
    """What is wrong, what to do, and perhaps a link to where that is done."""

    what: "str | Promise"
    todo: "str | Promise"
    url: str = ""
    link: "str | Promise" = ""


NO_SCORES = Note(
    _("No learner who has completed this course has a score that the portal can see, so nobody gets the badge."),
    _("Set the course's grades up in Moodle, or press “Change badge” and remove the minimum score."),
)


def for_managers(reason: str) -> Meaning | None:
    """What the reason means and what to do, for somebody who cannot enter the admin; None without a reason."""
    meaning = MEANINGS.get(reason)
    return Meaning(meaning.what, _ADVICE_FOR_MANAGERS.get(reason, meaning.todo)) if meaning else None


def notes_on(
    course: Course, mapping: CourseBadgeMapping | None, now: datetime, successor: Successor | None = None
) -> list[Note]:
    """What needs attention: first the course, then its badge and connection, then Moodle. Makes no queries.

    Without a mapping only a deleted course is worth a note.
    """
    deleted = course.gone_at is not None
    if mapping is None:
        return [Note(DELETED, _("Choose a badge for the course that took its place."))] if deleted else []
    notes = [Note(DELETED, *deletion_advice(successor))] if deleted else []
    return [*notes, *_on_mapping(mapping, now), *_on_course(course), *_on_site(course.site)]


def _on_mapping(mapping: CourseBadgeMapping, now: datetime) -> Iterator[Note]:
    connection = mapping.connection
    if mapping.badge_problem:
        # The text itself says what to do.
        yield Note(mapping.badge_problem, "")
    reason = str(mapping.hold_reason or "")
    if not reason and connection.not_before and connection.not_before > now:
        reason = connection.last_outcome
    if meaning := for_managers(reason):
        yield Note(*meaning)
    if note := _on_past(mapping):
        yield note


def _on_past(mapping: CourseBadgeMapping) -> Note | None:
    """What past completions wait for."""
    if mapping.past_release == Past.COUNTING:
        return Note(
            _("The badges of learners who have already completed this course wait until the portal has counted them."),
            _("Nothing to do: it counts them when it next reads the course from Moodle."),
        )
    if mapping.past_release == Past.OVER:
        what = _(
            "More than %(limit)d learners have already completed this course, so their badges wait. Badges of learners "
            "who complete it now are sent."
        )
        return Note(what % {"limit": mapping.connection.past_limit}, _("A site admin must release them."))
    if mapping.past_release == Past.LOOKED_AT:
        what = _("A site admin holds the badges of learners who had completed this course before it awarded the badge.")
        return Note(what, _("A site admin must release them."))
    return None


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
        yield Note(AWAITS_ANSWER.what, CONFIRM_THE_SITE)
    # While polls succeed the text is about single courses, which this manager may not see.
    elif site.state.failures and site.state.error:
        yield Note(
            _("The portal could not read Moodle when it last tried. It tries again by itself."),
            _in_plain_words(site.state.error),
        )


def _in_plain_words(error: str) -> "str | Promise":
    """An error's advice without error codes, or ASK_AN_ADMIN where only a Moodle administrator would understand it."""
    advice = _FUNCTION_AND_CODE.sub("", error)
    return ASK_AN_ADMIN if _CODE_NAME.search(advice) else advice
