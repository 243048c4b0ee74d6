"""What the admin's first page tells: what needs a person."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django import template
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from moodle_sync.models import Course, Feed, MoodleSite

from ...meanings import MEANINGS, NOTHING, Outcome
from ...models import CourseBadgeMapping, Issuance, NavigatrConnection
from ...status import OVERDUE, OVERDUE_AFTER, connection_reason, is_overdue, slow_feed
from ...successors import likely_successors
from ..notes import Successor, deletion_note

register = template.Library()

MOST_LOOKED_AT = 1000
MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class Trouble:
    """One line: what is wrong, what to do, and where; perhaps with a second link to where it is done."""

    text: str
    todo: str
    url: str
    link: str = ""
    link_url: str = ""


@register.simple_tag
def what_needs_a_person(user: Any) -> list[Trouble] | None:
    """What is wrong now, the farthest-reaching first; None for who may not see it. Eight bounded queries."""
    if not user.has_perms(["badging.view_issuance", "badging.view_navigatrconnection", "moodle_sync.view_moodlesite"]):
        return None
    now = timezone.now()
    return [
        *_questions(),
        *_connections(now),
        *_sites(now),
        *_gone_courses(),
        *_badges(),
        *_issuances(Issuance.State.FAILED, Issuance.State.HELD),
    ]


def _questions() -> list[Trouble]:
    """Sites that wait for an admin to say whether they are still the same; nothing of them is read or sent."""
    stopped = MoodleSite.objects.filter(enabled=True).exclude(state__doubt="")
    doubted = stopped.select_related("state").defer("token")[:MOST_LISTED]
    return [
        Trouble(_("%(site)s waits for your answer") % {"site": site}, site.state.doubt, _page_of(site))
        for site in doubted
    ]


def _connections(now: datetime) -> list[Trouble]:
    found = []
    waiting = Q(not_before__gt=now) | ~Q(state=NavigatrConnection.State.ACTIVE)
    for connection in NavigatrConnection.objects.filter(waiting)[:MOST_LISTED]:
        reason = connection.hold_reason
        todo = str(MEANINGS[reason].todo) if reason else _("Nothing to do: it goes on by itself.")
        text = f"{connection}: {connection_reason(connection, now)}"
        found.append(Trouble(text, todo, reverse("admin:badging_navigatrconnection_change", args=[connection.pk])))
    return found


def _sites(now: datetime) -> list[Trouble]:
    """Sites that are not polled, cannot be read, or are read by the slower feed."""
    found = []
    late = Q(state__next_poll_at__lte=now - OVERDUE_AFTER)
    wrong = late | ~Q(state__error="") | ~Q(state__feed=Feed.REPORT)
    sites = MoodleSite.objects.select_related("state").defer("token").filter(wrong, enabled=True, state__doubt="")
    for site in sites[:MOST_LISTED]:
        url = _page_of(site)
        if is_overdue(site, now):
            found.append(Trouble(_("%(site)s: not polled") % {"site": site}, f"{OVERDUE}.", url))
        if site.state.error or not site.state.feed:
            fails = site.state.failures or not site.state.feed
            what = _("%(site)s: cannot be read") if fails else _("%(site)s: is read, but something is wrong")
            found.append(Trouble(what % {"site": site}, _("What to do stands on its page."), url))
        if reason := slow_feed(site):
            found.append(Trouble(_("%(site)s: read by the slower feed B") % {"site": site}, reason, url))
    return found


def _gone_courses() -> list[Trouble]:
    """Mapped courses that were deleted in Moodle, with what most likely took their place."""
    mapped = Course.objects.filter(gone_at__isnull=False, mapping__isnull=False).select_related("site")
    courses = list(mapped.order_by("-gone_at", "pk")[:MOST_LISTED])
    successors = likely_successors(courses)
    found = []
    for course in courses:
        what = _("%(course)s: deleted in Moodle") % {"course": course.full_label}
        url = reverse("admin:moodle_sync_course_change", args=[course.pk])
        other = successors.get(course.pk)
        note = deletion_note(Successor(other, reverse("choose-provider", args=[other.pk])) if other else None)
        found.append(Trouble(what, str(note.todo), url, str(note.link), note.url))
    return found


def _badges() -> list[Trouble]:
    """Mapped badges that cannot be issued any more."""
    wrong = CourseBadgeMapping.objects.exclude(badge_problem="").select_related("course__site")[:MOST_LISTED]
    return [
        Trouble(
            f"{row.course.full_label} → {row.badge_name or row.badge_id}",
            row.badge_problem,
            reverse("admin:badging_coursebadgemapping_change", args=[row.pk]),
        )
        for row in wrong
    ]


def _page_of(site: MoodleSite) -> str:
    return reverse("admin:moodle_sync_moodlesite_change", args=[site.pk])


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
