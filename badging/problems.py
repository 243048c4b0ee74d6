"""What needs a person: each problem is a sentence, with what to do, where, and how many badges wait for it.

The start page of the admin shows them, and `manage.py status` tells them to monitors. Facts that are kept elsewhere are
asked there: the schedule's in `badging.schedule`, a site's or connection's in `badging.status`.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

from django.db.models import Model
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from moodle_sync.models import Course, MoodleSite
from moodle_sync.site_check import finding_text

from . import schedule, troubles
from .meanings import MEANINGS, NOTHING, WITHOUT_SCORE, Meaning, Outcome
from .models import BulkRun, CourseBadgeMapping, Issuance, ScheduledTask
from .moments import moment
from .overview import MOST_COUNTED, Award, Overview, Run, Stopped, issued_since
from .status import OVERDUE, connection_reason, is_overdue, slow_feed
from .successors import Successor, deletion_advice, likely_successors

State = Issuance.State

# How many lines each kind of problem gets; one more says how many others there are.
MOST_LISTED = 30
# A task of the schedule without which badges go out all the same.
_NOT_VITAL = "badging.tasks.count_days"
# How long a background action may wait for a worker, and how long one that was given up is told.
RUN_STALLED_AFTER = timedelta(minutes=10)
GIVEN_UP_TOLD_FOR = timedelta(days=7)
_RUN = "admin:badging_bulkrun_change"
# One reason in more courses than this is one line.
MOST_COURSES = 3
# Fewer learners than this who do not meet a requirement are no sign that nobody can.
FEWEST_NOT_MET = 3


class Place(NamedTuple):
    """A page of the portal: its name, what it is about, and the filters of a list. Doors make an address of it."""

    name: str
    args: tuple[int, ...] = ()
    query: tuple[tuple[str, str], ...] = ()


# The path that leads a new portal to its first badge.
SET_UP = Place("admin:set_up")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, what to do, where, and perhaps where it is solved. `stops`: nothing works until it is solved.

    `people` is how many learners it concerns, as far as counted. `waiting` says so where the text does not.
    """

    what: str
    todo: str
    place: Place
    people: int = 0
    waiting: str = ""
    stops: bool = False
    fix: Place | None = None
    fix_label: str = ""


def page(row: Model) -> Place:
    """The row's page in the admin."""
    return Place(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", (row.pk,))


def rows(model: type[Model], **query: Any) -> Place:
    """The model's list in the admin, filtered."""
    filters = tuple((name, str(value)) for name, value in query.items())
    return Place(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist", (), filters)


def problems_of(view: Overview) -> list[Problem]:
    """All of them: first what stops everything, then those that concern most people. Five queries."""
    found = [
        *_schedule(view),
        *_setting_up(view),
        *_questions(view),
        *_overdue(view),
        *_connections(view),
        *_sites(view),
        *_runs(view),
        *_in_courses(view),
    ]
    return sorted(found, key=lambda problem: (not problem.stops, -problem.people))


def _waiting(number: int) -> dict[str, Any]:
    """The fields of a problem that say for how many badges it is to blame."""
    if not number:
        return {}
    text = ngettext("%(number)s badge waits", "%(number)s badges wait", number)
    return {"people": number, "waiting": text % {"number": f"{number:,}"}}


# What stops everything


def _schedule(view: Overview) -> Iterator[Problem]:
    """What keeps the portal from polling and sending: the schedule, beat, the workers."""
    for trouble in schedule.problems(view.now)[:MOST_LISTED]:
        place = page(trouble.row) if trouble.row else rows(ScheduledTask)
        vital = trouble.about in (schedule.BEAT, schedule.WORKER, *schedule.BY_TASK) and trouble.about != _NOT_VITAL
        yield Problem(trouble.what, trouble.todo, place, stops=vital)


def missing(view: Overview) -> list[str]:
    """What a portal needs before it can issue a badge; [] once it is set up."""
    is_closed = bool(view.connections) and not view.opened and not view.awards
    steps = [
        (not view.connections, _("a connection to Navigatr")),
        (not view.sites, _("a Moodle site")),
        (is_closed, _("a connection that is open to courses")),
        (not view.awards, _("a course that awards a badge")),
    ]
    return [what for is_missing, what in steps if is_missing]


def _setting_up(view: Overview) -> Iterator[Problem]:
    """What is still to be set up."""
    if steps := missing(view):
        todo = _("Still missing: %(what)s.") % {"what": ", ".join(steps)}
        yield Problem(_("Not set up yet: no badge can be issued"), todo, SET_UP, stops=True)


def _questions(view: Overview) -> Iterator[Problem]:
    """Sites that are stopped until an admin says whether they are still the same Moodle."""
    stopped = [site for site in view.sites.values() if site.enabled and site.state.doubt]
    for site in stopped[:MOST_LISTED]:
        what = _("%(site)s waits for your answer") % {"site": site}
        yield Problem(what, site.state.doubt, page(site), stops=True, **_waiting(view.waiting_at(site)))


def _overdue(view: Overview) -> Iterator[Problem]:
    """Sites that are not polled, and badges that are not sent, although it is time."""
    late = [site for site in view.sites.values() if is_overdue(site, view.now)]
    for site in late[:MOST_LISTED]:
        yield Problem(_("%(site)s: not polled") % {"site": site}, f"{OVERDUE}.", page(site), stops=True)
    if view.overdue:
        what = _("Badges are not sent: the first should have been sent on %(time)s")
        todo = _("The worker stands still, or cannot keep up. Look at the server's log, and start the portal again.")
        place = rows(Issuance, state__exact=State.QUEUED)
        number = _waiting(sum(row.late for row in view.overdue))
        yield Problem(what % {"time": moment(view.overdue[0].first_due_at)}, todo, place, stops=True, **number)


# Connections and sites


def _connections(view: Overview) -> Iterator[Problem]:
    """Connections with which nothing is sent now, or that nobody may use."""
    used = {award.connection for award in view.awards.values()}
    off = [(row, reason) for row in view.connections.values() if (reason := connection_reason(row, view.now))]
    for connection, reason in off[:MOST_LISTED]:
        held = connection.hold_reason
        number = _waiting(view.waiting_with(connection))
        # One that was removed and that no course uses any more is nobody's business.
        if held != Outcome.CONNECTION_REMOVED or connection.pk in used or number:
            todo = str(MEANINGS[held].todo) if held else _("Nothing to do: it goes on by itself.")
            yield Problem(f"{connection}: {reason}", todo, page(connection), **number)
    unused = [row for row in view.connections.values() if not row.hold_reason and row.pk not in used | view.opened]
    for connection in unused[:MOST_LISTED] if view.awards else ():
        what = _("%(connection)s is open to no course") % {"connection": connection}
        todo = _("Open it to those who shall choose badges with it, or remove it.")
        yield Problem(what, todo, page(connection))


def _sites(view: Overview) -> Iterator[Problem]:
    """Sites that cannot be read well."""
    troubled = [(site, found) for site in view.sites.values() if (found := list(_on_site(view, site)))]
    for site, found in troubled[:MOST_LISTED]:
        for what, todo in found:
            yield Problem(what % {"site": site}, todo, page(site))


def _on_site(view: Overview, site: MoodleSite) -> Iterator[tuple[str, str]]:
    state = site.state
    if not site.enabled:
        if any(award.site == site.pk and award.active for award in view.awards.values()):
            yield (
                _("%(site)s is not read, and courses there award badges"),
                _("Enable the site again, or remove the badges of its courses."),
            )
        return
    if state.doubt:
        return
    if untracked := completion_is_off(site):
        yield _("%(site)s: nobody can complete a course"), untracked
    if state.error or not state.feed:
        fails = state.failures or not state.feed
        what = _("%(site)s: cannot be read") if fails else _("%(site)s: is read, but something is wrong")
        yield what, _("Its page says what to do.")
    if reason := slow_feed(site):
        yield _("%(site)s: read by the slower feed B"), reason


def completion_is_off(site: MoodleSite) -> str:
    """What the last check said about completion tracking being off for the whole site; "" if it is on."""
    found = (row for row in site.state.findings if row["check"] == "completion" and not row["ok"])
    return next(map(finding_text, found), "")


# Background actions


def _runs(view: Overview) -> Iterator[Problem]:
    """Background actions that were given up lately, or that no worker goes on with."""
    troubled = [(run, found) for run in view.runs if (found := _with_run(view, run))]
    for run, (what, todo) in troubled[:MOST_LISTED]:
        yield Problem(what % {"time": moment(run.created_at)}, todo, Place(_RUN, (run.pk,)), people=run.left)


def _with_run(view: Overview, run: Run) -> tuple[str, str] | None:
    """What is wrong with a background action, and what to do; None where nothing is."""
    if run.state == BulkRun.State.FAILED:
        if run.ended_at is None or run.ended_at <= view.now - GIVEN_UP_TOLD_FOR:
            return None
        return (
            _("A background action of %(time)s was given up after faults"),
            _("What it did stays done. Look at the server's log, and start the action again for the rest."),
        )
    # Every batch renews the lease, and a worker that must stop gives the run back.
    last_seen = run.leased_until or run.created_at
    if run.failures or last_seen <= view.now - RUN_STALLED_AFTER:
        return (
            _("A background action of %(time)s does not go on"),
            _("It is tried again by itself. Look at the server's log; its page stops it."),
        )
    return None


# Courses


class _Kind(NamedTuple):
    """One kind of trouble with a mapping: where it is there, what it says, and what to do."""

    applies: Callable[[Overview, Award], bool]
    what: "str | Promise"
    todo: "str | Promise"
    others: "str | Promise"
    # Whether only past completions wait for it.
    of_past: bool = False


_GONE = _Kind(
    lambda view, award: troubles.GONE.applies(award),
    gettext_lazy("%(course)s: deleted in Moodle"),
    "",
    gettext_lazy("%(number)d more courses were deleted in Moodle"),
)
_BADGE = _Kind(
    lambda view, award: troubles.BADGE.applies(award),
    gettext_lazy("%(course)s → %(badge)s: this badge cannot be issued any more"),
    "",
    gettext_lazy("%(number)d more courses award badges that cannot be issued any more"),
)
_KINDS = [
    _GONE,
    _Kind(
        lambda view, award: troubles.UNTRACKED.applies(award),
        gettext_lazy("%(course)s: nobody can complete it, because completion tracking is switched off"),
        troubles.UNTRACKED.todo,
        gettext_lazy("%(number)d more courses have completion tracking switched off"),
    ),
    _BADGE,
    _Kind(
        lambda view, award: troubles.OVER.applies(award),
        gettext_lazy("%(course)s: more than %(limit)d past completions wait for a site admin"),
        troubles.OVER.todo,
        gettext_lazy("%(number)d more courses have past completions that wait for a site admin"),
        of_past=True,
    ),
    _Kind(
        lambda view, award: troubles.LOOKED_AT.applies(award) and view.waiting_past[award.course] > 0,
        gettext_lazy("%(course)s: past completions are held until a site admin releases them"),
        troubles.LOOKED_AT.todo,
        gettext_lazy("%(number)d more courses have past completions that are held until a site admin releases them"),
        of_past=True,
    ),
    _Kind(
        lambda view, award: not award.active and view.waiting[award.course] > 0,
        gettext_lazy("Badges wait under the disabled mapping of %(course)s"),
        MEANINGS[Outcome.MAPPING_DISABLED].todo,
        gettext_lazy("Badges wait under %(number)d more disabled mappings"),
    ),
    _Kind(
        lambda view, award: award.active and not award.in_reach and view.waiting[award.course] > 0,
        gettext_lazy("Badges of %(course)s wait: %(connection)s is not open to it"),
        MEANINGS[Outcome.NOT_OPEN].todo,
        gettext_lazy("Badges of %(number)d more courses wait because a connection is not open to them"),
    ),
]


class _Group(NamedTuple):
    """Issuances that stopped in one environment, for one reason, in these courses; with how many in each."""

    state: str
    environment: str
    reason: str
    courses: Counter[int]
    is_cut: bool


def _in_courses(view: Overview) -> list[Problem]:
    """What is wrong with courses and their badges. Three queries: the courses named, successors, who got badges."""
    awards = {
        kind: sorted(
            (award for award in view.awards.values() if kind.applies(view, award)),
            key=lambda award: -view.waiting[award.course],
        )
        for kind in _KINDS
    }
    groups = [group for state in (State.FAILED, State.HELD) for group in _groups(view, state)]
    nobody = _nobody_meets(view)
    named = {award.course for found in awards.values() for award in found[:MOST_LISTED]} | set(nobody)
    named |= {course for group in groups for course, _count in group.courses.most_common(MOST_COURSES)}
    related = Course.objects.select_related("site", "mapping__connection")
    courses = related.defer("site__token", "mapping__connection__pat").in_bulk(named)
    gone = [courses[award.course] for award in awards[_GONE][:MOST_LISTED]]
    successors = likely_successors(gone)
    return [
        *(problem for kind in _KINDS for problem in _of_kind(view, kind, awards[kind], courses, successors)),
        *(_not_met(view, courses[course], rows_) for course, rows_ in nobody.items()),
        *(problem for group in groups for problem in _stopped(view, group, courses)),
    ]


def _of_kind(
    view: Overview, kind: _Kind, found: Sequence[Award], courses: dict[int, Course], successors: dict[int, Course]
) -> Iterator[Problem]:
    """The mappings that have this trouble, those first under which most badges wait."""
    for award in found[:MOST_LISTED]:
        course = courses[award.course]
        mapping = getattr(course, "mapping", None)
        if mapping is None:
            # Removed in this moment.
            continue
        values = {
            "course": course.full_label,
            "badge": mapping.badge_name or mapping.badge_id,
            "connection": mapping.connection,
            "limit": mapping.connection.past_limit,
        }
        number = (view.waiting_past if kind.of_past else view.waiting)[award.course]
        what, common = kind.what % values, _waiting(number)
        if kind is _GONE:
            yield _deleted(what, course, successors.get(course.pk), common)
        else:
            todo = award.badge_problem if kind is _BADGE else str(kind.todo)
            yield Problem(what, todo, page(mapping), **common)
    if others := found[MOST_LISTED:]:
        number = sum(view.waiting[award.course] for award in others)
        place = rows(CourseBadgeMapping)
        yield Problem(kind.others % {"number": len(others)}, "", place, **_waiting(number))


def _deleted(what: str, course: Course, other: Course | None, common: dict[str, Any]) -> Problem:
    """A mapped course that was deleted in Moodle, with the one that most likely replaces it."""
    advice = deletion_advice(Successor(other, "choose-provider") if other else None)
    fix = Place("choose-provider", (other.pk,)) if other else None
    return Problem(what, advice.todo, page(course), fix=fix, fix_label=advice.link, **common)


# What has stopped


def _groups(view: Overview, state: str) -> list[_Group]:
    """The newest that stopped in this state, by environment and reason. Without reasons that nobody can act on."""
    newest = view.stopped[state]
    counts: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    for row in newest[:MOST_COUNTED]:
        counts[row.environment, row.reason][row.course] += 1
    return [
        _Group(state, environment, reason, courses, len(newest) > MOST_COUNTED)
        for (environment, reason), courses in counts.items()
        if reason not in MEANINGS or MEANINGS[reason].todo != NOTHING
    ]


def _stopped(view: Overview, group: _Group, courses: dict[int, Course]) -> Iterator[Problem]:
    """One line for each course, or one for all where there are many."""
    if len(group.courses) <= MOST_COURSES:
        for pk, number in group.courses.items():
            yield _stopped_line(view, group, number, courses[pk].full_label, course=pk)
        return
    top = courses[group.courses.most_common(1)[0][0]].full_label
    where = _("%(number)d courses, most in %(course)s") % {"number": len(group.courses), "course": top}
    yield _stopped_line(view, group, group.courses.total(), where)


def _stopped_line(view: Overview, group: _Group, number: int, where: str, **query: Any) -> Problem:
    """How many learners' badges stopped in a place, and why."""
    if group.state == State.FAILED:
        text = ngettext(
            "%(number)s badge failed in %(where)s: %(reason)s",
            "%(number)s badges failed in %(where)s: %(reason)s",
            number,
        )
    else:
        text = ngettext(
            "%(number)s badge is held in %(where)s: %(reason)s",
            "%(number)s badges are held in %(where)s: %(reason)s",
            number,
        )
    values = {"number": f"{number:,}{'+' if group.is_cut else ''}", "where": where, "reason": _label(group.reason)}
    what = text % values
    if view.has_both and group.environment != view.environment:
        what = _("Staging: %(what)s") % {"what": what}
    meaning = MEANINGS.get(group.reason)
    filters = {"state__exact": group.state, **query, **({"reason": group.reason} if group.reason else {})}
    return Problem(what, str(meaning.todo) if meaning else "", rows(Issuance, **filters), people=number)


def _label(reason: str) -> str:
    return str(Outcome(reason).label) if reason else _("no reason given")


def _nobody_meets(view: Overview) -> dict[int, list[Stopped]]:
    """Courses in which nobody has met the requirement lately, with the newest who did not."""
    newest: dict[int, list[Stopped]] = defaultdict(list)
    for row in view.stopped[State.NOT_MET][:MOST_COUNTED]:
        newest[row.course].append(row)
    many = {course: found for course, found in newest.items() if len(found) >= FEWEST_NOT_MET and course in view.awards}
    most = dict(sorted(many.items(), key=lambda item: -len(item[1]))[:MOST_LISTED])
    issued = issued_since({course: found[-1].pk for course, found in most.items()})
    return {course: found for course, found in most.items() if course not in issued}


def _not_met(view: Overview, course: Course, found: Sequence[Stopped]) -> Problem:
    """A course in which nobody meets the requirement."""
    reasons = Counter(row.reason for row in found)
    reason = reasons.most_common(1)[0][0]
    values = {"course": course.full_label, "number": len(found), "reason": _label(reason)}
    what = _("%(course)s: none of the last %(number)d learners met the requirement: %(reason)s") % values
    meaning = MEANINGS.get(reason, Meaning("", ""))
    todo = str(meaning.todo)
    if view.awards[course.pk].min_score is not None and set(reasons) <= set(WITHOUT_SCORE):
        no_grades = _("The badge has a minimum score, and nobody has a grade. Lower or remove it if grades never come.")
        todo = f"{no_grades} {todo}"
    place = rows(Issuance, state__exact=State.NOT_MET, course=course.pk)
    return Problem(what, todo, place, people=len(found))
