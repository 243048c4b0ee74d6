"""Checks a site and keeps what was found: which feed to use, what is missing, which courses there are."""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils.translation import gettext, gettext_noop

from .client import MoodleClient, records
from .client.errors import MoodleNotAllowed
from .client.findings import OWN_TEXTS, MoodleFinding
from .client.functions import CONFIG, COURSES, LIST_REPORTS
from .client.inspection import Inspection
from .client.report_cells import matching_reports
from .models import Course, Feed, MoodleSite, MoodleSiteState
from .storing import fitting

CHECK_EVERY = timedelta(days=1)
CHECK_AGAIN_EVERY = timedelta(hours=1)
ZONE_CHANGED = "zone-changed"


WhileWaiting = Callable[[], AbstractContextManager[object]]


def moodle_client_for(
    site: MoodleSite, *, timeout: int | None = None, while_waiting: WhileWaiting = nullcontext
) -> MoodleClient:
    """A client for the site's address and token. `while_waiting` surrounds each call to Moodle.

    It waits for an answer as long as the settings say, but no longer than `timeout` seconds.
    Raises vault.keys.WrongKey, and ValueError with a text for people for an address that cannot be one.
    """
    language = settings.LANGUAGE_CODE.partition("-")[0]
    seconds = min(timeout or settings.MOODLE_TIMEOUT, settings.MOODLE_TIMEOUT)
    return MoodleClient(
        site.url,
        site.token,
        timeout=seconds,
        language=language,
        while_waiting=while_waiting,
    )


def findings_of(inspection: Inspection) -> list[dict[str, Any]]:
    """The findings as a site's row keeps them: untranslated, with the values beside the text."""
    return [_as_kept(finding) for finding in inspection.findings]


def _as_kept(finding: MoodleFinding) -> dict[str, Any]:
    return {"check": finding.check, "ok": finding.ok, "message": finding.text, "values": dict(finding.values)}


def keep_inspection(state: MoodleSiteState, inspection: Inspection, now: datetime) -> None:
    """Write what a check found to the site's state. A site that cannot be reached keeps its feed.

    A feed that takes over from another one begins with a full reading: the other may have been behind.
    """
    kept: dict[str, Any] = {"findings": findings_of(inspection)}
    if inspection.zone and state.zone and inspection.zone != state.zone:
        kept["findings"].append(_as_kept(_zone_changed(state.zone, inspection.zone)))
    if inspection.info is not None:
        report = inspection.report
        kept |= {
            "checked_at": now,
            "wwwroot": fitting(inspection.info.siteurl, 500),
            "functions": sorted(inspection.info.functions),
            "feed": inspection.feed,
            "report_id": report.id if report else None,
            "report_modified_at": report.timemodified if report else None,
            "zone": fitting(inspection.zone, 64),
            "clock_skew": inspection.clock_skew,
        }
        if inspection.feed != state.feed:
            kept["read_whole_at"] = None
    else:
        # The first poll that reaches the site checks it again.
        kept["checked_at"] = None
    for name, value in kept.items():
        setattr(state, name, value)
    state.save(update_fields=list(kept))


def _zone_changed(before: str, now: str) -> MoodleFinding:
    message = gettext_noop(
        "The time zone of the report's times was {before} and is now {now}. Completions that were read from the report "
        "in between may be dated some hours off: look at the latest ones."
    )
    return MoodleFinding(ZONE_CHANGED, False, message, {"before": before, "now": now}, needed=False)


def finding_text(finding: dict[str, Any]) -> str:
    """What one of a site's stored findings says, in the language of whoever reads it."""
    values = finding["values"]
    own = {name: gettext(values[name]) for name in OWN_TEXTS & values.keys()}
    return gettext(finding["message"]).format(**{**values, **own})


def feed_reason(state: MoodleSiteState) -> str:
    """Why completions are not read from the report, with what to do; "" where they are."""
    if state.feed == Feed.REPORT:
        return ""
    wrong = [finding for finding in state.findings if not finding["ok"] and _is_about_report(finding)]
    return " ".join(map(finding_text, wrong))


def _is_about_report(finding: dict[str, Any]) -> bool:
    about = ("report", "custom-reports", "version", "function-core_reportbuilder")
    return str(finding["check"]).startswith(about) and finding["check"] not in ("report-unique", "report-form")


def check_is_due(state: MoodleSiteState, client: MoodleClient, now: datetime) -> bool:
    """Whether the site is to be checked: never done, no usable feed, or done a day ago.

    Every hour while the zone of the report's times is doubted, and while something is wrong, as it may have been mended
    since. On the slower feed also at once when the report has been changed. Raises MoodleError.
    """
    if not state.feed or state.checked_at is None or state.checked_at <= now - CHECK_EVERY:
        return True
    if state.checked_at <= now - CHECK_AGAIN_EVERY:
        doubted = not state.zone and CONFIG in state.functions
        return doubted or state.feed != Feed.REPORT or any(map(_may_be_mended, state.findings))
    return state.feed != Feed.REPORT and _report_has_changed(state, client)


def _may_be_mended(finding: dict[str, Any]) -> bool:
    """Whether a finding is wrong until somebody acts in Moodle. That the zone was changed stays said for a day."""
    return not finding["ok"] and finding["check"] != ZONE_CHANGED


def _report_has_changed(state: MoodleSiteState, client: MoodleClient) -> bool:
    if LIST_REPORTS not in state.functions:
        return False
    try:
        report = next(iter(matching_reports(client.list_reports())), None)
    except MoodleNotAllowed:
        report = None
    found = (report.id, report.timemodified) if report else (None, None)
    return found != (state.report_id, state.report_modified_at)


def sync_courses(site: MoodleSite, client: MoodleClient) -> int:
    """Store every course that the account may see; returns how many. Names are kept as text, never as HTML.

    A site whose service lacks the function keeps the courses it has. Raises MoodleError.
    """
    if COURSES not in site.state.functions:
        return 0
    return len(store_courses(site, client.courses()))


def store_courses(site: MoodleSite, found: Iterable[records.Course]) -> list[Course]:
    """Make or update a row for each course read from Moodle. Names are cut to what their columns hold."""
    rows = [
        Course(
            site=site,
            moodle_id=course.id,
            shortname=fitting(course.shortname, 255),
            fullname=fitting(course.fullname, 1333),
            visible=course.visible,
            completion_enabled=course.completion_enabled,
            gone_at=None,
        )
        # PostgreSQL refuses one statement that names a row twice.
        for course in {course.id: course for course in found}.values()
    ]
    return Course.objects.bulk_create(
        rows,
        batch_size=200,
        update_conflicts=True,
        unique_fields=["site", "moodle_id"],
        update_fields=["shortname", "fullname", "visible", "completion_enabled", "gone_at"],
    )
