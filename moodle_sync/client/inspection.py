"""The check of a Moodle site: what the portal needs of it, and which feed it allows."""

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from outbound_http import is_loopback_host

from . import functions
from .client import MoodleClient
from .connection import NO_ANSWER
from .errors import MoodleError, MoodleTokenRefused
from .findings import MoodleFinding, refusal
from .functions import LEARNER_FEED, REPORT_FEED
from .people_check import PeopleCheck
from .records import Report, SiteInfo
from .report_check import ReportCheck
from .translation import gettext_noop
from .zones import QUARTER, zone_named

log = logging.getLogger(__name__)

# A larger difference of the clocks is a finding.
MOST_CLOCK_SKEW = timedelta(seconds=120)
# A smaller difference counts as none: HTTP dates have whole seconds, and the network takes time.
LEAST_CLOCK_SKEW = timedelta(seconds=5)
# No time zone is further from UTC.
MOST_OFFSET = timedelta(hours=14)

# The same text for a closed port, a time-out, a server that is not Moodle, a bad certificate and a forbidden address.
NO_MOODLE = gettext_noop(
    "Moodle cannot be reached at this address, or is too busy. Check that the address is the one of Moodle's front "
    "page, with https:// or http:// as the browser shows it; that web services (Site administration, Advanced "
    "features) and REST (Server, Web services, Manage protocols) are on; that the TLS certificate is valid; and that "
    "no firewall or sign-in page stands in between. The portal's log says what happened; so does this page, for a host "
    "that MOODLE_HOSTS names."
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
    """The findings of a check, and its results.

    `feed` is REPORT_FEED, LEARNER_FEED, or "" if neither can work now. `clock_skew` is how far Moodle's clock is ahead
    of ours; a difference below 5 seconds is zero. `zone` is the time zone of the report's times, "" if unknown.

    `failure` is the error that stopped the check, if the whole site failed. Then `info` and `report` are None and
    `feed` is "".
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
        """Whether everything that is needed is ok."""
        return all(finding.ok for finding in self.findings if finding.needed)


def inspect(client: MoodleClient, *, now: datetime, tell: bool = False) -> Inspection:
    """Check everything that the portal needs of this Moodle, and choose the feed. Raises no MoodleError.

    `now` is our time at the start. Takes at most 20 calls; more for over 100 reports, and up to 20 more for names that
    Moodle does not let pass. Sets and clears the report's filters, so no poll of the site may run meanwhile. `tell`:
    people may be told what answers where no Moodle does.
    """
    findings = [_address(client)]
    started = time.monotonic()
    try:
        info = client.site_info()
    except MoodleError as error:
        return Inspection(findings=tuple(_entry_refused(error, findings[0], client.base_url, tell=tell)), failure=error)
    skew = _clock_skew(client.server_time, now + timedelta(seconds=time.monotonic() - started))
    findings += _site_findings(client, info, skew)
    zone, zone_finding = _zone(client, info)
    report = ReportCheck(client, info, now)
    report.run()
    if report.failure:
        return Inspection(findings=(*findings, *report.findings), failure=report.failure)
    people = PeopleCheck(client, info, report.rows, compare_times=zone_finding.text == _ZONE_UNKNOWN)
    people.run()
    if people.failure and not report.usable:
        return Inspection((*findings, *report.findings, *people.findings, *people.extras), failure=people.failure)
    feed = REPORT_FEED if report.usable else LEARNER_FEED if people.usable else ""
    findings += [
        _measured(zone_finding, people.offsets),
        *_feed_findings(feed, info, report, people),
        *people.extras,
        _feed_finding(feed),
    ]
    return Inspection(tuple(findings), feed, info, report.report, skew, zone)


def _site_findings(client: MoodleClient, info: SiteInfo, skew: timedelta) -> list[MoodleFinding]:
    return [
        MoodleFinding("rest", True, gettext_noop("Web services and REST are enabled.")),
        MoodleFinding("token", True, gettext_noop("The token is accepted.")),
        MoodleFinding("token-validity", True, _VALID_UNTIL),
        MoodleFinding("service-page", True, _SERVICE_PAGE),
        _siteurl(client, info),
        _clock(skew),
        _completion_enabled(info),
    ]


def _feed_findings(feed: str, info: SiteInfo, report: ReportCheck, people: PeopleCheck) -> Iterator[MoodleFinding]:
    """The findings about each feed, and about functions that neither needs.

    What only the other feed needs is not needed. If no feed can work, everything is needed.
    """
    missing = _missing_functions(info)
    for needing_feed, found in ((REPORT_FEED, report.findings), (LEARNER_FEED, people.findings)):
        for finding in (*(finding for of_feed, finding in missing if of_feed == needing_feed), *found):
            yield replace(finding, needed=finding.needed and feed in ("", needing_feed))
    yield from (finding for of_feed, finding in missing if not of_feed)


def _address(client: MoodleClient) -> MoodleFinding:
    address = urlsplit(client.base_url)
    if address.scheme == "https" or is_loopback_host(address.hostname or ""):
        return MoodleFinding("address", True, gettext_noop("Moodle answers at this address."))
    message = gettext_noop(
        "The address begins with http://, so the token and the learners' data can be read on the way. Give Moodle a "
        "certificate and enter the address with https://."
    )
    return MoodleFinding("address", False, message, needed=False)


def _entry_refused(error: MoodleError, address: MoodleFinding, base_url: str, *, tell: bool) -> list[MoodleFinding]:
    """The findings if not even the site's own information can be read.

    Unless `tell`, only Moodle's own errors are told apart. Whoever may enter an address must not learn from the answer
    which machines and ports exist inside; the log says more.
    """
    if isinstance(error, MoodleTokenRefused):
        rest = MoodleFinding("rest", True, gettext_noop("Web services and REST are enabled."))
        return [address, rest, refusal("token", error)]
    if error.errorcode or tell:
        return [refusal("address", error)]
    if error.failure != NO_ANSWER:
        # Else the call itself has logged why there was no answer.
        log.warning("No Moodle web service at %s: %s", urlsplit(base_url).netloc, error)
    return [MoodleFinding("address", False, NO_MOODLE)]


def _siteurl(client: MoodleClient, info: SiteInfo) -> MoodleFinding:
    ours, theirs = (urlsplit(url.rstrip("/")) for url in (client.base_url, info.siteurl))
    if (ours.netloc.lower(), ours.path) == (theirs.netloc.lower(), theirs.path):
        return MoodleFinding("siteurl", True, gettext_noop("Moodle's own address is the one entered."))
    message = gettext_noop(
        "Moodle's own address is {siteurl}, which is not the one entered. If that is the same site, nothing needs to "
        "be done; if not, correct the address."
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
    """The time zone of the report's times: the one that the site forces on everybody, or else UTC. "" if unknown."""
    if functions.CONFIG not in info.functions:
        values = {"advice": f"Add {functions.CONFIG} to the service."}
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
    """The finding of an unknown zone, with the offset from UTC if all compared times have the same.

    The zone stays unknown: in winter, the offset of London is that of UTC.
    """
    different = set(offsets)
    offset = different.pop() if len(different) == 1 else None
    if finding.text != _ZONE_UNKNOWN or offset is None or offset % QUARTER or abs(offset) > MOST_OFFSET:
        return finding
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
    """For each function that the service lacks: the feed that needs it ("" for neither), and the finding."""
    message = gettext_noop("The service lacks {function}: {lost}. Add it (Server, Web services, External services).")
    findings = []
    for need in functions.NEEDS:
        if need.function not in info.functions:
            values = {"function": need.function, "lost": need.loss}
            finding = MoodleFinding(f"function-{need.function}", False, message, values, needed=bool(need.feed))
            findings.append((need.feed, finding))
    return findings


def _feed_finding(feed: str) -> MoodleFinding:
    messages = {
        REPORT_FEED: gettext_noop("Completions are read from the report."),
        LEARNER_FEED: gettext_noop("Completions are read learner by learner, because the report cannot be used."),
        "": gettext_noop("Completions cannot be read: neither the report nor the participants are available."),
    }
    return MoodleFinding("strategy", bool(feed), messages[feed])
