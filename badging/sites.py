"""Moodle sites as the portal's people connect them: checked first, saved when there is a way to read them."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext, gettext_noop

from moodle_sync import history, identity
from moodle_sync.client.errors import MoodleError
from moodle_sync.client.front_page import NoMoodleFound, TypedAddress
from moodle_sync.client.inspection import Inspection, inspect
from moodle_sync.models import MoodleSite, MoodleSiteState
from moodle_sync.polling import POLL_LEASE, look_at_courses
from moodle_sync.site_check import as_json, find_site, findings_of, keep_inspection, moodle_client_for

from . import audit
from .mapping import wanted_courses
from .models import AuditEntry

# Seconds that a page waits for Moodle, over all calls.
PAGE_SECONDS = 10.0

_CONNECTED_AGAIN = gettext_noop(
    "The same Moodle is already connected as “{name}”, and its learners would be known twice. Change that site's "
    "name, address or token instead of adding another one."
)


class ConnectedAgain(ValueError):
    """The Moodle is connected as another site, and its learners must not be known twice. The text is for people."""


class BeingPolled(Exception):
    """The site is being polled right now, and a check would change its report's filters. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class SiteCheck:
    """The result of a check.

    `readable`: a feed is usable, and no other site reads this Moodle. `saved`: the site was saved, which needs that.
    `url`: the front page that was asked; "" if no Moodle was found, and then the token was sent nowhere.
    """

    saved: bool
    findings: list[dict[str, Any]]
    readable: bool
    url: str = ""
    feed: str = ""


def save_typed(
    site: MoodleSite, typed: TypedAddress, *, actor: Any, now: datetime, same_moodle: bool = False
) -> SiteCheck:
    """`save_when_readable` at the front page of the Moodle that the typed address means, within PAGE_SECONDS."""
    return _at_front_page(
        site,
        typed,
        lambda until, tell: save_when_readable(
            site, actor=actor, now=now, same_moodle=same_moodle, until=until, tell=tell
        ),
    )


def try_typed(site: MoodleSite, typed: TypedAddress, *, now: datetime) -> SiteCheck:
    """`try_out` at the front page of the Moodle that the typed address means, within PAGE_SECONDS."""
    return _at_front_page(site, typed, lambda until, tell: try_out(site, now=now, until=until, tell=tell))


def try_out(site: MoodleSite, *, now: datetime, until: float | None = None, tell: bool = False) -> SiteCheck:
    """Check a site with the address and token in memory, and save nothing.

    Takes PAGE_SECONDS at most. Raises as `save_when_readable`.
    """
    until = until or page_deadline()
    with _unpolled(site, now), moodle_client_for(site, until=until) as client:
        return _check(site, inspect(client, now=now, tell=tell))


def page_deadline() -> float:
    """When a page that begins now waits for Moodle no longer, on the monotonic clock."""
    return time.monotonic() + min(PAGE_SECONDS, settings.MOODLE_TIMEOUT)


def _at_front_page(site: MoodleSite, typed: TypedAddress, check: Callable[[float, bool], SiteCheck]) -> SiteCheck:
    """Run the check at the front page that is found, which becomes the site's address. The token is not sent before."""
    until = page_deadline()
    try:
        front_page = find_site(typed, until=until)
    except NoMoodleFound as error:
        return SiteCheck(False, [as_json(error.finding)], readable=False)
    site.url = front_page.url
    return check(until, front_page.told)


def _check(site: MoodleSite, inspection: Inspection) -> SiteCheck:
    """What was found, and whether the site may be saved."""
    findings = findings_of(inspection)
    twin = _twin(site, inspection)
    if twin is not None:
        findings.append(twin)
    is_twin = twin is not None and _has_moved(site, inspection)
    readable = inspection.failure is None and bool(inspection.feed) and not is_twin
    return SiteCheck(False, findings, readable=readable, url=site.url, feed=inspection.feed)


def save_when_readable(  # noqa: PLR0913 - what a form, a command and a button of the admin differ in
    site: MoodleSite,
    *,
    actor: Any,
    now: datetime,
    same_moodle: bool = False,
    until: float | None = None,
    tell: bool = False,
) -> SiteCheck:
    """Check a site with the address and token in memory; save it, and its courses, when a feed is usable.

    While a known site is being checked it is not polled. At a new address it waits for an admin to say that it is the
    same Moodle, or `same_moodle` says so. All calls end at `until` (monotonic). `tell`: what answers there may be told
    if it is no Moodle. Raises BeingPolled, WrongKey, and ValueError for a token or address that cannot be one.
    """
    with _unpolled(site, now), moodle_client_for(site, until=until) as client:
        inspection = inspect(client, now=now, tell=tell)
        check = _check(site, inspection)
        findings = check.findings
        if not check.readable:
            return check
        with transaction.atomic():
            is_known = site.pk is not None
            doubt = _doubt(site, inspection) if not same_moodle else ""
            history.by(site, actor, at=now)
            site.save()
            keep_inspection(site.state, inspection, now)
            state = MoodleSiteState.objects.filter(site=site)
            state.update(failures=0, error=doubt, doubt=doubt, next_poll_at=None)
            audit.record(AuditEntry.Action.SITE_SAVED, site, actor=actor, feed=inspection.feed)
            if same_moodle and is_known:
                confirm_same(site, actor=actor, now=now)
                site.state.accepts_changes = True
        try:
            # Mapped courses that are others now would be found out too late once the list of all is stored.
            doubt = doubt or look_at_courses(site, client, wanted_courses(site), now)
        except MoodleError as error:
            # The site is usable; the first poll checks it again, with more time, and reads the courses.
            findings.append({"check": "courses", "ok": False, "message": error.advice, "values": {}})
            state.update(findings=findings, checked_at=None)
        if doubt:
            findings.append(
                {"check": "same-moodle", "ok": False, "message": "{question}", "values": {"question": doubt}}
            )
    return replace(check, saved=True)


@transaction.atomic
def confirm_same(site: MoodleSite, *, actor: Any, now: datetime) -> None:
    """An admin says that it is still the same Moodle: it is read and sent from again, and what changed is accepted.

    Raises ConnectedAgain.
    """
    see_that_nobody_else_reads(site)
    identity.confirm_same(site, now)
    audit.record(AuditEntry.Action.SITE_CONFIRMED, site, actor=actor)


def see_that_nobody_else_reads(site: MoodleSite) -> None:
    """Raises ConnectedAgain if a stopped site has been connected anew as another one."""
    if site.state.wwwroot and (twin := twin_of(site, site.state.wwwroot)):
        raise ConnectedAgain(gettext(_CONNECTED_AGAIN).format(name=twin.name))


def _doubt(site: MoodleSite, inspection: Inspection) -> str:
    """The question to an admin where people are known from the site and its address is another one than before."""
    before = MoodleSite.objects.filter(pk=site.pk).defer("token").select_related("state").first()
    if before is None or inspection.info is None or not identity.has_been_read(before):
        return ""
    old, new = before.state.wwwroot or before.url, inspection.info.siteurl
    moved = identity.address_of(old) != identity.address_of(new)
    return identity.address_changed(old, new) if moved else before.state.doubt


@contextmanager
def _unpolled(site: MoodleSite, now: datetime) -> Iterator[None]:
    """Keep polls away from a known site for a while. Raises BeingPolled."""
    state = MoodleSiteState.objects.filter(site=site.pk)
    until = now + POLL_LEASE
    if site.pk and not (state.filter(polling_until=None) | state.filter(polling_until__lte=now)).update(
        polling_until=until
    ):
        raise BeingPolled
    try:
        yield
    finally:
        state.filter(polling_until=until).update(polling_until=None)


def twin_of(site: MoodleSite, siteurl: str) -> MoodleSite | None:
    """Another site that reads the Moodle at this address. Those that are disabled or stopped by a question do not.

    Its people would be known twice: they would get badges twice, and come back after they were erased. But behind an
    address where a question stands, there may be another Moodle now.
    """
    here = identity.address_of(siteurl)
    others = MoodleSiteState.objects.filter(site__enabled=True, doubt="").exclude(site=site.pk).exclude(wwwroot="")
    reads = others.select_related("site").defer("site__token")
    return next((other.site for other in reads if identity.address_of(other.wwwroot) == here), None)


def _twin(site: MoodleSite, inspection: Inspection) -> dict[str, Any] | None:
    """The finding that the same Moodle is connected already, or None."""
    twin = twin_of(site, inspection.info.siteurl) if inspection.info is not None else None
    if twin is None:
        return None
    return {"check": "twin", "ok": False, "message": _CONNECTED_AGAIN, "values": {"name": twin.name}}


def _has_moved(site: MoodleSite, inspection: Inspection) -> bool:
    """Whether the site is new, was stopped, or is at another address. Two that have always been twins may stay so."""
    before = MoodleSiteState.objects.filter(site=site.pk, site__enabled=True, doubt="").first()
    siteurl = inspection.info.siteurl if inspection.info else ""
    return before is None or identity.address_of(before.wwwroot) != identity.address_of(siteurl)
