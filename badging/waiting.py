"""How many pages of this process may wait for Navigatr or Moodle at the same time: a few for each person, and in all.

The web server has sixteen threads for all pages. Without a bound, pages that wait for a slow Navigatr would take all of
them, and nobody would get any page. Who finds no place is told at once.
"""

import threading
from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from django.utils.translation import gettext as _

# Half of the web server's threads.
MOST_IN_ALL = 8
MOST_PER_PERSON = 2
# When to try again, in seconds.
RETRY_AFTER = 5

_waiting: Counter[Hashable] = Counter()
_lock = threading.Lock()


class Busy(Exception):
    """Nothing was asked, because too many calls are under way. The text is for people."""


@contextmanager
def place(person: Hashable) -> Iterator[None]:
    """Let one page of a user (by number) wait for an answer until the end of the block. Raises Busy."""
    with _lock:
        is_full = _waiting.total() >= MOST_IN_ALL
        if is_full or _waiting[person] >= MOST_PER_PERSON:
            raise Busy(_too_many_in_all() if is_full else _too_many_of_one())
        _waiting[person] += 1
    try:
        yield
    finally:
        with _lock:
            _waiting[person] -= 1
            if not _waiting[person]:
                del _waiting[person]


def _too_many_in_all() -> str:
    return _("Navigatr or Moodle is slow just now, and many pages wait for an answer already. Try again in a moment.")


def _too_many_of_one() -> str:
    return _("Other pages that you have opened still wait for an answer. Try again when they are there.")
