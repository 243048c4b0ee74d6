"""The page "Where is this learner's badge?": a learner is searched for, and each of their courses is told."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from moodle_sync.models import Learner

from .. import page_permissions, searches
from ..reach import is_site_admin
from ..whereabouts import MOST_COURSES, Where, whereabouts
from .display import page_url
from .search import is_key, learners_matching

# How many people a search shows.
MOST_PEOPLE = 20
# How each place looks: the classes of `.state`.
LOOKS = {
    Where.DELIVERED: "good", Where.WAITING: "waiting", Where.SENT: "waiting", Where.HELD: "waiting",
    Where.FAILED: "bad", Where.NOT_MET: "bad",
}  # fmt: skip


@require_http_methods(["GET", "HEAD", "POST"])
def learner_badge(request: HttpRequest) -> HttpResponse:
    """Search by POST; then people to choose from, or the courses of the one who was meant."""
    if not request.user.has_perms(page_permissions.LEARNER_BADGE):
        raise PermissionDenied
    if request.method == "POST":
        words = searches.typed(request)
        query = {SEARCH_VAR: searches.keep(request, words)} if words else None
        return HttpResponseRedirect(reverse("admin:learner_badge", query=query))
    words = searches.words_of(request) or ""
    if not words and request.GET.get(SEARCH_VAR):
        messages.warning(request, _("This search is over. Enter the words into the search box."))
    found = _people(words) if words else []
    chosen = _chosen(request) or (found[0] if len(found) == 1 else None)
    context = {
        **admin.site.each_context(request),
        "title": _("Where is this learner's badge?"),
        "words": words,
        "number": request.GET.get(SEARCH_VAR, "") if words else "",
        "people": found[:MOST_PEOPLE],
        "is_cut": len(found) > MOST_PEOPLE,
        "learner": chosen,
        "learner_url": page_url(chosen) if chosen else "",
        "courses": _lines(chosen, request.user) if chosen else [],
        "most_courses": MOST_COURSES,
    }
    return TemplateResponse(request, "admin/learner_badge.html", context)


def _people(words: str) -> list[Learner]:
    keys = sorted(learners_matching(words))[: MOST_PEOPLE + 1]
    return list(Learner.objects.filter(pk__in=keys).select_related("site").order_by("lastname", "firstname", "pk"))


def _chosen(request: HttpRequest) -> Learner | None:
    key = request.GET.get("learner", "")
    return get_object_or_404(Learner.objects.select_related("site"), pk=key) if is_key(key) else None


def _lines(learner: Learner, user: Any) -> list[dict[str, object]]:
    """Each course, with links to what is behind it that the user may see."""
    sees_courses = is_site_admin(user)
    return [
        {
            "place": row,
            "look": LOOKS.get(row.where, ""),
            "issuance_url": page_url(row.issuance) if row.issuance else "",
            "badge_url": reverse("course", args=[row.course.pk]) if sees_courses else "",
        }
        for row in whereabouts(learner, timezone.now())
    ]
