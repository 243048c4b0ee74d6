"""Moodle sites as the portal's people connect them: checked first, saved when there is a way to read them."""

from datetime import datetime
from typing import Any

from django.db import transaction

from moodle_sync.checking import check_site, client_for, sync_courses
from moodle_sync.errors import MoodleError
from moodle_sync.models import MoodleSite

from . import audit
from .models import AuditEntry


def check_and_save(site: MoodleSite, *, actor: Any, now: datetime) -> bool:
    """Check a site with the address and token in memory; save it, and its courses, when a feed is usable.

    The findings are on `site` in either case; False: nothing was saved. Raises WrongKey, and ValueError for a token or
    address that cannot be one.
    """
    with client_for(site) as client:
        result = check_site(site, client, now)
        if result.failure is not None or not result.strategy:
            return False
        site.failures, site.error, site.next_poll_at = 0, "", None
        with transaction.atomic():
            site.save()
            audit.record(AuditEntry.Action.SITE_SAVED, site, actor=actor, strategy=site.strategy)
        try:
            sync_courses(site, client)
        except MoodleError as error:
            # The site is usable; the courses come with the next daily check.
            site.findings.append({"check": "courses", "ok": False, "message": error.advice, "values": {}})
            site.save(update_fields=["findings"])
    return True
