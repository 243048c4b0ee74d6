"""Course names as people read them in Moodle: plain text in one language.

Moodle sends names as HTML (FACTS-2.md, section 2): without tags, with `&` and `<` as entities, and with what the
course's author wrote as entities left as it is. A name in several languages comes in one of them where the filter
"Multi-language content" applies to headings, else with all of them glued together.
"""

import re
from html import unescape
from html.parser import HTMLParser

# The two ways to write a name in several languages: core's spans, and the plugin "Multi-Language Content (v2)".
_SPAN = re.compile(
    r"<(span|lang)\b(?=[^>]*\blang\s*=\s*[\"']?(?P<lang>[\w-]+))[^>]*>(?P<text>.*?)</\1\s*>", re.IGNORECASE | re.DOTALL
)
_MLANG = re.compile(r"\{mlang\s+(?P<lang>[\w, -]+)\}(?P<text>.*?)\{mlang\}", re.IGNORECASE | re.DOTALL)
_ANY_LANGUAGE = "other"
# An ampersand that Moodle escapes: all but those that begin an entity.
_BARE_AMPERSAND = re.compile(r"&(?![a-zA-Z0-9#]{1,8};)")


def course_name(shown: str, stored: str, *, language: str) -> str:
    """The name as plain text.

    `shown` is the name as core_course_get_courses_by_field sends it with `moodlewssettingfilter=1`, `stored` the one
    with `moodlewssettingraw=1`, `language` a code such as "en". Where Moodle has chosen a language, its choice is
    kept; else `language` is taken if it is there, and the first one if not.
    """
    as_html = _BARE_AMPERSAND.sub("&amp;", stored)
    chosen = one_language(as_html, language)
    if chosen != as_html and plain_text(shown) in (plain_text(as_html), _without_tags_of_languages(as_html)):
        # Moodle did not choose: all languages are in what it shows.
        return plain_text(chosen)
    return plain_text(shown) or stored.strip()


def one_language(name: str, language: str) -> str:
    """The name with each text in several languages replaced by one of them; as it was where there is none."""
    for pattern in (_SPAN, _MLANG):
        name = _choose(name, pattern, language)
    return name


def _choose(name: str, pattern: re.Pattern[str], language: str) -> str:
    """Replace each run of neighbouring translations by the one that is wanted."""
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
    """The text in `language`, else the one for any other language, else the first."""
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
    """The text of a piece of HTML: without tags, with entities decoded once, without blanks around it."""
    text = _Text()
    try:
        text.feed(html)
        text.close()
    except AssertionError:
        # What Python's parser raises for text such as "<![x".
        return unescape(html).strip()
    return text.text.strip()


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text = ""

    def handle_data(self, data: str) -> None:
        self.text += data
