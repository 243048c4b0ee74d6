"""Checks a site and keeps what was found: which feed to use, what is missing, which courses there are."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils.translation import gettext

from .client import MoodleClient, records
from .client.inspection import OWN_TEXTS, Inspection, inspect
from .models import Course, MoodleSite
from .storing import storable

CHECK_EVERY = timedelta(days=1)
COURSES_FUNCTION = "core_course_get_courses_by_field"


def moodle_client_for(site: MoodleSite) -> MoodleClient:
    """A client for the site's address and token.

    Raises vault.keys.WrongKey, and ValueError with a text for people for an address that cannot be one.
    """
    return MoodleClient(site.url, site.token, timeout=settings.MOODLE_TIMEOUT)


def check_site(site: MoodleSite, client: MoodleClient, now: datetime) -> Inspection:
    """Run every check and put the result on `site` (not saved). A site that cannot be reached keeps its feed.

    A feed that takes over from another one begins with a full sweep: the other may have been behind.
    """
    result = inspect(client, now=now)
    site.findings = [
        {"check": finding.check, "ok": finding.ok, "message": finding.text, "values": dict(finding.values)}
        for finding in result.findings
    ]
    if result.info is not None:
        site.checked_at = now
        site.wwwroot = result.info.siteurl
        site.functions = sorted(result.info.functions)
        site.swept_at = site.swept_at if site.strategy == result.strategy else None
        site.strategy = result.strategy
        site.report_id = result.report.id if result.report else None
        site.clock_skew = result.clock_skew
    return result


def finding_text(finding: dict[str, Any]) -> str:
    """What one of a site's stored findings says, in the language of whoever reads it."""
    # What an earlier version kept has its values in the message already.
    values = finding.get("values", {})
    own = {name: gettext(values[name]) for name in OWN_TEXTS & values.keys()}
    return gettext(finding["message"]).format(**{**values, **own})


# What `check_site` changes.
CHECKED_FIELDS = (
    "findings", "checked_at", "wwwroot", "functions", "strategy", "report_id", "clock_skew", "swept_at"
)  # fmt: skip


def save_check(site: MoodleSite) -> None:
    """Save what `check_site` changed, and nothing else, so that an admin's edit meanwhile survives."""
    site.save(update_fields=CHECKED_FIELDS)


def check_is_due(site: MoodleSite, now: datetime) -> bool:
    """Never checked, no usable feed, or checked more than a day ago."""
    return not site.strategy or site.checked_at is None or site.checked_at <= now - CHECK_EVERY


def sync_courses(site: MoodleSite, client: MoodleClient) -> int:
    """Store every course that the account may see; returns how many. Names are kept as text, never as HTML.

    A site whose service lacks the function keeps the courses it has. Raises MoodleError.
    """
    if COURSES_FUNCTION not in site.functions:
        return 0
    return len(store_courses(site, client.courses()))


def store_courses(site: MoodleSite, found: Iterable[records.Course]) -> list[Course]:
    """Make or update a row for each course read from Moodle. Names are cut to what their columns hold."""
    rows = [
        Course(
            site=site,
            moodle_id=course.id,
            shortname=storable(course.shortname, 255),
            fullname=storable(course.fullname, 1333),
            visible=course.visible,
            completion_enabled=course.completion_enabled,
        )
        # PostgreSQL refuses one statement that names a row twice.
        for course in {course.id: course for course in found}.values()
    ]
    return Course.objects.bulk_create(
        rows,
        batch_size=200,
        update_conflicts=True,
        unique_fields=["site", "moodle_id"],
        update_fields=["shortname", "fullname", "visible", "completion_enabled"],
    )
