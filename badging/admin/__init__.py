"""The admin: what a site admin or data protection officer sees and may do. Every change is one call of a verb.

The pages of Moodle's sites, courses, learners and completions are here too: each of them shows mappings or issuances,
of which `moodle_sync` knows nothing.
"""

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from . import connections, issuances, mappings, people, sites

__all__ = ["connections", "issuances", "mappings", "people", "sites"]

admin.site.site_header = _("Navigatr badge portal")
admin.site.site_title = _("Navigatr badge portal")
admin.site.index_title = _("Administration")
