"""Checks the agreed report: whether it exists, has the agreed columns, lists everybody, and can be filtered."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from . import functions
from .client import MoodleClient
from .errors import MoodleError, MoodleTokenRefused, MoodleUnavailable
from .findings import MoodleFinding, refusal
from .records import Report, ReportPage, SiteInfo
from .report_cells import AGREED_NAME, COMPLETED_CONDITION, NO_CONDITION, ReportRow, matching_reports, parse_page
from .translation import gettext_noop

# Moodle 4.1, the first version with web-service functions for custom reports.
REPORT_VERSION = 2022112800
# Rows of the report that are looked at.
SAMPLE_ROWS = 5
# The id of the front page in every Moodle: a course that nobody can complete.
FRONT_PAGE = 1
# After every completion.
_FAR_AHEAD = timedelta(days=3650)
# A key of a report's conditions: the name of the condition and one of its parts.
_CONDITION = re.compile(r"(?P<name>[a-z_]{1,40}:\w{1,60})_(?P<part>operator|values?|unit|from|to)", re.ASCII)
# The name of the agreed condition.
_COMPLETED = COMPLETED_CONDITION.removesuffix("_operator")
# Moodle's operator "Is any value", with which a condition limits nothing.
_ANY_VALUE = "0"
# Texts for people, by a condition's whole name or by the part of the name before the colon.
_KINDS = {
    "completion:timecompleted": gettext_noop("the time of completion (such as the last days only)"),
    "enrolment:status": gettext_noop("the enrolment's status (such as active ones only)"),
    "user:suspended": gettext_noop("suspended accounts"),
    "user:confirmed": gettext_noop("unconfirmed accounts"),
    "access": gettext_noop("the last access"),
    "cohort": gettext_noop("the cohort"),
    "completion": gettext_noop("the completion"),
    "course": gettext_noop("the course"),
    "course_category": gettext_noop("the course category"),
    "enrol": gettext_noop("the enrolment method"),
    "enrolment": gettext_noop("the enrolment"),
    "group": gettext_noop("the group"),
    "role": gettext_noop("the role"),
    "user": gettext_noop("the learner's profile"),
}
# The text for any other condition.
_OTHER_KIND = gettext_noop("something else")


class ReportCheck:
    """Checks the report in `run`, and then holds the findings.

    `usable` says whether completions can be read from the report. `rows` are a few of its rows, the newest first.
    `failure` is the error that stopped the check, if the whole site failed.
    """

    def __init__(self, client: MoodleClient, info: SiteInfo, now: datetime) -> None:
        self._client = client
        self._info = info
        self._now = now
        self.findings: list[MoodleFinding] = []
        self.usable = False
        self.failure: MoodleError | None = None
        self.report: Report | None = None
        self.rows: list[ReportRow] = []

    def run(self) -> None:
        """Find the report and check it. Takes up to 7 calls, and one more for each further 100 reports."""
        self.findings += [_version(self._info), _custom_reports(self._info)]
        if self._info.functions >= functions.REPORT_FUNCTIONS and all(finding.ok for finding in self.findings):
            self._find()
        if self.report:
            self._read(self.report)

    def _failed(self, slug: str, error: MoodleError) -> None:
        if isinstance(error, MoodleUnavailable | MoodleTokenRefused):
            self.failure = error
        self.findings.append(refusal(slug, error))

    def _find(self) -> None:
        try:
            found = matching_reports(self._client.list_reports())
        except MoodleError as error:
            self._failed("report", error)
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
        message = gettext_noop('The report "{name}" exists (id {id}).')
        self.findings.append(MoodleFinding("report", True, message, values))
        if len(found) > 1:
            message = gettext_noop(
                'There are {count} reports called "{name}"; the one with the id {id} is read. Delete or rename the '
                "others."
            )
            self.findings.append(MoodleFinding("report-unique", False, message, values, needed=False))

    def _read(self, report: Report) -> None:
        try:
            # Moodle ignores filters that the report lacks. So filter for what no row can match.
            self._client.set_report_filters(report.id, since=self._now + _FAR_AHEAD)
            filtered_by_time = self._client.report_page(report.id, 0, per_page=1)
            self._client.set_report_filters(report.id, course_ids=[FRONT_PAGE])
            filtered_by_course = self._client.report_page(report.id, 0, per_page=1)
            self._client.set_report_filters(report.id)
            page = self._client.report_page(report.id, 0, per_page=SAMPLE_ROWS)
            parsed = parse_page(page, site_urls={self._client.base_url, self._info.siteurl})
            self.rows = parsed.rows
        except MoodleError as error:
            self._failed("report-readable", error)
            return
        self.usable = True
        message = gettext_noop("The report has the agreed columns. It holds {count} completions.")
        self.findings.append(MoodleFinding("report-readable", True, message, {"count": page.total}))
        for text, values in parsed.warnings:
            slug = "report-condition" if text == NO_CONDITION else "report-form"
            self.findings.append(MoodleFinding(slug, False, text, values, needed=False))
        if parsed.problems:
            message = gettext_noop("Some rows of the report cannot be read: {problems}.")
            values = {"problems": "; ".join(parsed.problems)}
            self.findings.append(MoodleFinding("report-rows", False, message, values, needed=False))
        self.findings += _further_conditions(page.details.conditions or {})
        self.findings += _duplicates(page.details)
        self.findings.append(_filters(filtered_by_time, filtered_by_course))
        self._emails()

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


def _filters(filtered_by_time: ReportPage, filtered_by_course: ReportPage) -> MoodleFinding:
    """Which filters the report lacks: the pages were filtered for what no row matches."""
    pages = (("Time completed", filtered_by_time), ("Select course", filtered_by_course))
    missing = [name for name, page in pages if page.total]
    if not missing:
        return MoodleFinding("report-filters", True, gettext_noop("The report can be limited to new completions."))
    message = gettext_noop(
        "The report lacks the filter: {filters}. Add it (the report's Filters), or every poll reads more than it needs."
    )
    return MoodleFinding("report-filters", False, message, {"filters": ", ".join(missing)}, needed=False)


def _duplicates(report: Report) -> Iterator[MoodleFinding]:
    if report.unique_rows is False:
        message = gettext_noop(
            'Learners who are enrolled in two ways are listed twice. Each still gets one badge, but tick "Remove any '
            "duplicate rows\" in the report's Settings: without it polls read more than they need."
        )
        yield MoodleFinding("report-duplicates", False, message, needed=False)


def _further_conditions(conditions: Mapping[str, Any]) -> Iterator[MoodleFinding]:
    message = gettext_noop(
        "The report has a further condition, on {kind} ({condition}), so some learners are left out and never get "
        "their badge. Remove it (the report's Conditions) unless that is what you want."
    )
    for name in _limiting(conditions):
        kind = _KINDS.get(name) or _KINDS.get(name.partition(":")[0], _OTHER_KIND)
        yield MoodleFinding("report-conditions", False, message, {"kind": kind, "condition": name}, needed=False)


def _limiting(conditions: Mapping[str, Any]) -> list[str]:
    """The names of the conditions that leave out rows, except for Completed."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in conditions.items():
        if (parts := _CONDITION.fullmatch(key)) and parts["name"] != _COMPLETED:
            found.setdefault(parts["name"], {})[parts["part"]] = value
    return [
        name
        for name, parts in sorted(found.items())
        if (str(parts["operator"]) != _ANY_VALUE if "operator" in parts else any(parts.values()))
    ]
