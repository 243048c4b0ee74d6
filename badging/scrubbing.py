"""Takes personal data out of what Navigatr says, before it is kept."""

import re

from moodle_sync.models import Learner
from navigatr_client.errors import LONGEST_DETAIL

ADDRESS = re.compile(r"[^\s@<>\"',;:]+(?:@|%40)[^\s@<>\"',;]+", re.IGNORECASE)
HIDDEN = "[…]"


def scrub(text: str, learner: Learner) -> str:
    """The text, fit to be kept, without e-mail addresses and without any word of the learner's names."""
    text = storable(text)
    if len(text) >= LONGEST_DETAIL:
        # Its last word was cut, perhaps in the middle of a name or an address, and could not be recognised.
        text = text.rpartition(" ")[0] + " …"
    text = ADDRESS.sub(HIDDEN, text)
    # Short names ("Li", "An") are parts of ordinary words; they go as whole words only.
    for name in (learner.firstname, learner.lastname, *learner.firstname.split(), *learner.lastname.split()):
        if name.strip():
            text = re.sub(rf"(?<!\w){re.escape(name.strip())}(?!\w)", HIDDEN, text, flags=re.IGNORECASE)
    return text


def storable(text: str) -> str:
    """The text without what JSON can carry and a database cannot: NUL, and halves of characters."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
