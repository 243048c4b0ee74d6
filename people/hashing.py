"""A bound on how many passwords a process hashes at once.

A hash takes a processor for about half a second. Without a bound, many guesses at once would take all processors and
all threads of the web server, and every other page would wait for them.
"""

import os
import threading
from contextvars import ContextVar

from django.contrib.auth.hashers import PBKDF2PasswordHasher

# Half of the processors stays free for pages. Known browsers have slots of their own, so that guesses cannot keep
# those people waiting who sign in every day.
HASHES_AT_ONCE = max(1, (os.cpu_count() or 1) // 2)
# `people.middleware` lets only a few requests get here at once, so the wait is short.
LONGEST_WAIT_SECONDS = 10.0

# Whether the present request comes from a known browser; `people.middleware` sets it.
from_known_browser: ContextVar[bool] = ContextVar("people.hashing.from_known_browser", default=False)

_slots = {known: threading.BoundedSemaphore(HASHES_AT_ONCE) for known in (True, False)}


class TooManyHashes(Exception):
    """No password could be hashed within LONGEST_WAIT_SECONDS. Trying again helps."""


class BoundedPasswordHasher(PBKDF2PasswordHasher):
    """Django's default hasher, HASHES_AT_ONCE at a time. Stored passwords are the same. Raises TooManyHashes."""

    def encode(self, password: str, salt: str, iterations: int | None = None) -> str:
        """Hash, once there is a slot."""
        slot = _slots[from_known_browser.get()]
        if not slot.acquire(timeout=LONGEST_WAIT_SECONDS):
            raise TooManyHashes
        try:
            return super().encode(password, salt, iterations)
        finally:
            slot.release()
