"""How Moodle writes texts and dates: tags stripped, signs escaped, one language of several, the date's form."""

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
# The forms that a language customisation can give the date: the first is that of the language pack.
DATE_FORMS = ("english", "24_hour", "numeric", "us")
_SPAN = r'<span(?:\s+lang="[\w-]+"|\s+class="multilang"){2}\s*>.*?</span>'
_MULTILANG = re.compile(rf"{_SPAN}(?:\s*{_SPAN})+", re.IGNORECASE | re.DOTALL)
_ONE_LANGUAGE = re.compile(r'<span[^>]*\slang="([\w-]+)"[^>]*>(.*?)</span>', re.IGNORECASE | re.DOTALL)
_KEPT_TAGS = frozenset({"a", "b", "em", "i", "span", "strong", "sub", "sup", "u"})


def strip_tags(text: str) -> str:
    """PHP's strip_tags: a "<" before a blank is text, any other begins a tag, which may swallow the rest."""
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
    """Whether Moodle takes part of a text for a tag; a person's name with one breaks several functions."""
    return strip_tags(text) != text


def escaped(text: str) -> str:
    """A report's cell of plain text: signs escaped, but entities by number stay as they are stored."""
    return re.sub(r"&amp;(#(?:\d+|x[0-9a-fA-F]+);)", r"&\1", escape(text).replace("&#x27;", "&#039;"))


def one_language(text: str, language: str) -> str:
    """What the multi-language filter leaves: neighbouring spans become the one in this language, else the first."""

    def chosen(match: re.Match[str]) -> str:
        texts: dict[str, str] = {}
        for name, words in _ONE_LANGUAGE.findall(match[0]):
            texts.setdefault(name.lower(), words)
        return texts.get(language.lower(), next(iter(texts.values())))

    return _MULTILANG.sub(chosen, text)


@lru_cache(maxsize=8192)
def formatted(text: str, *, html: bool, language: str | None, tags: bool = False) -> str:
    """A course's name as Moodle shows it: as HTML, or as text whose "&" stays.

    `language` None: filters do not apply. `tags`: the site setting that strips all tags is off.
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
    """Known tags stay, unknown ones go, everything else is text that is escaped anew."""
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
    """A minute as a report's cell tells it, e.g. "Monday, 23 November 2026, 8:03 AM" in the language pack's form."""
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


def epoch(year: int, month: int, day: int, hour: int, minute: int, zone: tzinfo) -> int:
    """A wall clock's time as an epoch; of a repeated hour the later one. Raises ValueError for no date."""
    told = [datetime(year, month, day, hour, minute, tzinfo=zone, fold=fold).timestamp() for fold in (0, 1)]
    return int(max(told))
