"""The agreed custom report "Navigatr badge feed": finding it, and reading rows of completions from its cells.

Cells are display text, so a page is read only if it is laid out exactly as agreed (WEB_SERVICES.md, section 4).
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from html.parser import HTMLParser
from urllib.parse import SplitResult, parse_qs, urlsplit

from .errors import ReportLayoutChanged
from .records import Report, ReportPage

AGREED_NAME = "Navigatr badge feed"
AGREED_SOURCE = "core_course\\reportbuilder\\datasource\\participants"
AGREED_HEADERS = (
    "Course full name with link",
    "Course short name",
    "Full name with link",
    "Username",
    "First name",
    "Last name",
    "Email address",
    "Completed",
    "Time completed",
    "Grade",
)
# So many rows in a row that cannot be read are a different report and no accident.
SAMPLE = 20
# Fewer odd rows than this say nothing about the layout: one bad learner must not stop a quiet site.
LEAST_SAMPLE = 3

_COURSE_PAGES = ("/course/view.php",)
_USER_PAGES = ("/user/profile.php", "/user/view.php")
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
# As in "Monday, 23 November 2026, 8:03 AM". \s also matches the no-break spaces that newer PHP puts before AM and PM.
_TIME = re.compile(
    r"\s*[a-z]+day,\s+(?P<day>\d{1,2})\s+(?P<month>[a-z]+)\s+(?P<year>\d{4}),"
    r"\s+(?P<hour>\d{1,2}):(?P<minute>\d{2})\s*(?P<half>[ap])m\s*",
    re.IGNORECASE,
)
_ID = re.compile(r"[1-9]\d{0,17}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One learner's completion of one course. `completed_at` is in UTC and precise to the minute.

    Texts are as Moodle shows them, and may be empty. The report's grade is left out: it is points without a maximum.
    """

    course_id: int
    course_fullname: str
    course_shortname: str
    user_id: int
    firstname: str
    lastname: str
    email: str
    completed_at: datetime


def matching_reports(reports: Iterable[Report]) -> list[Report]:
    """The reports with the agreed name and source, oldest first: names are not unique in Moodle."""
    return sorted(
        (report for report in reports if report.name.strip() == AGREED_NAME and report.source == AGREED_SOURCE),
        key=lambda report: report.id,
    )


def parse_page(page: ReportPage, *, site_urls: Collection[str]) -> tuple[list[ReportRow], list[str]]:
    """The rows of a page, equal ones once, and what is wrong with those that cannot be read.

    `site_urls` are the addresses that the site's own links may have; http and https count as the same. Problems name
    a row's place and never what is in it. Raises ReportLayoutChanged if the report's name, source or columns are not
    the agreed ones, or if nothing at the start of the first page can be read (of three rows or more, or if all
    lead to another site); otherwise an odd row stops none of the others. A page without rows is fine.
    """
    if page.name.strip() != AGREED_NAME or page.source != AGREED_SOURCE:
        raise ReportLayoutChanged("its name or source is not the agreed one")
    _check_headers(page.headers)
    sites = tuple(urlsplit(url) for url in site_urls)
    rows: dict[ReportRow, None] = {}
    problems = []
    foreign = 0
    for number, cells in enumerate(page.rows, start=1):
        try:
            rows[_parse_row(cells, sites)] = None
        except ValueError as problem:
            problems.append(f"row {number} of page {page.page + 1}: {problem}")
            foreign += isinstance(problem, _ForeignLink)
        sampled = number == min(SAMPLE, len(page.rows))
        if page.page == 0 and sampled and not rows and (number >= LEAST_SAMPLE or foreign == number):
            raise ReportLayoutChanged(problems[0])
    return list(rows), problems


def _check_headers(headers: Sequence[str]) -> None:
    if len(headers) != len(AGREED_HEADERS):
        raise ReportLayoutChanged(f"{len(AGREED_HEADERS)} columns expected, {len(headers)} found")
    for number, (title, agreed) in enumerate(zip(headers, AGREED_HEADERS, strict=True), start=1):
        if " ".join(title.split()).casefold() != agreed.casefold():
            raise ReportLayoutChanged(f'column {number} should be "{agreed}"')


def _parse_row(cells: Sequence[str], sites: tuple[SplitResult, ...]) -> ReportRow:
    """One row; raises ValueError, without anything from the row, saying which cell was not understood."""
    if len(cells) != len(AGREED_HEADERS):
        raise ValueError(f"{len(AGREED_HEADERS)} cells expected")
    course, shortname, person, _, firstname, lastname, email, completed, time, _ = cells
    course_id, fullname = _linked_course(course, sites)
    user_id, _ = _linked(person, sites, _USER_PAGES, "person")
    if completed.strip() != "Yes":
        raise ValueError('"Completed" is not "Yes"')
    return ReportRow(
        course_id=course_id,
        course_fullname=fullname,
        course_shortname=shortname,
        user_id=user_id,
        firstname=firstname,
        lastname=lastname,
        email=email.strip(),
        completed_at=_parse_time(time),
    )


class _ForeignLink(ValueError):
    """A link that does not lead to the site itself: this is another site's report."""


class _Link(HTMLParser):
    """Collects the links of a cell and its text, in which entities are decoded once."""

    def __init__(self, cell: str) -> None:
        super().__init__(convert_charrefs=True)
        self.hrefs: list[str] = []
        self.text = ""
        self.feed(cell)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.hrefs.append(dict(attrs).get("href") or "")

    def handle_data(self, data: str) -> None:
        self.text += data


@lru_cache(maxsize=500)
def _linked_course(cell: str, sites: tuple[SplitResult, ...]) -> tuple[int, str]:
    """The course's id and name. The same cell stands in thousands of rows; people's cells are not kept in memory."""
    return _linked(cell, sites, _COURSE_PAGES, "course")


def _linked(cell: str, sites: tuple[SplitResult, ...], pages: tuple[str, ...], what: str) -> tuple[int, str]:
    """The id in a cell's only link, and the link's text."""
    try:
        link = _Link(cell)
    except AssertionError:
        # What Python's parser raises for text such as "<![x".
        raise ValueError(f"{what} is not a link") from None
    if len(link.hrefs) != 1:
        raise ValueError(f"{what} is not a link")
    try:
        address = urlsplit(link.hrefs[0])
        known = any(_is_page_of(address, site, pages) for site in sites)
    except ValueError:
        raise ValueError(f"{what} has an unreadable link") from None
    if not known:
        raise _ForeignLink(f"{what} links to another site or page")
    ids = parse_qs(address.query).get("id", [])
    if len(ids) != 1 or not _ID.fullmatch(ids[0]):
        raise ValueError(f"{what} has a link without an id")
    return int(ids[0]), link.text


def _is_page_of(address: SplitResult, site: SplitResult, pages: tuple[str, ...]) -> bool:
    return (
        address.scheme in ("http", "https")
        and "@" not in address.netloc
        and (address.hostname, _port(address)) == (site.hostname, _port(site))
        and address.path in [site.path.rstrip("/") + page for page in pages]
    )


def _port(address: SplitResult) -> int | None:
    """The port, or None for the usual one of either scheme, since a proxy may have ended TLS."""
    return None if address.port == {"http": 80, "https": 443}.get(address.scheme) else address.port


def _parse_time(text: str) -> datetime:
    parts = _TIME.fullmatch(text)
    month = parts["month"].capitalize() if parts else ""
    hour = int(parts["hour"]) if parts else 0
    if parts is None or month not in _MONTHS or not 1 <= hour <= 12:
        raise ValueError("time not understood")
    hour = hour % 12 + (12 if parts["half"] in "pP" else 0)
    try:
        return datetime(
            int(parts["year"]), _MONTHS.index(month) + 1, int(parts["day"]), hour, int(parts["minute"]), tzinfo=UTC
        )
    except ValueError:
        raise ValueError("time not understood") from None
