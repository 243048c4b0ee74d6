"""Course names as people read them in Moodle, from what two versions of it were recorded to send."""

from typing import Any

import pytest
import responses

from moodle_sync.client import MoodleClient
from moodle_sync.client.course_names import course_name, one_language, plain_text
from moodle_sync.client.records import ReportPage
from moodle_sync.client.report_cells import parse_page
from tests.moodle_sync.recordings import SITE, TOKEN, answer_by, recording

SPANS = '<span lang="en" class="multilang">{}</span><span lang="cy" class="multilang">{}</span>'
MLANG = "{{mlang en}}{}{{mlang}}{{mlang cy}}{}{{mlang}}"

# What people see in Moodle in English, by the ids of the second lab's courses.
NAMES = {
    3: "Health & Safety",
    4: "Food hygiene",
    7: "\"Quotes\" & 'apostrophes' – dash",
    15: "Already & escaped",
    32: 'O\'Neil & Sons "A+" 🎓 1 < 2  +44',
    33: 'الأمن "السيبراني" & السلامة',
    34: "First aid & rescue",
    35: "First aid & rescue",
    36: "Already & escaped <b> 'q' é",
    37: "Health & Safety",
}
SHORT_NAMES = {
    3: "HS-2 & <L2>",
    15: "AMP&amp;14",
    32: "Q'&<\"+🎓",
    34: SPANS.format("First aid", "Cymorth"),
    35: MLANG.format("FA", "CC"),
    36: "ESC5 &amp; x",
}


def courses(shown: str, *, stored: str = "escaping_course_names_raw", language: str = "en") -> dict[int, Any]:
    """The courses that the client reads where filtered names are those of a recording."""

    def answer(fields: dict[str, str]) -> Any:
        return recording(stored if "moodlewssettingraw" in fields else shown)["response"]

    with responses.RequestsMock() as moodle, MoodleClient(SITE, TOKEN, language=language) as client:
        answer_by(moodle, answer)
        return {course.id: course for course in client.courses()}


@pytest.mark.parametrize(
    "shown",
    [
        "escaping_course_names_filter_on",
        # Filters that do not apply to headings leave all languages glued together.
        "escaping_course_names_multilang_headings_off",
        # Tags are not removed.
        "escaping_course_names_striptags_off",
        # A Moodle that takes no notice of the settings.
        "escaping_course_names",
        "escaping_course_names_raw",
    ],
)
def test_full_names_are_what_people_see_however_moodle_is_set_up(shown: str) -> None:
    assert {number: course.fullname for number, course in courses(shown).items()} == NAMES


def test_a_course_that_the_second_answer_lacks_is_read_from_the_first() -> None:
    found = courses("course_lifecycle_after_id_deleted")
    assert {number: course.fullname for number, course in found.items()} == NAMES


@pytest.mark.parametrize("shown", ["escaping_course_names_filter_on", "escaping_course_names_striptags_off"])
def test_short_names_come_as_stored(shown: str) -> None:
    found = courses(shown)
    assert {number: found[number].shortname for number in SHORT_NAMES} == SHORT_NAMES


def test_where_moodle_does_not_choose_the_portals_language_is_taken() -> None:
    found = courses("escaping_course_names_multilang_headings_off", language="cy")
    assert [found[number].fullname for number in (4, 34, 35)] == ["Hylendid bwyd", "Cymorth cyntaf", "Cymorth cyntaf"]


def test_where_moodle_chose_its_choice_is_kept() -> None:
    found = courses("escaping_course_names_filter_on", language="cy")
    assert [found[number].fullname for number in (4, 34)] == ["Food hygiene", "First aid & rescue"]


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("escaping_report_rows", 32),
        ("timezone_forced_sydney_report", 33),
        ("timezone_forced_sydney_report", 34),
        ("timezone_forced_sydney_report", 36),
        ("timezone_forced_sydney_report", 37),
    ],
)
def test_the_reports_cell_reads_as_the_course_does(name: str, number: int) -> None:
    page = ReportPage.from_json(recording(name)["response"], page=0)
    names = {row.course_id: row.course_fullname for row in parse_page(page, site_urls=[SITE]).rows}
    assert names[number] == NAMES[number]


def test_where_headings_are_not_filtered_the_reports_cell_is_glued() -> None:
    page = ReportPage.from_json(recording("escaping_report_multilang_headings_off")["response"], page=0)
    names = {row.course_id: row.course_fullname for row in parse_page(page, site_urls=[SITE]).rows}
    assert names == {36: NAMES[36], 34: "First aid & rescueCymorth cyntaf"}


@pytest.mark.parametrize(
    ("stored", "shown", "name"),
    [
        ("Plain", "Plain", "Plain"),
        # All that it holds is a tag: better that than nothing.
        ("<Level 2>", "", "<Level 2>"),
        # The course was not in the second answer.
        ("Health & Safety", "", "Health & Safety"),
        # An entity without its semicolon is text, as on Moodle's pages.
        (SPANS.format("Knives &not forks", "Cyllyll"), "Knives &amp;not forksCyllyll", "Knives &not forks"),
        (SPANS.format("R&D", "Y&D"), "R&amp;DY&amp;D", "R&D"),
        (SPANS.format("Salt &amp; light", "Halen"), "Salt &amp; lightHalen", "Salt & light"),
        # One name around several languages.
        (
            f"Unit 1: {SPANS.format('Fire', 'Tân')} ({MLANG.format('short', 'byr')})",
            "Unit 1: FireTân ({mlang en}short{mlang}{mlang cy}byr{mlang})",
            "Unit 1: Fire (short)",
        ),
        ("<![CDATA[", "", "<![CDATA["),
    ],
)
def test_a_name_is_plain_text_in_one_language(stored: str, shown: str, name: str) -> None:
    assert course_name(shown, stored, language="en") == name


@pytest.mark.parametrize(
    ("language", "name"),
    [("en", "Fire"), ("EN-gb", "Fire"), ("cy", "Tân"), ("fr", "Fire"), ("zh-tw", "火災")],
)
def test_the_portals_language_else_its_family_else_the_first(language: str, name: str) -> None:
    spans = SPANS.format("Fire", "Tân") + '<span class="multilang" lang="zh_tw">火災</span>'
    assert one_language(spans, language) == name


@pytest.mark.parametrize(
    ("language", "name"), [("en", "Fire"), ("de", "Brand"), ("ga", "Tine"), ("fr", "All"), ("gd", "Tine")]
)
def test_a_mlang_text_may_be_for_several_languages_or_any_other(language: str, name: str) -> None:
    text = "{mlang en}Fire{mlang}{mlang ga,gd}Tine{mlang} {mlang other}All{mlang}{mlang de}Brand{mlang}"
    assert one_language(text, language) == name


@pytest.mark.parametrize("text", ["Fire", "{mlang en}Fire", "<span>Fire</span>", "", "a {mlang} b", "<lang>x"])
def test_what_is_in_no_language_stays(text: str) -> None:
    assert one_language(text, "en") == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("Health &amp; Safety ", "Health & Safety"),
        ("Amp &amp;amp; Sand", "Amp &amp; Sand"),
        ("1 &lt; 2 < 3", "1 < 2 < 3"),
        ("<b>Bold</b> <i>x", "Bold x"),
        ("<![x", "<![x"),
        ("", ""),
    ],
)
def test_html_is_decoded_once(html: str, text: str) -> None:
    assert plain_text(html) == text
