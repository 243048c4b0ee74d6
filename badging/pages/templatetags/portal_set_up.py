"""Template tags of the set-up path: its bar and note, what is to be done in Moodle, and times of a badge's way."""

from collections.abc import Sequence
from typing import Any

from django import template
from django.urls import reverse
from django.utils import timezone

from moodle_sync.guide import guide
from moodle_sync.models import MoodleSite

from ... import first_run
from ...moments import clock, duration

register = template.Library()


@register.inclusion_tag("admin/set_up_bar.html", takes_context=True)
def set_up_bar(context: template.Context) -> dict[str, Any]:
    """Which step of the set-up path led to this page, with the way back; nothing if none did."""
    request = context.get("request")
    number = request.GET.get("setup", "") if request else ""
    return {"set_up_step": number if number in [str(place + 1) for place in range(len(first_run.Key))] else ""}


@register.inclusion_tag("admin/set_up_panel.html", takes_context=True)
def set_up_panel(context: template.Context) -> dict[str, Any]:
    """The next step of the set-up path for who may go it, until a badge was issued. For the admin's start page."""
    if not _is_on_path(context):
        return {}
    steps = first_run.steps(timezone.now())
    return {"steps": steps, "done": sum(step.is_done for step in steps), "next": first_run.next_step(steps)}


@register.inclusion_tag("includes/set_up_note.html", takes_context=True)
def set_up_note(context: template.Context) -> dict[str, Any]:
    """The way back to the set-up path for who may go it, until a badge was issued."""
    return {"shown": _is_on_path(context)}


@register.simple_tag(takes_context=True)
def next_set_up_step(context: template.Context) -> first_run.Step | None:
    """The next step of the set-up path for who may go it, which says why there are no courses yet; else None."""
    user = context.get("user")
    if user is None or not first_run.may_set_up(user):
        return None
    return first_run.next_step(first_run.steps(timezone.now()))


def _is_on_path(context: template.Context) -> bool:
    user = context.get("user")
    return user is not None and first_run.may_set_up(user) and not first_run.is_done()


@register.inclusion_tag("admin/moodle_steps.html")
def moodle_steps(site: MoodleSite | None, checked: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    """What is to be done in Moodle, for a site that is there or for a new one.

    `checked` is what a check of what was typed has found just now; without it the site's last check counts.
    """
    findings = checked or (site.state.findings if site else ())
    url = reverse("admin:moodle_guide", args=[site.pk]) if site else reverse("admin:moodle_guide_new")
    return {"guide": guide(findings), "guide_url": url}


register.filter("clock", clock)
register.filter("duration", duration)
