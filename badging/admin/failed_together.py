"""All that failed in a course: why, how many, and one action on all of them or on those with one reason."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods

from .. import bulk, tasks
from ..meanings import MEANINGS, Outcome
from ..models import BulkRun, CourseBadgeMapping, Issuance
from .display import list_url, page_url
from .issuances import IN_BACKGROUND, WORDS


class FailedForm(forms.Form):
    """What to do, to those with which reason; without one, to all."""

    kind = forms.ChoiceField(choices=BulkRun.Kind.choices, label=gettext_lazy("Action"))
    reason = forms.ChoiceField(
        choices=[("", gettext_lazy("all")), *Outcome.choices], required=False, label=gettext_lazy("Which ones")
    )


@require_http_methods(["GET", "HEAD", "POST"])
def failed_together(request: HttpRequest, mapping_pk: int) -> HttpResponse:
    """Show what failed under a mapping; a POST asks first, and a second one starts the action."""
    if not request.user.has_perm("badging.view_issuance"):
        raise PermissionDenied
    mapping = get_object_or_404(CourseBadgeMapping.objects.select_related("course__site"), pk=mapping_pk)
    if request.method != "POST":
        return _page(request, mapping, {})
    if not request.user.has_perm("badging.change_issuance"):
        raise PermissionDenied
    form = FailedForm(request.POST)
    if not form.is_valid():
        return _page(request, mapping, {"error": _("Choose an action and a reason from the lists.")})
    kind, reason = BulkRun.Kind(form.cleaned_data["kind"]), form.cleaned_data["reason"]
    count = bulk.failed_of(mapping.course, reason).count()
    if not count:
        return _page(request, mapping, {"error": _("Nothing has failed for this reason any more. Nothing was done.")})
    if request.POST.get("confirmed") != "yes":
        return _page(request, mapping, _asked(kind, reason, count))
    return _start(request, mapping, kind, reason)


def _start(request: HttpRequest, mapping: CourseBadgeMapping, kind: BulkRun.Kind, reason: str) -> HttpResponse:
    """Do it at once to a few, and in the background to many; its page says how far it is."""
    now = timezone.now()
    try:
        run = bulk.start_failed(kind=kind, course=mapping.course, reason=reason, actor=request.user, now=now)
    except bulk.NothingToDo:
        return _page(request, mapping, {"error": _("Nothing has failed for this reason any more. Nothing was done.")})
    if run.total <= bulk.AT_ONCE:
        bulk.work(run.pk, should_stop=lambda: False, clock=timezone.now)
        tasks.nudge()
    else:
        tasks.nudge_bulk(run.pk)
    return redirect(page_url(run))


def _asked(kind: BulkRun.Kind, reason: str, count: int) -> dict[str, Any]:
    """What the page asks before it does anything."""
    words = WORDS[kind]
    many = count > bulk.AT_ONCE
    return {
        "asks": words.title,
        "label": words.label,
        "effects": [*words.effects, *([IN_BACKGROUND] if many else [])],
        "count": count,
        "kind": kind,
        "reason": reason,
        "reason_label": Outcome(reason).label if reason else "",
    }


def _page(request: HttpRequest, mapping: CourseBadgeMapping, more: dict[str, Any]) -> HttpResponse:
    found = bulk.reasons_of_failures(mapping.course)
    context = {
        **admin.site.each_context(request),
        "title": _("What failed in %(course)s") % {"course": mapping.course.full_label},
        "mapping": mapping,
        "reasons": [{"value": reason, "count": count, "meaning": MEANINGS[reason]} for reason, count in found],
        "total": sum(count for _reason, count in found),
        "kinds": BulkRun.Kind.choices,
        "may_act": request.user.has_perm("badging.change_issuance"),
        "list_url": list_url(Issuance, course=mapping.course_id, state__exact="failed"),
        "mapping_url": page_url(mapping),
        **more,
    }
    return TemplateResponse(request, "admin/portal_failed.html", context)
