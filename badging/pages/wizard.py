"""Choosing a course's badge in three steps: provider, badge, review and save.

1. `choose_provider` lists the providers of all active connections.
2. `choose_badge` lists the provider's badges.
3. `review_badge` shows what the choice does, and saves it.

The choice travels in the query string as the ids of connection, provider and badge, so that Back and reload work.
Each step checks access and the choice itself. When Navigatr does not answer, the page says what to do, and nothing is
changed.
"""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
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
from django.views.decorators.http import require_http_methods, require_safe

from moodle_sync.models import Course
from navigatr_client import Badge, NavigatrClient, NavigatrError, Provider
from vault.keys import WrongKey

from .. import connections, tasks
from ..mapping import NotMapped, find_badge, save_mapping
from ..models import NavigatrConnection
from . import access
from .course_badge import effects_of_change, mapping_of
from .forms import PAST, BadgeSearch, MappingForm
from .paging import number_in, page_number

# The longest wait for one answer of Navigatr, in seconds. A connection's own time-out is for sending: minutes would be
# too long for a person, and for the few threads that serve all pages.
LONGEST_WAIT = 10
BADGES_PER_PAGE = 24
# How many connections are asked for their providers at the same time.
CONNECTIONS_AT_ONCE = 8

Step = Callable[[HttpRequest, Course], HttpResponse]


def _step(view: Step) -> Callable[..., HttpResponse]:
    """Give the view one of the user's courses, and show its errors on a page instead of failing."""

    @login_required
    @wraps(view)
    def step(request: HttpRequest, pk: int) -> HttpResponse:
        course = access.course_or_404(request.user, pk)
        try:
            return view(request, course)
        except (NotMapped, NavigatrError, WrongKey) as error:
            context = {"course": course, "error": _explain(error), "retry_url": request.get_full_path()}
            return render(request, "courses/error.html", context)

    return step


def _explain(error: Exception) -> str:
    return connections.explain(error) if isinstance(error, NavigatrError) else str(error)


# Step 1: provider


@dataclass(frozen=True, slots=True)
class ProviderList:
    """The providers that one connection may issue for, or the error that kept them from being listed.

    A choice is the value for the query string, `connection-provider`, and the provider's name.
    """

    connection: NavigatrConnection
    choices: list[tuple[str, str]]
    error: str = ""


@require_safe
@_step
def choose_provider(request: HttpRequest, course: Course) -> HttpResponse:
    """Step 1: the providers of all active connections. A connection that does not answer hides no other."""
    connection, _dash, provider = request.GET.get("choice", "").partition("-")
    if number_in(connection) is not None and number_in(provider) is not None:
        return redirect(_url("choose-badge", course, connection=connection, provider=provider))
    mapping = mapping_of(course)
    provider_lists = _list_providers(list(NavigatrConnection.objects.filter(state=NavigatrConnection.State.ACTIVE)))
    return render(
        request,
        "courses/provider.html",
        {
            "course": course,
            "provider_lists": provider_lists,
            "current": f"{mapping.connection_id}-{mapping.provider_id}" if mapping else "",
            "any_provider": any(row.choices for row in provider_lists),
            # The button was pressed without a choice.
            "nothing_chosen": "go" in request.GET,
        },
    )


def _list_providers(active: list[NavigatrConnection]) -> list[ProviderList]:
    """Ask all connections at the same time, so that the page takes as long as the slowest answer."""
    with ThreadPoolExecutor(CONNECTIONS_AT_ONCE) as threads:
        answers = [(connection, _submit(threads, connection)) for connection in active]
        return [_provider_list(connection, answer) for connection, answer in answers]


def _submit(threads: ThreadPoolExecutor, connection: NavigatrConnection) -> "Future[list[Provider]]":
    """Start asking for the connection's providers. The token is decrypted here: the threads use no database."""
    try:
        client = connections.navigatr_client_for(connection, most_seconds=LONGEST_WAIT)
    except (NavigatrError, WrongKey) as error:
        failed: Future[list[Provider]] = Future()
        failed.set_exception(error)
        return failed
    return threads.submit(_read_providers, client)


def _read_providers(client: NavigatrClient) -> list[Provider]:
    with client:
        return client.providers()


def _provider_list(connection: NavigatrConnection, answer: "Future[list[Provider]]") -> ProviderList:
    try:
        providers = answer.result()
    except (NavigatrError, WrongKey) as error:
        return ProviderList(connection, [], _explain(error))
    return ProviderList(connection, [(f"{connection.pk}-{row.id}", row.name) for row in providers])


# Step 2: badge


@require_safe
@_step
def choose_badge(request: HttpRequest, course: Course) -> HttpResponse:
    """Step 2: the provider's badges that can be issued, with pictures, searched and paged."""
    chosen = _chosen(request, "connection", "provider")
    if chosen is None:
        return redirect("choose-provider", course.pk)
    connection, provider_id = _active_connection(chosen["connection"]), chosen["provider"]
    form = BadgeSearch(request.GET)
    words = form.cleaned_data["q"] if form.is_valid() else ""
    number = page_number(request.GET.get("page"))
    with connections.navigatr_client_for(connection, most_seconds=LONGEST_WAIT) as client:
        provider = next((row for row in client.providers() if row.id == provider_id), None)
        if provider is None:
            raise NotMapped(_("This connection's account may not issue for this provider. Choose another one."))
        page = client.badge_page(provider_id, page=number, size=BADGES_PER_PAGE, keyword=words)
    if number > page.pages > 0:
        return redirect(_url("choose-badge", course, **chosen, q=words, page=page.pages))
    issuable = [badge for badge in page.items if badge.issuable]
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
            "badges": [(badge, _url("review-badge", course, **chosen, badge=badge.id)) for badge in issuable],
            "total": page.total,
            "page": number,
            "pages": page.pages,
            "previous": number - 1,
            "next": number + 1 if number < page.pages else None,
        },
    )


# Step 3: review and save


@require_http_methods(["GET", "HEAD", "POST"])
@_step
def review_badge(request: HttpRequest, course: Course) -> HttpResponse:
    """Step 3: what the choice does, and the save. Navigatr is asked again, so only what can be issued is saved."""
    chosen = _chosen(request, "connection", "provider", "badge")
    if chosen is None:
        return redirect("choose-provider", course.pk)
    connection = _active_connection(chosen["connection"])
    provider, badge = find_badge(
        connection, provider_id=chosen["provider"], badge_id=chosen["badge"], most_seconds=LONGEST_WAIT
    )
    mapping = mapping_of(course)
    form = MappingForm(request.POST if request.method == "POST" else None, mapping=mapping)
    if form.is_valid():
        return _save(request, course, connection=connection, provider=provider, badge=badge, settings=form.cleaned_data)
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
            "effects": effects_of_change(course) if mapping else None,
            "other_environment": mapping and mapping.connection.environment != connection.environment,
            "badges_url": _url("choose-badge", course, connection=connection.pk, provider=provider.id),
        },
    )


def _save(
    request: HttpRequest,
    course: Course,
    *,
    connection: NavigatrConnection,
    provider: Provider,
    badge: Badge,
    settings: dict[str, Any],
) -> HttpResponse:
    """Save the mapping, and have the course's site polled at once."""
    save_mapping(
        course=course,
        connection=connection,
        provider=provider,
        badge=badge,
        min_score=settings["min_score"],
        include_past=settings["who"] == PAST,
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


def _url(name: str, course: Course, **query: object) -> str:
    return f"{reverse(name, args=[course.pk])}?{urlencode(query)}"


def _active_connection(pk: int) -> NavigatrConnection:
    """The connection. Raises Http404 when it is unknown, and NotMapped when it is not active."""
    connection = NavigatrConnection.objects.filter(pk=pk).first()
    if connection is None:
        raise Http404
    if connection.state != NavigatrConnection.State.ACTIVE:
        raise NotMapped(
            _("The connection “%(name)s” is not active: %(state)s. A site admin must reconnect it.")
            % {"name": connection.name, "state": connection.get_state_display()}
        )
    return connection
