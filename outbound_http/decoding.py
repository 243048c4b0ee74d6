"""JSON from outside, within bounds: parsing may take thirty times the memory of the text."""

import json
import re
import sys
from contextlib import suppress
from typing import Any, NoReturn

from .failures import AnswerTooLarge

# Names and values in one text; an object counts twice. No text within this and 20 MB takes much more than 150 MB to
# parse, and 5,000 courses of Moodle have 700,000.
MOST_PARTS = 1_000_000
# Python stores a text with a single emoji in four bytes for each character.
LARGEST_TEXT = 48 * 1024 * 1024

_OTHER_BYTES = bytes(set(range(256)) - set(b'{[:,"'))
_STRING = re.compile(rb'"[^"]*"')


class NotJson(ValueError):
    """A text is not JSON."""


def decode_json(body: bytes) -> Any:
    """The value of a JSON text in UTF-8, with or without a byte order mark. NaN and Infinity are not JSON.

    Raises NotJson for anything else and for JSON that is nested too deeply, and AnswerTooLarge for JSON of more values
    than any answer has.
    """
    if len(body) > MOST_PARTS and _has_too_many_parts(body):
        raise AnswerTooLarge
    with suppress(ValueError, RecursionError):
        text = body.decode("utf-8-sig")
        if sys.getsizeof(text) > LARGEST_TEXT:
            raise AnswerTooLarge
        return _DECODER.decode(text)
    # Raised out here, it does not carry the error above, which holds the whole text.
    raise NotJson("not JSON")


def _has_too_many_parts(body: bytes) -> bool:
    # With what stands inside strings this is quick, and nearly always enough.
    if _parts(body) <= MOST_PARTS:
        return False
    # Without escapes, every quotation mark begins or ends a string.
    outline = body.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _OTHER_BYTES)
    if outline.count(b'"') > 2 * MOST_PARTS:
        return True
    inside = sum(_parts(string.group()) for string in _STRING.finditer(outline))
    return _parts(outline) - inside > MOST_PARTS


def _parts(text: bytes) -> int:
    return 2 * text.count(b"{") + text.count(b"[") + text.count(b":") + text.count(b",")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


# Made once: json.loads would make one for each call.
_DECODER = json.JSONDecoder(parse_constant=_refuse)
