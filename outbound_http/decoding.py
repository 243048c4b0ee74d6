"""Decode JSON of other servers with a limit on memory: parsing may take thirty times the memory of the text."""

import json
import re
import sys
from contextlib import suppress
from typing import Any, NoReturn

from .failures import AnswerTooLarge

# The most names and values in one text; an object counts twice. Parsing 20 MB within this limit takes about 150 MB.
# A list of 5,000 Moodle courses has 700,000.
MOST_PARTS = 1_000_000
# The most bytes that the decoded text may take. One emoji makes Python use four bytes for each character.
LARGEST_TEXT = 48 * 1024 * 1024

# All bytes that `_has_too_many_parts` can ignore.
_OTHER_BYTES = bytes(set(range(256)) - set(b'{[:,"'))
_STRING = re.compile(rb'"[^"]*"')


class NotJson(ValueError):
    """The text is not JSON."""


def decode_json(body: bytes) -> Any:
    """Decode a JSON text in UTF-8, with or without a byte order mark.

    Raises NotJson if it is malformed, nested too deeply, or holds NaN or Infinity. Raises AnswerTooLarge if it holds
    more values than MOST_PARTS or decodes to more than LARGEST_TEXT.
    """
    if len(body) > MOST_PARTS and _has_too_many_parts(body):
        raise AnswerTooLarge
    with suppress(ValueError, RecursionError):
        text = body.decode("utf-8-sig")
        if sys.getsizeof(text) > LARGEST_TEXT:
            raise AnswerTooLarge
        return _DECODER.decode(text)
    # Raised outside the `with`: the suppressed error refers to the whole text.
    raise NotJson("not JSON")


def _has_too_many_parts(body: bytes) -> bool:
    # A quick count that includes the contents of strings. It is nearly always enough.
    if _parts(body) <= MOST_PARTS:
        return False
    # With escapes removed, every quotation mark begins or ends a string.
    outline = body.replace(rb"\\", b"").replace(rb"\"", b"").translate(None, _OTHER_BYTES)
    if outline.count(b'"') > 2 * MOST_PARTS:
        return True
    inside = sum(_parts(string.group()) for string in _STRING.finditer(outline))
    return _parts(outline) - inside > MOST_PARTS


def _parts(text: bytes) -> int:
    """The number of names and values, give or take one for each list and object."""
    return 2 * text.count(b"{") + text.count(b"[") + text.count(b":") + text.count(b",")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


# json.loads would build a decoder for each call.
_DECODER = json.JSONDecoder(parse_constant=_refuse)
