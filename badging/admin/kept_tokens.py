"""A typed token is kept while its form is shown again, so that nobody types it twice.

No page contains it: it lies encrypted in the user's session, which is in the database, for KEPT_FOR. The page has a
random handle, which means nothing to anybody else. It is gone once it was saved, or when the session ends.
"""

import secrets
from datetime import timedelta

from django.http import HttpRequest

from vault import keys

KEPT_FOR = timedelta(minutes=10)
# How many of a person's forms keep one at the same time.
MOST_KEPT = 3
_NAME = "badging.kept_tokens"


def keep(request: HttpRequest, token: str) -> str:
    """Keep the token; returns its handle."""
    handle = secrets.token_urlsafe(16)
    kept = dict(list(_still_kept(request).items())[1 - MOST_KEPT :])
    request.session[_NAME] = kept | {handle: keys.encrypt(token)}
    return handle


def find(request: HttpRequest, handle: str) -> str:
    """The token that was kept under the handle; "" for one that is unknown, or was kept for too long."""
    return keys.decrypt_recent(_still_kept(request).get(handle, ""), within=KEPT_FOR) or ""


def forget(request: HttpRequest, handle: str) -> None:
    """Forget the token, and whatever was kept for too long."""
    kept = _still_kept(request)
    kept.pop(handle, None)
    if kept != request.session.get(_NAME, {}):
        request.session[_NAME] = kept


def _still_kept(request: HttpRequest) -> dict[str, str]:
    """What is not too old, by handle, the oldest first."""
    kept = request.session.get(_NAME, {}).items()
    return {handle: sealed for handle, sealed in kept if keys.decrypt_recent(sealed, within=KEPT_FOR)}
