"""The agreed custom report "Navigatr badge feed": finding it, and parsing its rows.

Cells are display text. Each column is escaped in its own way, and the site decides about the zone and the form of
times. So a row gives the ids of learner and course, the wall-clock time, and names decoded once. See
docs/moodle-api.md, "The report", "Times" and "Names".
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from urllib.parse import SplitResult, parse_qs, urlsplit

from .course_names import ParsedHtml, plain_text
from .errors import ReportLayoutChanged
from .records import Report, ReportPage
from .translation import gettext_noop

# The agreed name of the report.
AGREED_NAME = "Navigatr badge feed"
# The agreed source, "Course participants", as Moodle names its class.
AGREED_SOURCE = "core_course\\reportbuilder\\datasource\\participants"
# The titles of the agreed columns, in their order.
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
# The place of the cell with the time.
_TIME_COLUMN = AGREED_HEADERS.index("Time completed")
# The key of the agreed condition Completed = Yes.
COMPLETED_CONDITION = "completion:completed_operator"
# Moodle's operator "Yes" of this condition.
COMPLETED_YES = 1
# If none of this many first rows can be read, the report has another layout.
SAMPLE = 20
# Fewer unreadable rows than this say nothing about the layout.
SMALLEST_SAMPLE = 3

# The pages that links of courses lead to.
_COURSE_PAGES = ("/course/view.php",)
# The pages that links of people lead to.
_USER_PAGES = ("/user/profile.php", "/user/view.php")
_MONTH_NAMES = [
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
]  # fmt: skip
# Numbers of months by their names, whole or in three letters.
_MONTHS = {name[:length]: number for number, name in enumerate(_MONTH_NAMES, start=1) for length in (3, len(name))}
# A time of day, with or without AM or PM. \s also matches the no-break space that newer PHP writes before them.
_CLOCK = r"(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:[:.]\d{2})?\s*(?:(?P<half>[ap])\.?m\.?)?"
# The hours that a clock with AM and PM shows.
_HOURS_OF_HALF = range(1, 13)
# The name of a weekday before a date.
_DAY_NAME = r"(?:[a-z]+day|[a-z]{3})\.?,?\s+"
# English dates as Moodle writes them ("Monday, 23 November 2026, 8:03 AM") or as a language customisation may write
# them. Dates such as "1/07/26" are left out, since the month cannot be told from the day.
_DATES = tuple(
    re.compile(rf"\s*(?:{_DAY_NAME})?{date},?\s+(?:at\s+)?{_CLOCK}\s*", re.IGNORECASE)
    for date in (
        r"(?P<day>\d{1,2})\.?\s+(?P<month>[a-z]{3,9})\.?,?\s+(?P<year>\d{4})",
        r"(?P<month>[a-z]{3,9})\.?\s+(?P<day>\d{1,2}),?\s+(?P<year>\d{4})",
        r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})",
    )
)
# The opening tag that the cell of a person begins with.
_OPENING_LINK = re.compile(r"\s*<a\s[^>]*>", re.IGNORECASE)
# An id in a link.
_ID = re.compile(r"[1-9]\d{0,17}", re.ASCII)
# The entities that Moodle's function s() writes. It does not escape the & of numeric entities in a name.
_ESCAPED = re.compile(r"&(amp|lt|gt|quot|#039);")
# The characters that these entities stand for.
_CHARACTERS = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "#039": "'"}

DATE_FORM = gettext_noop(
    "The report's times are in a form that the portal cannot read, so each learner's exact time is asked for. Restore "
    "Moodle's own form: Site administration, Language, Language customisation, langconfig.php, "
    "strftimedaydatetime: %A, %d %B %Y, %I:%M %p."
)
TITLES = gettext_noop(
    'The report\'s column {number} is titled "{title}" in place of "{agreed}". It is still read, by its place. If '
    "somebody changed the columns, put them back in the agreed order."
)
NO_CONDITION = gettext_noop(
    "The report lacks the condition Completed = Yes, so it also lists everybody who has not completed. Add the "
    "condition (the report's Conditions); until then such rows are skipped."
)


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One learner's completion of one course.

    `clock_time` is the wall-clock time in the site's zone, to the minute; None if the cell cannot be read. Texts are
    decoded once and may be empty. The grade is not read: it has no maximum, and the report shows even hidden totals.
    """

    course_id: int
    course_fullname: str
    user_id: int
    firstname: str
    lastname: str
    email: str
    clock_time: datetime | None


@dataclass(frozen=True, slots=True)
class ReadPage:
    """The parsed rows of a page, without duplicates.

    `problems` are about single rows; they name the place of the row and nothing from it. `warnings` are about the
    report; they are texts for people with their values.
    """

    rows: list[ReportRow]
    problems: list[str]
    warnings: list[tuple[str, dict[str, str | int]]]


def matching_reports(reports: Iterable[Report]) -> list[Report]:
    """The reports with the agreed name and source, oldest first. Moodle's names of reports are not unique."""
    return sorted(filter(_is_agreed, reports), key=lambda report: report.id)


def _is_agreed(report: Report) -> bool:
    return report.name.strip() == AGREED_NAME and report.source == AGREED_SOURCE


def parse_page(page: ReportPage, *, site_urls: Collection[str]) -> ReadPage:
    """Parse the rows of a page. A row that cannot be read becomes a problem; a page without rows is fine.

    `site_urls` are the addresses that the site's own links may begin with; http and https count as the same. Raises
    ReportLayoutChanged if name, source or columns are not the agreed ones, or if none of the first rows of the first
    page can be read (three rows or more, or any number of rows that all link to another site).
    """
    if not _is_agreed(page.details):
        raise ReportLayoutChanged("its name or source is not the agreed one")
    warnings = _check_titles(page.headers)
    condition = _completed_condition(page.details)
    sites = tuple(urlsplit(url) for url in site_urls)
    rows: dict[ReportRow, None] = {}
    problems = []
    foreign_links = 0
    has_incomplete = has_odd_time = False
    sample = min(SAMPLE, len(page.rows)) if page.page == 0 else 0
    for number, cells in enumerate(page.rows, start=1):
        if not condition and _has_no_time(cells):
            has_incomplete = True
        else:
            try:
                row = _parse_row(cells, sites)
                rows[row] = None
                has_odd_time = has_odd_time or (row.clock_time is None and not _has_no_time(cells))
            except ValueError as problem:
                problems.append(f"row {number} of page {page.page + 1}: {problem}")
                foreign_links += isinstance(problem, _ForeignLink)
        if number == sample == len(problems) and (number >= SMALLEST_SAMPLE or foreign_links == number):
            raise ReportLayoutChanged(problems[0])
    if has_incomplete or condition is False:
        warnings.append((NO_CONDITION, {}))
    if has_odd_time:
        warnings.append((DATE_FORM, {}))
    return ReadPage(list(rows), problems, warnings)


def _check_titles(titles: Sequence[str]) -> list[tuple[str, dict[str, str | int]]]:
    """Warnings about renamed titles. Raises ReportLayoutChanged for another number or order of columns.

    An unknown title is only a warning, since language customisation and the report's editor may change titles. An
    agreed title in another place means that the columns were moved.
    """
    if len(titles) != len(AGREED_HEADERS):
        raise ReportLayoutChanged(f"{len(AGREED_HEADERS)} columns expected, {len(titles)} found")
    agreed = [title.casefold() for title in AGREED_HEADERS]
    warnings: list[tuple[str, dict[str, str | int]]] = []
    for number, (title, wanted) in enumerate(zip(titles, AGREED_HEADERS, strict=True), start=1):
        plain = " ".join(plain_text(title).split())
        if plain.casefold() == wanted.casefold():
            continue
        if plain.casefold() in agreed:
            raise ReportLayoutChanged(f'column {number} should be "{wanted}"')
        warnings.append((TITLES, {"number": number, "title": plain, "agreed": wanted}))
    return warnings


def _completed_condition(report: Report) -> bool | None:
    """Whether the report is limited to completions; None if Moodle does not say."""
    if report.conditions is None:
        return None
    return str(report.conditions.get(COMPLETED_CONDITION)) == str(COMPLETED_YES)


def _has_no_time(cells: Sequence[str | None]) -> bool:
    time = cells[_TIME_COLUMN] if len(cells) == len(AGREED_HEADERS) else None
    return time is not None and not time.strip()


def _parse_row(cells: Sequence[str | None], sites: tuple[SplitResult, ...]) -> ReportRow:
    """Parse one row. Raises ValueError that names the unreadable cell, without anything from the row."""
    if len(cells) != len(AGREED_HEADERS):
        raise ValueError(f"{len(AGREED_HEADERS)} cells expected")
    course, _shortname, person, _username, firstname, lastname, email, _completed, time, _grade = cells
    if course is None or person is None or firstname is None or lastname is None or email is None or time is None:
        raise ValueError("a text expected for each cell")
    course_id, fullname = _linked_course(course, sites)
    # The name in this cell is not escaped, so only the link before it is read.
    user_id = _linked_person(person, sites)
    return ReportRow(
        course_id=course_id,
        course_fullname=fullname,
        user_id=user_id,
        firstname=decode_cell(firstname),
        lastname=decode_cell(lastname),
        email=decode_cell(email).strip(),
        clock_time=parse_clock_time(time),
    )


def decode_cell(cell: str) -> str:
    """The text of a cell, decoded exactly once.

    `&#039;` becomes an apostrophe, although it may have been stored as `&#039;`: Moodle escapes both to the same text.
    """
    return _ESCAPED.sub(lambda found: _CHARACTERS[found[1]], cell)


class _ForeignLink(ValueError):
    """A link that leads to another site."""


@lru_cache(maxsize=500)
def _linked_course(cell: str, sites: tuple[SplitResult, ...]) -> tuple[int, str]:
    """The course's id and name. Cached, since thousands of rows repeat the cell; cells of people are not cached."""
    try:
        link = ParsedHtml(cell)
    except AssertionError:
        raise ValueError("course is not a link") from None
    if len(link.hrefs) != 1:
        raise ValueError("course is not a link")
    return _linked_id(link.hrefs[0], sites, _COURSE_PAGES, "course"), link.text.strip()


def _linked_person(cell: str, sites: tuple[SplitResult, ...]) -> int:
    """The id in the link that the cell begins with. The name after it is ignored."""
    start = _OPENING_LINK.match(cell)
    hrefs = ParsedHtml(start[0]).hrefs if start else []
    if len(hrefs) != 1:
        raise ValueError("person is not a link")
    return _linked_id(hrefs[0], sites, _USER_PAGES, "person")


def _linked_id(href: str, sites: tuple[SplitResult, ...], pages: tuple[str, ...], what: str) -> int:
    try:
        address = urlsplit(href)
        is_own_page = any(_is_page_of(address, site, pages) for site in sites)
    except ValueError:
        raise ValueError(f"{what} has an unreadable link") from None
    if not is_own_page:
        raise _ForeignLink(f"{what} links to another site or page")
    ids = parse_qs(address.query).get("id", [])
    if len(ids) != 1 or not _ID.fullmatch(ids[0]):
        raise ValueError(f"{what} has a link without an id")
    return int(ids[0])


def _is_page_of(address: SplitResult, site: SplitResult, pages: tuple[str, ...]) -> bool:
    return (
        address.scheme in ("http", "https")
        and "@" not in address.netloc
        and (address.hostname, _port(address)) == (site.hostname, _port(site))
        and address.path in [site.path.rstrip("/") + page for page in pages]
    )


def _port(address: SplitResult) -> int | None:
    """The port, or None for the scheme's own, since a proxy may have ended TLS."""
    return None if address.port == {"http": 80, "https": 443}.get(address.scheme) else address.port


def parse_clock_time(text: str) -> datetime | None:
    """The wall-clock time in a cell, without a zone; None for a text that cannot be read.

    It reads ISO dates and English dates with the month in words, with 12 or 24 hours.
    """
    found = (form.fullmatch(text) for form in _DATES)
    return next((_clock_time(parts) for parts in found if parts), None)


def _clock_time(parts: re.Match[str]) -> datetime | None:
    month_text = parts["month"].lower()
    month = int(month_text) if month_text.isdigit() else _MONTHS.get(month_text, 0)
    hour = int(parts["hour"])
    if parts["half"]:
        if hour not in _HOURS_OF_HALF:
            return None
        # 12 AM is 0:00, 12 PM is 12:00.
        hour = hour % 12 + (12 if parts["half"] in "pP" else 0)
    try:
        return datetime(int(parts["year"]), month, int(parts["day"]), hour, int(parts["minute"]))
    except ValueError:
        return None
