"""What the check of a Moodle tells its administrator: one finding for each thing looked at."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import MoodleError, gettext_noop

# The values of findings that are texts of the portal's own, to be translated like the text around them.
OWN_TEXTS = frozenset({"advice", "lost", "kind"})
# Findings that are advice: nothing was looked at, so they are never wrong.
NOTES = frozenset({"token-validity", "service-page"})


@dataclass(frozen=True, slots=True)
class MoodleFinding:
    """One thing looked at. `text` says what is, and if it is not ok, what the Moodle administrator must do.

    `values` belong into the braces of `text` and are kept apart from it, as only the bare text can be translated.
    With `needed` False the portal works without it, only with less.
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


def refusal(slug: str, error: MoodleError, *, lost: str = "", advice: str = "", needed: bool = True) -> MoodleFinding:
    """The finding of a call that failed. `lost`: what the portal cannot do now; `advice`: other than the error's."""
    values: dict[str, str | int] = {"advice": advice or error.advice, "error": str(error)}
    if not lost:
        return MoodleFinding(slug, False, gettext_noop("{advice} ({error})"), values, needed=needed)
    return MoodleFinding(
        slug, False, gettext_noop("{lost} {advice} ({error})"), {"lost": lost, **values}, needed=needed
    )
