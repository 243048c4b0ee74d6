"""The start page of the admin: one line on how the portal is doing, what needs a person, numbers, and days.

All of it is read at most once in CACHED_FOR, whoever looks. Nothing in it depends on who that is: the door shows it
only to those who may see connections, sites and issuances.
"""

from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from zlib import crc32

from django.core.cache import cache
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from .counting import count_up_to
from .days import Day, is_counted, last_days
from .models import Issuance
from .moments import in_words
from .overview import Overview, look
from .problems import Place, Problem, missing, problems_of, rows

State = Issuance.State

CACHED_FOR = timedelta(seconds=5)
# How far issuances of a state are counted.
MOST_COUNTED = 10_000
# How many days the charts show.
DAYS = 30


class Tone:
    """How the line is to be read."""

    GOOD, WARNING, BAD, NOT_SET_UP = "good", "warning", "bad", "not-set-up"


@dataclass(frozen=True, slots=True)
class Number:
    """One number with its name, and the list of what was counted."""

    label: str
    count: int
    place: Place
    # Whether there are more.
    is_cut: bool = False

    def __str__(self) -> str:
        return f"{self.count:,}{'+' if self.is_cut else ''}"


@dataclass(frozen=True, slots=True)
class Dashboard:
    """All that the start page shows. `numbers` and `days` are of one environment: test badges are counted apart."""

    at: datetime
    tone: str
    is_set_up: bool
    # When the site that was read longest ago was read; None while there is none.
    read_at: datetime | None
    issued_today: int
    waiting: Number
    problems: list[Problem]
    environment: str
    has_both: bool
    numbers: list[Number]
    days: list[Day]
    # Whether all of these days are counted.
    is_counted: bool

    def words(self, now: datetime) -> list[str]:
        """The line, part by part: "Moodle read 12 s ago", "41 issued today", "0 waiting"."""
        if self.tone == Tone.NOT_SET_UP:
            return [_("Not set up yet")]
        read = (
            _("Moodle read %(ago)s ago") % {"ago": in_words(now - self.read_at)}
            if self.read_at
            else _("Moodle not read")
        )
        words = [read, _("%(number)s issued today") % {"number": f"{self.issued_today:,}"}]
        words.append(_("%(number)s waiting") % {"number": self.waiting})
        if self.tone == Tone.BAD:
            stopped = [problem.what for problem in self.problems if problem.stops]
            return [stopped[0], *words]
        if self.problems:
            number = len(self.problems)
            words.append(ngettext("%(number)d problem", "%(number)d problems", number) % {"number": number})
        return words


# What another version of the portal has cached, with other fields, is not read.
_SHAPE = crc32(repr([[field.name for field in fields(kind)] for kind in (Dashboard, Number, Problem, Day)]).encode())


def dashboard(*, now: datetime) -> Dashboard:
    """The start page as it was at most CACHED_FOR ago. One query, or those of `build` and of keeping it."""
    key = f"dashboard-{_SHAPE}-{get_language()}"
    kept: Dashboard | None = cache.get(key)
    # Not what an older or a later clock has left.
    if kept is not None and timedelta() <= now - kept.at <= CACHED_FOR:
        return kept
    built = build(now=now)
    cache.set(key, built, timeout=CACHED_FOR.total_seconds())
    return built


def build(*, now: datetime) -> Dashboard:
    """Read everything anew. At most 28 queries, however much there is."""
    view = look(now)
    problems, is_set_up = problems_of(view), not missing(view)
    days = last_days(DAYS, view.environment, now=now)
    waiting, held = view.waiting_to_be_sent(view.environment)
    filters = {"environment": view.environment} if view.has_both else {}
    place = rows(Issuance, state__exact=State.QUEUED, **filters)
    sent_soon = Number(_("Waiting"), waiting + view.sending[view.environment], place)
    return Dashboard(
        at=now,
        tone=_tone(problems, is_set_up=is_set_up),
        is_set_up=is_set_up,
        read_at=_read_at(view),
        issued_today=days[-1].issued or 0,
        waiting=sent_soon,
        problems=problems,
        environment=view.environment,
        has_both=view.has_both,
        numbers=[*_issued(days, filters), sent_soon, *_stopped(view, held, filters)],
        days=days,
        is_counted=is_counted(days),
    )


def _tone(problems: list[Problem], *, is_set_up: bool) -> str:
    stops = sum(problem.stops for problem in problems)
    if not is_set_up and stops == 1:
        # Nothing stands still but for that.
        return Tone.NOT_SET_UP
    if stops:
        return Tone.BAD
    return Tone.WARNING if problems else Tone.GOOD


def _read_at(view: Overview) -> datetime | None:
    """When the site that was read longest ago was read. None if one was never read."""
    times = [site.state.last_poll_at for site in view.sites.values() if site.enabled]
    read = [at for at in times if at is not None]
    return min(read) if read and len(read) == len(times) else None


def _issued(days: list[Day], filters: dict[str, str]) -> list[Number]:
    """What was issued today, in 7 and in 30 days."""
    spans = [(1, _("Issued today")), (7, _("Issued in 7 days")), (30, _("Issued in 30 days"))]
    return [
        Number(
            label, sum(day.issued or 0 for day in days[-number:]), rows(Issuance, when=f"issued_{number}", **filters)
        )
        for number, label in spans
    ]


def _stopped(view: Overview, held: int, filters: dict[str, str]) -> list[Number]:
    """What is held, needs a person, or was not met. Three queries."""
    connections = [row.pk for row in view.connections.values() if row.environment == view.environment]
    labels = {State.FAILED: _("Needs a person"), State.HELD: _("Held"), State.NOT_MET: _("Requirement not met")}
    numbers = []
    for state, label in labels.items():
        found = Issuance.objects.filter(state=state, connection__in=connections)
        count = count_up_to(found, MOST_COUNTED)
        count += held if state == State.HELD else 0
        place = rows(Issuance, state__exact=state, **filters)
        numbers.append(Number(label, min(count, MOST_COUNTED), place, count > MOST_COUNTED))
    return numbers
