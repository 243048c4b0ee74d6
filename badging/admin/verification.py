"""Verification: a learner is followed live from the completion in Moodle to the badge on the Navigatr profile."""

from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, render
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_safe

from moodle_sync.models import Course, Learner

from .. import by_itself, following, page_permissions, searches, tasks, troubles
from ..following import Progress, Stage
from ..models import CourseBadgeMapping
from ..reach import is_site_admin
from .display import page_url
from .search import is_key, learners_matching

POLL_NOW = "moodle_sync.change_moodlesite"
# How many courses are offered, the newest first, and how many learners a search shows.
MOST_COURSES = 100
MOST_LEARNERS = 20


@dataclass(frozen=True, slots=True)
class Watched:
    """Who is followed in which course, from the address: a learner, or whoever completes it after `after`."""

    course: Course
    learner: Learner | None
    after: int

    @property
    def query(self) -> dict[str, Any]:
        """The query string that stands for this. It names nobody."""
        return {"course": self.course.pk, **({"learner": self.learner.pk} if self.learner else {"after": self.after})}


@require_http_methods(["GET", "HEAD", "POST"])
def verification(request: HttpRequest) -> HttpResponse:
    """Choose a course, then see how far its next badge has come. By POST: look now, and search for a learner."""
    _see_that_may(request)
    watched = _watched(request)
    if watched is None:
        return TemplateResponse(request, "admin/verification.html", _choice(request))
    if request.method == "POST":
        return _act(request, watched)
    if watched.learner is None and "after" not in request.GET:
        return _to(watched.query)
    context = _choice(request) | _progress(request, watched) | {"found": _found(request, watched.course)}
    return TemplateResponse(request, "admin/verification.html", context)


@require_safe
def stages(request: HttpRequest) -> HttpResponse:
    """The stages alone, for the page that renews itself. Does not keep the session alive."""
    by_itself.mark(request)
    _see_that_may(request)
    watched = _watched(request)
    if watched is None:
        return HttpResponse(status=204)
    return render(request, "admin/verification_stages.html", _progress(request, watched))


def _see_that_may(request: HttpRequest) -> None:
    if not request.user.has_perms(page_permissions.VERIFICATION):
        raise PermissionDenied


def _watched(request: HttpRequest) -> Watched | None:
    """What the address asks for; None without a course. Raises Http404."""
    keys = {name: request.GET.get(name, "") for name in ("course", "learner", "after")}
    if not keys["course"]:
        return None
    numbers = {name: int(key) if is_key(key) else 0 for name, key in keys.items()}
    courses = Course.objects.select_related("site__state").defer("site__token")
    course = get_object_or_404(courses, pk=numbers["course"])
    learner = None
    if keys["learner"]:
        learner = get_object_or_404(Learner, pk=numbers["learner"], site=course.site_id)
    return Watched(course, learner, numbers["after"] if keys["after"] else following.last_completion(course))


def _choice(request: HttpRequest) -> dict[str, Any]:
    """What the page shows before a course is chosen."""
    mappings = CourseBadgeMapping.objects.select_related("course__site").defer("course__site__token").order_by("-pk")
    found = list(mappings[: MOST_COURSES + 1])
    return admin.site.each_context(request) | {
        "title": _("Follow a badge"),
        "sees_courses": is_site_admin(request.user),
        "courses": [mapping.course for mapping in found[:MOST_COURSES]],
        "has_more_courses": len(found) > MOST_COURSES,
    }


def _progress(request: HttpRequest, watched: Watched) -> dict[str, Any]:
    """How far the badge has come."""
    now = timezone.now()
    learner = watched.learner
    if learner is not None:
        found = following.follow(watched.course, learner, now)
    else:
        learner, found = following.follow_next(watched.course, watched.after, now)
        watched = Watched(watched.course, learner, watched.after)
    delivered = following.is_delivered(found)
    mapping = following.mapping_of(watched.course)
    return {
        "course": watched.course,
        "mapping": mapping,
        # What stops a badge later on is told before anybody completes the course for nothing.
        "trouble": troubles.wrong_with_mapping(mapping) if mapping and learner is None else "",
        "learner": learner,
        "stages": [(stage, *_link(stage, request.user)) for stage in found],
        "delivered": delivered,
        "whole_time": following.whole_time(found),
        "summary": _summary(found, delivered=delivered),
        "may_poll": request.user.has_perm(POLL_NOW) and not watched.course.site.state.doubt,
        "address": reverse("admin:verification", query=watched.query),
        "stages_address": reverse("admin:verification_stages", query=watched.query),
    }


def _summary(found: list[Stage], *, delivered: bool) -> str:
    """The present stage in a few words, for those who hear the page."""
    if delivered:
        return _("The badge is on the Navigatr profile.")
    stage = next(stage for stage in found if stage.progress != Progress.DONE)
    state = _("stopped") if stage.progress == Progress.STOPPED else _("waiting")
    return _("%(stage)s: %(state)s.") % {"stage": stage.title, "state": state}


def _link(stage: Stage, user: Any) -> tuple[str, str]:
    """Where the stage is put right or seen, and the text of the link there; both "" where the user may not see it."""
    if stage.url:
        return stage.url, _("Look at the badge in Navigatr")
    about: Model | None = stage.about
    if about is None or (isinstance(about, Course) and not is_site_admin(user)):
        return "", ""
    url = reverse("course", args=[about.pk]) if isinstance(about, Course) else page_url(about)
    return url, f"{about._meta.verbose_name}: {about}"


def _found(request: HttpRequest, course: Course) -> list[Learner] | None:
    """The learners of the course's site whom a search has found; None without a search."""
    words = searches.words_of(request)
    if not words:
        return None
    rows = Learner.objects.filter(pk__in=learners_matching(words), site=course.site_id, erased_at=None)
    return list(rows.order_by("lastname", "firstname", "pk")[:MOST_LEARNERS])


def _act(request: HttpRequest, watched: Watched) -> HttpResponse:
    """Have Moodle read now, or remember the words of a search; then the page again."""
    if "find" in request.POST:
        words = searches.typed(request, "words")
        return _to(watched.query | ({SEARCH_VAR: searches.keep(request, words)} if words else {}))
    site = watched.course.site
    if not request.user.has_perm(POLL_NOW):
        raise PermissionDenied
    if site.state.doubt:
        messages.warning(request, site.state.doubt)
    elif tasks.nudge_poll(site.pk):
        messages.success(request, _("A worker was asked to read %(site)s now.") % {"site": site})
    else:
        text = _("The worker cannot be reached now: %(site)s is read when the worker is back.")
        messages.warning(request, text % {"site": site})
    return _to(watched.query)


def _to(query: dict[str, Any]) -> HttpResponseRedirect:
    return searches.see_other(reverse("admin:verification", query=query))
