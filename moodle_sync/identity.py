"""Whether a site is still the same Moodle.

A person is (site, Moodle user id), so behind the same address and token another Moodle would give one person's badge
to another. Whatever looks like another Moodle stops the site with a question to an admin.
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

# So many known learners with another name and another address since the last full reading are another Moodle's, if they
# are this share of all known ones.
STRANGERS_AT_LEAST = 3
STRANGERS_SHARE = 0.001
LEARNERS_TO_COMPARE = 20


class AnotherMoodle(Exception):
    """This may be another Moodle; the text is the question to an admin. Nothing was stored of what was read."""


def address_of(url: str) -> str:
    """A site's address to be compared: without scheme, port of the scheme, case, and slash at the end."""
    parts = urlsplit(url)
    port = "" if parts.port in (None, 80, 443) else f":{parts.port}"
    return f"{(parts.hostname or '').lower()}{port}{parts.path.rstrip('/').lower()}"


def has_been_read(site: MoodleSite) -> bool:
    """Whether any person is known from the site."""
    return Learner.objects.filter(site=site).exists()


def question(reason: str) -> str:
    """The question to an admin, for this reason."""
    return _(
        "Is this still the same Moodle? %(reason)s Until you say so, nothing is read from it and nothing is sent. If "
        "it is the same, confirm it on the site's page (“It is the same Moodle”). If it is another one, connect that "
        "as a new site under another name, and untick “enabled” of this one, so that nobody takes over another "
        "person's badges."
    ) % {"reason": reason}


def address_changed(before: str, after: str) -> str:
    """The question for an address that changed."""
    return question(
        _("It was %(before)s, and now it is %(after)s.") % {"before": address_of(before), "after": address_of(after)}
    )


def see_that_the_address_is_the_same(state: MoodleSiteState, siteurl: str) -> None:
    """Compare the address by which Moodle names itself with the one known. Raises AnotherMoodle."""
    if not state.wwwroot or address_of(state.wwwroot) == address_of(siteurl) or state.accepts_changes:
        return
    if has_been_read(state.site):
        raise AnotherMoodle(address_changed(state.wwwroot, siteurl))


def see_that_people_are_the_same(poll: Poll, completed: Completed) -> None:
    """Compare known learners with what Moodle says of them now. Raises AnotherMoodle if many are somebody else.

    Counted are those met since the last full reading: a quiet site meets one or two in a poll.
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
    """Whether they are another Moodle's: a few at least, most of all who changed, and not a handful of many."""
    if state.strangers < STRANGERS_AT_LEAST or state.strangers * 2 < state.people_changed:
        return False
    return state.strangers >= STRANGERS_SHARE * site.learners.count()


def compare_people(site: MoodleSite, completed: Completed) -> tuple[set[int], set[int]]:
    """The Moodle ids of the known learners whose profile changes, and of those who seem to be somebody else now."""
    whole = {"firstname", "lastname", "email"}
    people = {
        user_id: fields
        for user_id, fields in profiles(completed.seen, completed.facts).items()
        if whole <= fields.keys()
    }
    rows = site.learners.filter(moodle_id__in=people, erased_at=None, deleted=False).exclude(email="")
    changed, strangers = set(), set()
    for row in rows:
        fields = people[row.moodle_id]
        if any(not is_same(getattr(row, name), fields[name]) for name in whole):
            changed.add(row.moodle_id)
        if _is_somebody_else(row, fields):
            strangers.add(row.moodle_id)
    return changed, strangers


def _is_somebody_else(row: Learner, fields: dict[str, str | bool]) -> bool:
    """Whether both parts of the name, and the address, are others than before."""
    return (
        row.firstname != fields["firstname"]
        and row.lastname != fields["lastname"]
        and row.email_key != fields["email_key"]
    )


def see_that_courses_are_the_same(poll: Poll, renamed: Sequence[tuple[Course, str]]) -> None:
    """Ask whether courses of which both names changed at once are other courses. Raises AnotherMoodle.

    `renamed` are such courses with their new names. A few of many may have been renamed by their teachers; where it is
    the only mapped one, its learners tell.
    """
    if not renamed or len(renamed) * 2 < len(poll.wanted) or poll.state.accepts_changes:
        return
    if len(renamed) == 1 and not _learners_are_others(poll, renamed[0][0]):
        return
    examples = "; ".join(f"“{course}” → “{name}”" for course, name in renamed[:3])
    raise AnotherMoodle(
        question(
            _("%(changed)d of %(known)d mapped courses have other names: %(examples)s.")
            % {"changed": len(renamed), "known": len(poll.wanted), "examples": examples}
        )
    )


def _learners_are_others(poll: Poll, course: Course) -> bool:
    """Whether most of the course's last known learners are gone or somebody else in Moodle now."""
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
    """An admin says that it is the same Moodle: everything is read again, and what has changed is accepted."""
    MoodleSiteState.objects.filter(site=site).update(
        doubt="", error="", confirmed_at=now, accepts_changes=True, people_changed=0, strangers=0,
        read_whole_at=None, checked_at=None, next_poll_at=None, failures=0,
    )  # fmt: skip
