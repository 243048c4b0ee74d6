"""Moodle sites as the portal's people connect them: checked first, saved when there is a way to read them."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext_noop

from moodle_sync.client.errors import MoodleError
from moodle_sync.models import MoodleSite
from moodle_sync.polling import POLL_LEASE
from moodle_sync.site_check import CHECKED_FIELDS, check_site, moodle_client_for, sync_courses

from . import audit
from .models import AuditEntry

# What a person enters, and what a check finds: all that is written here, so that a poll's own notes are never undone.
ENTERED_FIELDS = ["name", "url", "token", "enabled", "poll_interval", "send_suspended"]


class BeingPolled(Exception):
    """The site is being polled right now, and its report's filters belong to the poll; nothing was changed."""


def save_when_readable(site: MoodleSite, *, actor: Any, now: datetime) -> bool:
    """Check a site with the address and token in memory; save it, and its courses, when a feed is usable.

    The findings are on `site` in either case; False: nothing was saved, because it cannot be read or is connected
    already. While a known site is being checked it is not polled. Raises BeingPolled, WrongKey, and ValueError for a
    token or address that cannot be one.
    """
    with _unpolled(site, now), moodle_client_for(site) as client:
        result = check_site(site, client, now)
        if result.failure is not None or not result.strategy or _is_a_twin(site):
            return False
        site.failures, site.error, site.next_poll_at = 0, "", None
        with transaction.atomic():
            if site.pk:
                site.save(update_fields=[*ENTERED_FIELDS, *CHECKED_FIELDS, "failures", "error", "next_poll_at"])
            else:
                site.save()
            audit.record(AuditEntry.Action.SITE_SAVED, site, actor=actor, strategy=site.strategy)
        try:
            sync_courses(site, client)
        except MoodleError as error:
            # The site is usable; the courses come with the next daily check.
            site.findings.append({"check": "courses", "ok": False, "message": error.advice, "values": {}})
            site.save(update_fields=["findings"])
    return True


@contextmanager
def _unpolled(site: MoodleSite, now: datetime) -> Iterator[None]:
    """Keep polls away from a known site for a while. Raises BeingPolled."""
    known = MoodleSite.objects.filter(pk=site.pk)
    free = Q(polling_until=None) | Q(polling_until__lte=now)
    until = now + POLL_LEASE
    if site.pk and not known.filter(free).update(polling_until=until):
        raise BeingPolled
    try:
        yield
    finally:
        known.filter(polling_until=until).update(polling_until=None)


def _is_a_twin(site: MoodleSite) -> bool:
    """Whether the same Moodle is connected already, which is then said among the findings.

    Its people would be known twice: they would get badges twice, and come back after they were erased.
    """
    others = MoodleSite.objects.exclude(pk=site.pk).exclude(wwwroot="")
    twin = next((other for other in others.defer("token") if _address(other) == _address(site)), None)
    if twin is not None:
        text = gettext_noop(
            "The same Moodle is already connected as “{name}”, and its learners would be known twice. Change that "
            "site's name, address or token instead of adding another one."
        )
        site.findings.append({"check": "twin", "ok": False, "message": text, "values": {"name": twin.name}})
    before = MoodleSite.objects.filter(pk=site.pk).defer("token").first()
    # Two that have always been twins can still be given a token.
    return twin is not None and (before is None or _address(before) != _address(site))


def _address(site: MoodleSite) -> str:
    """Moodle's own idea of where it is, however it is written."""
    return site.wwwroot.rstrip("/").casefold()
