"""Choosing a course's badge in three steps: provider, badge, review and save.

1. `choose_provider` lists the providers that are open to the user for this course, of all active connections.
2. `choose_badge` lists the provider's badges.
3. `review_badge` shows what the choice does, and saves it.

The choice travels in the query string as the ids of connection, provider and badge, so that Back and reload work.
Each step checks access, the choice itself, and that it is open to the user for this course (`badging/reach.py`). When
Navigatr does not answer, the page says what to do, and nothing is changed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import wraps
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from moodle_sync.models import Course
from navigatr_client import Badge, NavigatrError, Provider
from vault.keys import WrongKey

from .. import catalogue, connections
from ..catalogue import Catalogue
from ..mapping import ChangedMeanwhile, NotMapped, goes_live, save_mapping, version_of
from ..models import CourseBadgeMapping, NavigatrConnection
from ..reach import Reach, is_site_admin, reach_of
from ..waiting import RETRY_AFTER, Busy
from . import access
from .course_badge import effects_of_change, has_no_scores, mapping_of, outgoing, what_changed
from .forms import PAST, BadgeSearch, MappingForm
from .looking import start_poll
from .paging import number_in, page_number

BADGES_PER_PAGE = 24

# Characters of what is typed that addresses carry on.
LONGEST_TYPED = 20

Step = Callable[[HttpRequest, Course], HttpResponse]


def _step(view: Step) -> Callable[..., HttpResponse]:
    """Give the view one of the user's courses, and show its errors on a page instead of failing."""

    @login_required
    @wraps(view)
    def step(request: HttpRequest, pk: int) -> HttpResponse:
        course = access.course_or_404(request.user, pk)
        if "again" in request.POST:
            return _ask_again(request, course)
        try:
            return view(request, course)
        except (NotMapped, NavigatrError, WrongKey, catalogue.Resting, Busy) as error:
            return _trouble(request, course, error)

    return step


def _ask_again(request: HttpRequest, course: Course) -> HttpResponse:
    """The button "Ask Navigatr again": forget what was kept of the chosen connection, or of all that are open."""
    chosen = _chosen(request, "connection")
    may_use = reach_of(request.user, course).connections()
    active = may_use.filter(state=NavigatrConnection.State.ACTIVE).only("pk")
    catalogue.forget(active.filter(pk=chosen["connection"]) if chosen else active)
    query = request.GET.dict() | _typed(request)
    return redirect(f"{request.path}?{urlencode(query)}" if query else request.path)


def _trouble(request: HttpRequest, course: Course, error: Exception) -> HttpResponse:
    """The page that says what is wrong. Its button tries the same again, with what was typed."""
    context = {
        "course": course,
        "error": _explain(error),
        "retry_url": request.get_full_path(),
        "is_post": request.method == "POST",
        "typed": [(name, request.POST[name]) for name in (*MappingForm.TYPED, "seen") if name in request.POST],
        "provider_url": _url("choose-provider", course, **_typed(request)),
    }
    if not isinstance(error, Busy):
        return render(request, "courses/error.html", context)
    response = render(request, "courses/error.html", context, status=503)
    response["Retry-After"] = str(RETRY_AFTER)
    return response


def _explain(error: Exception) -> str:
    return connections.explain(error) if isinstance(error, NavigatrError) else str(error)


# Step 1: provider


@dataclass(frozen=True, slots=True)
class ProviderList:
    """The providers of one connection that may be chosen, or why there are none.

    A choice is the value for the query string, `connection-provider`, and the provider's name.
    """

    connection: NavigatrConnection
    choices: list[tuple[str, str]]
    error: str = ""


@require_http_methods(["GET", "HEAD", "POST"])
@_step
def choose_provider(request: HttpRequest, course: Course) -> HttpResponse:
    """Step 1: the providers that are open to the user. A connection that does not answer hides no other."""
    connection, _dash, provider = request.GET.get("choice", "").partition("-")
    if number_in(connection) is not None and number_in(provider) is not None:
        return redirect(_url("choose-badge", course, connection=connection, provider=provider, **_typed(request)))
    mapping = mapping_of(course)
    may_use = reach_of(request.user, course)
    active = list(may_use.connections().filter(state=NavigatrConnection.State.ACTIVE))
    with Catalogue(request.user.pk) as asking:
        provider_lists = [_provider_list(*row, may_use) for row in asking.providers_of_all(active)]
    return render(
        request,
        "courses/provider.html",
        {
            "course": course,
            "provider_lists": provider_lists,
            "current": f"{mapping.connection_id}-{mapping.provider_id}" if mapping else "",
            "any_provider": any(row.choices for row in provider_lists),
            "typed": _typed(request),
            # The button was pressed without a choice.
            "nothing_chosen": "go" in request.GET,
        },
    )


def _provider_list(connection: NavigatrConnection, answer: list[Provider] | Exception, may_use: Reach) -> ProviderList:
    if isinstance(answer, Exception):
        return ProviderList(connection, [], _explain(answer))
    choices = [(f"{connection.pk}-{row.id}", row.name) for row in answer if may_use.allows(connection, row.id)]
    none_left = bool(answer) and not choices
    return ProviderList(connection, choices, _("It has no provider that is open to this course.") if none_left else "")


# Step 2: badge


@require_http_methods(["GET", "HEAD", "POST"])
@_step
def choose_badge(request: HttpRequest, course: Course) -> HttpResponse:
    """Step 2: the provider's badges that can be issued, with pictures, searched and paged."""
    chosen = _chosen(request, "connection", "provider")
    if chosen is None:
        return redirect("choose-provider", course.pk)
    connection, provider_id = _usable_connection(request, course, chosen), chosen["provider"]
    form = BadgeSearch(request.GET)
    words = form.cleaned_data["q"] if form.is_valid() else ""
    number = page_number(request.GET.get("page"))
    with Catalogue(request.user.pk) as asking:
        provider = next((row for row in asking.providers(connection) if row.id == provider_id), None)
        if provider is None:
            raise NotMapped(_("This connection's account may not issue for this provider. Choose another one."))
        page = asking.badge_page(connection, provider_id, page=number, size=BADGES_PER_PAGE, words=words)
    typed = _typed(request)
    if number > page.pages > 0:
        return redirect(_url("choose-badge", course, **chosen, q=words, page=page.pages, **typed))
    return render(
        request,
        "courses/badge.html",
        {
            "course": course,
            "mapping": mapping_of(course),
            "connection": connection,
            "provider": provider,
            "form": form,
            "words": words,
            "badges": _to_choose(course, page.items, chosen | typed),
            "typed": typed,
            "provider_url": _url("choose-provider", course, **typed),
            "total": page.total,
            "page": number,
            "pages": page.pages,
            "previous": number - 1,
            "next": number + 1 if number < page.pages else None,
        },
    )


def _to_choose(course: Course, badges: Iterable[Badge], query: dict[str, Any]) -> list[tuple[Badge, str]]:
    """The badges of a page, each with the address of its review, or "" where it is for organisations."""
    return [
        (badge, _url("review-badge", course, **query, badge=badge.id) if badge.issuable else "")
        for badge in badges
        if badge.issuable or not badge.for_learners
    ]


# Step 3: review and save


@require_http_methods(["GET", "HEAD", "POST"])
@_step
def review_badge(request: HttpRequest, course: Course) -> HttpResponse:
    """Step 3: what the choice does, and the save, for which Navigatr is always asked: it must be issuable now."""
    chosen = _chosen(request, "connection", "provider", "badge")
    if chosen is None:
        return redirect("choose-provider", course.pk)
    connection = _usable_connection(request, course, chosen)
    mapping = mapping_of(course)
    form = _form(request, request.POST if request.method == "POST" else None, connection, mapping)
    saves = form.is_valid()
    with Catalogue(request.user.pk) as asking:
        ask = asking.find_badge if saves else asking.choice
        provider, badge = ask(connection, provider_id=chosen["provider"], badge_id=chosen["badge"])
    choice = Choice(course, connection, provider, badge)
    if not saves:
        return _review(request, choice, mapping, form)
    try:
        return _save(request, choice, mapping, form.cleaned_data)
    except ChangedMeanwhile:
        # Somebody else's choice stays until this person has seen it. What they typed stays as well.
        mapping = mapping_of(course)
        again = request.POST.dict() | {"seen": version_of(mapping)}
        form = _form(request, again, connection, mapping)
        return _review(request, choice, mapping, form, changed=what_changed(course, mapping, request.user))


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for which course."""

    course: Course
    connection: NavigatrConnection
    provider: Provider
    badge: Badge


def _form(
    request: HttpRequest, data: Any, connection: NavigatrConnection, mapping: CourseBadgeMapping | None
) -> MappingForm:
    most_past = None if is_site_admin(request.user) else connection.past_limit
    is_live = goes_live(mapping, connection)
    return MappingForm(data, mapping=mapping, goes_live=is_live, most_past=most_past, typed=_typed(request))


def _review(
    request: HttpRequest, choice: Choice, mapping: CourseBadgeMapping | None, form: MappingForm, *, changed: str = ""
) -> HttpResponse:
    """The page of step 3. `changed` says what somebody did since the person last saw it."""
    course, connection = choice.course, choice.connection
    context = {
        "course": course,
        "mapping": mapping,
        "connection": connection,
        "provider": choice.provider,
        "badge": choice.badge,
        "form": form,
        "changed": changed,
        "effects": effects_of_change(course) if mapping else None,
        "outgoing": outgoing(
            course, mapping, connection, choice.badge.id, min_score=form.shown_score(), now=timezone.now()
        ),
        "no_scores": has_no_scores(course),
        "goes_live": goes_live(mapping, connection),
        "other_environment": mapping and mapping.connection.environment != connection.environment,
        "badges_url": _url(
            "choose-badge", course, connection=connection.pk, provider=choice.provider.id, **_typed(request)
        ),
    }
    return render(request, "courses/review.html", context)


def _save(
    request: HttpRequest, choice: Choice, mapping: CourseBadgeMapping | None, settings: dict[str, Any]
) -> HttpResponse:
    """Save the mapping, and have the course's site polled at once. Raises ChangedMeanwhile."""
    include_past = settings["who"] == PAST
    save_mapping(
        course=choice.course,
        connection=choice.connection,
        provider=choice.provider,
        badge=choice.badge,
        min_score=settings["min_score"],
        include_past=include_past,
        # What was completed during the trial in staging is no reason for a real badge.
        from_now=goes_live(mapping, choice.connection) and not include_past,
        seen=settings["seen"],
        actor=request.user,
        now=timezone.now(),
    )
    values = {"badge": choice.badge.name}
    messages.success(request, _("The course now awards the badge “%(badge)s”.") % values)
    transaction.on_commit(lambda: start_poll(request, choice.course.site_id))
    return redirect("course", choice.course.pk)


# What the steps share


def _chosen(request: HttpRequest, *names: str) -> dict[str, int] | None:
    """The ids in the query string by name, or None when one is missing or is no number."""
    ids: dict[str, int] = {}
    for name in names:
        number = number_in(request.GET.get(name))
        if number is None:
            return None
        ids[name] = number
    return ids


def _typed(request: HttpRequest) -> dict[str, str]:
    """What the person has typed into the review's form, now or before they went to another step."""
    sent = request.POST if request.method == "POST" else request.GET
    return {name: sent[name][:LONGEST_TYPED] for name in MappingForm.TYPED if name in sent}


def _url(name: str, course: Course, **query: object) -> str:
    return f"{reverse(name, args=[course.pk])}?{urlencode(query)}"


def _usable_connection(request: HttpRequest, course: Course, chosen: dict[str, int]) -> NavigatrConnection:
    """The chosen connection.

    Raises Http404 when it is unknown, and NotMapped when it or the provider is not open to the user for this course,
    or it is not active.
    """
    connection = NavigatrConnection.objects.filter(pk=chosen["connection"]).first()
    if connection is None:
        raise Http404
    if refusal := reach_of(request.user, course).refusal(connection, chosen["provider"]):
        raise NotMapped(refusal)
    if connection.state != NavigatrConnection.State.ACTIVE:
        raise NotMapped(
            _("The connection “%(name)s” is not active: %(state)s. A site admin must reconnect it.")
            % {"name": connection.name, "state": connection.get_state_display()}
        )
    return connection
