"""Navigatr's words are kept, the learner's data in them are not."""

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
        ("ANA MARÍA O’LEE-ÖZ has it", "[…] […] has it"),
        ("María is unknown", "[…] is unknown"),
        ("Analysis failed", "Analysis failed"),
        ("", ""),
    ],
)
def test_addresses_and_names_go_and_the_rest_stays(text: str, kept: str) -> None:
    assert scrub(text, ANA) == kept


def test_a_missing_name_hides_nothing() -> None:
    assert scrub("Badge is not published", Learner(firstname=" ", lastname="")) == "Badge is not published"


def test_a_name_cut_off_at_the_end_goes_too() -> None:
    text = ("x " * LONGEST_DETAIL)[: LONGEST_DETAIL - 7] + "ana.lee"
    assert scrub(text, ANA).endswith("x …")


def test_what_a_database_cannot_hold_is_taken_out() -> None:
    assert storable("a\x00b\ud800c é 日") == "ab?c é 日"
