"""The first page of the admin: what needs a person. `config.admin_site` shows it above the list of models."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from moodle_sync.models import Course, Feed, MoodleSite

from .. import schedule
from ..meanings import MEANINGS, NOTHING, Outcome
from ..models import NOTHING_OPEN, CourseBadgeMapping, Issuance, NavigatrConnection, Past, ScheduledTask
from ..status import OVERDUE, OVERDUE_AFTER, connection_reason, is_overdue, slow_feed
from ..successors import Successor, deletion_advice, likely_successors
from .display import list_url, page_url

# How many of the newest issuances of a state are counted by reason.
MOST_COUNTED = 1000
# How many lines each kind of problem gets.
MOST_LISTED = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """One line: what is wrong, what to do, a link to its page, and perhaps one to where it is solved."""

    text: str
    todo: str
    url: str
    link: str = ""
    link_url: str = ""


def what_needs_a_person(user: Any) -> list[Problem] | None:
    """The present problems, those that concern most people first; None for who may not see them. Eleven queries."""
    if not user.has_perms(["badging.view_issuance", "badging.view_navigatrconnection", "moodle_sync.view_moodlesite"]):
        return None
    now = timezone.now()
    return [
        *_schedule(now),
        *_questions(),
        *_connections(now),
        *_sites(now),
        *_gone_courses(),
        *_badges(),
        *_past_waits(),
        *_not_open(),
        *_disabled(),
        *_issuances(Issuance.State.FAILED, Issuance.State.HELD),
        *_advice(),
    ]


def _schedule(now: datetime) -> list[Problem]:
    """What keeps the portal from polling and sending: the schedule, beat, the workers."""
    return [
        Problem(trouble.what, trouble.todo, page_url(trouble.row) if trouble.row else list_url(ScheduledTask))
        for trouble in schedule.problems(now)[:MOST_LISTED]
    ]


def _advice() -> list[Problem]:
    """What is advised of every portal in service; the demo asks for nothing."""
    if settings.REQUIRE_SECOND_FACTOR or settings.SANDBOX_URL:
        return []
    todo = _("Whoever runs the server can set REQUIRE_SECOND_FACTOR=true. Your own second factor you add here.")
    return [Problem(_("Staff can sign in with a password alone"), todo, reverse("account"))]


def _questions() -> list[Problem]:
    """Sites that are stopped until an admin says whether they are still the same Moodle."""
    stopped = MoodleSite.objects.filter(enabled=True).exclude(state__doubt="")
    return [
        Problem(_("%(site)s waits for your answer") % {"site": site}, site.state.doubt, page_url(site))
        for site in stopped.select_related("state").defer("token")[:MOST_LISTED]
    ]


def _connections(now: datetime) -> list[Problem]:
    """Connections with which nothing is sent now."""
    problems = []
    waiting = Q(not_before__gt=now) | ~Q(state=NavigatrConnection.State.ACTIVE)
    for connection in NavigatrConnection.objects.filter(waiting)[:MOST_LISTED]:
        reason = connection.hold_reason
        todo = str(MEANINGS[reason].todo) if reason else _("Nothing to do: it goes on by itself.")
        text = f"{connection}: {connection_reason(connection, now)}"
        problems.append(Problem(text, todo, page_url(connection)))
    return problems


def _sites(now: datetime) -> list[Problem]:
    """Sites that are not polled, cannot be read, or are read by the slower feed."""
    problems = []
    late = Q(state__next_poll_at__lte=now - OVERDUE_AFTER)
    wrong = late | ~Q(state__error="") | ~Q(state__feed=Feed.REPORT)
    sites = MoodleSite.objects.select_related("state").defer("token").filter(wrong, enabled=True, state__doubt="")
    for site in sites[:MOST_LISTED]:
        url = page_url(site)
        if is_overdue(site, now):
            problems.append(Problem(_("%(site)s: not polled") % {"site": site}, f"{OVERDUE}.", url))
        if site.state.error or not site.state.feed:
            fails = site.state.failures or not site.state.feed
            what = _("%(site)s: cannot be read") if fails else _("%(site)s: is read, but something is wrong")
            problems.append(Problem(what % {"site": site}, _("Its page says what to do."), url))
        if reason := slow_feed(site):
            problems.append(Problem(_("%(site)s: read by the slower feed B") % {"site": site}, reason, url))
    return problems


def _gone_courses() -> list[Problem]:
    """Mapped courses that were deleted in Moodle, each with the course that most likely replaces it."""
    mapped = Course.objects.filter(gone_at__isnull=False, mapping__isnull=False).select_related("site")
    courses = list(mapped.order_by("-gone_at", "pk")[:MOST_LISTED])
    successors = likely_successors(courses)
    problems = []
    for course in courses:
        what = _("%(course)s: deleted in Moodle") % {"course": course.full_label}
        url = page_url(course)
        other = successors.get(course.pk)
        successor = Successor(other, reverse("choose-provider", args=[other.pk])) if other else None
        advice = deletion_advice(successor)
        problems.append(Problem(what, advice.todo, url, advice.link, advice.url))
    return problems


def _badges_wait() -> Exists:
    """Whether badges wait to be sent under a mapping."""
    waits = Issuance.objects.filter(NOTHING_OPEN, course=OuterRef("course"), state=Issuance.State.QUEUED)
    return Exists(waits)


def _disabled() -> list[Problem]:
    """Disabled mappings under which badges wait: nobody may remember that they are disabled."""
    mappings = CourseBadgeMapping.objects.filter(_badges_wait(), active=False).select_related("course__site")
    return [
        Problem(
            _("Badges wait under the disabled mapping of %(course)s") % {"course": mapping.course.full_label},
            str(MEANINGS[Outcome.MAPPING_DISABLED].todo),
            page_url(mapping),
        )
        for mapping in mappings[:MOST_LISTED]
    ]


def _not_open() -> list[Problem]:
    """Mappings that badges wait under because their connection is not open to the course any more."""
    mappings = CourseBadgeMapping.objects.closed().filter(_badges_wait(), active=True)
    return [
        Problem(
            _("Badges of %(course)s wait: %(connection)s is not open to it")
            % {"course": mapping.course.full_label, "connection": mapping.connection},
            str(MEANINGS[Outcome.NOT_OPEN].todo),
            page_url(mapping),
        )
        for mapping in mappings.select_related("course__site", "connection")[:MOST_LISTED]
    ]


def _past_waits() -> list[Problem]:
    """Mappings with more past completions than a course manager may include."""
    mappings = CourseBadgeMapping.objects.filter(past_release=Past.OVER).select_related("course__site", "connection")
    return [
        Problem(
            _("%(course)s: more than %(limit)d past completions wait for a site admin")
            % {"course": mapping.course.full_label, "limit": mapping.connection.past_limit},
            _("Look at who chose the badge and how many there are, then use “Release past completions” on its page."),
            page_url(mapping),
        )
        for mapping in mappings[:MOST_LISTED]
    ]


def _badges() -> list[Problem]:
    """Mapped badges that cannot be issued any more."""
    mappings = CourseBadgeMapping.objects.exclude(badge_problem="").select_related("course__site")
    return [
        Problem(
            f"{row.course.full_label} → {row.badge_name or row.badge_id}",
            row.badge_problem,
            page_url(row),
        )
        for row in mappings[:MOST_LISTED]
    ]


def _issuances(*states: Issuance.State) -> list[Problem]:
    """The newest MOST_COUNTED issuances of each state, counted by reason; a "+" says that there are more.

    Reasons that nobody can do anything about are left out.
    """
    problems = []
    for state in states:
        reasons = Issuance.objects.filter(state=state).order_by("-pk").values_list("reason", flat=True)
        newest = list(reasons[: MOST_COUNTED + 1])
        more = "+" if len(newest) > MOST_COUNTED else ""
        for reason, count in Counter(newest).most_common():
            meaning = MEANINGS.get(reason)
            if meaning and meaning.todo == NOTHING:
                continue
            query = {"state__exact": state, **({"reason": reason} if reason else {})}
            problems.append(
                Problem(
                    f"{count}{more} · {state.label}: {Outcome(reason).label if reason else _('no reason given')}",
                    str(meaning.todo) if meaning else "",
                    list_url(Issuance, **query),
                )
            )
    return problems
