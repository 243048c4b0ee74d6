"""The start page of the admin, its parts that refresh by themselves, and the page with all problems.

`badging.dashboard` knows what stands there; this makes addresses of places, and decides who sees it.
"""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.conf import settings
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET

from .. import by_itself, page_permissions
from ..dashboard import Dashboard, Tone, dashboard
from ..days import Day
from ..first_run import may_set_up
from ..problems import SET_UP, Place, Problem
from ..reach import is_site_admin
from .display import seconds

# How many problems the start page shows.
SHOWN = 10
_SECOND, _MINUTE = timedelta(seconds=1), timedelta(minutes=1)
# How the line looks: the classes of `.note`.
LOOKS = {Tone.GOOD: "success", Tone.WARNING: "warning", Tone.BAD: "error", Tone.NOT_SET_UP: "warning"}


class Line(NamedTuple):
    """The line: its looks, its text, what of it is worth being read aloud when it changes, and where to set up."""

    looks: str
    text: str
    said: str
    set_up_url: str


class Row(NamedTuple):
    """A problem as a page shows it."""

    problem: Problem
    url: str
    fix_url: str


class Card(NamedTuple):
    """A number, and where its rows are."""

    label: str
    number: str
    url: str


class DayRow(NamedTuple):
    """A line of the table beside the charts."""

    day: str
    issued: str
    failed: str
    median: str
    p95: str


def may_see(user: Any) -> bool:
    """Whether the user may see how the portal is doing."""
    return bool(user.has_perms(page_permissions.PROBLEMS))


def start_context(user: Any) -> dict[str, Any]:
    """What the start page shows, {} for who may not see it."""
    if not may_see(user):
        return {}
    now = timezone.now()
    shown = dashboard(now=now)
    found = _problems(shown)
    return {
        "line": _line(shown, now, user),
        "problems": _rows(found[:SHOWN], user),
        "more_problems": max(0, len(found) - SHOWN),
        "cards": [Card(number.label, str(number), url_of(number.place)) for number in shown.numbers],
        "dashboard": shown,
        "days": [_day_row(day) for day in reversed(shown.days)],
        "charts": _charts(shown.days),
    }


@require_GET
def parts(request: HttpRequest) -> HttpResponse:
    """The parts of the start page, which fetches them every few seconds. Does not keep the session alive."""
    if not may_see(request.user):
        raise PermissionDenied
    by_itself.mark(request)
    return render(request, "admin/start_parts.html", start_context(request.user))


@require_GET
def problems(request: HttpRequest) -> HttpResponse:
    """All that needs a person."""
    if not may_see(request.user):
        raise PermissionDenied
    now = timezone.now()
    shown = dashboard(now=now)
    context = {
        "title": _("What needs a person"),
        "line": _line(shown, now, request.user),
        "problems": _rows(_problems(shown), request.user),
    }
    return render(request, "admin/problems.html", admin.site.each_context(request) | context)


def url_of(place: Place) -> str:
    """The address of a place."""
    return reverse(place.name, args=place.args, query=dict(place.query) or None)


def _problems(shown: Dashboard) -> list[Problem]:
    """All of them, and after them what is advised."""
    return [*shown.problems, *_advice()]


def _advice() -> list[Problem]:
    """What is advised of every portal in service; the demo asks for nothing. Without it all may be well."""
    if settings.REQUIRE_SECOND_FACTOR or settings.SANDBOX_URL:
        return []
    todo = _("Whoever runs the server can set REQUIRE_SECOND_FACTOR=true. Your own second factor you add here.")
    return [Problem(_("Staff can sign in with a password alone"), todo, Place("account"))]


def _line(shown: Dashboard, now: datetime, user: Any) -> Line:
    # Without the times: they change every few seconds.
    first = shown.problems[0].what if shown.problems else ""
    said = f"{shown.tone} {len(shown.problems)} {first}"
    set_up_url = "" if shown.is_set_up or not may_set_up(user) else url_of(SET_UP)
    return Line(LOOKS[shown.tone], " · ".join(shown.words(now)), said, set_up_url)


def _rows(found: list[Problem], user: Any) -> list[Row]:
    """Links to where something is set up, or a badge chosen, are for those who may do so."""
    solves, sets_up = is_site_admin(user), may_set_up(user)
    return [
        Row(
            problem,
            "" if problem.place == SET_UP and not sets_up else url_of(problem.place),
            url_of(problem.fix) if problem.fix and solves else "",
        )
        for problem in found
    ]


def _day_row(day: Day) -> DayRow:
    return DayRow(
        date_format(day.day, "j M"),
        "–" if day.issued is None else f"{day.issued:,}",
        "–" if day.failed is None else f"{day.failed:,}",
        "–" if day.median_delay is None else seconds(day.median_delay),
        "–" if day.p95_delay is None else seconds(day.p95_delay),
    )


def _charts(days: list[Day]) -> dict[str, Any]:
    """The data of both charts, for `start.js`. Delays are in minutes, or in seconds if all are short."""
    longest = max((day.p95_delay for day in days if day.p95_delay is not None), default=timedelta())
    unit, name = (_MINUTE, _("minutes")) if longest >= 2 * _MINUTE else (_SECOND, _("seconds"))
    return {
        "days": [date_format(day.day, "j M") for day in days],
        "issued": {"label": _("Issued"), "data": [day.issued for day in days]},
        "failed": {"label": _("Failed"), "data": [day.failed for day in days]},
        "median": {"label": _("Half took no longer"), "data": [_in_units(day.median_delay, unit) for day in days]},
        "p95": {"label": _("95 of 100 took no longer"), "data": [_in_units(day.p95_delay, unit) for day in days]},
        "unit": name,
    }


def _in_units(delay: timedelta | None, unit: timedelta) -> float | None:
    return None if delay is None else round(delay / unit, 2)
