"""Removes personal data from Navigatr's error texts before they are stored."""

import re

from moodle_sync.models import Learner
from navigatr_client.errors import LONGEST_DETAIL

ADDRESS = re.compile(r"[^\s@<>\"',;:]+(?:@|%40)[^\s@<>\"',;]+", re.IGNORECASE)
HIDDEN = "[…]"


def scrub(text: str, learner: Learner) -> str:
    """The text, storable, without e-mail addresses and without any word of the learner's names."""
    text = storable(text)
    if len(text) >= LONGEST_DETAIL:
        # The client cut the text: its last word may be part of a name or address that would not be recognised.
        text = text.rpartition(" ")[0] + " …"
    text = ADDRESS.sub(HIDDEN, text)
    # Only whole words: short names ("Li", "An") are parts of ordinary words.
    for name in (learner.firstname, learner.lastname, *learner.firstname.split(), *learner.lastname.split()):
        if name.strip():
            text = re.sub(rf"(?<!\w){re.escape(name.strip())}(?!\w)", HIDDEN, text, flags=re.IGNORECASE)
    return text


def storable(text: str) -> str:
    """The text without what a database cannot store: NUL characters and lone surrogates."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
