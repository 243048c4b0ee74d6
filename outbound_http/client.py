"""Send requests to one server and read its answers."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

import requests
from requests.utils import get_environ_proxies

from .connections import Adapter
from .failures import ADDRESS_REFUSED, WIRE_ERRORS, AnswerTooLarge, WireFailure, connection_lost, wire_failure
from .headers import VERSION
from .hosts import MayConnect, anywhere, literal_address

# Tells zlib that the data is gzip.
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Answer:
    """The status and headers of an answer, and its body if that could be read."""

    status: int
    headers: Mapping[str, str]
    _body: bytes | WireFailure | AnswerTooLarge

    def body(self) -> bytes:
        """The whole body. Raises WireFailure if it was cut off or too slow, AnswerTooLarge if it is too large."""
        if isinstance(self._body, bytes):
            return self._body
        raise self._body


class HttpClient:
    """Sends requests to the server at `base_url`, each with `headers`. Threads may share a client.

    - `connect_timeout`: seconds to connect, for each address of the host.
    - `timeout`: seconds from the sent request to the last byte of the answer.
    - `largest_answer`: bytes that a body may have, compressed or not.
    - `pool_size`: idle connections that are kept for later requests.
    - `may_connect`: says for each address of the host whether it may be connected to, at the moment of connecting. A
      proxy resolves names itself: through one, only a host that is an address is asked about.

    Proxies and certificate authorities come from the environment; loopback never uses a proxy. Redirects are not
    followed. No cookies are kept and no passwords sent, not even those of `.netrc`.

    Raises ValueError if `base_url` is not a valid address.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        timeout: float,
        connect_timeout: float,
        largest_answer: int,
        pool_size: int = 1,
        may_connect: MayConnect = anywhere,
    ) -> None:
        # Prepared once: parsing the URL and checking the headers takes as long as the rest of a call.
        self._template = requests.Request(
            "GET", base_url, headers={**headers, "User-Agent": f"navigatr-badge-portal/{VERSION}"}
        ).prepare()
        self._base_url = str(self._template.url).rstrip("/")
        self._timeout = (min(connect_timeout, timeout), timeout)
        self._largest_answer = largest_answer
        # A proxy cannot reach what listens on this machine's loopback.
        self._proxies = {} if _is_loopback(base_url) else get_environ_proxies(self._base_url)
        self._adapter = Adapter(pool_size, may_connect)
        host = urlsplit(self._base_url).hostname or ""
        address = literal_address(host)
        self._is_refused = address is not None and not may_connect(host, address)

    def send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        content_type: str = "application/json",
        timeout: float | None = None,
    ) -> Answer:
        """Send one request and read its answer. Raises WireFailure if there is none.

        `path` is appended to the base URL unchanged and may have a query. `timeout` shortens the client's time-outs.
        """
        if self._is_refused:
            raise WireFailure(ADDRESS_REFUSED, undelivered=True)
        request = self._template.copy()
        request.method = method
        request.url = self._base_url + path
        if body is not None:
            request.body = body
            request.headers["Content-Type"] = content_type
            request.headers["Content-Length"] = str(len(body))
        connect, read = self._timeout
        timeouts = self._timeout if timeout is None else (min(connect, timeout), min(read, timeout))
        try:
            response = self._adapter.send(request, stream=True, timeout=timeouts, proxies=self._proxies)
        except WIRE_ERRORS as error:
            failure = wire_failure(error)
        else:
            return Answer(response.status_code, response.headers, _read(response, self._largest_answer))
        # Raised outside the except block: the error above refers to the request, which holds the token.
        raise failure

    def close(self) -> None:
        """Close the idle connections. The client can still be used and then opens new ones."""
        self._adapter.close()


class ApiClient:
    """Base class for the client of one API. As a context manager it closes its idle connections at the end."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections. The client can still be used and then opens new ones."""
        self._http.close()


def _read(response: requests.Response, largest: int) -> bytes | WireFailure | AnswerTooLarge:
    """Return the body, or the error that `Answer.body` shall raise."""
    try:
        return _body_of(response, largest)
    except WIRE_ERRORS as error:
        return wire_failure(error)
    except zlib.error:
        return connection_lost()
    finally:
        # Returns the connection to the pool if the answer was read to its end, else closes it.
        response.close()


def _body_of(response: requests.Response, largest: int) -> bytes | AnswerTooLarge:
    """Read and decompress at most one byte more than is allowed.

    Decompresses gzip here and not in urllib3, which takes minutes, past any deadline, for a body of many small gzip
    members.
    """
    raw = response.raw
    if (raw.length_remaining or 0) > largest:
        return AnswerTooLarge()
    chunks: list[bytes] = []
    received = 0
    while chunk := raw.read(largest + 1 - received, decode_content=False):
        chunks.append(chunk)
        received += len(chunk)
        if received > largest:
            return AnswerTooLarge()
    body = b"".join(chunks)
    if body and response.headers.get("Content-Encoding", "").strip().lower() in ("gzip", "x-gzip"):
        decompressor = zlib.decompressobj(_GZIP)
        body = decompressor.decompress(body, largest + 1)
        if len(body) > largest:
            return AnswerTooLarge()
        if not decompressor.eof:
            raise zlib.error("cut short")
    return body


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    address = literal_address(host)
    return host == "localhost" if address is None else address.is_loopback
