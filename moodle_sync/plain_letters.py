"""Names in plain letters, so that a search finds "Éthique" by "ethique", and its words in any order."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from django.db import models

# TextField is generic for the type checker only.
if TYPE_CHECKING:
    _TextField = models.TextField[Any, Any]
else:
    _TextField = models.TextField

# Letters that Unicode does not take apart, and how people type them.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŧ": "t", "’": "'"}
)
# Latin, Greek and Cyrillic letters, of which some have marks.
_MARKED = (*range(0x00C0, 0x0250), *range(0x0370, 0x0530), *range(0x1E00, 0x2000))


def plain_letters(text: str) -> str:
    """The text in lower case and without accents, with single blanks: "  Café  ÉTHIQUE" becomes "cafe ethique"."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return " ".join(bare.translate(_LETTERS).split())


def spelt_like(word: str) -> str:
    """A regular expression that finds the word in names as they are stored: whatever the case, and with any accents.

    For columns that have no plain copy. It holds letters only, so it is quick, and means the same in all databases.
    """
    pattern, plain = [], plain_letters(word)
    at = 0
    while at < len(plain):
        pair = _spellings().get(plain[at : at + 2], "") if len(plain) > at + 1 else ""
        two = "".join(_letter(letter) for letter in plain[at : at + 2])
        pattern.append(f"(?:{two}|[{pair}])" if pair else _letter(plain[at]))
        at += 2 if pair else 1
    return "".join(pattern)


def _letter(letter: str) -> str:
    """The letter in either case, with the accents that stand in it, or after it as signs of their own."""
    if letter == "'":
        return "['’ʼ]"
    if not letter.isalnum():
        return re.escape(letter) if letter.isascii() else letter
    every = "".join(sorted({letter, *letter.upper(), *_spellings().get(letter, "")}))
    return f"[{every}][\u0300-\u036f]*"


@cache
def _spellings() -> dict[str, str]:
    """The marked letters by their plain ones: "e" is spelt "é", "È" and so on; "ss" is spelt "ß"."""
    found: dict[str, str] = defaultdict(str)
    for number in _MARKED:
        if chr(number).isalpha():
            found[plain_letters(chr(number))] += chr(number)
    return dict(found)


class PlainLettersField(_TextField):
    """The plain letters of other columns of the row, kept with them whenever it is saved whole or in bulk."""

    def __init__(self, *args: Any, of: Sequence[str] = (), **kwargs: Any) -> None:
        self.of = tuple(of)
        super().__init__(*args, **kwargs | {"editable": False, "default": ""})

    def deconstruct(self) -> Any:
        """As Django's own fields, with the names of the columns."""
        name, path, args, kwargs = super().deconstruct()
        del kwargs["editable"], kwargs["default"]
        return name, path, args, kwargs | {"of": self.of}

    def pre_save(self, model_instance: models.Model, add: bool) -> str:
        """The plain letters of the columns as they are about to be saved."""
        text = plain_letters(" ".join(str(getattr(model_instance, name)) for name in self.of))
        setattr(model_instance, self.attname, text)
        return text
