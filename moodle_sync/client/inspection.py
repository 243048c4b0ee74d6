"""What a new or running connection to Moodle needs, looked at one thing after another, and which feed it allows.

Moodle leaves out what an account may not see instead of saying so, so the checks look at contents and not only for
errors (WEB_SERVICES.md, trap 1).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from . import functions
from .client import MoodleClient
from .errors import (
    MoodleError,
    MoodleLearnerGone,
    MoodleNoCriteria,
    MoodleNotTracked,
    MoodleTokenRefused,
    MoodleUnavailable,
    gettext_noop,
)
from .records import Course, EnrolledUser, Report, ReportPage, SiteInfo
from .report_cells import AGREED_NAME, ReportRow, matching_reports, parse_page

REPORT_FEED = "A"
LEARNER_FEED = "B"
# Moodle 4.1, the first with web-service functions for custom reports.
REPORT_VERSION = 2022112800
MOST_CLOCK_SKEW = timedelta(seconds=120)
# What the network takes and the whole seconds of an HTTP date cannot be told from a small difference.
LEAST_CLOCK_SKEW = timedelta(seconds=5)
SAMPLE_COURSES = 3
SAMPLE_ROWS = 5
SAMPLE_USERS = 100
# A course that nobody completes: the front page, which is course 1 in every Moodle.
FRONT_PAGE = 1
_FAR_AHEAD = timedelta(days=3650)
# The values of findings that are texts of the portal's own, to be translated like the text around them.
OWN_TEXTS = frozenset({"advice", "lost"})

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
    (functions.COMPLETION, LEARNER_FEED, gettext_noop("learners cannot be asked for one by one without the report")),
    (functions.COURSES, "", gettext_noop("courses cannot be listed to choose from")),
    (functions.GRADES, "", gettext_noop("badges are issued without a score")),
    (functions.USERS, "", gettext_noop("suspended accounts cannot be told from others")),
    (functions.BATCH, "", gettext_noop("every learner costs a call of its own")),
    (functions.CONFIG, "", gettext_noop("the time zone of the report's times is unknown")),
)


@dataclass(frozen=True, slots=True)
class MoodleFinding:
    """One thing looked at. `text` says what is, and if it is not ok, what the Moodle administrator must do.

    `values` belong into the braces of `text` and are kept apart from it, as only the bare text can be translated.
    With `needed` False the portal works without it, only with less.
    """

    check: str
    ok: bool
    text: str
    values: Mapping[str, str | int] = field(default_factory=dict)
    needed: bool = True

    @property
    def message(self) -> str:
        """The text with its values, in English."""
        return self.text.format(**self.values)


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
    """Look at everything that the portal needs of this Moodle, in at most 14 calls, and choose the feed.

    `now` is our time at the start. Raises no MoodleError: each becomes a finding. Sets and clears the report's
    filters, so it must not run while a poll of the same site does.
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
        _siteurl(client, info),
        _clock(skew),
        _completion_enabled(info),
    ]
    missing_functions = _missing_functions(info)
    zone, zone_finding = _zone(client, info)
    findings.append(zone_finding)
    report = _ReportCheck(client, info, now)
    report.run()
    if report.failure:
        return Inspection(findings=(*findings, *report.findings), failure=report.failure)
    learners = _LearnerCheck(client, info, report.rows)
    learners.run()
    if learners.failure and not report.usable:
        seen = (*findings, *report.findings, *learners.findings, *learners.extras)
        return Inspection(findings=seen, failure=learners.failure)
    feed = REPORT_FEED if report.usable else LEARNER_FEED if learners.usable else ""
    # What only the other feed needs is worth knowing but stops nothing; without any feed, everything is in the way.
    for needing, found in ((REPORT_FEED, report.findings), (LEARNER_FEED, learners.findings)):
        missing = [finding for its_feed, finding in missing_functions if its_feed == needing]
        findings += [replace(item, needed=item.needed and feed in ("", needing)) for item in (*missing, *found)]
    findings += [finding for its_feed, finding in missing_functions if not its_feed]
    findings += learners.extras
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
        return [address, _error("rest", error)]
    if isinstance(error, MoodleTokenRefused):
        rest = MoodleFinding("rest", True, gettext_noop("Web services and REST are enabled."))
        return [address, rest, _error("token", error)]
    return [_error("address", error)]


def _error(slug: str, error: MoodleError, *, needed: bool = True) -> MoodleFinding:
    """The finding of a call that failed."""
    values = {"advice": error.advice, "error": str(error)}
    return MoodleFinding(slug, False, gettext_noop("{advice} ({error})"), values, needed=needed)


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
    unknown = gettext_noop(
        "The time zone of the report's times is unknown, so each learner's exact time is asked for. {advice}"
    )
    if functions.CONFIG not in info.functions:
        values = {"advice": gettext_noop("Add tool_mobile_get_config to the service.")}
        return "", MoodleFinding("zone", False, unknown, values, needed=False)
    try:
        settings = client.location_settings()
    except MoodleError as error:
        return "", MoodleFinding("zone", False, unknown, {"advice": error.advice}, needed=False)
    if not settings.forced:
        return "UTC", MoodleFinding("zone", True, gettext_noop("The report's times can be read."))
    message = gettext_noop(
        'Moodle forces the time zone {zone} on everybody ("Force timezone"), and the report\'s times are read in it.'
    )
    return settings.forced, MoodleFinding("zone", True, message, {"zone": settings.forced})


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


class _Check:
    """Something looked at in several calls: what was found, and whether the whole site failed meanwhile."""

    def __init__(self, client: MoodleClient, info: SiteInfo) -> None:
        self._client = client
        self._info = info
        self.findings: list[MoodleFinding] = []
        self.usable = False
        self.failure: MoodleError | None = None

    def _failed(self, slug: str, error: MoodleError, *, needed: bool = True) -> MoodleFinding:
        """The finding of a call that failed; one that every other call would meet too becomes the failure."""
        if isinstance(error, MoodleUnavailable | MoodleTokenRefused):
            self.failure = error
        return _error(slug, error, needed=needed)


class _ReportCheck(_Check):
    """Whether the agreed report is there, is laid out as agreed, and can be limited to what is new."""

    def __init__(self, client: MoodleClient, info: SiteInfo, now: datetime) -> None:
        super().__init__(client, info)
        self._now = now
        self.report: Report | None = None
        self.rows: list[ReportRow] = []

    def run(self) -> None:
        """Make the calls and fill in the findings."""
        self.findings += [_version(self._info), _custom_reports(self._info)]
        if self._info.functions >= functions.REPORT_FUNCTIONS and all(finding.ok for finding in self.findings):
            self._find()
        if self.report:
            self._read(self.report)

    def _find(self) -> None:
        try:
            found = matching_reports(self._client.list_reports())
        except MoodleError as error:
            self.findings.append(self._failed("report", error))
            return
        if not found:
            message = gettext_noop(
                'The account sees no report "{name}" with the source "Course participants". Make it as agreed '
                "(Reports, Report builder, Custom reports) and put the role of the portal's account into its audience; "
                "a changed audience takes up to 30 minutes to work."
            )
            self.findings.append(MoodleFinding("report", False, message, {"name": AGREED_NAME}))
            return
        self.report = found[0]
        values: dict[str, str | int] = {"name": AGREED_NAME, "id": found[0].id, "count": len(found)}
        self.findings.append(
            MoodleFinding("report", True, gettext_noop('The report "{name}" is there (id {id}).'), values)
        )
        if len(found) > 1:
            message = gettext_noop(
                'There are {count} reports called "{name}"; the one with the id {id} is read. Delete or rename the '
                "others."
            )
            self.findings.append(MoodleFinding("report-unique", False, message, values, needed=False))

    def _read(self, report: Report) -> None:
        try:
            # A filter that the report lacks is ignored in silence, so ask for what no row can match.
            self._client.set_report_filters(report.id, since=self._now + _FAR_AHEAD)
            later = self._client.report_page(report.id, 0, per_page=1)
            self._client.set_report_filters(report.id, course_ids=[FRONT_PAGE])
            elsewhere = self._client.report_page(report.id, 0, per_page=1)
            self._client.set_report_filters(report.id)
            page = self._client.report_page(report.id, 0, per_page=SAMPLE_ROWS)
            read = parse_page(page, site_urls={self._client.base_url, self._info.siteurl})
            self.rows = read.rows
        except MoodleError as error:
            self.findings.append(self._failed("report-readable", error))
            return
        self.usable = True
        message = gettext_noop("The report has the agreed columns. It holds {count} completions.")
        self.findings.append(MoodleFinding("report-readable", True, message, {"count": page.total}))
        for text, told in read.warnings:
            self.findings.append(MoodleFinding("report-form", False, text, told, needed=False))
        if read.problems:
            message = gettext_noop("Some rows of the report cannot be read: {problems}.")
            values = {"problems": "; ".join(read.problems)}
            self.findings.append(MoodleFinding("report-rows", False, message, values, needed=False))
        self._filters(later, elsewhere)
        self._emails()

    def _filters(self, later: ReportPage, elsewhere: ReportPage) -> None:
        missing = [name for name, page in (("Time completed", later), ("Course", elsewhere)) if page.total]
        if not missing:
            message = gettext_noop("The report can be limited to what is new.")
            self.findings.append(MoodleFinding("report-filters", True, message))
            return
        message = gettext_noop(
            "The report lacks the filter: {filters}. Add it (the report's Filters), or every poll reads more than it "
            "needs to."
        )
        values = {"filters": ", ".join(missing)}
        self.findings.append(MoodleFinding("report-filters", False, message, values, needed=False))

    def _emails(self) -> None:
        if self.rows and not any("@" in row.email for row in self.rows):
            message = gettext_noop(
                'No row looked at has an e-mail address, without which no badge can be issued. Check the column "Email '
                'address" of the report and the addresses in Moodle.'
            )
            self.findings.append(MoodleFinding("report-emails", False, message))


def _version(info: SiteInfo) -> MoodleFinding:
    if info.version >= REPORT_VERSION:
        return MoodleFinding("version", True, gettext_noop("Moodle {release}."), {"release": info.release})
    message = gettext_noop(
        "Moodle {release} is older than 4.1, so its reports cannot be read from outside. Update Moodle to use the "
        "report."
    )
    return MoodleFinding("version", False, message, {"release": info.release})


def _custom_reports(info: SiteInfo) -> MoodleFinding:
    if info.features.get("enablecustomreports") is not False:
        return MoodleFinding("custom-reports", True, gettext_noop("Custom reports are enabled."))
    message = gettext_noop("Custom reports are switched off. Enable them (Site administration, Advanced features).")
    return MoodleFinding("custom-reports", False, message)


class _LearnerCheck(_Check):
    """Whether participants, their e-mails, their completions and their grades can be seen, tried on a few courses.

    What Moodle leaves out without a word is found and told, but makes the feed no less usable; a refusal does.
    """

    def __init__(self, client: MoodleClient, info: SiteInfo, rows: list[ReportRow]) -> None:
        super().__init__(client, info)
        self._rows = rows
        # What neither feed needs: courses to choose from, and scores.
        self.extras: list[MoodleFinding] = []

    def run(self) -> None:
        """Make the calls and fill in the findings."""
        courses = self._courses() if functions.COURSES in self._info.functions else []
        learner = (self._rows[0].course_id, self._rows[0].user_id) if self._rows else None
        if self._info.functions >= functions.LEARNER_FUNCTIONS and not self.failure:
            seen = self._learners(courses)
            learner = learner or seen
        if learner and functions.GRADES in self._info.functions and not self.failure:
            self._grade(learner)

    def _courses(self) -> list[Course]:
        """Up to three courses to try things on: those of the report's rows, else any that completion is tracked in."""
        asked = list(dict.fromkeys(row.course_id for row in self._rows))[:SAMPLE_COURSES]
        try:
            courses = self._client.courses(ids=asked or None)
        except MoodleError as error:
            self.extras.append(self._failed("courses", error, needed=False))
            return []
        missing = sorted(set(asked) - {course.id for course in courses})
        if missing:
            message = gettext_noop(
                "Of the courses looked at, these cannot be seen: {ids}. They are hidden or gone: give the role of the "
                "portal's account moodle/course:viewhiddencourses, or show them."
            )
            values = {"ids": ", ".join(str(course_id) for course_id in missing)}
            self.extras.append(MoodleFinding("courses", False, message, values, needed=False))
        elif not courses:
            message = gettext_noop(
                "The account sees no course at all. If there are any, give its role moodle/course:view, and for hidden "
                "courses moodle/course:viewhiddencourses."
            )
            self.extras.append(MoodleFinding("courses", False, message, needed=False))
        else:
            self.extras.append(MoodleFinding("courses", True, gettext_noop("Courses can be chosen.")))
        tracked = [course for course in courses if course.visible and course.completion_enabled is not False]
        return tracked[:SAMPLE_COURSES]

    def _learners(self, courses: list[Course]) -> tuple[int, int] | None:
        """Look at courses until one shows a learner; decides whether the feed is usable and returns that learner."""
        self.usable = True
        most_seen = 0
        for course in courses:
            try:
                users = self._client.enrolled_users(course.id, 0, SAMPLE_USERS)
            except MoodleError as error:
                self.findings.append(self._failed("participants", error))
                self.usable = False
                return None
            learners = [user for user in users if user.id not in course.contact_ids | {self._info.userid}]
            if learners:
                self.findings += [_participants(course, len(users), self._hidden(course, users)), _emails(users)]
                self._completion(course.id, learners[0].id)
                return course.id, learners[0].id
            most_seen = max(most_seen, len(users))
        if courses:
            message = gettext_noop(
                "No learner can be seen in the courses looked at, at most {count} participants such as teachers. If "
                "learners are enrolled there, give the role of the portal's account moodle/user:viewdetails, in the "
                "system context."
            )
            self.findings.append(MoodleFinding("participants", False, message, {"count": most_seen}))
        return None

    def _hidden(self, course: Course, users: list[EnrolledUser]) -> int:
        """How many learners that the report shows are missing from a list that is complete."""
        if len(users) >= SAMPLE_USERS:
            return 0
        return len({row.user_id for row in self._rows if row.course_id == course.id} - {user.id for user in users})

    def _completion(self, course_id: int, user_id: int) -> None:
        try:
            self._client.completion_status(course_id, user_id)
        except (MoodleNotTracked, MoodleNoCriteria, MoodleLearnerGone):
            # An answer about this learner or course; a refusal would have come first.
            pass
        except MoodleError as error:
            self.findings.append(self._failed("completion-status", error))
            self.usable = False
            return
        self.findings.append(
            MoodleFinding("completion-status", True, gettext_noop("Learners' completions can be read."))
        )

    def _grade(self, learner: tuple[int, int]) -> None:
        available = self._info.functions & {functions.GRADES}
        result: object = None
        try:
            for answers in self._client.learner_facts([learner], available=available, grades=True):
                result = answers[learner].grade
        except MoodleError as error:
            result = error
        if isinstance(result, MoodleError):
            self.extras.append(self._failed("grades", result, needed=False))
        else:
            self.extras.append(MoodleFinding("grades", True, gettext_noop("Grades can be read.")))


def _participants(course: Course, seen: int, hidden: int) -> MoodleFinding:
    """Whether the list of a course's participants holds all the learners that the report shows."""
    if not hidden:
        return MoodleFinding("participants", True, gettext_noop("Participants can be listed."))
    message = gettext_noop(
        "Only {count} participants of the course {id} can be seen, and learners are missing. Give the role of the "
        "portal's account moodle/user:viewdetails, in the system context."
    )
    return MoodleFinding("participants", False, message, {"count": seen, "id": course.id})


def _emails(users: list[EnrolledUser]) -> MoodleFinding:
    without = sum(user.email is None for user in users)
    if not without:
        return MoodleFinding("emails", True, gettext_noop("Participants' e-mail addresses can be seen."))
    message = gettext_noop(
        "{without} of {count} participants looked at come without e-mail address. Give the role of the portal's "
        'account moodle/site:viewuseridentity, and let the site setting "Show user identity" contain the e-mail '
        "address."
    )
    return MoodleFinding("emails", False, message, {"without": without, "count": len(users)})
