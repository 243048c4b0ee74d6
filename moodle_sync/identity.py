"""Whether a site is still the same Moodle.

Learners are identified by site and Moodle user id. If another Moodle answers at the same address with the same token,
one person could get another person's badge. So signs of another Moodle stop the site with a question to an admin.
"""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from .client.functions import USERS
from .client.records import User
from .completing import Completed
from .models import Course, Learner, MoodleSite, MoodleSiteState
from .reading import Poll
from .storing import is_same, names_of, profiles

# Fewer strangers (known learners with another name and another address) raise no question.
STRANGERS_AT_LEAST = 3
# Nor does a smaller share of all known learners.
STRANGERS_SHARE = 0.001
# The latest learners of a course that are compared with their accounts.
LEARNERS_TO_COMPARE = 20
# Renamed courses that the question names.
MOST_EXAMPLES = 3


class AnotherMoodle(Exception):
    """The site may be another Moodle. The text is the question to an admin. What raised it was not stored."""


def address_of(url: str) -> str:
    """A site's address in the form in which it is compared: lower case, without scheme, its port, and last slash."""
    parts = urlsplit(url)
    port = "" if parts.port in (None, 80, 443) else f":{parts.port}"
    return f"{(parts.hostname or '').lower()}{port}{parts.path.rstrip('/').lower()}"


def has_been_read(site: MoodleSite) -> bool:
    """Whether any learner of the site is known."""
    return Learner.objects.filter(site=site).exists()


def question(reason: str) -> str:
    """The question to an admin, with its reason."""
    return _(
        "Is this still the same Moodle? %(reason)s Until you answer, nothing is read from it and nothing is sent. If "
        "it is the same, confirm it on the site's page (“It is the same Moodle”). If it is another one, connect that "
        "as a new site under another name, and untick “enabled” of this one, so that nobody takes over another "
        "person's badges."
    ) % {"reason": reason}


def address_changed(before: str, after: str) -> str:
    """The question about a changed address."""
    return question(
        _("It was %(before)s, and now it is %(after)s.") % {"before": address_of(before), "after": address_of(after)}
    )


def check_address(state: MoodleSiteState, siteurl: str) -> None:
    """Compare Moodle's own address with the known one. Raises AnotherMoodle."""
    if not state.wwwroot or address_of(state.wwwroot) == address_of(siteurl) or state.accepts_changes:
        return
    if has_been_read(state.site):
        raise AnotherMoodle(address_changed(state.wwwroot, siteurl))


def check_people(poll: Poll, completed: Completed) -> None:
    """Compare known learners with Moodle's answers. Raises AnotherMoodle if many are somebody else.

    Learners are counted over all polls since the last full reading, since one poll of a quiet site sees only a few.
    """
    state = poll.state
    changed, strangers = compare_people(poll.site, completed)
    if not changed or state.accepts_changes:
        return
    state.people_changed += len(changed)
    state.strangers += len(strangers)
    if strangers and _are_many(poll.site, state):
        raise AnotherMoodle(
            question(
                _("%(strangers)d known learners have another name and another address at once.")
                % {"strangers": state.strangers}
            )
        )
    counted = {"people_changed": state.people_changed, "strangers": state.strangers}
    MoodleSiteState.objects.filter(pk=state.pk).update(**counted)


def _are_many(site: MoodleSite, state: MoodleSiteState) -> bool:
    """Whether there are enough strangers, absolutely, among all changed learners, and among all known learners."""
    if state.strangers < STRANGERS_AT_LEAST or state.strangers * 2 < state.people_changed:
        return False
    return state.strangers >= STRANGERS_SHARE * site.learners.count()


def compare_people(site: MoodleSite, completed: Completed) -> tuple[set[int], set[int]]:
    """The Moodle ids of known learners whose name or address changed, and of those who seem to be somebody else.

    Only learners whose whole name and address are known are compared.
    """
    compared = {"firstname", "lastname", "email"}
    people = {
        user_id: fields
        for user_id, fields in profiles(completed.seen, completed.facts).items()
        if compared <= fields.keys()
    }
    rows = site.learners.filter(moodle_id__in=people, erased_at=None, deleted=False).exclude(email="")
    changed, strangers = set(), set()
    for row in rows:
        fields = people[row.moodle_id]
        if any(not is_same(getattr(row, name), fields[name]) for name in compared):
            changed.add(row.moodle_id)
        if _is_somebody_else(row, fields):
            strangers.add(row.moodle_id)
    return changed, strangers


def _is_somebody_else(row: Learner, fields: dict[str, str | bool]) -> bool:
    """Whether first name, last name and address all changed."""
    return (
        row.firstname != fields["firstname"]
        and row.lastname != fields["lastname"]
        and row.email_key != fields["email_key"]
    )


def check_courses(poll: Poll, renamed: Sequence[tuple[Course, str]]) -> None:
    """Check courses whose full name and short name changed at once. Raises AnotherMoodle.

    `renamed` has these courses with their new names. A minority of the mapped courses is accepted, since teachers
    rename courses. A single one raises the question only if its learners are others, too.
    """
    if not renamed or len(renamed) * 2 < len(poll.wanted) or poll.state.accepts_changes:
        return
    if len(renamed) == 1 and not _learners_are_others(poll, renamed[0][0]):
        return
    examples = "; ".join(f"“{course}” → “{name}”" for course, name in renamed[:MOST_EXAMPLES])
    raise AnotherMoodle(
        question(
            _("%(changed)d of %(known)d mapped courses have other names: %(examples)s.")
            % {"changed": len(renamed), "known": len(poll.wanted), "examples": examples}
        )
    )


def _learners_are_others(poll: Poll, course: Course) -> bool:
    """Whether most of the course's latest learners are missing in Moodle or somebody else."""
    if USERS not in poll.functions:
        return False
    known = Learner.objects.filter(completions__course=course, erased_at=None, deleted=False).exclude(email="")
    sample = {row.moodle_id: row for row in known.order_by("-completions__pk")[:LEARNERS_TO_COMPARE]}
    if not sample:
        return False
    users = poll.client.users(sample)
    others = 0
    for user_id, row in sample.items():
        user = users.get(user_id)
        if not isinstance(user, User):
            others += 1
        elif None not in (user.firstname, user.lastname, user.email):
            others += _is_somebody_else(row, names_of(user))
    return others * 2 > len(sample)


def confirm_same(site: MoodleSite, now: datetime) -> None:
    """Note an admin's answer that it is the same Moodle: everything is read again, and changes are accepted."""
    MoodleSiteState.objects.filter(site=site).update(
        doubt="", error="", confirmed_at=now, accepts_changes=True, people_changed=0, strangers=0,
        read_whole_at=None, checked_at=None, next_poll_at=None, failures=0,
    )  # fmt: skip
