"""Who would get a mapping's badge now, and how far the past completions of its course are."""

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from .. import past
from ..counting import COUNTED_UP_TO, capped
from ..models import PAST_HELD, CourseBadgeMapping, Issuance
from .display import list_url, page_url
from .search import is_key

# How many names a page has.
NAMES_PER_PAGE = 50


@require_safe
def who_gets_badge(request: HttpRequest, mapping_pk: int) -> HttpResponse:
    """Who waits for the badge, by name, and what past completions do. Changes nothing."""
    if not request.user.has_perm("badging.view_issuance"):
        raise PermissionDenied
    mappings = CourseBadgeMapping.objects.with_reach().select_related("course__site", "connection")
    mapping = get_object_or_404(mappings, pk=mapping_pk)
    rows = past.would_get(mapping)
    before = request.GET.get("before", "")
    shown = list((rows.filter(pk__lt=before) if is_key(before) else rows)[: NAMES_PER_PAGE + 1])
    waiting = past.count_would_get(mapping)
    progress = past.progress_of(mapping)
    waits = mapping.past_release in PAST_HELD
    context = {
        **admin.site.each_context(request),
        "title": _("Who gets this badge now: %(course)s") % {"course": mapping.course.full_label},
        "mapping": mapping,
        "waiting": waiting,
        "words": {name: capped(count) for name, count in waiting._asdict().items()},
        "is_cut": waiting.number > COUNTED_UP_TO,
        "names": [(row, not mapping.accepts_score(row.completion.score)) for row in shown[:NAMES_PER_PAGE]],
        "older": shown[NAMES_PER_PAGE - 1].pk if len(shown) > NAMES_PER_PAGE else None,
        "before": before,
        "progress": progress,
        "is_over_limit": progress.waiting > mapping.connection.past_limit,
        "waits": waits,
        "is_being_read": past.is_being_read(mapping),
        "is_going": mapping.include_past and not waits and progress.waiting > 0,
        "may_act": request.user.has_perm("badging.change_coursebadgemapping"),
        "hold": mapping.hold_reason,
        "mappings_url": list_url(CourseBadgeMapping),
        "list_url": list_url(Issuance, course=mapping.course_id),
        "mapping_url": page_url(mapping),
    }
    return TemplateResponse(request, "admin/portal_who_gets.html", context)
