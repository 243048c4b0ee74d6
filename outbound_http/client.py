"""Requests to one server, and their answers."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

import requests
from requests.utils import get_environ_proxies

from .connections import Adapter
from .failures import WIRE_ERRORS, AnswerTooLarge, WireFailure, connection_lost, wire_failure
from .headers import VERSION, user_agent

_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer's status and headers, whatever became of its body."""

    status: int
    headers: Mapping[str, str]
    _body: bytes | WireFailure | AnswerTooLarge

    def body(self) -> bytes:
        """The whole body. Raises WireFailure if it broke off or was too slow, AnswerTooLarge if it was not read."""
        if isinstance(self._body, bytes):
            return self._body
        raise self._body


class HttpClient:
    """Sends requests to the server at `base_url`, each with `headers`. Threads may share a client.

    An answer must be there, to its last byte, `timeout` seconds after its request was sent, and must not have more than
    `largest_answer` bytes, packed or unpacked. Connecting comes before that and has `connect_timeout` for each address
    of the host. Up to `pool_size` connections are kept for the next requests. Proxies and certificate authorities are
    taken from the environment, except that loopback has no proxy. Redirects are not followed; cookies and passwords,
    of `.netrc` for example, are not sent.

    Raises ValueError if `base_url` cannot be an address.
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
        version: str = VERSION,
    ) -> None:
        # Prepared once: taking a URL apart and checking headers anew costs as much as the rest of a call.
        self._template = requests.Request(
            "GET", base_url, headers={**headers, "User-Agent": user_agent(version)}
        ).prepare()
        self._base_url = str(self._template.url).rstrip("/")
        self._timeout = (min(connect_timeout, timeout), timeout)
        self._largest_answer = largest_answer
        # No proxy can know what listens on this machine.
        self._proxies = {} if _is_loopback(base_url) else get_environ_proxies(self._base_url)
        self._adapter = Adapter(pool_size)

    def send(
        self, method: str, path: str, body: bytes | None = None, *, content_type: str = "application/json"
    ) -> Answer:
        """Send one request and read its answer. Raises WireFailure if none comes.

        `path` is added to the base URL as it is, with its query.
        """
        request = self._template.copy()
        request.method = method
        request.url = self._base_url + path
        if body is not None:
            request.body = body
            request.headers["Content-Type"] = content_type
            request.headers["Content-Length"] = str(len(body))
        try:
            response = self._adapter.send(request, stream=True, timeout=self._timeout, proxies=self._proxies)
        except WIRE_ERRORS as error:
            failure = wire_failure(error)
        else:
            return Answer(response.status_code, response.headers, _read(response, self._largest_answer))
        # Raised out here, it does not carry the error above, which holds the request with its token.
        raise failure

    def close(self) -> None:
        """Close the idle connections. The client may still be used, and opens new ones."""
        self._adapter.close()


def _read(response: requests.Response, largest: int) -> bytes | WireFailure | AnswerTooLarge:
    """The body, or what became of it."""
    try:
        return _body_of(response, largest)
    except WIRE_ERRORS as error:
        return wire_failure(error)
    except zlib.error:
        return connection_lost()
    finally:
        # Gives back a connection that was read to the end, and drops one that was not.
        response.close()


def _body_of(response: requests.Response, largest: int) -> bytes | AnswerTooLarge:
    """The body, of which no more than one byte too many is read, or unpacked.

    Only gzip is unpacked, and here: urllib3 copies what is left for each of many small gzip files in a row, which
    takes seven minutes for 20 MB, and no deadline ends it.
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
        unpacker = zlib.decompressobj(_GZIP)
        body = unpacker.decompress(body, largest + 1)
        if len(body) > largest:
            return AnswerTooLarge()
        if not unpacker.eof:
            raise zlib.error("cut short")
    return body


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
