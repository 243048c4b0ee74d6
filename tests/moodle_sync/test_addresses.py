"""Which spellings of an address are one recipient, and what can be a name or an address at all."""

import unicodedata

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodle_sync.addresses import has_visible_character, is_possible_address, recipient_address

# Letters of domain names that IDNA takes, in several scripts.
letters = st.text(st.sampled_from("abzABZ09äöüÄÉéñçøÅβΔжЖ中文한글"), min_size=1, max_size=12)
local_parts = st.text(st.characters(categories=["L", "N"], max_codepoint=0x24F), min_size=1, max_size=20)
fillers = "\u00ad\u034f\u115f\u1160\u17b4\u180e\u200b\u200e\u2028\u2060\u2800\u3000\u3164\ufe0f\ufeff\uffa0\U000e0001"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ana@example.org", "Ana@EXAMPLE.org"),
        ("ana@example.org", "  ana@example.org\u00a0"),
        ("ÜMIT@example.org", "ümit@example.org"),
        ("José@example.org", "Jose\u0301@example.org"),
        ("ana@bücher.example", "ana@xn--bcher-kva.example"),
        ("ana@BÜCHER.example", "ana@XN--BCHER-KVA.EXAMPLE"),
        ("ana@bu\u0308cher.example", "ana@bücher.example"),
        ("ana@例え.jp", "ana@例え。jp"),
        ("ana@straße.example", "ana@xn--strae-oqa.example"),
        # Not in IDNA 2008, but there are such domains.
        ("ana@i❤.example", "ana@xn--i-7iq.example"),
    ],
)
def test_two_spellings_are_one_recipient(one: str, other: str) -> None:
    assert recipient_address(one) == recipient_address(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ana@example.org", "anna@example.org"),
        ("ana@example.org", "ana@example.com"),
        ("ana@straße.example", "ana@strasse.example"),
        ("ana@bücher.example", "ana@bucher.example"),
        ("ana+1@example.org", "ana@example.org"),
        ("a.na@example.org", "ana@example.org"),
    ],
)
def test_two_people_stay_two(one: str, other: str) -> None:
    assert recipient_address(one) != recipient_address(other)


@given(st.text(max_size=40))
def test_any_text_has_one_spelling_to_be_compared_by(text: str) -> None:
    spelling = recipient_address(text)
    assert recipient_address(spelling) == spelling


@given(local_parts, letters, letters)
def test_a_domain_in_letters_and_in_punycode_is_one(local: str, first: str, second: str) -> None:
    address = f"{local}@{first}.{second}"
    try:
        encoded = idna.encode(f"{first}.{second}", uts46=True).decode()
    except idna.IDNAError:
        return
    assert recipient_address(address) == recipient_address(f"{local.upper()}@{encoded.upper()}") or (
        # Letters without an upper case of their own, which no fold brings back.
        local.upper().casefold() != local.casefold()
    )
    assert recipient_address(unicodedata.normalize("NFD", address)) == recipient_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "pat@college.example",
        "s.o'hara@college.example",
        "ümit@bücher.example",
        "ana@xn--bcher-kva.example",
        "ana+moodle@mail.college.ac.uk",
        "a@b.co",
        " ana@example.org ",
        f"{'a' * 242}@example.org",
    ],
)
def test_an_address_that_can_be_one(address: str) -> None:
    assert is_possible_address(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "pat",
        "pat@college",
        "pat@college.",
        "pat@.college.example",
        "pat@college..example",
        "@college.example",
        "pat@@college.example",
        "pat@home@college.example",
        "pat smith@college.example",
        "pat\u00a0smith@college.example",
        "pat\u200b@college.example",
        "pat@college .example",
        "pat@-college.example",
        "pat@college_x.example",
        "pat@i❤.example",
        "pat@xn--i-7iq.example",
        "pat@127.0.0.1",
        f"pat@{'a' * 64}.example",
        f"{'a' * 243}@example.org",
        "0cc175b9c0f1b6a831c399e269772661",
    ],
)
def test_an_address_that_cannot_be_one(address: str) -> None:
    assert not is_possible_address(address)


@given(local_parts, letters, letters)
def test_both_forms_of_a_domain_are_possible_or_neither(local: str, first: str, second: str) -> None:
    domain = f"{first}.{second}"
    try:
        encoded = idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        assert not is_possible_address(f"{local}@{domain}") or domain.isascii()
        return
    if len(f"{local}@{encoded}") <= 254:
        assert is_possible_address(f"{local}@{domain}") == is_possible_address(f"{local}@{encoded}")


@given(st.text(max_size=60))
def test_no_text_breaks_the_question(text: str) -> None:
    if is_possible_address(text):
        local, domain = text.strip().split("@")
        assert local
        assert "." in domain.translate({0x3002: ".", 0xFF0E: ".", 0xFF61: "."})


@pytest.mark.parametrize("name", ["Ana", "陈", "O'Brien", "-", ".", "ㅏ", "\u0e4dก", "\u200bAna", "𒀀", "\U0001e030"])
def test_a_name_with_something_to_see(name: str) -> None:
    assert has_visible_character(name)


@given(st.text(st.sampled_from(fillers + " \t\n\u1680\u2003")))
def test_blanks_and_fillers_of_any_script_are_no_name(name: str) -> None:
    assert not has_visible_character(name)


@given(st.text(st.characters(categories=["Zs", "Zl", "Zp", "Cf", "Cc", "Cs", "Mn"])))
def test_what_is_never_drawn_alone_is_no_name(name: str) -> None:
    assert not has_visible_character(name)


@given(st.text(), st.characters(categories=["L", "N"], exclude_characters=fillers), st.text())
def test_one_letter_makes_a_name(before: str, letter: str, after: str) -> None:
    assert has_visible_character(before + letter + after)
