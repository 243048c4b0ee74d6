"""The admin: what site admins and data protection officers see and may do. One module for each kind of row.

Moodle's sites, courses, learners and completions are here and not in `moodle_sync`, which knows neither mappings nor
issuances. What all pages share: `base` (lists, buttons, asking first), `tokens` (forms with a token), `display` (how
values are shown), `search` and `filters`. `start` is the start page, and `pages` lists
the pages that belong to no model.
"""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from . import (
    attempts,
    audit_trail,
    bulk_runs,
    completions,
    connections,
    course_managers,
    courses,
    grants,
    issuances,
    learners,
    mappings,
    schedule,
    sites,
)

__all__ = [
    "attempts",
    "audit_trail",
    "bulk_runs",
    "completions",
    "connections",
    "course_managers",
    "courses",
    "grants",
    "issuances",
    "learners",
    "mappings",
    "schedule",
    "sites",
]

admin.site.site_header = _("Navigatr badge portal")
admin.site.site_title = _("Navigatr badge portal")
