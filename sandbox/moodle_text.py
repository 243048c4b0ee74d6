"""Texts and dates as Moodle formats them."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from functools import lru_cache
from html import escape, unescape

DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
# Date formats: the first is the language pack's, the others are those of customised languages.
DATE_FORMS = ("english", "24_hour", "numeric", "us")
_SPAN = r'<span(?:\s+lang="[\w-]+"|\s+class="multilang"){2}\s*>.*?</span>'
_MULTILANG = re.compile(rf"{_SPAN}(?:\s*{_SPAN})+", re.IGNORECASE | re.DOTALL)
_ONE_LANGUAGE = re.compile(r'<span[^>]*\slang="([\w-]+)"[^>]*>(.*?)</span>', re.IGNORECASE | re.DOTALL)
# The tags that Moodle keeps when it cleans a text.
_KEPT_TAGS = frozenset({"a", "b", "em", "i", "span", "strong", "sub", "sup", "u"})


def strip_tags(text: str) -> str:
    """PHP's strip_tags: a "<" before a blank is text, any other begins a tag, even if no ">" follows."""
    if "<" not in text:
        return text
    kept: list[str] = []
    depth, quote = 0, ""
    for position, sign in enumerate(text):
        if not depth:
            if sign == "<" and not text[position + 1 : position + 2].isspace():
                depth = 1
            else:
                kept.append(sign)
        elif quote:
            quote = "" if sign == quote else quote
        elif sign in "\"'":
            quote = sign
        elif sign == "<" and not text[position + 1 : position + 2].isspace():
            depth += 1
        elif sign == ">":
            depth -= 1
    return "".join(kept)


def holds_tag(text: str) -> bool:
    """Whether Moodle sees a tag in a text. A person's name with a tag makes several functions fail."""
    return strip_tags(text) != text


def escaped(text: str) -> str:
    """A report's cell of plain text: escaped, except for numeric entities."""
    return re.sub(r"&amp;(#(?:\d+|x[0-9a-fA-F]+);)", r"&\1", escape(text).replace("&#x27;", "&#039;"))


def one_language(text: str, language: str) -> str:
    """Moodle's multi-language filter: of adjacent spans keep the one in this language, else the first."""

    def chosen(match: re.Match[str]) -> str:
        texts: dict[str, str] = {}
        for name, content in _ONE_LANGUAGE.findall(match[0]):
            texts.setdefault(name.lower(), content)
        return texts.get(language.lower(), next(iter(texts.values())))

    return _MULTILANG.sub(chosen, text)


@lru_cache(maxsize=8192)
def formatted(text: str, *, html: bool, language: str | None, tags: bool = False) -> str:
    """A course's name as Moodle shows it, as HTML or as text.

    `language`: that of the multi-language filter, or None if filters are off. `tags`: known tags are kept, because the
    site setting that strips all tags is off.
    """
    if html:
        text = re.sub(r"&(?![a-zA-Z0-9#]{1,8};)", "&amp;", text)
    if language is not None:
        text = one_language(text, language)
    if tags:
        return _purified(text)
    text = strip_tags(text)
    return text.replace("<", "&lt;").replace(">", "&gt;") if html else text


def _purified(text: str) -> str:
    """Keep known tags, remove unknown ones and escape the text between them."""
    parts = re.split(r"(</?[a-zA-Z][^<>]*>)", text)
    kept = []
    for part in parts:
        if tag := re.fullmatch(r"</?([a-zA-Z]\w*)[^<>]*>", part):
            kept.append(part if tag[1].lower() in _KEPT_TAGS else "")
        else:
            kept.append(escape(unescape(part), quote=False))
    return "".join(kept)


@lru_cache(maxsize=8192)
def date(minutes: int, zone: tzinfo, form: str = "english") -> str:
    """The time in a report's cell, such as "Monday, 23 November 2026, 8:03 AM". `minutes` count from the epoch."""
    when = datetime.fromtimestamp(minutes * 60, zone)
    day, month = DAYS[when.weekday()], MONTHS[when.month - 1]
    half_day = f"{when.hour % 12 or 12}:{when.minute:02d} {'AM' if when.hour < 12 else 'PM'}"
    whole_day = f"{when.hour:02d}:{when.minute:02d}"
    match form:
        case "24_hour":
            return f"{day}, {when.day} {month} {when.year}, {whole_day}"
        case "numeric":
            return f"{when.day}/{when.month:02d}/{when.year % 100:02d} {whole_day}"
        case "us":
            return f"{day}, {month} {when.day}, {when.year}, {half_day}"
        case _:
            return f"{day}, {when.day} {month} {when.year}, {half_day}"


def epoch(*, year: int, month: int, day: int, hour: int, minute: int, zone: tzinfo) -> int:
    """A local time as seconds since the epoch; in a repeated hour the later one. Raises ValueError if it is invalid."""
    local = datetime(year, month, day, hour, minute, tzinfo=zone)
    return int(max(local.replace(fold=fold).timestamp() for fold in (0, 1)))
