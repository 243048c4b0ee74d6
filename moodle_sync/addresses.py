"""When two spellings of an e-mail address are one recipient, and what can be a name or an address at all. No Django."""

import re
import unicodedata

import idna

# RFC 5321, section 4.5.3.1.3, less the angle brackets.
LONGEST_ADDRESS = 254
_PUNYCODE = "xn--"
# A label of an ASCII domain name: letters, digits, and hyphens inside.
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE | re.ASCII)
# What IDNA takes for a dot as well (UTS 46, section 4).
_DOTS = re.compile("[.\u3002\uff0e\uff61]")

# Letters and symbols that show nothing: fillers of Hangul, and the empty Braille pattern.
_EMPTY = frozenset("\u115f\u1160\u3164\uffa0\u2800")
# Unassigned, but to be ignored where they are not known (Default_Ignorable_Code_Point).
_RESERVED = [(0x2065, 0x2065), (0xFFF0, 0xFFF8), (0xE0000, 0xE0FFF)]


def recipient_address(email: str) -> str:
    """The address as it is compared: two spellings with the same result are one recipient.

    Navigatr compares without case, and may keep an address in either Unicode form and a domain in letters or in
    Punycode. The result has the domain in letters, so that the beginning of an address finds it too.
    """
    local, at, domain = email.strip().rpartition("@")
    return f"{folded(local)}{at}{_domain(domain) if at else folded(domain)}"


def is_possible_address(email: str) -> bool:
    """Whether mail can be sent to the address: one @, no blanks, a domain of at least two labels, as IDNA has it."""
    email = email.strip()
    local, _at, domain = email.partition("@")
    labels = _DOTS.split(domain)
    return (
        len(email) <= LONGEST_ADDRESS
        and bool(local)
        and all(_is_visible(character) or unicodedata.category(character)[0] == "M" for character in email)
        and len(labels) > 1
        and all(_is_possible_label(label) for label in labels)
        # The last label of a numeric address, which is no domain's.
        and not labels[-1].isdecimal()
    )


def has_visible_character(text: str) -> bool:
    """Whether a name shows anything: not only blanks of any script, fillers, or characters that are never drawn."""
    return any(_is_visible(character) for character in text)


def folded(text: str) -> str:
    """The text as it is compared: without case, in Unicode's composed form (NFC)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def _domain(domain: str) -> str:
    if domain.isascii() and _PUNYCODE not in (lower := domain.lower()):
        return lower
    return ".".join(_letters(label) for label in _DOTS.split(domain))


def _letters(label: str) -> str:
    """One label of a domain in letters. One that IDNA does not know, such as an emoji, is only decoded and folded."""
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
    category = unicodedata.category(character)
    if category == "Cn":
        # Newer than this Python's table: it may be somebody's name, unless it is reserved for what is never drawn.
        return not any(first <= ord(character) <= last for first, last in _RESERVED)
    return category[0] not in "ZM" and category not in ("Cc", "Cf", "Cs") and character not in _EMPTY
