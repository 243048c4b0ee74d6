"""The agreed report: what is read from it, and what is refused."""

import json
from calendar import month_name
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import pytest

from moodle_sync.client.errors import ReportLayoutChanged
from moodle_sync.client.records import Report, ReportPage
from moodle_sync.client.report_cells import (
    AGREED_HEADERS,
    AGREED_NAME,
    AGREED_SOURCE,
    DATE_FORM,
    NO_CONDITION,
    TITLES,
    ReadPage,
    ReportRow,
    decode_cell,
    matching_reports,
    parse_clock_time,
    parse_page,
)

REPLIES = Path(__file__).parent.parent / "replies" / "moodle"
SITE = "http://moodle.example"


def recorded(name: str) -> Any:
    """Moodle's recorded answer."""
    return json.loads((REPLIES / f"{name}.json").read_text())["response"]


COMPLETED = {"completion:completed_operator": 1}


def make_page(
    *rows: Sequence[str | None],
    headers: Sequence[str] = AGREED_HEADERS,
    page: int = 0,
    conditions: dict[str, Any] | None = COMPLETED,
) -> ReportPage:
    """A page of the agreed report with these rows."""
    details = Report(id=4, name=AGREED_NAME, source=AGREED_SOURCE, timemodified=None, conditions=conditions)
    return ReportPage(details, page, list(headers), [list(row) for row in rows], len(rows))


def read(*rows: Sequence[str | None], **more: Any) -> ReadPage:
    """What a page with these rows is read as."""
    return parse_page(make_page(*rows, **more), site_urls=[SITE])


def only_row(**changes: str) -> ReportRow:
    """The row that these cells are read as, without anything to say about it."""
    found = read(make_row(**changes))
    assert (found.problems, found.warnings) == ([], [])
    [row] = found.rows
    return row


def make_row(**changes: Any) -> list[str]:
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
    found = parse_page(page, site_urls=[SITE])
    assert (found.problems, found.warnings) == ([], [])
    assert len(found.rows) == 40
    assert page.total == 745
    first = found.rows[0]
    assert (first.course_id, first.course_fullname) == (2, "Safeguarding Essentials")
    assert (first.user_id, first.firstname, first.lastname) == (806, "Eilidh", "Lee500")
    assert first.email == "plug0500@example.org"
    assert first.clock_time == datetime(2026, 11, 23, 8, 45)


@pytest.mark.parametrize("name", ["agreed_report_since", "agreed_report_nothing_new"])
def test_a_page_without_rows_is_accepted(name: str) -> None:
    assert parse_page(ReportPage.from_json(recorded(name), page=0), site_urls=[SITE]) == ReadPage([], [], [])


def test_recorded_rows_of_the_last_page_are_read() -> None:
    page = ReportPage.from_json(recorded("agreed_report_last_page"), page=18)
    found = parse_page(page, site_urls=[SITE])
    assert (found.problems, found.warnings) == ([], [])
    assert len(found.rows) == 25
    assert found.rows[-1].course_fullname == "Draft: Lone Working"
    assert found.rows[-1].clock_time == datetime(2026, 10, 1, 8, 0)


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


def test_texts_are_decoded_exactly_once() -> None:
    row = only_row(
        course=f'<a href="{SITE}/course/view.php?id=3">Café &amp;amp; “Éthique” &lt;b&gt; — 日本語 ✓</a>',
        shortname="ÉTH-1 & <2>",
        firstname="&lt;b&gt;Ольга&lt;/b&gt;",
        lastname="O&#039;Neill &amp;amp; Söhne &quot;A&quot;",
        email="o&#039;neill&amp;s@example.org",
    )
    assert row.course_id == 3
    assert row.course_fullname == "Café &amp; “Éthique” <b> — 日本語 ✓"
    assert (row.firstname, row.lastname) == ("<b>Ольга</b>", 'O\'Neill &amp; Söhne "A"')
    assert row.email == "o'neill&s@example.org"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("O&#039;Connor", "O'Connor"),
        ("Amp &amp;amp; Sand", "Amp &amp; Sand"),
        ("Lt &amp;lt; Sign", "Lt &lt; Sign"),
        ("O&#39;Num &#x26; &amp;lt;", "O&#39;Num &#x26; &lt;"),
        ("&amp;#039;", "&#039;"),
        ("&eacute; &copy; &nbsp;", "&eacute; &copy; &nbsp;"),
        ("& &; &amp &AMP;", "& &; &amp &AMP;"),
        ("&#039 &#0039;", "&#039 &#0039;"),
        ("  two  blanks ", "  two  blanks "),
        ("", ""),
    ],
)
def test_only_what_moodle_escapes_is_decoded(cell: str, text: str) -> None:
    assert decode_cell(cell) == text


@pytest.mark.parametrize(
    "name",
    ["Ann <Annie>", "<a href='/user/profile.php?id=7'>x</a>", "2 < 3 & 4 > 1", "<![CDATA[", '</a><a href="', "<!--"],
)
def test_the_person_is_whoever_the_cell_begins_with_whatever_the_name_holds(name: str) -> None:
    assert only_row(person=f'<a href="{SITE}/user/profile.php?id=19">{name}</a>').user_id == 19


def test_rows_with_empty_names_and_address_are_valid() -> None:
    row = only_row(firstname="", lastname="", email="", grade="")
    assert (row.firstname, row.lastname, row.email) == ("", "", "")


def test_equal_rows_of_two_enrolments_count_once() -> None:
    found = read(make_row(), make_row())
    assert len(found.rows) == 1
    assert (found.problems, found.warnings) == ([], [])


CLOCK_TIMES = [
    ("Monday, 23 November 2026, 8:03 AM", 8, 3),
    ("Monday, 23 November 2026, 08:03 AM", 8, 3),
    ("Monday, 23 November 2026, 8:03\N{NO-BREAK SPACE}AM", 8, 3),
    ("Monday, 23 November 2026, 8:03\N{NARROW NO-BREAK SPACE}PM", 20, 3),
    (" monday, 23 november 2026, 8:03 pm ", 20, 3),
    ("Monday, 23 November 2026, 12:00 AM", 0, 0),
    ("Monday, 23 November 2026, 12:59 PM", 12, 59),
    # What a language customisation may make of it.
    ("Monday, 23 November 2026, 20:03", 20, 3),
    ("Monday, November 23, 2026, 8:03 PM", 20, 3),
    ("Mon, 23 Nov 2026, 20:03:59", 20, 3),
    ("23 November 2026 at 8.03 p.m.", 20, 3),
    ("2026-11-23 20:03", 20, 3),
]


@pytest.mark.parametrize(("text", "hour", "minute"), CLOCK_TIMES)
def test_times_are_read_as_a_clock_showed_them(text: str, hour: int, minute: int) -> None:
    assert only_row(time=text).clock_time == datetime(2026, 11, 23, hour, minute)


def test_every_month_is_known() -> None:
    for number, name in enumerate(month_name[1:], start=1):
        for written in (name, name[:3], name.upper()):
            assert parse_clock_time(f"Sunday, 1 {written} 2026, 1:00 AM") == datetime(2026, number, 1, 1, 0)


ODD_TIMES = [
    "Montag, 23. November 2026, 08:03 Uhr",
    "Monday, 23 Novembre 2026, 8:03 AM",
    "Monday, 31 February 2026, 8:03 AM",
    "Monday, 23 November 2026, 13:03 AM",
    "Monday, 23 November 2026, 0:03 AM",
    "Monday, 23 November 2026, 8:63 AM",
    "Monday, 23 November 2026, 24:03",
    "Monday, 23 November 0000, 8:03 AM",
    "1/07/26 12:34",
    "07/23/2026 12:34",
    "2026-13-01 12:34",
    "1795424427",
]


@pytest.mark.parametrize("text", ODD_TIMES)
def test_a_time_that_cannot_be_read_costs_no_row_and_says_how_to_mend_it(text: str) -> None:
    found = read(make_row(), make_row(time=text))
    assert [row.clock_time for row in found.rows] == [datetime(2026, 11, 23, 8, 3), None]
    assert found.problems == []
    assert found.warnings == [(DATE_FORM, {})]
    assert "strftimedaydatetime" in DATE_FORM


def test_a_report_of_times_that_cannot_be_read_is_read_all_the_same() -> None:
    found = read(*[make_row(time="1/07/26 12:34", person=link_to(number)) for number in range(1, 31)])
    assert [row.user_id for row in found.rows] == list(range(1, 31))
    assert (found.problems, found.warnings) == ([], [(DATE_FORM, {})])


def link_to(user_id: int) -> str:
    return f'<a href="{SITE}/user/profile.php?id={user_id}">Ana Lee</a>'


def test_a_completion_without_a_time_is_no_fault_of_the_dates_form() -> None:
    found = read(make_row(time=""))
    assert [row.clock_time for row in found.rows] == [None]
    assert (found.problems, found.warnings) == ([], [])


@pytest.mark.parametrize("completed", ["Aye", "No", "Ja", ""])
def test_what_the_column_completed_says_does_not_matter(completed: str) -> None:
    assert only_row(completed=completed) == only_row()


@pytest.mark.parametrize("conditions", [{}, {"completion:completed_operator": 0}, {"user:fullname_operator": 1}])
def test_without_the_condition_those_who_have_not_completed_are_passed_over(conditions: dict[str, Any]) -> None:
    unfinished = [make_row(time="", completed="No", person=link_to(number)) for number in range(1, 31)]
    found = read(*unfinished, make_row(), conditions=conditions)
    assert [row.user_id for row in found.rows] == [19]
    assert (found.problems, found.warnings) == ([], [(NO_CONDITION, {})])
    assert read(make_row(), conditions=conditions).warnings == [(NO_CONDITION, {})]


def test_where_moodle_does_not_tell_the_conditions_only_a_row_shows_that_one_is_missing() -> None:
    assert read(make_row(), conditions=None).warnings == []
    found = read(make_row(), make_row(time=""), conditions=None)
    assert len(found.rows) == 1
    assert found.warnings == [(NO_CONDITION, {})]


def test_one_odd_row_among_those_who_have_not_completed_refuses_no_report() -> None:
    found = read(*[make_row(time="")] * 19, make_row(person="Ana Lee"), conditions={})
    assert (found.rows, found.problems) == ([], ["row 20 of page 1: person is not a link"])


ODD: dict[str, list[dict[str, Any]]] = {
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
    "person is not a link": [
        {"person": "Ana Lee"},
        {"person": ""},
        {"person": f'Ana <a href="{SITE}/user/profile.php?id=2">Lee</a>'},
        {"person": f'<b><a href="{SITE}/user/profile.php?id=2">A</a></b>'},
    ],
    "person has a link without an id": [{"person": f'<a href="{SITE}/user/profile.php?id={2**63}">A</a>'}],
    "a text expected for each cell": [{"firstname": None}, {"email": None}, {"time": None}, {"course": None}],
}


@pytest.mark.parametrize(("problem", "changes"), [(problem, item) for problem, many in ODD.items() for item in many])
def test_an_odd_row_is_told_by_its_place_and_stops_no_other(problem: str, changes: dict[str, Any]) -> None:
    found = read(make_row(), make_row(**changes), make_row(person=link_to(20)), page=1)
    assert [row.user_id for row in found.rows] == [19, 20]
    assert found.problems == [f"row 2 of page 2: {problem}"]
    assert found.warnings == []


@pytest.mark.parametrize(("problem", "changes"), [(problem, many[0]) for problem, many in ODD.items()])
@pytest.mark.parametrize("number", [3, 30])
def test_a_report_of_which_nothing_can_be_read_is_refused(number: int, problem: str, changes: dict[str, Any]) -> None:
    with pytest.raises(ReportLayoutChanged) as caught:
        read(*[make_row(**changes)] * number)
    assert caught.value.reason == f"row 1 of page 1: {problem}"
    assert "Navigatr badge feed" in caught.value.advice


ODD_ROW = {"person": "Ana Lee"}


def test_a_few_odd_rows_at_the_start_do_not_refuse_the_report() -> None:
    found = read(*[make_row(**ODD_ROW)] * 19, make_row())
    assert len(found.rows) == 1
    assert len(found.problems) == 19


@pytest.mark.parametrize("number", [1, 2])
def test_an_odd_row_or_two_in_a_quiet_hour_do_not_refuse_the_report(number: int) -> None:
    found = read(*[make_row(**ODD_ROW)] * number)
    assert found.rows == []
    assert found.problems[0] == "row 1 of page 1: person is not a link"


def test_a_single_row_of_another_site_refuses_the_report() -> None:
    with pytest.raises(ReportLayoutChanged, match="another site"):
        read(make_row(site="http://elsewhere.example"))


def test_odd_rows_of_later_pages_never_refuse_the_report() -> None:
    found = read(*[make_row(**ODD_ROW)] * 30, page=3)
    assert found.rows == []
    assert found.problems[0] == "row 1 of page 4: person is not a link"
    assert len(found.problems) == 30


@pytest.mark.parametrize("cells", [[], ["x"], make_row()[:9], [*make_row(), "more"]])
def test_a_row_with_another_number_of_cells_is_a_problem(cells: list[str]) -> None:
    found = read(make_row(), cells)
    assert len(found.rows) == 1
    assert found.problems == ["row 2 of page 1: 10 cells expected"]


MOVED = [
    (AGREED_HEADERS[:-1], "10 columns expected, 9 found"),
    ((*AGREED_HEADERS, "Role name"), "10 columns expected, 11 found"),
    ((), "10 columns expected, 0 found"),
    ((*AGREED_HEADERS[:3], "First name", "Username", *AGREED_HEADERS[5:]), 'column 4 should be "Username"'),
    ((*AGREED_HEADERS[:3], "First name", "Login", *AGREED_HEADERS[5:]), 'column 4 should be "Username"'),
    ((*AGREED_HEADERS[:8], "Grade", "Time"), 'column 9 should be "Time completed"'),
    ((*AGREED_HEADERS[:8], " TIME  completed", "Time completed"), 'column 10 should be "Grade"'),
]


@pytest.mark.parametrize(("headers", "reason"), MOVED)
def test_moved_and_missing_columns_are_refused_even_without_rows(headers: Sequence[str], reason: str) -> None:
    with pytest.raises(ReportLayoutChanged) as caught:
        read(headers=headers)
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("title", "shown"),
    [("Student number", "Student number"), ("Login &amp; ", "Login &"), ("Nome utente", "Nome utente"), ("", "")],
)
def test_a_renamed_title_is_a_warning_that_names_it(title: str, shown: str) -> None:
    found = read(make_row(), headers=[*AGREED_HEADERS[:3], title, *AGREED_HEADERS[4:]])
    assert len(found.rows) == 1
    assert found.warnings == [(TITLES, {"number": 4, "title": shown, "agreed": "Username"})]
    assert TITLES.format(**found.warnings[0][1])


def test_a_report_all_in_another_language_is_read_by_place() -> None:
    found = read(make_row(), headers=[f"Colonna {number}" for number in range(10)])
    assert len(found.rows) == 1
    assert [values["number"] for _, values in found.warnings] == list(range(1, 11))


def test_spaces_and_capitals_of_titles_do_not_matter() -> None:
    headers = [f" {title.upper()} " for title in AGREED_HEADERS]
    assert read(headers=headers) == ReadPage([], [], [])


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
    found = parse_page(make_page(make_row(site=links)), site_urls=["http://elsewhere.example", site])
    [row] = found.rows
    assert (row.course_id, row.user_id) == (2, 19)
    assert found.problems == []


def test_links_within_a_course_to_a_person_are_accepted() -> None:
    person = f'<a class="x" href="{escape(SITE + "/user/view.php?course=2&id=19")}"><b>Ana</b> Lee</a>'
    assert only_row(person=person).user_id == 19


def test_problems_hold_nothing_of_the_row() -> None:
    bad = make_row(firstname="Zebedee", lastname="Quux", email="zq@example.org", course="Zebedee", time="Quux")
    with pytest.raises(ReportLayoutChanged) as caught:
        read(bad, bad, bad)
    found = read(make_row(), bad, make_row(time="Quux"))
    told = f"{caught.value} {caught.value.reason} {caught.value.args} {caught.value.advice}"
    told += f"{found.problems} {found.warnings}"
    assert not any(secret in told for secret in ("Zebedee", "Quux", "zq@"))
