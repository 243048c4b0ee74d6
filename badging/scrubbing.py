"""Takes personal data out of what Navigatr says, before it is kept."""

import re

from moodle_sync.models import Learner

ADDRESS = re.compile(r"[^\s@<>\"',;:]+@[^\s@<>\"',;]+")
# Shorter names ("Li", "An") are parts of ordinary words; they go only as whole words.
HIDDEN = "[…]"


def scrub(text: str, learner: Learner) -> str:
    """The text without e-mail addresses and without the learner's names."""
    text = ADDRESS.sub(HIDDEN, text)
    for name in (learner.firstname.strip(), learner.lastname.strip()):
        if name:
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", HIDDEN, text, flags=re.IGNORECASE)
    return text
