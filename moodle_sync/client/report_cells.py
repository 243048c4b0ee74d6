"""The agreed custom report "Navigatr badge feed": finding it, and reading rows of completions from its cells.

Cells are display text, each column escaped in its own way (FACTS-2.md, section 2), with times in a zone and a form
that the site decides. So from a row come the two ids and the wall-clock time; names and address are decoded once.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from html.parser import HTMLParser
from urllib.parse import SplitResult, parse_qs, urlsplit

from .course_names import plain_text
from .errors import ReportLayoutChanged, gettext_noop
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
# The report's condition Completed = Yes, as Moodle writes it.
COMPLETED_CONDITION = "completion:completed_operator"
COMPLETED_YES = 1
# So many rows in a row that cannot be read are a different report and no accident.
SAMPLE = 20
# Fewer odd rows than this say nothing about the layout: one bad learner must not stop a quiet site.
LEAST_SAMPLE = 3

_COURSE_PAGES = ("/course/view.php",)
_USER_PAGES = ("/user/profile.php", "/user/view.php")
_MONTH_NAMES = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_MONTHS = {name[:length]: number for number, name in enumerate(_MONTH_NAMES, start=1) for length in (3, len(name))}
# A time of the day, with or without AM or PM. \s also matches the no-break spaces that newer PHP puts before them.
_CLOCK = r"(?P<hour>\d{1,2})[:.](?P<minute>\d{2})(?:[:.]\d{2})?\s*(?:(?P<half>[ap])\.?m\.?)?"
_DAY_NAME = r"(?:[a-z]+day|[a-z]{3})\.?,?\s+"
# English dates, as Moodle writes them ("Monday, 23 November 2026, 8:03 AM") or as a language customisation may. Of
# "1/07/26 12:34" nobody can tell which number is the month.
_DATES = tuple(
    re.compile(rf"\s*(?:{_DAY_NAME})?{date},?\s+(?:at\s+)?{_CLOCK}\s*", re.IGNORECASE)
    for date in (
        r"(?P<day>\d{1,2})\.?\s+(?P<month>[a-z]{3,9})\.?,?\s+(?P<year>\d{4})",
        r"(?P<month>[a-z]{3,9})\.?\s+(?P<day>\d{1,2}),?\s+(?P<year>\d{4})",
        r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})",
    )
)
# The person's cell up to the end of its opening tag.
_OPENING_LINK = re.compile(r"\s*<a\s[^>]*>", re.IGNORECASE)
_ID = re.compile(r"[1-9]\d{0,17}", re.ASCII)
# What Moodle's s() replaces. An entity that the name itself holds is escaped too, except for one by number.
_ESCAPED = re.compile(r"&(amp|lt|gt|quot|#039);")
_CHARACTERS = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "#039": "'"}

DATE_FORM = gettext_noop(
    "The report's times are in a form that the portal cannot read, so each learner's exact time is asked for. Put "
    "Moodle's own form back: Site administration, Language, Language customisation, langconfig.php, "
    "strftimedaydatetime: %A, %d %B %Y, %I:%M %p."
)
TITLES = gettext_noop(
    'The report\'s column {number} is titled "{title}" in place of "{agreed}". It is read all the same, by its place. '
    "If somebody changed the columns, put them back in the agreed order."
)
NO_CONDITION = gettext_noop(
    "The report lacks the condition Completed = Yes, so it also lists everybody who has not completed. Add the "
    "condition (the report's Conditions); until then such rows are passed over."
)


@dataclass(frozen=True, slots=True)
class ReportRow:
    """One learner's completion of one course.

    `clock_time` is what Moodle's clock showed, to the minute, in the zone that the site uses; None where the cell
    cannot be read. Texts are decoded once, and may be empty. The report's grade is left out: it is points without a
    maximum, and shown even where the total is hidden.
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
    """What a page holds: its rows, equal ones once; what is wrong with single rows, and with the report as a whole.

    `problems` name a row's place and never what is in it. `warnings` are texts for people, with their values.
    """

    rows: list[ReportRow]
    problems: list[str]
    warnings: list[tuple[str, dict[str, str | int]]]


def matching_reports(reports: Iterable[Report]) -> list[Report]:
    """The reports with the agreed name and source, oldest first: names are not unique in Moodle."""
    return sorted(
        (report for report in reports if report.name.strip() == AGREED_NAME and report.source == AGREED_SOURCE),
        key=lambda report: report.id,
    )


def parse_page(page: ReportPage, *, site_urls: Collection[str]) -> ReadPage:
    """Read a page's rows. An odd row stops none of the others, and a page without rows is fine.

    `site_urls` are the addresses that the site's own links may have; http and https count as the same. Raises
    ReportLayoutChanged if the report's name or source is not the agreed one, if columns are missing, too many or in
    another order, or if nothing at the start of the first page can be read (of three rows or more, or if all lead to
    another site).
    """
    if page.name.strip() != AGREED_NAME or page.source != AGREED_SOURCE:
        raise ReportLayoutChanged("its name or source is not the agreed one")
    warnings = _check_titles(page.headers)
    condition = _completed_condition(page.details)
    sites = tuple(urlsplit(url) for url in site_urls)
    rows: dict[ReportRow, None] = {}
    problems = []
    foreign = 0
    unfinished = odd_time = False
    for number, cells in enumerate(page.rows, start=1):
        if not condition and _has_no_time(cells):
            # Somebody who has not completed.
            unfinished = True
        else:
            try:
                row = _parse_row(cells, sites)
                rows[row] = None
                odd_time = odd_time or (row.clock_time is None and not _has_no_time(cells))
            except ValueError as problem:
                problems.append(f"row {number} of page {page.page + 1}: {problem}")
                foreign += isinstance(problem, _ForeignLink)
        sampled = number == min(SAMPLE, len(page.rows))
        if page.page == 0 and sampled and len(problems) == number and (number >= LEAST_SAMPLE or foreign == number):
            raise ReportLayoutChanged(problems[0])
    if unfinished or condition is False:
        warnings.append((NO_CONDITION, {}))
    if odd_time:
        warnings.append((DATE_FORM, {}))
    return ReadPage(list(rows), problems, warnings)


def _check_titles(titles: Sequence[str]) -> list[tuple[str, dict[str, str | int]]]:
    """Warnings for titles that were renamed. Raises ReportLayoutChanged for columns that are not the agreed ones.

    A title of the site's own says nothing: language customisation and the report's editor may change it. But an agreed
    title at another place says that the columns were moved.
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
    """Whether the report is limited to completions; None where Moodle does not tell."""
    if report.conditions is None:
        return None
    return str(report.conditions.get(COMPLETED_CONDITION)) == str(COMPLETED_YES)


def _has_no_time(cells: Sequence[str | None]) -> bool:
    return len(cells) == len(AGREED_HEADERS) and cells[8] is not None and not cells[8].strip()


def _parse_row(cells: Sequence[str | None], sites: tuple[SplitResult, ...]) -> ReportRow:
    """One row; raises ValueError, without anything from the row, saying which cell was not understood."""
    if len(cells) != len(AGREED_HEADERS):
        raise ValueError(f"{len(AGREED_HEADERS)} cells expected")
    course, _shortname, person, _username, firstname, lastname, email, _completed, time, _grade = cells
    if course is None or person is None or firstname is None or lastname is None or email is None or time is None:
        raise ValueError("a text expected for each cell")
    course_id, fullname = _linked_course(course, sites)
    # The person's name in this cell is not escaped at all, so only the link before it counts.
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
    """The text that Moodle escaped for this cell, decoded exactly once.

    Of a text with `&#039;` in it nobody can tell whether it was stored so or with an apostrophe.
    """
    return _ESCAPED.sub(lambda found: _CHARACTERS[found[1]], cell)


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
    return _linked_id(link.hrefs[0], sites, pages, what), link.text.strip()


def _linked_person(cell: str, sites: tuple[SplitResult, ...]) -> int:
    """The id in the link that the cell starts with, whatever the name after it holds."""
    start = _OPENING_LINK.match(cell)
    if start is None:
        raise ValueError("person is not a link")
    hrefs = _Link(start[0]).hrefs
    if len(hrefs) != 1:
        raise ValueError("person is not a link")
    return _linked_id(hrefs[0], sites, _USER_PAGES, "person")


def _linked_id(href: str, sites: tuple[SplitResult, ...], pages: tuple[str, ...], what: str) -> int:
    try:
        address = urlsplit(href)
        known = any(_is_page_of(address, site, pages) for site in sites)
    except ValueError:
        raise ValueError(f"{what} has an unreadable link") from None
    if not known:
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
    """The port, or None for the usual one of either scheme, since a proxy may have ended TLS."""
    return None if address.port == {"http": 80, "https": 443}.get(address.scheme) else address.port


def parse_clock_time(text: str) -> datetime | None:
    """What a clock showed, without a zone; None for a text that cannot be read.

    Read are English dates with the month in words, the day before it or after it, with 12 or 24 hours, and ISO dates.
    """
    found = (form.fullmatch(text) for form in _DATES)
    return next((_clock_time(parts) for parts in found if parts), None)


def _clock_time(parts: re.Match[str]) -> datetime | None:
    word = parts["month"].lower()
    month = int(word) if word.isdigit() else _MONTHS.get(word, 0)
    hour = int(parts["hour"])
    if parts["half"]:
        # 12 stands for 0 in either half of the day.
        hour = 99 if not 1 <= hour <= 12 else hour % 12 + (12 if parts["half"] in "pP" else 0)
    try:
        return datetime(int(parts["year"]), month, int(parts["day"]), hour, int(parts["minute"]))
    except ValueError:
        return None
