"""Finds entries of the audit trail by words: who acted, what it was about, what was done, and all that was noted."""

import json
import re

from django.db import connection
from django.db.models import BooleanField, F, Q, QuerySet, TextField, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast, Concat

from .models import AuditEntry

# Pages write a learner's number with this before it, as in "Ana Lee (id 101)".
BEFORE_A_NUMBER = "id"
# The words of an entry. The index `audit_by_words` has this expression.
_ON_POSTGRESQL = (
    "to_tsvector('simple', translate(actor_name || ' ' || subject || ' ' || details::text, '.@-/_:+', '       '))"
    " @@ to_tsquery('simple', %s)"
)


def entries_matching(rows: QuerySet[AuditEntry], typed: str) -> QuerySet[AuditEntry]:
    """The entries that have all of these words, in any order: a word's beginning will do, of a number all of it."""
    words = re.findall(r"[^\W_]+", typed.lower())
    wanted = [word for word in words if word != BEFORE_A_NUMBER] or words
    if typed.strip() and not wanted:
        return rows.none()
    if connection.vendor != "postgresql":
        rows = rows.alias(
            words=Concat(
                F("actor_name"), Value(" "), F("subject"), Value(" "), Cast("details", TextField()),
                output_field=TextField(),
            )
        )  # fmt: skip
    for word in wanted:
        rows = rows.filter(_noted(word) | Q(action__in=_done(word)))
    return rows


def _done(word: str) -> list[str]:
    """The actions that have the word in what pages call them."""
    beginning = re.compile(rf"\b{word}")
    return [value for value, label in AuditEntry.Action.choices if beginning.search(str(label).lower())]


def _noted(word: str) -> Q:
    # A database in the locale C, and SQLite, tell "É" from "é".
    forms = [word] if word.isascii() else sorted({word, word.capitalize(), word.upper()})
    if connection.vendor == "postgresql":
        query = word if word.isdecimal() else " | ".join(f"{form}:*" for form in forms)
        return Q(RawSQL(_ON_POSTGRESQL, [query], output_field=BooleanField()))  # noqa: S611 - the words are a parameter
    end = r"\b" if word.isdecimal() else ""
    patterns = [rf"(^|[\W_]){word}{end}"]
    # It stores other letters than English ones of `details` as their numbers.
    patterns += [re.escape(json.dumps(form).strip('"')) for form in forms if not form.isascii()]
    return Q(words__iregex="|".join(patterns))
