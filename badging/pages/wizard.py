"""The course managers' pages: which badge each course awards, and what became of it.

Each page asks `access` itself whether the person may see the course, however they came there. Whatever Navigatr
answers, the person is told what to do and nothing is changed. What is chosen travels in the query string, so that Back
and reload work: numbers of connection, provider and badge, and nothing personal.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from moodle_sync.models import Course
from navigatr_client import Badge, NavigatrClient, NavigatrError, Provider
from vault.keys import WrongKey

from .. import connections, tasks
from ..doubles import possible_doubles
from ..mapping import NotMapped, find_badge, remove_mapping, save_mapping
from ..models import CourseBadgeMapping, Issuance, NavigatrConnection
from ..successors import likely_successor
from . import access, forms
from .notes import Successor, notes_on

Row = TypeVar("Row", bound=models.Model)
State = Issuance.State

# The longest that a page waits for one answer of Navigatr's, in seconds. A connection's own time-out may be minutes,
# which is right for sending and too long for a person, and for the few threads that serve everybody's pages.
LONGEST_WAIT = 10
COURSES_ON_A_PAGE = 25
ISSUANCES_ON_A_PAGE = 25
BADGES_ON_A_PAGE = 24
ATTEMPTS_SHOWN = 100
# A person wants to know how many; past this "more than" says enough, and the database need not count on.
COUNTED_UP_TO = 1000
# Connections that one page asks at the same time.
ASKED_AT_ONCE = 8
# No number that a page's links hold is longer. Longer ones are made up, and databases choke on them.
LONGEST_NUMBER = 15


@login_required
@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Where a person lands after signing in: staff without courses of their own in the admin, all others here."""
    if getattr(request.user, "is_staff", False) and not access.has_courses(request.user):
        return redirect("admin:index")
    return redirect("courses")


@login_required
@require_safe
def course_list(request: HttpRequest) -> HttpResponse:
    """The person's courses with their badges, searched, filtered and in pages."""
    form = forms.CourseFilter(request.GET)
    chosen = form.cleaned_data if form.is_valid() else {}
    courses = access.visible_courses(request.user).select_related("site__state", "mapping__connection")
    if words := chosen.get("q"):
        courses = courses.filter(Q(fullname__icontains=words) | Q(shortname__icontains=words))
    if chosen.get("badge"):
        courses = courses.filter(mapping__isnull=chosen["badge"] == "no")
    number = max(_number(request.GET.get("page")) or 1, 1)
    first = (number - 1) * COURSES_ON_A_PAGE
    same = {"site": OuterRef("site"), "fullname": OuterRef("fullname"), "shortname": OuterRef("shortname")}
    courses = courses.annotate(has_namesake=Exists(Course.objects.filter(**same).exclude(pk=OuterRef("pk"))))
    page = _cut(courses.order_by("fullname", "pk")[first : first + COURSES_ON_A_PAGE + 1], COURSES_ON_A_PAGE)
    return render(
        request,
        "courses/list.html",
        {
            "form": form,
            "filtered": any(chosen.values()),
            "courses": page.rows,
            "page": number,
            "previous": number - 1 if page.rows else None,
            "next": number + 1 if page.more else None,
        },
    )


@login_required
@require_safe
def course_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One course: its badge, what is wrong and what to do, and its issuances, newest first."""
    course = access.course_or_404(request.user, pk)
    mapping = _mapping_of(course)
    form = forms.IssuanceFilter(request.GET)
    rows = Issuance.objects.filter(course=course).select_related("learner", "completion")
    if form.is_valid() and form.cleaned_data["state"]:
        rows = rows.filter(state=form.cleaned_data["state"])
    before = _number(request.GET.get("before"))
    if before is not None:
        # By key and not by offset: the last page of a million costs what the first one costs.
        rows = rows.filter(pk__lt=before)
    page = _cut(rows.order_by("-pk")[: ISSUANCES_ON_A_PAGE + 1], ISSUANCES_ON_A_PAGE)
    for row in page.rows:
        # Already read: without this, one query for each row.
        row.course = course
    return render(
        request,
        "courses/course.html",
        {
            "course": course,
            "mapping": mapping,
            "notes": notes_on(course, mapping, timezone.now(), _successor(request, course, mapping)),
            "form": form,
            "filtered": form.is_valid() and form.cleaned_data["state"],
            "issuances": page.rows,
            "before": before,
            "older": page.rows[-1].pk if page.more else None,
        },
    )


@login_required
@require_safe
def issuance_page(request: HttpRequest, pk: int, issuance_pk: int) -> HttpResponse:
    """One issuance of the course with what happened to it, newest attempt first."""
    course = access.course_or_404(request.user, pk)
    rows = Issuance.objects.filter(course=course).select_related("learner", "completion", "connection")
    issuance = get_object_or_404(rows, pk=issuance_pk)
    issuance.course = course
    attempts = _cut(issuance.attempts.order_by("-pk")[: ATTEMPTS_SHOWN + 1], ATTEMPTS_SHOWN)
    context = {
        "course": course,
        "issuance": issuance,
        "doubles": possible_doubles(issuance),
        "attempts": attempts.rows,
        "more": attempts.more,
    }
    return render(request, "courses/issuance.html", context)


# The wizard: provider, badge, review


@dataclass(frozen=True, slots=True)
class Offer:
    """One active connection with the providers it may issue for, or with why they cannot be had just now.

    A choice is what the query string carries (`connection-provider`) and the provider's name.
    """

    connection: NavigatrConnection
    choices: list[tuple[str, str]]
    trouble: str = ""


Step = Callable[[HttpRequest, Course], HttpResponse]


def _step(view: Step) -> Callable[..., HttpResponse]:
    """A page of the wizard: for the course's managers only, and one that tells of trouble instead of failing."""

    @login_required
    @wraps(view)
    def step(request: HttpRequest, pk: int) -> HttpResponse:
        course = access.course_or_404(request.user, pk)
        try:
            return view(request, course)
        except (NotMapped, NavigatrError, WrongKey) as trouble:
            context = {"course": course, "trouble": _explain(trouble), "again": request.get_full_path()}
            return render(request, "courses/trouble.html", context)

    return step


@require_safe
@_step
def choose_provider(request: HttpRequest, course: Course) -> HttpResponse:
    """Step 1: the providers of all active connections, by connection. One that does not answer hides no other."""
    choice = request.GET.get("choice", "")
    connection, _dash, provider = choice.partition("-")
    if _number(connection) is not None and _number(provider) is not None:
        return redirect(_address("choose-badge", course, connection=connection, provider=provider))
    mapping = _mapping_of(course)
    offers = _offers(list(NavigatrConnection.objects.filter(state=NavigatrConnection.State.ACTIVE)))
    return render(
        request,
        "courses/provider.html",
        {
            "course": course,
            "mapping": mapping,
            "offers": offers,
            "current": f"{mapping.connection_id}-{mapping.provider_id}" if mapping else "",
            "any_provider": any(offer.choices for offer in offers),
            # The button was used without a choice.
            "nothing_chosen": "go" in request.GET,
        },
    )


@require_safe
@_step
def choose_badge(request: HttpRequest, course: Course) -> HttpResponse:
    """Step 2: the provider's badges that can be issued, with pictures; every one is reached by page or by search."""
    chosen = _chosen(request, "connection", "provider")
    if chosen is None:
        return redirect("choose-provider", course.pk)
    connection, provider_id = _active_connection(chosen["connection"]), chosen["provider"]
    form = forms.BadgeSearch(request.GET)
    words = form.cleaned_data["q"] if form.is_valid() else ""
    number = max(_number(request.GET.get("page")) or 1, 1)
    with connections.navigatr_client_for(connection, most_seconds=LONGEST_WAIT) as client:
        provider = next((row for row in client.providers() if row.id == provider_id), None)
        if provider is None:
            raise NotMapped(_("This connection's account may not issue for this provider. Choose another one."))
        page = client.badge_page(provider_id, page=number, size=BADGES_ON_A_PAGE, keyword=words)
    if number > page.pages > 0:
        return redirect(_address("choose-badge", course, **chosen, q=words, page=page.pages))
    return render(
        request,
        "courses/badge.html",
        {
            "course": course,
            "mapping": _mapping_of(course),
            "connection": connection,
            "provider": provider,
            "form": form,
            "words": words,
            "badges": [
                (badge, _address("review-badge", course, **chosen, badge=badge.id))
                for badge in page.items
                if badge.issuable
            ],
            "total": page.total,
            "page": number,
            "pages": page.pages,
            "previous": number - 1,
            "next": number + 1 if number < page.pages else None,
        },
    )


@require_http_methods(["GET", "HEAD", "POST"])
@_step
def review_badge(request: HttpRequest, course: Course) -> HttpResponse:
    """Step 3: what will happen, and the save. Navigatr is asked anew, so nothing is saved that cannot be issued."""
    chosen = _chosen(request, "connection", "provider", "badge")
    if chosen is None:
        return redirect("choose-provider", course.pk)
    connection = _active_connection(chosen["connection"])
    provider, badge = find_badge(
        connection, provider_id=chosen["provider"], badge_id=chosen["badge"], most_seconds=LONGEST_WAIT
    )
    mapping = _mapping_of(course)
    form = forms.MappingForm(request.POST if request.method == "POST" else None, mapping=mapping)
    if form.is_valid():
        return _save(request, course, connection, provider, badge, form.cleaned_data)
    return render(
        request,
        "courses/review.html",
        {
            "course": course,
            "mapping": mapping,
            "connection": connection,
            "provider": provider,
            "badge": badge,
            "form": form,
            "effects": _effects(course) if mapping else None,
            "other_environment": mapping and mapping.connection.environment != connection.environment,
            "back": _address("choose-badge", course, connection=connection.pk, provider=provider.id),
        },
    )


def _save(
    request: HttpRequest,
    course: Course,
    connection: NavigatrConnection,
    provider: Provider,
    badge: Badge,
    decided: dict[str, Any],
) -> HttpResponse:
    """Save the mapping and have the course read at once."""
    save_mapping(
        course=course,
        connection=connection,
        provider=provider,
        badge=badge,
        min_score=decided["min_score"],
        include_past=decided["who"] == forms.PAST,
        actor=request.user,
        now=timezone.now(),
    )
    messages.success(request, _("The course now awards the badge “%(badge)s”.") % {"badge": badge.name})
    transaction.on_commit(lambda: _start_poll(request, course))
    return redirect("course", course.pk)


def _start_poll(request: HttpRequest, course: Course) -> None:
    if not tasks.nudge_poll(course.site_id):
        messages.warning(
            request,
            _("The portal's worker cannot be reached just now. Nothing is lost: badges are sent when it is back."),
        )


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def remove_badge(request: HttpRequest, pk: int) -> HttpResponse:
    """Remove the course's badge, after a page that shows what that cancels."""
    course = access.course_or_404(request.user, pk)
    mapping = _mapping_of(course)
    if mapping is None:
        messages.info(request, _("This course awards no badge any more."))
        return redirect("course", course.pk)
    if request.method != "POST":
        context = {"course": course, "mapping": mapping, "effects": _effects(course)}
        return render(request, "courses/remove.html", context)
    try:
        cancelled = remove_mapping(mapping, actor=request.user)
    except CourseBadgeMapping.DoesNotExist:
        # Removed by somebody else, or by a second click, since it was read above.
        messages.info(request, _("This course awards no badge any more."))
    else:
        told = {"badge": mapping.badge_name, "count": cancelled}
        messages.success(request, _("The badge “%(badge)s” was removed. Cancelled before sending: %(count)d.") % told)
    return redirect("course", course.pk)


# What the pages share


@dataclass(frozen=True, slots=True)
class Cut(Generic[Row]):
    """One page of rows, and whether there are more."""

    rows: list[Row]
    more: bool


def _cut(rows: "models.QuerySet[Row]", size: int) -> Cut[Row]:
    """The first `size` of `size + 1` rows asked for: the one too many says that there are more, without a count."""
    found = list(rows)
    return Cut(found[:size], len(found) > size)


def _number(text: str | None) -> int | None:
    """The whole number that a link holds, or None for anything else."""
    if text and text.isascii() and text.isdecimal() and len(text) <= LONGEST_NUMBER:
        return int(text)
    return None


def _chosen(request: HttpRequest, *names: str) -> dict[str, int] | None:
    """The numbers that were chosen so far, or None when one is missing or is no number."""
    found = {name: _number(request.GET.get(name)) for name in names}
    numbers = {name: number for name, number in found.items() if number is not None}
    return numbers if len(numbers) == len(names) else None


def _address(name: str, course: Course, **chosen: object) -> str:
    return f"{reverse(name, args=[course.pk])}?{urlencode(chosen)}"


def _mapping_of(course: Course) -> CourseBadgeMapping | None:
    return CourseBadgeMapping.objects.filter(course=course).select_related("connection", "created_by").first()


def _successor(request: HttpRequest, course: Course, mapping: CourseBadgeMapping | None) -> Successor | None:
    """What most likely took the place of a mapped course that was deleted in Moodle."""
    successor = likely_successor(course) if mapping and course.gone_at else None
    if successor is None:
        return None
    may_map = access.visible_courses(request.user).filter(pk=successor.pk).exists()
    return Successor(successor, reverse("choose-provider", args=[successor.pk]) if may_map else "")


def _active_connection(pk: int) -> NavigatrConnection:
    """The connection if badges can be chosen with it. Raises Http404 for an unknown one, NotMapped for a paused one."""
    connection = NavigatrConnection.objects.filter(pk=pk).first()
    if connection is None:
        raise Http404
    if connection.state != NavigatrConnection.State.ACTIVE:
        raise NotMapped(
            _("The connection “%(name)s” is not active: %(state)s. A site admin must reconnect it.")
            % {"name": connection.name, "state": connection.get_state_display()}
        )
    return connection


def _offers(active: list[NavigatrConnection]) -> list[Offer]:
    """What each connection offers, asked of all at the same time: the page takes as long as the slowest answer."""
    with ThreadPoolExecutor(ASKED_AT_ONCE) as threads:
        return [_offer(*asked) for asked in [(connection, _ask(threads, connection)) for connection in active]]


def _ask(threads: ThreadPoolExecutor, connection: NavigatrConnection) -> "Future[list[Provider]]":
    """The connection's providers to come. Its token is read here: the threads know no database."""
    try:
        client = connections.navigatr_client_for(connection, most_seconds=LONGEST_WAIT)
    except (NavigatrError, WrongKey) as error:
        failed: Future[list[Provider]] = Future()
        failed.set_exception(error)
        return failed
    return threads.submit(_providers, client)


def _providers(client: NavigatrClient) -> list[Provider]:
    with client:
        return client.providers()


def _offer(connection: NavigatrConnection, asked: "Future[list[Provider]]") -> Offer:
    try:
        providers = asked.result()
    except (NavigatrError, WrongKey) as error:
        return Offer(connection, [], _explain(error))
    return Offer(connection, [(f"{connection.pk}-{row.id}", row.name) for row in providers])


def _explain(trouble: Exception) -> str:
    return connections.explain(trouble) if isinstance(trouble, NavigatrError) else str(trouble)


def _effects(course: Course) -> dict[str, str]:
    """How many issuances a change or removal leaves alone, moves or cancels, and looks up first."""
    rows = Issuance.objects.filter(course=course)
    unsent = rows.filter(unanswered="")
    return {
        "issued": _count(rows.filter(state=State.ISSUED)),
        "waiting": _count(unsent.filter(state__in=[State.QUEUED, State.HELD])),
        "stopped": _count(unsent.filter(state__in=[State.FAILED, State.NOT_MET])),
        "unclear": _count(rows.filter(Q(state=State.SENDING) | ~Q(unanswered="")).exclude(state=State.ISSUED)),
    }


def _count(rows: "models.QuerySet[Issuance]") -> str:
    """How many, counted no further than a person cares."""
    count = rows.order_by()[: COUNTED_UP_TO + 1].count()
    return _("more than %(count)d") % {"count": COUNTED_UP_TO} if count > COUNTED_UP_TO else str(count)
