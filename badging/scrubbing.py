"""Takes personal data out of Navigatr's words before they are stored.

Names are found in many spellings: in any case, with or without accents in either Unicode form, escaped for HTML, JSON
or an address, with other marks between their words, joined, reversed, or with an initial. It cannot find everything:
a misspelt name stays, and so does another person's. So the words also stand in rows that are deleted: AttemptWords.
"""

import html
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

from moodle_sync.models import Learner
from navigatr_client.errors import LONGEST_DETAIL

HIDDEN = "[…]"

# An address, also of somebody else. The mark may be escaped, or spelt as a word.
_ADDRESS = re.compile(
    r"[^\s@<>\"',;:()\[\]]+\s?(?:@|%40|&#0*64;|&#x0*40;|&commat;|\\u0040|[(\[]\s?at\s?[)\]])\s?[^\s@<>\"',;]+",
    re.IGNORECASE,
)
# In the folded text: "x at y dot org".
_SPELT_ADDRESS = re.compile(r"(?<!\w)[\w.+-]+ at [\w-]+(?:(?: dot |\.)[\w-]+)*(?: dot |\.)[a-z]{2,}(?!\w)")
# What stands for other characters: HTML's references, bytes of an address, JSON's escapes.
_ESCAPED = re.compile(
    r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,31});|(?:%[0-9a-f]{2})+|(?:\\u[0-9a-f]{4})+", re.IGNORECASE
)
# Letters that Unicode does not take apart, and how they are written without them.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŧ": "t"}
)
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
# Shorter names are found as whole words only: "Li" and "An" are parts of ordinary words.
_LONG = 5
# What may stand between the words of a name.
_ANY_MARKS = r"[\W_]*"
_APART = r"[\W_]+"


def scrub(text: str, learner: Learner) -> str:
    """The text, storable, without e-mail addresses and without the learner's names, as well as can be."""
    text = storable(text)
    if len(text) >= LONGEST_DETAIL:
        # The client cut the text: its last word may be part of a name or address that would not be recognised.
        text = text.rpartition(" ")[0] + " …"
    text = _hide(_ADDRESS.sub(HIDDEN, text), _SPELT_ADDRESS)
    names = _names_of(learner)
    # Making the expression takes milliseconds, and most answers name nobody.
    if not _may_name(text, names):
        return text
    spellings = {spelling for name in names for spelling in _spellings(*name)}
    # The longest first, so that as much as possible is found at once.
    return _hide(text, re.compile("|".join(sorted(spellings, key=len, reverse=True))))


def storable(text: str) -> str:
    """The text without what a database cannot store: NUL characters and lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def _hide(text: str, expression: re.Pattern[str]) -> str:
    """The text without what the expression finds in its folded form."""
    folded, spans = _fold(text)
    pieces, end = [], 0
    for match in expression.finditer(folded):
        start = spans[match.start()][0]
        if start >= end:
            pieces += [text[end:start], HIDDEN]
        end = max(end, spans[match.end() - 1][1])
    return "".join([*pieces, text[end:]])


def _fold(text: str) -> tuple[str, list[tuple[int, int]]]:
    """The text in lower case, unescaped and without accents, and for each of its characters where it stood."""
    if text.isascii() and _ESCAPED.search(text) is None:
        return text.lower(), [(place, place + 1) for place in range(len(text))]
    letters: list[str] = []
    spans: list[tuple[int, int]] = []
    for start, end, plain in _unescaped(text):
        for letter in _folded(plain):
            letters.append(letter)
            spans.append((start, end))
        if not _folded(plain) and spans:
            # An accent of its own belongs to the letter before it.
            spans[-1] = (spans[-1][0], end)
    return "".join(letters), spans


def _unescaped(text: str) -> Iterator[tuple[int, int, str]]:
    """The pieces of a text: where each begins and ends, and the characters that it stands for."""
    at = 0
    for match in _ESCAPED.finditer(text):
        yield from ((place, place + 1, text[place]) for place in range(at, match.start()))
        at = match.end()
        yield match.start(), at, _meant(match[0])
    yield from ((place, place + 1, text[place]) for place in range(at, len(text)))


def _meant(escaped: str) -> str:
    if escaped.startswith("&"):
        return html.unescape(escaped)
    if escaped.startswith("%"):
        return unquote(escaped, errors="replace")
    return "".join(chr(int(code, 16)) for code in escaped.lower().split("\\u")[1:])


def _folded(text: str) -> str:
    if text.isascii():
        return text.lower()
    apart = unicodedata.normalize("NFKD", text).casefold().translate(_PLAIN)
    return "".join(letter for letter in apart if not unicodedata.combining(letter))


# First name, last name, and the part of the address before its @, each as words in folded form.
_Names = tuple[list[str], list[str], list[str]]


def _names_of(learner: Learner) -> list[_Names]:
    """The names without accents; and once more with two letters for each umlaut, where they have any."""
    first, last, local = learner.firstname, learner.lastname, learner.email.rpartition("@")[0]
    names = [(_words(first), _words(last), _words(local))]
    if not (first + last + local).isascii():
        names.append((_words(_wide(first)), _words(_wide(last)), _words(_wide(local))))
    return names


def _may_name(text: str, names: list[_Names]) -> bool:
    """Whether any word of the names stands in the text, whatever is around it."""
    folded, _spans = _fold(text)
    return any(len(word) > 1 and word in folded for name in names for words in name for word in words)


def _wide(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().translate(_UMLAUTS)


def _spellings(first: list[str], last: list[str], local: list[str]) -> Iterator[str]:
    """Expressions for what may stand for a person of these names."""
    for word in (*first, *last):
        if len(word) > 1:
            yield _bounded([word])
    for words in (first, last, local, [*first, *last], [*last, *first]):
        if len("".join(words)) > 1:
            yield _bounded(words)
    if first and last:
        initials = [word[0] for word in first]
        yield _bounded([*initials, *last], between=_APART)
        yield _bounded([*last, *initials], between=_APART)


def _bounded(words: list[str], *, between: str = _ANY_MARKS) -> str:
    """The words with marks between them. Short ones at the borders of words; a genitive belongs to them."""
    joined = between.join(map(re.escape, words))
    if len("".join(words)) >= _LONG:
        return f"{joined}(?:['’´`]?s(?![^\\W_]))?"
    return f"(?<![^\\W_]){joined}(?:['’´`]?s)?(?![^\\W_])"


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", _folded(text))
