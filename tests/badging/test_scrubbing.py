"""Navigatr's words are kept, the learner's data in them are not."""

import html
import unicodedata
from urllib.parse import unquote

import pytest

from badging.scrubbing import scrub, storable
from moodle_sync.models import Learner
from navigatr_client.errors import LONGEST_DETAIL

ANA = Learner(firstname="Ana María", lastname="O’Lee-Öz", email="ana.lee@example.org")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("value is not a valid email: ana.lee@example.org", "value is not a valid email: […]"),
        ("unknown recipient <other@example.org>, sorry", "unknown recipient <[…]>, sorry"),
        ("see /u?mail=ana.lee%40example.org", "see […]"),
        ("ANA MARÍA O’LEE-ÖZ has it", "[…] has it"),
        ("María is unknown", "[…] is unknown"),
        ("Analysis failed", "Analysis failed"),
        ("", ""),
    ],
)
def test_addresses_and_names_go_and_the_rest_stays(text: str, kept: str) -> None:
    assert scrub(text, ANA) == kept


SPELLINGS = [
    "Zoë Müller-Lüdenscheidt",
    "ZOË MÜLLER-LÜDENSCHEIDT",
    "Zoe Muller-Ludenscheidt",
    "Zoe Mueller-Luedenscheidt",
    unicodedata.normalize("NFD", "Zoë Müller-Lüdenscheidt"),
    "Zoë Müller Lüdenscheidt",
    "Zoë Müller_Lüdenscheidt",
    "Müller-Lüdenscheidt, Zoë",
    "ZoëMüllerLüdenscheidt",
    "zoe.mueller.luedenscheidt",
    "Zoë Müller-Lüdenscheidt's",
    "Müller-Lüdenscheidts",
    "Zo&euml; M&uuml;ller-L&#252;denscheidt",
    "Zo&#xEB; M&#xFC;ller&#45;L&uuml;denscheidt",
    "Zo%C3%AB%20M%C3%BCller-L%C3%BCdenscheidt",
    "Zo\\u00eb M\\u00fcller-L\\u00fcdenscheidt",
    "Z. Müller-Lüdenscheidt",
    "Müller-Lüdenscheidt Z.",
    "Zoë",
    "zoe",
    "z.mueller77",
    "z.mueller77 at example.org",
    "z.mueller77 (at) example.org",
    "z.mueller77 at example dot org",
    "z.mueller77&#64;example.org",
    "Z.MUELLER77@EXAMPLE.ORG",
    "other.person at example.org",
    "xX_MüllerLüdenscheidt_Xx",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_name_is_found_in_many_spellings(spelling: str) -> None:
    zoe = Learner(firstname="Zoë", lastname="Müller-Lüdenscheidt", email="z.mueller77@example.org")
    hidden = scrub(f"Badge 111: refused for ({spelling}), see page 3", zoe)
    plain = unicodedata.normalize("NFKD", html.unescape(unquote(hidden))).casefold()
    assert not [part for part in ("zo", "ller", "denscheidt", "u00", "77", "person") if part in plain], hidden
    assert hidden.startswith("Badge 111: refused for (")
    assert hidden.endswith("see page 3")


@pytest.mark.parametrize(
    "text",
    [
        "Analysis of a canal failed at level 3",
        "The badge at 10.5 is unpublished",
        "min_score: must be ≥ 60 %",
    ],
)
def test_ordinary_words_stay(text: str) -> None:
    short = Learner(firstname="An", lastname="Li", email="a@example.org")
    assert scrub(text, short) == text


def test_a_missing_name_hides_nothing() -> None:
    assert scrub("Badge is not published", Learner(firstname=" ", lastname="")) == "Badge is not published"


def test_a_name_cut_off_at_the_end_goes_too() -> None:
    text = ("x " * LONGEST_DETAIL)[: LONGEST_DETAIL - 7] + "ana.lee"
    assert scrub(text, ANA).endswith("x …")


def test_what_a_database_cannot_hold_is_taken_out() -> None:
    assert storable("a\x00b\ud800c é 日") == "ab?c é 日"
