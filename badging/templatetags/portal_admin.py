"""What the admin's first page tells: what needs a person."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from django import template
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from moodle_sync.models import MoodleSite

from ..meanings import MEANINGS, NOTHING, Outcome
from ..models import CourseBadgeMapping, Issuance, NavigatrConnection
from ..status import OVERDUE, connection_reason, is_overdue

register = template.Library()

MOST_LOOKED_AT = 1000
MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class Trouble:
    """One line: what is wrong, what to do, and where."""

    text: str
    todo: str
    url: str


@register.simple_tag
def what_needs_a_person(user: Any) -> list[Trouble] | None:
    """What is wrong now, the farthest-reaching first; None for who may not see it. Five bounded queries."""
    if not user.has_perms(["badging.view_issuance", "badging.view_navigatrconnection", "moodle_sync.view_moodlesite"]):
        return None
    return [*_connections(), *_sites(), *_mappings(), *_issuances(Issuance.State.FAILED, Issuance.State.HELD)]


def _connections() -> list[Trouble]:
    now = timezone.now()
    found = []
    for connection in NavigatrConnection.objects.all()[:MOST_LISTED]:
        if why := connection_reason(connection, now):
            reason = connection.hold_reason
            todo = str(MEANINGS[reason].todo) if reason else _("Nothing to do: it goes on by itself.")
            url = reverse("admin:badging_navigatrconnection_change", args=[connection.pk])
            found.append(Trouble(f"{connection}: {why}", todo, url))
    return found


def _sites() -> list[Trouble]:
    found = []
    now = timezone.now()
    for site in MoodleSite.objects.filter(enabled=True)[:MOST_LISTED]:
        if is_overdue(site, now):
            url = reverse("admin:moodle_sync_moodlesite_change", args=[site.pk])
            found.append(Trouble(_("%(site)s: not polled") % {"site": site}, f"{OVERDUE}.", url))
        if site.state.error or not site.state.feed:
            what = _("%(site)s: cannot be read, or not all of it") % {"site": site}
            url = reverse("admin:moodle_sync_moodlesite_change", args=[site.pk])
            found.append(Trouble(what, _("What to do stands on its page."), url))
    return found


def _mappings() -> list[Trouble]:
    wrong = CourseBadgeMapping.objects.exclude(badge_problem="").select_related("course")[:MOST_LISTED]
    return [
        Trouble(str(row), row.badge_problem, reverse("admin:badging_coursebadgemapping_change", args=[row.pk]))
        for row in wrong
    ]


def _issuances(*states: Issuance.State) -> list[Trouble]:
    """Counted by reason among the newest MOST_LOOKED_AT of each state; a "+" says that there are more.

    Reasons about which nobody can do anything are left out.
    """
    found = []
    for state in states:
        reasons = Issuance.objects.filter(state=state).order_by("-pk").values_list("reason", flat=True)
        newest = list(reasons[: MOST_LOOKED_AT + 1])
        more = "+" if len(newest) > MOST_LOOKED_AT else ""
        for reason, count in Counter(newest).most_common():
            meaning = MEANINGS.get(reason)
            if meaning and meaning.todo == NOTHING:
                continue
            query = {"state__exact": state, **({"reason": reason} if reason else {})}
            found.append(
                Trouble(
                    f"{count}{more} · {state.label}: {Outcome(reason).label if reason else _('no reason given')}",
                    str(meaning.todo) if meaning else "",
                    reverse("admin:badging_issuance_changelist", query=query),
                )
            )
    return found
