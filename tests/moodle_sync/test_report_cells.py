"""The agreed report: what is read from it, and what is refused."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import pytest

from moodle_sync.client.errors import ReportLayoutChanged
from moodle_sync.client.records import Report, ReportPage
from moodle_sync.client.report_cells import AGREED_HEADERS, AGREED_NAME, AGREED_SOURCE, matching_reports, parse_page

REPLIES = Path(__file__).parent.parent / "replies" / "moodle"
SITE = "http://moodle.example"


def recorded(name: str) -> Any:
    """Moodle's recorded answer."""
    return json.loads((REPLIES / f"{name}.json").read_text())["response"]


def make_page(*rows: Sequence[str], headers: Sequence[str] = AGREED_HEADERS, page: int = 0) -> ReportPage:
    """A page of the agreed report with these rows."""
    details = Report(id=4, name=AGREED_NAME, source=AGREED_SOURCE, timemodified=None)
    return ReportPage(details, page, list(headers), [list(row) for row in rows], len(rows))


def make_row(**changes: str) -> list[str]:
    """The cells of a good row, some of them changed; `site` stands before the links."""
    site = changes.pop("site", SITE)
    cells = {
        "course": f'<a href="{site}/course/view.php?id=2">Safeguarding Essentials</a>',
        "shortname": "SAFE101",
        "person": f'<a href="{site}/user/profile.php?id=19">Ana Lee</a>',
        "username": "alee",
        "firstname": "Ana",
        "lastname": "Lee",
        "email": "ana@example.org",
        "completed": "Yes",
        "time": "Monday, 23 November 2026, 8:03 AM",
        "grade": "50.00",
    }
    assert cells.keys() >= changes.keys()
    return list((cells | changes).values())


def test_every_row_of_a_recorded_page_is_read() -> None:
    page = ReportPage.from_json(recorded("agreed_report_page0"), page=0)
    rows, problems = parse_page(page, site_urls=[SITE])
    assert problems == []
    assert len(rows) == 40
    assert page.total == 745
    first = rows[0]
    assert (first.course_id, first.course_fullname, first.course_shortname) == (2, "Safeguarding Essentials", "SAFE101")
    assert (first.user_id, first.firstname, first.lastname) == (806, "Eilidh", "Lee500")
    assert first.email == "plug0500@example.org"
    assert first.completed_at == datetime(2026, 11, 23, 8, 45, tzinfo=UTC)


@pytest.mark.parametrize("name", ["agreed_report_since", "agreed_report_nothing_new"])
def test_a_page_without_rows_is_accepted(name: str) -> None:
    assert parse_page(ReportPage.from_json(recorded(name), page=0), site_urls=[SITE]) == ([], [])


def test_recorded_rows_of_the_last_page_are_read() -> None:
    page = ReportPage.from_json(recorded("agreed_report_last_page"), page=18)
    rows, problems = parse_page(page, site_urls=[SITE])
    assert problems == []
    assert len(rows) == 25
    assert rows[-1].course_fullname == "Draft: Lone Working"
    assert rows[-1].completed_at == datetime(2026, 10, 1, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize("name", ["report_page0", "report_with_links", "report_timezone_utc"])
def test_another_report_is_refused(name: str) -> None:
    page = ReportPage.from_json(recorded(name), page=0)
    with pytest.raises(ReportLayoutChanged, match="name or source"):
        parse_page(page, site_urls=[SITE])


def test_a_report_with_another_source_is_refused() -> None:
    page = make_page(make_row())
    foreign = replace(page, details=replace(page.details, source="core_user\\reportbuilder\\datasource\\users"))
    with pytest.raises(ReportLayoutChanged, match="source"):
        parse_page(foreign, site_urls=[SITE])


def test_the_report_is_found_by_name_and_source() -> None:
    reports = [Report.from_json(report) for report in recorded("agreed_report_list")["reports"]]
    assert [report.id for report in matching_reports(reports)] == [4]
    assert matching_reports([replace(report, source="core_user\\x") for report in reports]) == []


def test_of_several_reports_with_the_agreed_name_the_oldest_comes_first() -> None:
    reports = [Report(number, AGREED_NAME, AGREED_SOURCE, None) for number in (7, 4, 9)]
    assert [report.id for report in matching_reports(reports)] == [4, 7, 9]


def test_names_survive_as_they_are() -> None:
    row = make_row(
        course=f'<a href="{SITE}/course/view.php?id=3">Café &amp;amp; “Éthique” &lt;b&gt; — 日本語 ✓</a>',
        shortname="ÉTH-1 & <2>",
        firstname="<b>Ольга</b>",
        lastname="O'Neill &amp; Söhne",
    )
    [parsed], problems = parse_page(make_page(row), site_urls=[SITE])
    assert problems == []
    assert parsed.course_id == 3
    # The link is HTML, so its text is decoded once; the plain columns are text already.
    assert parsed.course_fullname == "Café &amp; “Éthique” <b> — 日本語 ✓"
    assert parsed.course_shortname == "ÉTH-1 & <2>"
    assert (parsed.firstname, parsed.lastname) == ("<b>Ольга</b>", "O'Neill &amp; Söhne")


def test_rows_with_empty_names_and_address_are_valid() -> None:
    [row], problems = parse_page(make_page(make_row(firstname="", lastname="", email="", grade="")), site_urls=[SITE])
    assert (row.firstname, row.lastname, row.email) == ("", "", "")
    assert problems == []


def test_equal_rows_of_two_enrolments_count_once() -> None:
    rows, problems = parse_page(make_page(make_row(), make_row()), site_urls=[SITE])
    assert len(rows) == 1
    assert problems == []


@pytest.mark.parametrize(
    ("text", "hour", "minute"),
    [
        ("Monday, 23 November 2026, 8:03 AM", 8, 3),
        ("Monday, 23 November 2026, 08:03 AM", 8, 3),
        ("Monday, 23 November 2026, 8:03\N{NO-BREAK SPACE}AM", 8, 3),
        ("Monday, 23 November 2026, 8:03\N{NARROW NO-BREAK SPACE}PM", 20, 3),
        (" monday, 23 november 2026, 8:03 pm ", 20, 3),
        ("Monday, 23 November 2026, 12:00 AM", 0, 0),
        ("Monday, 23 November 2026, 12:59 PM", 12, 59),
    ],
)
def test_times_are_read_as_utc(text: str, hour: int, minute: int) -> None:
    [row], _ = parse_page(make_page(make_row(time=text)), site_urls=[SITE])
    assert row.completed_at == datetime(2026, 11, 23, hour, minute, tzinfo=UTC)


def test_every_month_is_known() -> None:
    names = "January,February,March,April,May,June,July,August,September,October,November,December"
    rows = [make_row(time=f"Sunday, 1 {name} 2026, 1:00 AM") for name in names.split(",")]
    found, problems = parse_page(make_page(*rows), site_urls=[SITE])
    assert problems == []
    assert [row.completed_at.month for row in found] == list(range(1, 13))


ODD = {
    "time not understood": [
        {"time": "Montag, 23. November 2026, 08:03"},
        {"time": "Monday, 23 Novembre 2026, 8:03 AM"},
        {"time": "Monday, 31 February 2026, 8:03 AM"},
        {"time": "Monday, 23 November 2026, 13:03 AM"},
        {"time": "Monday, 23 November 2026, 0:03 AM"},
        {"time": "Monday, 23 November 2026, 8:63 AM"},
        {"time": "1795424427"},
        {"time": ""},
    ],
    '"Completed" is not "Yes"': [{"completed": "No"}, {"completed": "Ja"}, {"completed": ""}],
    "course is not a link": [
        {"course": "Safeguarding Essentials"},
        {"course": ""},
        {"course": "<![=x"},
        {"course": f'<a href="{SITE}/course/view.php?id=2">A</a><a href="{SITE}/course/view.php?id=3">B</a>'},
    ],
    "course links to another site or page": [
        {"course": '<a href="http://evil.example/course/view.php?id=2">A</a>'},
        {"course": '<a href="http://moodle.example.evil.example/course/view.php?id=2">A</a>'},
        {"course": '<a href="http://moodle.example@evil.example/course/view.php?id=2">A</a>'},
        {"course": '<a href="http://evil.example@moodle.example/course/view.php?id=2">A</a>'},
        {"course": '<a href="http://moodle.example:8080/course/view.php?id=2">A</a>'},
        {"course": '<a href="ftp://moodle.example/course/view.php?id=2">A</a>'},
        {"course": '<a href="/course/view.php?id=2">A</a>'},
        {"course": f'<a href="{SITE}/user/profile.php?id=2">A</a>'},
        {"course": f'<a href="{SITE}/other/course/view.php?id=2">A</a>'},
        {"course": "<a>A</a>"},
    ],
    "course has an unreadable link": [
        {"course": '<a href="http://[moodle.example/course/view.php?id=2">A</a>'},
        {"course": '<a href="http://moodle.example:x/course/view.php?id=2">A</a>'},
    ],
    "course has a link without an id": [
        {"course": f'<a href="{SITE}/course/view.php">A</a>'},
        {"course": f'<a href="{SITE}/course/view.php?id=0">A</a>'},
        {"course": f'<a href="{SITE}/course/view.php?id=-2">A</a>'},
        {"course": f'<a href="{SITE}/course/view.php?id=2x">A</a>'},
        {"course": f'<a href="{SITE}/course/view.php?id=٢">A</a>'},
        {"course": f'<a href="{SITE}/course/view.php?id=2&amp;id=3">A</a>'},
        {"course": f'<a href="{SITE}/course/view.php?id={"9" * 19}">A</a>'},
    ],
    "person links to another site or page": [
        {"person": f'<a href="{SITE}/course/view.php?id=2">A</a>'},
        {"person": '<a href="http://evil.example/user/profile.php?id=2">A</a>'},
    ],
    "person is not a link": [{"person": "Ana Lee"}],
}


@pytest.mark.parametrize(("problem", "changes"), [(problem, item) for problem, many in ODD.items() for item in many])
def test_an_odd_row_is_told_by_its_place_and_stops_no_other(problem: str, changes: dict[str, str]) -> None:
    rows, problems = parse_page(make_page(make_row(), make_row(**changes), make_row(), page=1), site_urls=[SITE])
    assert len(rows) == 1
    assert problems == [f"row 2 of page 2: {problem}"]


@pytest.mark.parametrize(("problem", "changes"), [(problem, many[0]) for problem, many in ODD.items()])
def test_a_report_of_which_nothing_can_be_read_is_refused(problem: str, changes: dict[str, str]) -> None:
    with pytest.raises(ReportLayoutChanged) as caught:
        parse_page(make_page(*[make_row(**changes)] * 30), site_urls=[SITE])
    assert caught.value.reason == f"row 1 of page 1: {problem}"
    assert "Navigatr badge feed" in caught.value.advice


def test_a_few_odd_rows_at_the_start_do_not_refuse_the_report() -> None:
    rows, problems = parse_page(make_page(*[make_row(time="")] * 19, make_row()), site_urls=[SITE])
    assert len(rows) == 1
    assert len(problems) == 19


def test_one_odd_row_in_a_quiet_hour_does_not_refuse_the_report() -> None:
    rows, problems = parse_page(make_page(make_row(time="")), site_urls=[SITE])
    assert rows == []
    assert problems == ["row 1 of page 1: time not understood"]


def test_odd_rows_of_later_pages_never_refuse_the_report() -> None:
    rows, problems = parse_page(make_page(make_row(time=""), page=3), site_urls=[SITE])
    assert rows == []
    assert problems == ["row 1 of page 4: time not understood"]


def test_a_row_with_too_few_cells_is_a_problem() -> None:
    rows, problems = parse_page(make_page(make_row(), make_row()[:9]), site_urls=[SITE])
    assert len(rows) == 1
    assert problems == ["row 2 of page 1: 10 cells expected"]


def test_changed_columns_are_refused_even_without_rows() -> None:
    for headers, reason in [
        (AGREED_HEADERS[:-1], "10 columns expected, 9 found"),
        ((*AGREED_HEADERS, "Role name"), "10 columns expected, 11 found"),
        ((*AGREED_HEADERS[:3], "First name", "Username", *AGREED_HEADERS[5:]), 'column 4 should be "Username"'),
        (("Course full name", *AGREED_HEADERS[1:]), 'column 1 should be "Course full name with link"'),
    ]:
        with pytest.raises(ReportLayoutChanged) as caught:
            parse_page(make_page(headers=headers), site_urls=[SITE])
        assert caught.value.reason == reason


def test_spaces_and_capitals_of_titles_do_not_matter() -> None:
    headers = [f" {title.upper()} " for title in AGREED_HEADERS]
    assert parse_page(make_page(headers=headers), site_urls=[SITE]) == ([], [])


@pytest.mark.parametrize(
    ("site", "links"),
    [
        ("http://moodle.example", "https://moodle.example"),
        ("https://moodle.example", "http://moodle.example"),
        ("https://moodle.example:443", "https://moodle.example"),
        ("https://moodle.example/", "https://Moodle.Example"),
        ("https://moodle.example/learn", "https://moodle.example/learn"),
        ("http://127.0.0.1:8001/moodle", "http://127.0.0.1:8001/moodle"),
    ],
)
def test_links_of_the_same_site_are_accepted(site: str, links: str) -> None:
    [row], problems = parse_page(make_page(make_row(site=links)), site_urls=["http://elsewhere.example", site])
    assert (row.course_id, row.user_id) == (2, 19)
    assert problems == []


def test_links_within_a_course_to_a_person_are_accepted() -> None:
    person = f'<a class="x" href="{escape(SITE + "/user/view.php?course=2&id=19")}"><b>Ana</b> Lee</a>'
    [row], _ = parse_page(make_page(make_row(person=person)), site_urls=[SITE])
    assert row.user_id == 19


def test_problems_hold_nothing_of_the_row() -> None:
    bad = make_row(firstname="Zebedee", lastname="Quux", email="zq@example.org", course="Zebedee", time="Quux")
    with pytest.raises(ReportLayoutChanged) as caught:
        parse_page(make_page(bad, bad, bad), site_urls=[SITE])
    _, problems = parse_page(make_page(make_row(), bad), site_urls=[SITE])
    told = f"{caught.value} {caught.value.reason} {caught.value.args} {caught.value.advice} {problems}"
    assert not any(secret in told for secret in ("Zebedee", "Quux", "zq@"))
