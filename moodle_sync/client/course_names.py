"""Course names as plain text in one language.

Moodle sends names as HTML without tags: `&` and `<` are entities, and entities that the author wrote stay as they are.
If the filter "Multi-language content" applies to headings, a name in several languages is sent in one of them, else in
all of them, one after the other. See docs/moodle-api.md, "Names".
"""

import re
from html import unescape
from html.parser import HTMLParser

# A text in one language, as Moodle's own filter has it.
_SPAN = re.compile(
    r"<(span|lang)\b(?=[^>]*\blang\s*=\s*[\"']?(?P<lang>[\w-]+))[^>]*>(?P<text>.*?)</\1\s*>", re.IGNORECASE | re.DOTALL
)
# A text in one language, as the plugin "Multi-Language Content (v2)" has it.
_MLANG = re.compile(r"\{mlang\s+(?P<lang>[\w, -]+)\}(?P<text>.*?)\{mlang\}", re.IGNORECASE | re.DOTALL)
# The plugin's name for the text in all other languages.
_ANY_LANGUAGE = "other"
# An ampersand that does not begin an entity. Moodle escapes these.
_BARE_AMPERSAND = re.compile(r"&(?![a-zA-Z0-9#]{1,8};)")


def course_name(shown: str, stored: str, *, language: str) -> str:
    """The name as plain text.

    `shown` is the name that Moodle sends with `moodlewssettingfilter=1`, `stored` the one with
    `moodlewssettingraw=1`. If Moodle has chosen a language, its choice is kept. Otherwise the text in `language` (a
    code such as "en") is taken, or the first text if there is none.
    """
    as_html = _BARE_AMPERSAND.sub("&amp;", stored)
    chosen = one_language(as_html, language)
    if chosen != as_html and plain_text(shown) in (plain_text(as_html), _without_tags_of_languages(as_html)):
        # Moodle did not choose a language: `shown` holds all of them.
        return plain_text(chosen)
    return plain_text(shown) or stored.strip()


def one_language(name: str, language: str) -> str:
    """The name in one language. A name without texts in several languages is returned unchanged."""
    for pattern in (_SPAN, _MLANG):
        name = _choose(name, pattern, language)
    return name


def _choose(name: str, pattern: re.Pattern[str], language: str) -> str:
    """Replace each run of adjacent translations by the one in `language`."""
    result = ""
    end = 0
    run: list[re.Match[str]] = []
    for found in pattern.finditer(name):
        between = name[end : found.start()]
        if run and between.strip():
            result += _best(run, language)
            run = []
        if not run:
            result += between
        run.append(found)
        end = found.end()
    if run:
        result += _best(run, language)
    return result + name[end:]


def _best(run: list[re.Match[str]], language: str) -> str:
    """The text in `language`, or the one for all other languages, or the first one."""
    wanted = language.lower()
    by_language = {
        code.strip().lower().replace("_", "-"): found["text"]
        for found in reversed(run)
        for code in found["lang"].split(",")
    }
    for code in (wanted, wanted.partition("-")[0], _ANY_LANGUAGE):
        if code in by_language:
            return by_language[code]
    return run[0]["text"]


def _without_tags_of_languages(stored: str) -> str:
    return plain_text(_MLANG.sub(lambda found: found["text"], stored))


def plain_text(html: str) -> str:
    """The text of a piece of HTML: tags removed, entities decoded once, stripped."""
    try:
        return ParsedHtml(html).text.strip()
    except AssertionError:
        return unescape(html).strip()


class ParsedHtml(HTMLParser):
    """The text of a piece of HTML, with entities decoded once, and the addresses of its links.

    Raises AssertionError, as Python's parser does, for text such as "<![x".
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.hrefs: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the address of a link."""
        if tag == "a":
            self.hrefs.append(dict(attrs).get("href") or "")

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text += data
