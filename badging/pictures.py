"""Pictures of badges. The portal fetches each once and serves it itself, so that browsers ask nobody else for them.

Which picture to fetch is said by a signed address, so that the portal fetches only what its own pages show.
"""

import hashlib
import logging
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from threading import BoundedSemaphore
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.core.cache import caches
from django.core.signing import Signer
from django.urls import reverse

from outbound_http import AnswerTooLarge, HttpClient, MayConnect, WireFailure, anywhere, public_only, web_address

log = logging.getLogger(__name__)

# Bytes. Larger pictures are not shown.
LARGEST_PICTURE = 1024 * 1024
# How long a picture is kept, and how long it is not asked for again after a failure.
KEPT_FOR = timedelta(days=1)
FAILURE_KEPT_FOR = timedelta(minutes=5)
# Seconds to connect, and for the whole answer.
CONNECT_TIMEOUT = 2
TIMEOUT = 5
# How many pictures this process fetches at once, and how many requests may fetch or wait for their turn. The others
# get the placeholder: pages must not wait for pictures.
_FETCHES = BoundedSemaphore(4)
_REQUESTS = BoundedSemaphore(8)
LONGEST_WAIT = 3

_SVG = "image/svg+xml"
_STARTS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
}
# An SVG without an internal DTD, which could blow it up.
_SVG_START = re.compile(
    rb"\A(?:\xef\xbb\xbf)?(?:\s+|<\?xml[^>]{0,200}\?>|<!--.{0,1000}?-->|<!DOCTYPE[^>\[]{0,300}>){0,10}<svg[\s>]",
    re.DOTALL | re.IGNORECASE,
)
# Types that servers send for any file.
_ANY_FILE = ("", "application/octet-stream", "binary/octet-stream")


class Picture(NamedTuple):
    """A picture and its type, found by looking at it."""

    content: bytes
    content_type: str


def picture_path(url: str) -> str:
    """The portal's own address for the picture, or "" for what is no web address."""
    return reverse("picture", args=[_signer().sign_object(url, compress=True)]) if web_address(url) else ""


def url_in(signed: str) -> str:
    """The picture's URL from the portal's own address. Raises BadSignature."""
    return str(_signer().unsign_object(signed))


def picture_at(url: str) -> Picture | None:
    """The picture, from the cache or fetched; None if it cannot be had now."""
    key = hashlib.sha256(url.encode()).hexdigest()
    cache = caches["pictures"]
    kept = cache.get(key)
    if kept is not None:
        return Picture(*kept) if kept else None
    with _turn() as is_ours:
        if not is_ours:
            return None
        found = _fetch(url)
    cache.set(key, tuple(found or ()), (KEPT_FOR if found else FAILURE_KEPT_FOR).total_seconds())
    return found


@contextmanager
def _turn() -> Iterator[bool]:
    """Whether this request may fetch a picture now."""
    if not _REQUESTS.acquire(blocking=False):
        yield False
        return
    try:
        if not _FETCHES.acquire(timeout=LONGEST_WAIT):
            yield False
            return
        try:
            yield True
        finally:
            _FETCHES.release()
    finally:
        _REQUESTS.release()


def _fetch(url: str) -> Picture | None:
    """Ask for the picture once, without following redirects."""
    parts = urlsplit(url)
    may_connect = _rule_for(parts)
    if may_connect is None:
        return None
    try:
        client = HttpClient(
            url,
            {"Accept": "image/png, image/webp, image/jpeg, image/gif, image/svg+xml"},
            timeout=TIMEOUT,
            connect_timeout=CONNECT_TIMEOUT,
            largest_answer=LARGEST_PICTURE,
            may_connect=may_connect,
        )
        with closing(client):
            answer = client.send("GET", "")
            found = _checked(answer.body(), answer.headers.get("Content-Type", "")) if answer.status == 200 else None
    except (WireFailure, AnswerTooLarge, ValueError) as error:
        log.warning("A picture at %s cannot be shown: %s", parts.hostname, str(error) or type(error).__name__)
        return None
    if found is None:
        log.warning("A picture at %s cannot be shown: HTTP %s, or no picture", parts.hostname, answer.status)
    return found


def _rule_for(parts: SplitResult) -> MayConnect | None:
    """Where the picture may be fetched from; None for nowhere.

    Navigatr's own hosts are the operator's choice. Others are Navigatr's word: they must be on the public internet.
    """
    own = {urlsplit(url)[:2] for url in settings.NAVIGATR_URLS.values()}
    if parts[:2] in own:
        return anywhere
    return public_only if parts.scheme == "https" else None


def _checked(content: bytes, declared: str) -> Picture | None:
    """The content if it is a picture, and of the type that it is declared as."""
    found = next((kind for start, kind in _STARTS.items() if content.startswith(start)), "")
    if not found and content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        found = "image/webp"
    if not found and _SVG_START.match(content):
        found = _SVG
    declared = declared.partition(";")[0].strip().lower()
    if not found or declared not in (found, *_ANY_FILE):
        return None
    return Picture(content, found)


def _signer() -> Signer:
    return Signer(salt="badging.pictures")
