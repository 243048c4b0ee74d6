"""What a new or running connection to Moodle needs, looked at one thing after another, and which feed it allows."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from . import functions
from .client import MoodleClient
from .errors import MoodleError, MoodleTokenRefused, MoodleUnavailable, gettext_noop
from .findings import MoodleFinding, refusal
from .people_check import PeopleCheck
from .records import Report, SiteInfo
from .report_check import ReportCheck
from .zones import zone_named

REPORT_FEED = "A"
LEARNER_FEED = "B"
MOST_CLOCK_SKEW = timedelta(seconds=120)
# What the network takes and the whole seconds of an HTTP date cannot be told from a small difference.
LEAST_CLOCK_SKEW = timedelta(seconds=5)
# Offsets of zones are multiples of this, and none is further from UTC.
QUARTER = timedelta(minutes=15)
MOST_OFFSET = timedelta(hours=14)

# Each function beside the feed that cannot work without it ("" for neither), and what is lost.
_FUNCTIONS = (
    (functions.LIST_REPORTS, REPORT_FEED, gettext_noop("the report cannot be found")),
    (functions.RETRIEVE_REPORT, REPORT_FEED, gettext_noop("the report cannot be read")),
    (functions.SET_FILTERS, REPORT_FEED, gettext_noop("the report cannot be limited to what is new")),
    (
        functions.ENROLLED_USERS,
        LEARNER_FEED,
        gettext_noop("participants cannot be listed, which the feed without report needs"),
    ),
    (
        functions.COMPLETION,
        LEARNER_FEED,
        gettext_noop(
            "completions have no exact time, undone ones are noticed late, and nothing can be read without the report"
        ),
    ),
    (functions.COURSES, "", gettext_noop("courses cannot be listed to choose from")),
    (functions.GRADES, "", gettext_noop("badges are issued without a score")),
    (
        functions.USERS,
        "",
        gettext_noop("names and addresses may not be exact, and suspended and deleted accounts are not noticed"),
    ),
    (functions.BATCH, "", gettext_noop("every learner costs a call of its own")),
    (functions.CONFIG, "", gettext_noop("the time zone of the report's times is unknown")),
)
_VALID_UNTIL = gettext_noop(
    'Moodle does not tell when a token expires, and presets "Valid until" to 30 days. If the token has such a date '
    "(Server, Web services, Manage tokens), create one without it: an expired token stops everything."
)
_SERVICE_PAGE = gettext_noop(
    'Moodle\'s own list of "missing capabilities" on the pages of the service and the token names more than the portal '
    "needs: ignore moodle/user:update, moodle/user:viewhiddendetails and moodle/course:useremail there."
)
_ZONE_UNKNOWN = gettext_noop(
    "The time zone of the report's times is unknown, so each learner's exact time is asked for. {advice}"
)


@dataclass(frozen=True, slots=True)
class Inspection:
    """All findings, and what follows from them.

    `feed` is "A" (report feed), "B" (per learner) or "" if neither can work now. `clock_skew` is how far Moodle's
    clock is ahead of ours, zero below 5 seconds. `zone` is the time zone that the report's times are in, "" if unknown.

    `failure` says why the site as a whole could not be read: nothing at its address, a refused token, or gone half-way.
    Then nothing follows about the feeds: `info` and `report` are None and `feed` is "".
    """

    findings: tuple[MoodleFinding, ...]
    feed: str = ""
    info: SiteInfo | None = None
    report: Report | None = None
    clock_skew: timedelta = timedelta(0)
    zone: str = ""
    failure: MoodleError | None = None

    @property
    def ok(self) -> bool:
        """Whether nothing that is needed is wrong."""
        return all(finding.ok for finding in self.findings if finding.needed)


def inspect(client: MoodleClient, *, now: datetime) -> Inspection:
    """Look at everything that the portal needs of this Moodle, in at most 20 calls, and choose the feed.

    `now` is our time at the start. Raises no MoodleError: each becomes a finding. Sets and clears the report's
    filters, so it must not run while a poll of the same site does. Over a hundred reports cost a call more for each
    further hundred, and names that Moodle does not let pass up to 20, since lists are then asked for in halves.
    """
    findings = [_address(client)]
    started = time.monotonic()
    try:
        info = client.site_info()
    except MoodleError as error:
        return Inspection(findings=tuple(_no_entry(error, findings[0])), failure=error)
    skew = _clock_skew(client.server_time, now + timedelta(seconds=time.monotonic() - started))
    findings += [
        MoodleFinding("rest", True, gettext_noop("Web services and REST are enabled.")),
        MoodleFinding("token", True, gettext_noop("The token is accepted.")),
        MoodleFinding("token-validity", True, _VALID_UNTIL),
        MoodleFinding("service-page", True, _SERVICE_PAGE),
        _siteurl(client, info),
        _clock(skew),
        _completion_enabled(info),
    ]
    missing_functions = _missing_functions(info)
    zone, zone_finding = _zone(client, info)
    report = ReportCheck(client, info, now)
    report.run()
    if report.failure:
        return Inspection(findings=(*findings, *report.findings), failure=report.failure)
    people = PeopleCheck(client, info, report.rows, compare_times=zone_finding.text == _ZONE_UNKNOWN)
    people.run()
    if people.failure and not report.usable:
        seen = (*findings, *report.findings, *people.findings, *people.extras)
        return Inspection(findings=seen, failure=people.failure)
    findings.append(_measured(zone_finding, people.offsets))
    feed = REPORT_FEED if report.usable else LEARNER_FEED if people.usable else ""
    # What only the other feed needs is worth knowing but stops nothing; without any feed, everything is in the way.
    for needing, found in ((REPORT_FEED, report.findings), (LEARNER_FEED, people.findings)):
        missing = [finding for its_feed, finding in missing_functions if its_feed == needing]
        findings += [replace(item, needed=item.needed and feed in ("", needing)) for item in (*missing, *found)]
    findings += [finding for its_feed, finding in missing_functions if not its_feed]
    findings += people.extras
    findings.append(_feed_finding(feed))
    return Inspection(tuple(findings), feed, info, report.report, skew, zone)


def _address(client: MoodleClient) -> MoodleFinding:
    address = urlsplit(client.base_url)
    if address.scheme == "https" or _is_loopback(address.hostname or ""):
        return MoodleFinding("address", True, gettext_noop("Moodle answers at this address."))
    message = gettext_noop(
        "The address begins with http://, so the token and the learners' data can be read on the way. Give Moodle a "
        "certificate and enter the address with https://."
    )
    return MoodleFinding("address", False, message, needed=False)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _no_entry(error: MoodleError, address: MoodleFinding) -> list[MoodleFinding]:
    """What it means that not even the site's own information can be read."""
    if error.status == 403 and isinstance(error, MoodleUnavailable):
        return [address, refusal("rest", error)]
    if isinstance(error, MoodleTokenRefused):
        rest = MoodleFinding("rest", True, gettext_noop("Web services and REST are enabled."))
        return [address, rest, refusal("token", error)]
    return [refusal("address", error)]


def _siteurl(client: MoodleClient, info: SiteInfo) -> MoodleFinding:
    ours, theirs = (urlsplit(url.rstrip("/")) for url in (client.base_url, info.siteurl))
    if (ours.netloc.lower(), ours.path) == (theirs.netloc.lower(), theirs.path):
        return MoodleFinding("siteurl", True, gettext_noop("Moodle knows itself by the same address."))
    message = gettext_noop(
        "Moodle knows itself by another address than the one entered ({siteurl}). If that is the same site, nothing "
        "needs to be done; if not, correct the address."
    )
    return MoodleFinding("siteurl", False, message, {"siteurl": info.siteurl}, needed=False)


def _clock_skew(server_time: datetime | None, now: datetime) -> timedelta:
    skew = server_time - now if server_time else timedelta(0)
    return skew if abs(skew) >= LEAST_CLOCK_SKEW else timedelta(0)


def _clock(skew: timedelta) -> MoodleFinding:
    if abs(skew) <= MOST_CLOCK_SKEW:
        return MoodleFinding("clock", True, gettext_noop("Moodle's clock agrees with the portal's."))
    message = gettext_noop(
        "Moodle's clock differs from the portal's by {seconds} seconds. Set both machines to network time (NTP), or "
        "new completions may be noticed late."
    )
    return MoodleFinding("clock", False, message, {"seconds": round(skew.total_seconds())}, needed=False)


def _zone(client: MoodleClient, info: SiteInfo) -> tuple[str, MoodleFinding]:
    """The zone of the report's times: the one that the site forces on everybody, else the one that we ask for."""
    if functions.CONFIG not in info.functions:
        values = {"advice": gettext_noop("Add tool_mobile_get_config to the service.")}
        return "", MoodleFinding("zone", False, _ZONE_UNKNOWN, values, needed=False)
    try:
        settings = client.location_settings()
    except MoodleError as error:
        return "", MoodleFinding("zone", False, _ZONE_UNKNOWN, {"advice": error.advice}, needed=False)
    if not settings.forced:
        return "UTC", MoodleFinding("zone", True, gettext_noop("The report's times can be read."))
    if zone_named(settings.forced) is None:
        message = gettext_noop(
            'Moodle forces the time zone "{zone}" on everybody, which the portal does not know, so each learner\'s '
            "exact time is asked for. Choose one with a name such as Europe/London (Site administration, Location, "
            "Location settings, Force timezone)."
        )
        return "", MoodleFinding("zone", False, message, {"zone": settings.forced[:64]}, needed=False)
    message = gettext_noop(
        'Moodle forces the time zone {zone} on everybody ("Force timezone"), and the report\'s times are read in it.'
    )
    return settings.forced, MoodleFinding("zone", True, message, {"zone": settings.forced})


def _measured(finding: MoodleFinding, offsets: Sequence[timedelta]) -> MoodleFinding:
    """The finding of an unknown zone, with what a few of the report's times tell about it.

    The zone stays unknown: London in winter cannot be told from UTC.
    """
    possible = {offset for offset in offsets if not offset % QUARTER and abs(offset) <= MOST_OFFSET}
    if finding.text != _ZONE_UNKNOWN or len(possible) != 1 or len(offsets) != offsets.count(*possible):
        return finding
    [offset] = possible
    if not offset:
        message = gettext_noop(
            "The time zone of the report's times is unknown. It seems to be UTC, but may be another one in summer, so "
            "each learner's exact time is asked for. {advice}"
        )
        return replace(finding, text=message)
    message = gettext_noop(
        "The report's times are in an unknown zone, {offset} from UTC where they were compared, so each learner's "
        'exact time is asked for. The site probably has "Force timezone" set (Site administration, Location, Location '
        "settings). {advice}"
    )
    minutes = round(abs(offset) / timedelta(minutes=1))
    shown = f"{'-' if offset < timedelta(0) else '+'}{minutes // 60}:{minutes % 60:02d}"
    return replace(finding, text=message, values={**finding.values, "offset": shown})


def _completion_enabled(info: SiteInfo) -> MoodleFinding:
    if info.features.get("enablecompletion") is not False:
        return MoodleFinding("completion", True, gettext_noop("Completion tracking is enabled for the site."))
    message = gettext_noop(
        "Completion tracking is switched off for the site. Enable it (Site administration, Advanced features)."
    )
    return MoodleFinding("completion", False, message)


def _missing_functions(info: SiteInfo) -> list[tuple[str, MoodleFinding]]:
    message = gettext_noop("The service lacks {function}: {lost}. Add it (Server, Web services, External services).")
    return [
        (feed, MoodleFinding(f"function-{name}", False, message, {"function": name, "lost": lost}, needed=bool(feed)))
        for name, feed, lost in _FUNCTIONS
        if name not in info.functions
    ]


def _feed_finding(feed: str) -> MoodleFinding:
    messages = {
        REPORT_FEED: gettext_noop("Completions are read from the report."),
        LEARNER_FEED: gettext_noop("Completions are read learner by learner, because the report cannot be used."),
        "": gettext_noop("Completions cannot be read: neither the report nor the participants are available."),
    }
    return MoodleFinding("strategy", bool(feed), messages[feed])
