"""Whether a site is still the same Moodle.

A person is (site, Moodle user id), so behind the same address and token another Moodle would give one person's badge
to another. Whatever looks like another Moodle stops the site with a question to an admin.
"""

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from .client.records import LearnerFacts
from .completing import Key
from .models import Course, Learner, MoodleSite, MoodleSiteState
from .reading import Poll, Seen
from .storing import profiles

# So many known people whose name and address both changed in one poll, and this share of all known ones in it.
CHANGED_AT_LEAST = 3
CHANGED_SHARE = 0.3


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
        "as a new site, so that nobody takes over another person's badges."
    ) % {"reason": reason}


def address_changed(before: str, after: str) -> str:
    """The question for an address that changed."""
    return question(
        _("It was %(before)s, and now it is %(after)s.") % {"before": address_of(before), "after": address_of(after)}
    )


def see_that_the_address_is_the_same(state: MoodleSiteState, siteurl: str) -> None:
    """Compare the address by which Moodle names itself with the one known. Raises AnotherMoodle."""
    if not state.wwwroot or address_of(state.wwwroot) == address_of(siteurl) or _is_confirmed(state):
        return
    if has_been_read(state.site):
        raise AnotherMoodle(address_changed(state.wwwroot, siteurl))


def see_that_people_are_the_same(poll: Poll, seen: Sequence[Seen], facts: dict[Key, LearnerFacts]) -> None:
    """Compare known learners with what is told of them now. Raises AnotherMoodle if many are somebody else."""
    whole = {"firstname", "lastname", "email"}
    people = {user_id: fields for user_id, fields in profiles(seen, facts).items() if whole <= fields.keys()}
    if not people or _is_confirmed(poll.state):
        return
    for row in poll.site.learners.filter(moodle_id__in=people, erased_at=None, deleted=False).exclude(email=""):
        poll.people_known += 1
        poll.people_changed += _is_somebody_else(row, people[row.moodle_id])
    if poll.people_changed >= max(CHANGED_AT_LEAST, CHANGED_SHARE * poll.people_known):
        raise AnotherMoodle(
            question(
                _("%(changed)d of %(known)d known learners have another name and another address at once.")
                % {"changed": poll.people_changed, "known": poll.people_known}
            )
        )


def _is_somebody_else(row: Learner, fields: dict[str, str | bool]) -> bool:
    """Whether both parts of the name, and the address, are others than before."""
    return (
        row.firstname != fields["firstname"]
        and row.lastname != fields["lastname"]
        and row.email_key != fields["email_key"]
    )


def see_that_courses_are_the_same(poll: Poll, renamed: Sequence[tuple[Course, str]], looked_at: int) -> None:
    """Ask whether courses of which both names changed at once are other courses. Raises AnotherMoodle.

    `renamed` are such courses with their new names. A single one may have been renamed by its teacher.
    """
    if len(renamed) < 2 or len(renamed) * 2 < looked_at or _is_confirmed(poll.state):
        return
    examples = "; ".join(f"“{course}” → “{name}”" for course, name in renamed[:3])
    raise AnotherMoodle(
        question(
            _("%(changed)d of %(known)d mapped courses have other names: %(examples)s.")
            % {"changed": len(renamed), "known": looked_at, "examples": examples}
        )
    )


def _is_confirmed(state: MoodleSiteState) -> bool:
    """Whether an admin has confirmed the site since it was last read whole: what is different now is accepted."""
    confirmed = state.confirmed_at
    return confirmed is not None and (state.read_whole_at is None or confirmed >= state.read_whole_at)


def confirm_same(site: MoodleSite, now: datetime) -> None:
    """An admin says that it is the same Moodle: everything is read again, and what has changed is accepted."""
    MoodleSiteState.objects.filter(site=site).update(
        doubt="", error="", confirmed_at=now, read_whole_at=None, checked_at=None, next_poll_at=None, failures=0
    )
