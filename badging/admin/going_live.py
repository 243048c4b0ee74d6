"""The page "Go live": the courses of a connection to staging are moved to one to production together.

Three views of one address: the choice of the production connection (only where there are several), a table of the
courses with a badge for each, and what will happen, with how many real badges are mailed. Only the last one's button
changes anything. While Navigatr cannot be asked, the page says why.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from navigatr_client import NavigatrError
from vault.keys import WrongKey

from .. import catalogue, connections, going_live, past, reach, tasks
from ..catalogue import Catalogue
from ..going_live import Move, Offer, Offers
from ..mapping import version_of
from ..models import CourseBadgeMapping, Environment, NavigatrConnection
from ..waiting import Busy
from .display import counted, page_url

# How many courses one page shows, and how many badges each drop-down has.
MOST_COURSES = 25
MOST_OPTIONS = 60
# How many learners a page names.
MOST_NAMED = 50


class Line(NamedTuple):
    """One course on the page: what it awards, what it may award, what is chosen, and how many would be mailed."""

    mapping: CourseBadgeMapping
    groups: list[tuple[str, list[Offer]]]
    chosen: str
    with_past: bool
    already: str
    seen: str


class Confirmed(NamedTuple):
    """One course that is about to go live: how many get a real badge at once, and the names of the first of them.

    Of these `held` wait all the same. `is_read`: the course is being read, so that more may be found.
    """

    move: Move
    seen: str
    mailed: int = 0
    held: int = 0
    names: Sequence[str] = ()
    is_read: bool = False

    @property
    def more(self) -> int:
        """How many are not named."""
        return self.mailed - len(self.names)


class Choices(NamedTuple):
    """What was chosen on the page, and the courses that somebody has changed since."""

    moves: list[Move]
    changed: list[CourseBadgeMapping]


def may_go_live(user: Any) -> bool:
    """Whoever may change connections and the badge of every course."""
    return user.has_perm("badging.change_navigatrconnection") and reach.is_site_admin(user)


def view(request: HttpRequest, pk: int) -> HttpResponse:
    """The page of the staging connection `pk`."""
    if not may_go_live(request.user):
        raise PermissionDenied
    staging = get_object_or_404(NavigatrConnection, pk=pk, environment=Environment.STAGING)
    active = NavigatrConnection.objects.filter(
        environment=Environment.PRODUCTION, state=NavigatrConnection.State.ACTIVE
    )
    known = list(active.order_by("name")[:MOST_OPTIONS])
    production = _chosen_production(request, known)
    if production is None:
        return _show(request, staging, {"productions": known})
    try:
        with Catalogue(request.user.pk) as asking:
            offers = going_live.offers_of(asking, production)
    except (NavigatrError, WrongKey, catalogue.Resting, Busy) as error:
        why = connections.explain(error) if isinstance(error, NavigatrError) else str(error)
        return _show(request, staging, {"productions": known, "production": production, "problem": why})
    return _with_offers(request, staging, production, offers)


def _chosen_production(request: HttpRequest, known: Sequence[NavigatrConnection]) -> NavigatrConnection | None:
    """The connection in the address; the only one needs no choice."""
    wanted = request.GET.get("to", "")
    if not wanted and len(known) == 1:
        return known[0]
    return next((row for row in known if str(row.pk) == wanted), None)


def _with_offers(
    request: HttpRequest, staging: NavigatrConnection, production: NavigatrConnection, offers: Offers
) -> HttpResponse:
    """The table; after its button what will happen; after the button of that, the change itself."""
    step = request.POST.get("step", "") if request.method == "POST" else ""
    page = _page(request)
    rows = list(going_live.mappings_of(staging)[page * MOST_COURSES : (page + 1) * MOST_COURSES + 1])
    has_next, rows = len(rows) > MOST_COURSES, rows[:MOST_COURSES]
    choices = _choices(request, rows, offers)
    if step == "go" and choices.moves:
        return _go(request, staging, production, choices)
    context = {"production": production, "is_cut": offers.is_cut}
    too_many: list[CourseBadgeMapping] = []
    if step == "review" and choices.moves and not choices.changed:
        confirmed, too_many = _all_confirmed(request, choices.moves)
        if not too_many:
            total, held = sum(row.mailed for row in confirmed), sum(row.held for row in confirmed)
            counts = {"total": total, "held": held, "now": total - held}
            return _show(request, staging, context | counts | {"confirmed": confirmed})
    wrong = step in ("review", "go") and not choices.changed and not too_many
    more: dict[str, Any] = {
        "lines": [_line(request, row, offers) for row in rows],
        "next": page + 1 if has_next else None,
        "previous": page - 1 if page else None,
        "nothing_chosen": wrong,
        "changed": choices.changed,
        "too_many": [f"{row.course.full_label}: {going_live.too_many()}" for row in too_many],
    }
    return _show(request, staging, context | more)


def _show(request: HttpRequest, staging: NavigatrConnection, more: dict[str, Any]) -> TemplateResponse:
    context = admin.site.each_context(request) | {
        "title": _("Go live: from %(name)s to production") % {"name": staging.name},
        "staging": staging,
        "connection_url": page_url(staging),
        "add_url": reverse("admin:badging_navigatrconnection_add"),
        "here": request.get_full_path(),
    }
    return TemplateResponse(request, "admin/going_live.html", context | more)


def _page(request: HttpRequest) -> int:
    return _number(request.GET.get("page", ""))


def _number(text: str) -> int:
    """A number that an address or a form of ours may have; 0 for anything else."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 6 else 0


def _choices(request: HttpRequest, rows: Sequence[CourseBadgeMapping], offers: Offers) -> Choices:
    """What was posted, as far as it is on this page and can be issued. What is left on staging is no choice."""
    by_key = {offer.key: offer for offer in offers.offers}
    moves, changed = [], []
    for row in rows:
        offer = by_key.get(request.POST.get(f"badge-{row.pk}", ""))
        if offer is None:
            continue
        if request.POST.get(f"seen-{row.pk}") != version_of(row):
            changed.append(row)
            continue
        agreed = _number(request.POST.get(f"agreed-{row.pk}", ""))
        moves.append(Move(row, offer, with_past=f"past-{row.pk}" in request.POST, agreed=agreed))
    return Choices(moves, changed)


def _line(request: HttpRequest, mapping: CourseBadgeMapping, offers: Offers) -> Line:
    """One line of the table, with what was chosen before or is suggested."""
    options = going_live.likeliest(mapping, offers, most=MOST_OPTIONS)
    found = going_live.suggested(mapping, offers)
    chosen = request.POST.get(f"badge-{mapping.pk}", found.key if found else "")
    if found and found not in options:
        options = [found, *options]
    return Line(
        mapping,
        going_live.by_provider(options),
        chosen,
        with_past=f"past-{mapping.pk}" in request.POST,
        already=counted(going_live.owed_at_once(mapping)),
        seen=version_of(mapping),
    )


def _all_confirmed(request: HttpRequest, moves: Sequence[Move]) -> tuple[list[Confirmed], list[CourseBadgeMapping]]:
    """What will happen, and the courses with which too many badges would be queued in one request."""
    confirmed, too_many = [], []
    left = going_live.MOST_QUEUED
    for move in moves:
        row = _confirmed(request, move, most=left)
        if row is None:
            too_many.append(move.mapping)
        else:
            confirmed.append(row)
            left -= row.mailed
    return confirmed, too_many


def _confirmed(request: HttpRequest, move: Move, *, most: int) -> Confirmed | None:
    """One line of what will happen; None where it would mail more than `most`."""
    mapping, seen = move.mapping, version_of(move.mapping)
    if not move.with_past:
        return Confirmed(move, seen)
    owed = going_live.look_at_owed(mapping, most=most)
    if owed.is_cut:
        return None
    if not owed.completions:
        return Confirmed(move._replace(with_past=False), seen)
    may_name = request.user.has_perm("moodle_sync.view_learner")
    names = [str(row.learner) for row in owed.completions[:MOST_NAMED]] if may_name else []
    return Confirmed(move, seen, len(owed.completions), owed.held, names, is_read=past.is_being_read(mapping))


def _go(
    request: HttpRequest, staging: NavigatrConnection, production: NavigatrConnection, choices: Choices
) -> HttpResponse:
    """Move what was chosen, and say what became of it."""
    results = going_live.go_live(
        choices.moves, staging=staging, production=production, actor=request.user, now=timezone.now()
    )
    for row in choices.changed:
        text = _("%(course)s stays on staging: somebody has changed it meanwhile.")
        messages.error(request, text % {"course": row.course.full_label})
    for result in results:
        if result.problem:
            values = {"course": result.mapping.course.full_label, "why": result.problem}
            messages.error(request, _("%(course)s stays on staging: %(why)s") % values)
    moved = [result for result in results if not result.problem]
    if moved:
        text = ngettext(
            "%(count)d course awards real badges of %(name)s now.",
            "%(count)d courses award real badges of %(name)s now.",
            len(moved),
        )
        messages.success(request, text % {"count": len(moved), "name": production.name})
    _say_what_is_mailed(request, sum(result.queued for result in moved), sum(result.held for result in moved))
    if staging.mappings.exists():
        return redirect(reverse("admin:going_live", args=[staging.pk], query={"to": production.pk}))
    return redirect(page_url(staging))


def _say_what_is_mailed(request: HttpRequest, queued: int, held: int) -> None:
    """How many real badges are mailed now, and how many of those that were queued are held."""
    if held:
        text = ngettext(
            "%(count)d real badge is held for now: its page says why. It is mailed when that has passed.",
            "%(count)d real badges are held for now: their pages say why. They are mailed when that has passed.",
            held,
        )
        messages.warning(request, text % {"count": held})
    if mailed := queued - held:
        text = ngettext("%(count)d real badge is mailed now.", "%(count)d real badges are mailed now.", mailed)
        messages.success(request, text % {"count": mailed})
        if not tasks.nudge():
            messages.warning(request, _("The worker cannot be reached now: they are sent when the worker is back."))
