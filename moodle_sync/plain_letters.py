"""Names in plain letters, so that a search finds "Éthique" by "ethique", and its words in any order."""

import unicodedata
from collections.abc import Sequence
from functools import reduce
from operator import and_
from typing import TYPE_CHECKING, Any

from django.db import models
from django.db.models import Q

# TextField is generic for the type checker only.
if TYPE_CHECKING:
    _TextField = models.TextField[Any, Any]
else:
    _TextField = models.TextField

# Letters that Unicode does not take apart, and how people type them.
_LETTERS = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe", "ı": "i", "ħ": "h", "ŧ": "t", "’": "'"}
)
# Each word makes a query longer.
MOST_WORDS = 8


def plain_letters(text: str) -> str:
    """The text in lower case and without accents, with single blanks: "  Café  ÉTHIQUE" becomes "cafe ethique"."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return " ".join(bare.translate(_LETTERS).split())


def has_words(column: str, words: str) -> Q:
    """Rows whose plain letters have all of the words, anywhere and in any order."""
    # As LIKE and not by a function: PostgreSQL plans well only with that.
    every = plain_letters(words).split()[:MOST_WORDS]
    return reduce(and_, (Q(**{f"{column}__contains": word}) for word in every), Q())


def set_plain_letters(row: models.Model) -> None:
    """Compute the plain letters of a row that is about to be updated in bulk."""
    for field in row._meta.concrete_fields:
        if isinstance(field, PlainLettersField):
            field.pre_save(row, add=False)


class PlainLettersField(_TextField):
    """The plain letters of other columns of the row, written with them whenever it is saved whole or created in bulk.

    Whoever saves single columns names this one as well. Whoever updates rows in bulk also calls `set_plain_letters`
    before, because Django computes nothing there. A test finds who does not.
    """

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
