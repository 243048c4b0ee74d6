"""Comparing e-mail addresses, and checking addresses and names. No Django."""

import re
import unicodedata

import idna

# Characters, by RFC 5321, section 4.5.3.1.3, without the angle brackets.
LONGEST_ADDRESS = 254
# What a label of a domain in Punycode begins with.
_PUNYCODE = "xn--"
# A label of an ASCII domain name: letters, digits, and hyphens inside.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE | re.ASCII)
# The characters that IDNA reads as dots (UTS 46, section 4).
_DOTS = re.compile("[.\u3002\uff0e\uff61]")

# Letters and symbols that are drawn empty: the Hangul fillers and the blank Braille pattern.
_EMPTY = frozenset("\u115f\u1160\u3164\uffa0\u2800")
# Unassigned characters that are never drawn (Default_Ignorable_Code_Point).
_RESERVED = [(0x2065, 0x2065), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF)]


def recipient_address(email: str) -> str:
    """The address in the form in which it is compared: two spellings of one recipient give the same result.

    Navigatr ignores case, and may store either Unicode form and the domain in Unicode or in Punycode. The result has
    the domain in Unicode, so that a search finds it by its beginning.
    """
    local, at, domain = email.strip().rpartition("@")
    return f"{folded(local)}{at}{_domain(domain) if at else folded(domain)}"


def is_possible_address(email: str) -> bool:
    """Whether mail can be sent to the address: one @, no blanks, and a valid domain (IDNA) of two labels or more."""
    email = email.strip()
    local, _at, domain = email.partition("@")
    labels = _DOTS.split(domain)
    return (
        len(email) <= LONGEST_ADDRESS
        and bool(local)
        and all(_is_visible(character) or unicodedata.category(character)[0] == "M" for character in email)
        and len(labels) > 1
        and all(_is_possible_label(label) for label in labels)
        # An IP address is not a domain.
        and not labels[-1].isdecimal()
    )


def has_visible_character(text: str) -> bool:
    """Whether the text has a visible character: not only blanks, fillers and characters that are never drawn."""
    return any(_is_visible(character) for character in text)


def folded(text: str) -> str:
    """The text in the form in which it is compared: casefolded and in NFC."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def _domain(domain: str) -> str:
    if domain.isascii() and _PUNYCODE not in (lower := domain.lower()):
        return lower
    return ".".join(_unicode_label(label) for label in _DOTS.split(domain))


def _unicode_label(label: str) -> str:
    """A label of a domain in Unicode. One that IDNA refuses, such as an emoji, is only decoded and folded."""
    try:
        return idna.decode(idna.encode(label, uts46=True))
    except UnicodeError:
        pass
    plain = folded(label)
    if not plain.startswith(_PUNYCODE):
        return plain
    try:
        decoded = folded(plain.removeprefix(_PUNYCODE).encode("ascii").decode("punycode"))
    except UnicodeError:
        return plain
    return decoded if decoded and not decoded.isascii() else plain


def _is_possible_label(label: str) -> bool:
    if label.isascii() and _LABEL.fullmatch(label) is None:
        return False
    if label.isascii() and not label.lower().startswith(_PUNYCODE):
        return True
    try:
        idna.decode(idna.encode(label, uts46=True))
    except UnicodeError:
        return False
    return True


def _is_visible(character: str) -> bool:
    if character.isascii():
        # The quick way for most names and addresses.
        return "!" <= character <= "~"
    category = unicodedata.category(character)
    if category == "Cn":
        # A character that this Python does not know yet may be part of a name.
        return not any(first <= ord(character) <= last for first, last in _RESERVED)
    return category[0] not in "ZM" and category not in ("Cc", "Cf", "Cs") and character not in _EMPTY
