"""A finding: one result of the check of a Moodle site."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import MoodleError
from .translation import gettext_noop

# Names of values that are texts of the portal, to be translated like the finding's own text.
OWN_TEXTS = frozenset({"advice", "lost", "kind"})
# Checks whose findings are general advice. They are always ok.
NOTES = frozenset({"token-validity", "service-page"})


@dataclass(frozen=True, slots=True)
class MoodleFinding:
    """One result of the check.

    `text` says what was found and, unless `ok`, what the Moodle administrator should do. `values` fill the braces of
    `text`; they are separate because the text is translated without them. `needed` is False where the portal also
    works without it.
    """

    check: str
    ok: bool
    text: str
    values: Mapping[str, str | int] = field(default_factory=dict)
    needed: bool = True

    @property
    def message(self) -> str:
        """The text with its values, in English."""
        return self.text.format(**self.values)


def refusal(slug: str, error: MoodleError, *, lost: str = "", advice: str = "") -> MoodleFinding:
    """The finding of a call that failed.

    `lost` says what the portal cannot do without the answer. `advice` replaces the advice of the error.
    """
    values: dict[str, str | int] = {"advice": advice or error.advice, "error": str(error)}
    if not lost:
        return MoodleFinding(slug, False, gettext_noop("{advice} ({error})"), values)
    return MoodleFinding(slug, False, gettext_noop("{lost} {advice} ({error})"), {"lost": lost, **values})
