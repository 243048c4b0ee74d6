"""A typed token is kept while its form is shown again, so that nobody types it twice.

No page contains it, nor the session: it lies encrypted in the portal's cache, which is in the database. The page has a
random handle, which means nothing outside the user's session. It is deleted once it was saved. Otherwise nothing reads
it after KEPT_FOR, and its row is deleted with all that has expired in the cache, once a day.
"""

import secrets
from datetime import timedelta

from django.core.cache import cache
from django.http import HttpRequest

from vault import keys

KEPT_FOR = timedelta(minutes=10)
# How many of a person's forms keep one at the same time.
MOST_KEPT = 3
# The session's handles, the oldest first.
_NAME = "badging.kept_tokens"


def keep(request: HttpRequest, token: str) -> str:
    """Keep the token; returns its handle."""
    handle = secrets.token_urlsafe(16)
    handles = [*request.session.get(_NAME, []), handle]
    cache.delete_many([_key(old) for old in handles[:-MOST_KEPT]])
    cache.set(_key(handle), keys.encrypt(token), KEPT_FOR.total_seconds())
    request.session[_NAME] = handles[-MOST_KEPT:]
    return handle


def find(request: HttpRequest, handle: str) -> str:
    """The token that was kept under the handle; "" for one that is unknown, or was kept for too long."""
    if handle not in request.session.get(_NAME, []):
        return ""
    return keys.decrypt_recent(cache.get(_key(handle), ""), within=KEPT_FOR) or ""


def forget(request: HttpRequest, handle: str) -> None:
    """Delete the token that was kept under the handle."""
    handles = request.session.get(_NAME, [])
    if handle in handles:
        cache.delete(_key(handle))
        request.session[_NAME] = [other for other in handles if other != handle]


def _key(handle: str) -> str:
    return f"kept-token-{handle}"
