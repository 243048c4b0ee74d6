"""The check of a site: when it is due, storing its results, and reading the list of courses."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.utils.translation import gettext, gettext_noop

from outbound_http import Address, HostRule, is_loopback_host, public_only

from .client import MoodleClient, normalise_url, records
from .client.errors import MoodleNotAllowed
from .client.findings import OWN_TEXTS, MoodleFinding
from .client.front_page import NOT_ALLOWED, FrontPage, TypedAddress, find_front_page, typed_address
from .client.functions import CONFIG, COURSES, LIST_REPORTS, REPORT_FUNCTIONS
from .client.inspection import Inspection
from .client.report_cells import matching_reports
from .models import Course, Feed, MoodleSite, MoodleSiteState
from .storing import fitting

# Seconds that a page waits while a Moodle is looked for.
FIND_SECONDS = 4.0
# How often a site is checked.
CHECK_EVERY = timedelta(days=1)
# How often while something is wrong.
CHECK_AGAIN_EVERY = timedelta(hours=1)
# The finding that the time zone of the report has changed.
ZONE_CHANGED = "zone-changed"
# The lengths of the columns of a course's names.
LONGEST_SHORT_NAME = 255
LONGEST_CATEGORY_NAME = 255
LONGEST_FULL_NAME = 1333

WhileWaiting = Callable[[], AbstractContextManager[object]]


def site_address(text: str) -> str:
    """The address of a Moodle's front page, from what a person entered.

    Raises ValueError, with a text for that person, if it cannot be one or the operator does not allow its host. What
    its name resolves to is asked when connecting.
    """
    address = normalise_url(text)
    if not _host_rule().may_allow(urlsplit(address).hostname or ""):
        raise ValueError(NOT_ALLOWED)
    return address


def typed_site(text: str) -> TypedAddress:
    """Read what a person typed as the address of a Moodle: any of its pages. Raises ValueError as `site_address`."""
    typed = typed_address(text)
    if not _host_rule().may_allow(typed.host):
        raise ValueError(NOT_ALLOWED)
    return typed


def find_site(typed: TypedAddress, *, until: float, tell: bool = False) -> FrontPage:
    """The front page of the Moodle that a person meant. The token is not needed, and is sent nowhere.

    Takes FIND_SECONDS at most, and ends at `until` (monotonic). `tell`: this person may know what answers there, as
    somebody with a shell does. Raises NoMoodleFound, and ValueError.
    """
    until = min(until, time.monotonic() + FIND_SECONDS)
    return find_front_page(
        typed,
        may_connect=_host_rule().allows,
        may_tell=(lambda _host, _addresses: True) if tell else _may_tell,
        timeout=settings.MOODLE_TIMEOUT,
        until=until,
    )


def _may_tell(host: str, addresses: Sequence[Address]) -> bool:
    """Whether people may be told what answers at a host that is no Moodle.

    Not of hosts inside, unless the operator names them: the form would show which machines and ports exist there. In
    the demo, this machine is no secret.
    """
    if settings.SANDBOX_URL and is_loopback_host(host):
        return True
    return all(public_only(host, address) or _host_rule().names(host, address) for address in addresses)


def _host_rule() -> HostRule:
    return _rule_of(tuple(settings.MOODLE_HOSTS))


@lru_cache(maxsize=4)
def _rule_of(entries: tuple[str, ...]) -> HostRule:
    return HostRule(entries)


def moodle_client_for(
    site: MoodleSite,
    *,
    timeout: int | None = None,
    while_waiting: WhileWaiting = nullcontext,
    until: float | None = None,
) -> MoodleClient:
    """A client for the site's address and token. `while_waiting` is entered around each call to Moodle.

    With `until` (monotonic) all calls together end then.

    The time-out is `timeout` seconds, or that of the settings if it is shorter. Raises vault.keys.WrongKey, and
    ValueError, with a text for people, for an address that cannot be one.
    """
    return MoodleClient(
        site.url,
        site.token,
        timeout=min(timeout or settings.MOODLE_TIMEOUT, settings.MOODLE_TIMEOUT),
        language=settings.LANGUAGE_CODE.partition("-")[0],
        may_connect=_host_rule().allows,
        while_waiting=while_waiting,
        until=until,
    )


def findings_of(inspection: Inspection) -> list[dict[str, Any]]:
    """The findings in the form in which they are stored: untranslated, with their values."""
    return [as_json(finding) for finding in inspection.findings]


def as_json(finding: MoodleFinding) -> dict[str, Any]:
    """A finding in that form."""
    return {"check": finding.check, "ok": finding.ok, "message": finding.text, "values": dict(finding.values)}


def keep_inspection(state: MoodleSiteState, inspection: Inspection, now: datetime) -> None:
    """Store the results of a check in the site's state. A site that cannot be reached keeps its feed.

    A change of the feed causes a full reading, since the other feed may have been behind.
    """
    values: dict[str, Any] = {"findings": findings_of(inspection)}
    if inspection.zone and state.zone and inspection.zone != state.zone:
        values["findings"].append(as_json(_zone_changed(state.zone, inspection.zone)))
    if inspection.info is not None:
        report = inspection.report
        values |= {
            "checked_at": now,
            "wwwroot": inspection.info.siteurl,
            "functions": sorted(inspection.info.functions),
            "feed": inspection.feed,
            "report_id": report.id if report else None,
            "report_modified_at": report.timemodified if report else None,
            "zone": fitting(inspection.zone, 64),
            "clock_skew": inspection.clock_skew,
        }
        if inspection.feed != state.feed:
            values["read_whole_at"] = None
    else:
        # The first poll that reaches the site checks it again.
        values["checked_at"] = None
    for name, value in values.items():
        setattr(state, name, value)
    state.save(update_fields=list(values))


def _zone_changed(before: str, now: str) -> MoodleFinding:
    message = gettext_noop(
        "The time zone of the report's times was {before} and is now {now}. Times of completions that were read from "
        "the report in between may be wrong by some hours: look at the latest ones."
    )
    return MoodleFinding(ZONE_CHANGED, False, message, {"before": before, "now": now}, needed=False)


def finding_text(finding: dict[str, Any]) -> str:
    """The text of a stored finding in the current language."""
    values = finding["values"]
    own = {name: gettext(values[name]) for name in OWN_TEXTS & values.keys()}
    return gettext(finding["message"]).format(**{**values, **own})


def feed_reason(state: MoodleSiteState) -> str:
    """Why completions are not read from the report, and what to do; "" if they are."""
    if state.feed == Feed.REPORT:
        return ""
    wrong = [finding for finding in state.findings if not finding["ok"] and _concerns_report(finding["check"])]
    return " ".join(map(finding_text, wrong))


def _concerns_report(check: str) -> bool:
    """Whether a failure of this check may be why the report is not used."""
    about_report = check.startswith(("report", "custom-reports", "version"))
    is_function = check.removeprefix("function-") in REPORT_FUNCTIONS
    return is_function or (about_report and check not in ("report-unique", "report-form"))


def check_is_due(state: MoodleSiteState, client: MoodleClient, now: datetime) -> bool:
    """Whether the site is to be checked. Raises MoodleError.

    Once a day, and in every poll while there is no usable feed. Once an hour while the zone of the report's times is
    unknown, a finding is wrong that somebody may correct, or the site is read learner by learner; in the last case also
    when the report has changed.
    """
    if not state.feed or state.checked_at is None or state.checked_at <= now - CHECK_EVERY:
        return True
    if state.checked_at <= now - CHECK_AGAIN_EVERY:
        zone_unknown = not state.zone and CONFIG in state.functions
        return zone_unknown or state.feed != Feed.REPORT or any(map(_can_be_corrected, state.findings))
    return state.feed != Feed.REPORT and _report_has_changed(state, client)


def _can_be_corrected(finding: dict[str, Any]) -> bool:
    """Whether a finding is wrong until somebody acts in Moodle. The finding of a changed zone stays for a day."""
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
    """Store every course that the account may see; returns how many. Names are plain text.

    Does nothing if the service lacks the function. Raises MoodleError.
    """
    if COURSES not in site.state.functions:
        return 0
    return len(store_courses(site, client.courses()))


def store_courses(site: MoodleSite, found: Iterable[records.Course]) -> list[Course]:
    """Create or update a row for each course. Names are cut to the lengths of their columns."""
    # By id: PostgreSQL refuses a statement that names a row twice.
    courses = {course.id: course for course in found}
    rows = [
        Course(
            site=site,
            moodle_id=course.id,
            shortname=fitting(course.shortname, LONGEST_SHORT_NAME),
            fullname=fitting(course.fullname, LONGEST_FULL_NAME),
            category_id=course.category_id,
            category_name=fitting(course.category_name, LONGEST_CATEGORY_NAME),
            visible=course.visible,
            completion_enabled=course.completion_enabled,
            gone_at=None,
        )
        for course in courses.values()
    ]
    return Course.objects.bulk_create(
        rows,
        batch_size=200,
        update_conflicts=True,
        unique_fields=["site", "moodle_id"],
        update_fields=[
            "shortname", "fullname", "search_text", "category_id", "category_name", "visible", "completion_enabled",
            "gone_at",
        ],
    )  # fmt: skip
