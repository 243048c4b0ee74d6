"""The wire under the client: connections that know whether a call was sent, answers bounded in time and size."""

import http.client
import io
import os
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)
from urllib3.util.ssl_ import create_urllib3_context

LARGEST_ANSWER = 2 * 1024 * 1024

# What may come out of sending a request or reading its answer; urllib3's own errors come up while a body is read.
WIRE_FAILURES = (requests.RequestException, HTTPError)


class AnswerTooLarge(Exception):
    """An answer is larger than LARGEST_ANSWER bytes."""


class Undelivered(NewConnectionError):
    """No connection was made, so the request was never sent; `kind` says why in a few words."""

    def __init__(self, connection: HTTPConnection, kind: str) -> None:
        super().__init__(connection, kind)
        self.kind = kind


class TimedReader(io.RawIOBase):
    """A socket's bytes until a deadline, which dripping bytes cannot put off as they would a time-out per read."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, deadline: float) -> None:
        self._sock = sock
        self._raw = raw
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """An answer whose status line, headers and body together must arrive within the connection's read time-out."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        deadline = time.monotonic() + (sock.gettimeout() or 0)
        self.fp = io.BufferedReader(TimedReader(sock, self.fp.detach(), deadline))


@contextmanager
def _connecting(connection: HTTPConnection) -> Iterator[None]:
    """Whatever fails in here, from the host's name to the TLS handshake or a proxy, comes before the request."""
    try:
        yield
    except (OSError, HTTPError, http.client.HTTPException) as failure:
        raise Undelivered(connection, _kind(failure)) from failure


class _PlainConnection(HTTPConnection):
    response_class = _TimedResponse

    def connect(self) -> None:
        with _connecting(self):
            super().connect()


class _TlsConnection(HTTPSConnection):
    response_class = _TimedResponse

    def connect(self) -> None:
        with _connecting(self):
            super().connect()


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


POOLS = {"http": _PlainPool, "https": _TlsPool}


class Adapter(HTTPAdapter):
    """Requests' adapter with the connections above, no retries, and one TLS context for the whole process.

    It is used without a `requests.Session`: that would add cookies, `.netrc` passwords and the reading of a
    redirect's body, none of which belong here, and nearly half of the CPU time of a call.
    """

    def __init__(self, pool_size: int) -> None:
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        """Build the pool of direct connections."""
        super().init_poolmanager(connections, maxsize, block, ssl_context=tls_context(), **kwargs)
        self.poolmanager.pool_classes_by_scheme = POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """The pool of connections through `proxy`."""
        context = tls_context()
        manager = super().proxy_manager_for(proxy, ssl_context=context, proxy_ssl_context=context, **kwargs)
        manager.pool_classes_by_scheme = POOLS
        return manager

    def close(self) -> None:
        """Close the idle connections now. urllib3 waits until nothing refers to the pool, and an error's frames may."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 – not a dict
                manager.pools[key].close()
        super().close()

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the connection as it is: requests would load all authorities again for every new connection."""


def tls_context() -> ssl.SSLContext:
    """The TLS settings of all connections: certificates checked against requests' authorities.

    `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE` name others, as everywhere with requests. Raises OSError if they cannot
    be read.
    """
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return _tls_context(named or certifi.where())


@lru_cache(maxsize=4)
def _tls_context(authorities: str) -> ssl.SSLContext:
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    where = "capath" if Path(authorities).is_dir() else "cafile"
    context.load_verify_locations(**{where: authorities})
    return context


def read_answer(response: requests.Response) -> bytes:
    """The whole body of an answer. Raises AnswerTooLarge, or one of WIRE_FAILURES if it breaks off or is too slow."""
    try:
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > LARGEST_ANSWER:
            raise AnswerTooLarge
        body: bytes = response.raw.read(LARGEST_ANSWER + 1, decode_content=True)
        if len(body) > LARGEST_ANSWER:
            raise AnswerTooLarge
        return body
    finally:
        # Gives back a connection that was read to the end, and drops one that was not.
        response.close()


def undelivered(failure: BaseException) -> bool:
    """Whether a request certainly never left: only then is it safe to send one that changes something again."""
    return isinstance(_reason(failure), ConnectTimeoutError | requests.ConnectTimeout)


def describe(failure: Exception) -> str:
    """A few words on what went wrong on the wire, with nothing in them from the request or the answer."""
    reason = _reason(failure)
    if isinstance(reason, Undelivered):
        return reason.kind
    if undelivered(reason):
        return "no connection in time"
    if isinstance(reason, requests.Timeout | ReadTimeoutError):
        return "no answer in time"
    return "connection lost"


def _reason(failure: BaseException) -> BaseException:
    """The error at the bottom: requests, urllib3's retries and its proxy support each wrap the one below."""
    if isinstance(failure, requests.RequestException) and failure.args and isinstance(failure.args[0], BaseException):
        return _reason(failure.args[0])
    if isinstance(failure, MaxRetryError) and failure.reason is not None:
        return _reason(failure.reason)
    if isinstance(failure, ProxyError):
        return _reason(failure.original_error)
    return failure


def _kind(failure: Exception) -> str:
    if isinstance(failure, NameResolutionError):
        return "host name not found"
    if isinstance(failure, ssl.SSLError):
        return "TLS failed"
    if isinstance(failure, TimeoutError | ConnectTimeoutError) and not isinstance(failure, NewConnectionError):
        return "no connection in time"
    return "no connection"
