"""Setting the portal up, in five steps from an empty portal to the first badge.

Nothing about it is stored: each step asks the database whether it is done, and what is wrong if it is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from moodle_sync.models import Course, MoodleSite
from moodle_sync.site_check import finding_text

from . import page_permissions, schedule
from .following import Reading, next_reading
from .meanings import MEANINGS
from .models import ConnectionGrant, CourseBadgeMapping, Issuance, NavigatrConnection
from .moments import moment
from .problems import completion_is_off
from .status import connection_reason, slow_feed, why_stopped
from .troubles import wrong_with_mapping

# How many connections, sites and mappings are looked at: the newest.
MOST_LOOKED_AT = 20


class Key(StrEnum):
    """The steps, in their order."""

    NAVIGATR = "navigatr"
    MOODLE = "moodle"
    OPENING = "opening"
    MAPPING = "mapping"
    VERIFICATION = "verification"


class Progress(StrEnum):
    """How a step stands."""

    DONE = "done"
    TODO = "todo"
    WRONG = "wrong"


TITLES: dict[Key, Promise] = {
    Key.NAVIGATR: gettext_lazy("Connect Navigatr"),
    Key.MOODLE: gettext_lazy("Connect Moodle"),
    Key.OPENING: gettext_lazy("Open the connection to courses"),
    Key.MAPPING: gettext_lazy("Choose the first badge"),
    Key.VERIFICATION: gettext_lazy("See a badge arrive"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step: how it stands, and in `text` what was done, what is to be done, or what is wrong and what to do.

    `about` is the row that it is about: the connection, site or course that is there already. `waits` says that an
    earlier step comes first.
    """

    key: Key
    progress: Progress
    text: str
    about: Any = None
    waits: bool = False

    @property
    def number(self) -> int:
        """Its place, from 1."""
        return list(Key).index(self.key) + 1

    @property
    def title(self) -> str:
        """What is done in this step."""
        return str(TITLES[self.key])

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do in it."""
        return self.progress == Progress.DONE


def may_set_up(user: Any) -> bool:
    """Whether the user may take all the steps."""
    return bool(user.is_active and user.is_staff and user.has_perms(page_permissions.SET_UP))


def is_done() -> bool:
    """Whether the portal has issued a badge, so that all of it works. One query that an index answers."""
    return Issuance.objects.filter(state=Issuance.State.ISSUED).order_by().exists()


def steps(now: datetime) -> list[Step]:
    """The five steps as they stand now. Twelve small queries at most."""
    connections = list(NavigatrConnection.objects.defer("pat").order_by("-pk")[:MOST_LOOKED_AT])
    sites = MoodleSite.objects.select_related("state").defer("token").order_by("-pk")[:MOST_LOOKED_AT]
    troubles = schedule.problems(now)
    found = [
        _navigatr(connections, now),
        _moodle([(site, _wrong_with_site(site, next_reading(site, now, troubles))) for site in sites]),
    ]
    found.append(_opening(connections, ready=found[0].is_done))
    found.append(_mapping(found[1], ready=found[0].is_done and found[1].is_done, now=now))
    found.append(_verification(found[3].about, ready=found[3].is_done))
    return found


def next_step(found: Sequence[Step]) -> Step | None:
    """The first step that is not done; None when all are."""
    return next((step for step in found if not step.is_done), None)


def _navigatr(connections: Sequence[NavigatrConnection], now: datetime) -> Step:
    """Done when one connection can be used to issue badges."""
    if not connections:
        return Step(Key.NAVIGATR, Progress.TODO, _("Enter the Personal Access Token of a Navigatr account."))
    troubles = [(connection, _wrong_with(connection, now)) for connection in connections]
    working = [connection for connection, trouble in troubles if not trouble]
    if not working:
        connection, trouble = troubles[0]
        return Step(Key.NAVIGATR, Progress.WRONG, f"{connection}: {trouble}", connection)
    connection = working[-1]
    text = ngettext(
        "%(connection)s is connected as %(account)s, and issues for %(count)d provider.",
        "%(connection)s is connected as %(account)s, and issues for %(count)d providers.",
        len(connection.providers),
    )
    values = {"connection": connection, "account": connection.account, "count": len(connection.providers)}
    return Step(Key.NAVIGATR, Progress.DONE, text % values, connection)


def _wrong_with(connection: NavigatrConnection, now: datetime) -> str:
    """Why no badge can be issued with it, and what to do, or ""."""
    if connection.hold_reason:
        return f"{why_stopped(connection)}. {MEANINGS[connection.hold_reason].todo}"
    if connection.tested_at and not (connection.test_ok and connection.providers):
        return connection.test_message
    reason = connection_reason(connection, now)
    return _("%(reason)s. Nothing to do: it goes on by itself.") % {"reason": reason} if reason else ""


def _moodle(troubles: Sequence[tuple[MoodleSite, str]]) -> Step:
    """Done when completions can be read from one site. Each site comes with what is wrong with it."""
    if not troubles:
        text = _("A Moodle administrator prepares Moodle once and gives you a token; the page says what to click.")
        return Step(Key.MOODLE, Progress.TODO, text)
    working = [site for site, trouble in troubles if not trouble]
    if not working:
        site, trouble = troubles[0]
        return Step(Key.MOODLE, Progress.WRONG, f"{site}: {trouble}", site)
    site = working[-1]
    text = _("%(site)s is connected.") % {"site": site}
    return Step(Key.MOODLE, Progress.DONE, " ".join(filter(None, [text, slow_feed(site)])), site)


def _wrong_with_site(site: MoodleSite, reading: Reading) -> str:
    """Why nothing can be read from it, and what to do, or ""."""
    if reading.stopped:
        return f"{reading.text} {reading.todo}"
    lacks = [finding for finding in site.state.findings if not finding["ok"]]
    if not site.state.feed:
        return " ".join([_("Completions cannot be read yet."), *map(finding_text, lacks)])
    # With completion tracking off everything can be read, and nobody completes anything.
    return completion_is_off(site)


def _opening(connections: Sequence[NavigatrConnection], *, ready: bool) -> Step:
    """Done when a connection is open to somebody, or site admins choose badges themselves."""
    removed = NavigatrConnection.State.REMOVED
    grants = ConnectionGrant.objects.exclude(connection__state=removed).select_related("connection", "site", "user")
    if grant := grants.order_by("pk").first():
        text = _("%(connection)s is open to: %(target)s.") % {"connection": grant.connection, "target": grant.label}
        return Step(Key.OPENING, Progress.DONE, text, grant.connection)
    if CourseBadgeMapping.objects.filter(by_admin=True).exists():
        text = _("No connection is open to anybody. Site admins choose the badges themselves, which needs no opening.")
        return Step(Key.OPENING, Progress.DONE, text)
    text = _("A new connection is open to nobody but site admins. Say which courses, or whose, may use it.")
    about = next((row for row in connections if row.state != removed), None)
    return Step(Key.OPENING, Progress.TODO, text, about, waits=not ready)


def _mapping(moodle: Step, *, ready: bool, now: datetime) -> Step:
    """Done when one course awards a badge, and nothing holds it."""
    rows = CourseBadgeMapping.objects.with_reach().select_related("connection", "course__site__state")
    mappings = list(rows.order_by("-pk")[:MOST_LOOKED_AT])
    if not mappings:
        return _no_mapping(moodle, ready=ready, now=now)
    troubles = [(mapping, wrong_with_mapping(mapping)) for mapping in mappings]
    working = [mapping for mapping, trouble in troubles if not trouble]
    if not working:
        mapping, trouble = troubles[0]
        return Step(Key.MAPPING, Progress.WRONG, f"{mapping.course}: {trouble}", mapping.course)
    mapping = working[-1]
    values = {"course": mapping.course, "badge": mapping.badge_name or mapping.badge_id}
    return Step(Key.MAPPING, Progress.DONE, _("%(course)s awards “%(badge)s”.") % values, mapping.course)


def _no_mapping(moodle: Step, *, ready: bool, now: datetime) -> Step:
    """What to do where no course awards a badge, and why there may be no courses to choose from."""
    if not ready or not isinstance(moodle.about, MoodleSite) or Course.objects.exists():
        text = _("Choose a course, and the badge that its learners get.")
        return Step(Key.MAPPING, Progress.TODO, text, waits=not ready)
    site = moodle.about
    text = _("No courses have been read from %(site)s yet.") % {"site": site}
    lacks = [finding_text(row) for row in site.state.findings if not row["ok"] and _concerns_courses(row["check"])]
    if lacks:
        return Step(Key.MAPPING, Progress.WRONG, " ".join([text, *lacks]), site)
    return Step(Key.MAPPING, Progress.WRONG, f"{text} {next_reading(site, now).text} {NO_COURSES}", site)


NO_COURSES = gettext_lazy("Courses are listed whenever the site is checked: press “Check now” on the site's page.")


def _concerns_courses(check: str) -> bool:
    return check == "courses" or check.startswith("function-core_course")


def _verification(course: Course | None, *, ready: bool) -> Step:
    """Done when a badge has reached somebody's Navigatr profile. `course` is one to try."""
    issued = Issuance.objects.filter(state=Issuance.State.ISSUED).select_related("course").order_by("pk").first()
    if issued is None:
        text = _("Complete the course in Moodle as a test learner, and see the badge arrive on the Navigatr profile.")
        return Step(Key.VERIFICATION, Progress.TODO, text, course, waits=not ready)
    values = {"badge": issued.badge_name or issued.badge_id, "course": issued.course}
    text = _("“%(badge)s” of %(course)s has reached a learner's Navigatr profile.") % values
    if issued.issued_at:
        values["time"] = moment(issued.issued_at)
        text = _("“%(badge)s” of %(course)s reached a learner's Navigatr profile: %(time)s.") % values
    return Step(Key.VERIFICATION, Progress.DONE, text, issued.course)
