"""Connections that can tell whether a request was sent, and that limit the time of a whole answer."""

import http.client
import io
import os
import socket
import ssl
import time
from functools import lru_cache, partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import certifi
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family, create_connection
from urllib3.util.ssl_ import create_urllib3_context

from .failures import AddressRefused, Undelivered
from .hosts import MayConnect


class TimedReader(io.RawIOBase):
    """Reads from a socket until a deadline. A socket's own time-out starts again with every byte."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, deadline: float) -> None:
        self._sock = sock
        self._raw = raw
        self._deadline = deadline

    def readable(self) -> bool:
        """Required by BufferedReader."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what is there. Raises TimeoutError at the deadline."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        """Close the socket's reader as well."""
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """An answer that must arrive whole within the connection's read time-out."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        deadline = time.monotonic() + (sock.gettimeout() or 0)
        self.fp = io.BufferedReader(TimedReader(sock, self.fp.detach(), deadline))


class _PlainConnection(HTTPConnection):
    response_class = _TimedResponse

    def __init__(self, *args: Any, may_connect: MayConnect | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # None for a connection to a proxy, which the operator has chosen.
        self._may_connect = may_connect

    def _new_conn(self) -> socket.socket:
        """Resolve the name, and connect to one of its allowed addresses: a second look-up might give others."""
        if self._may_connect is None:
            return super()._new_conn()
        failure: Exception = AddressRefused()
        for address in self._resolve():
            if not self._may_connect(self.host, ip_address(address)):
                continue
            try:
                return create_connection((address, self.port), self.timeout, self.source_address, self.socket_options)
            except TimeoutError:
                failure = ConnectTimeoutError(self, "timed out")
            except OSError:
                failure = NewConnectionError(self, "no connection")
        raise failure

    def _resolve(self) -> list[str]:
        """The addresses of the host, each once."""
        try:
            found = socket.getaddrinfo(self._dns_host.strip("[]"), self.port, allowed_gai_family(), socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            raise NameResolutionError(self.host, self, socket.gaierror(str(error))) from error
        return list(dict.fromkeys(str(row[4][0]) for row in found))

    def connect(self) -> None:
        """Raise Undelivered for every error of connecting: name resolution, TLS handshake, proxy."""
        try:
            super().connect()
        except (OSError, HTTPError, http.client.HTTPException) as failure:
            raise Undelivered(self, failure) from failure


class _TlsConnection(_PlainConnection, HTTPSConnection):
    """The same with the `connect` of HTTPSConnection."""


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


# urllib3's connection pools by scheme, with the connections above.
_POOLS = {"http": _PlainPool, "https": _TlsPool}


class Adapter(HTTPAdapter):
    """Requests' adapter with the connections above, without retries, and with one TLS context for the process.

    It is used without a `requests.Session`, which would add cookies and passwords of `.netrc`, read the bodies of
    redirects, and take nearly half of the CPU time of a call. Each direct connection asks `may_connect`.
    """

    def __init__(self, pool_size: int, may_connect: MayConnect) -> None:
        self._may_connect = may_connect
        super().__init__(pool_connections=1, pool_maxsize=pool_size, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
        """Build the pool of direct connections."""
        super().init_poolmanager(connections, maxsize, block, ssl_context=tls_context(), **kwargs)
        pools = {scheme: partial(pool, may_connect=self._may_connect) for scheme, pool in _POOLS.items()}
        self.poolmanager.pool_classes_by_scheme = pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """The pool of connections through `proxy`."""
        context = tls_context()
        manager = super().proxy_manager_for(proxy, ssl_context=context, proxy_ssl_context=context, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def close(self) -> None:
        """Close the idle connections now. urllib3 closes them when nothing refers to the pool any more."""
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 – not a dict
                manager.pools[key].close()
        super().close()

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: requests would load all authorities again for every new connection."""


def tls_context() -> ssl.SSLContext:
    """The TLS settings of all connections. Certificates are verified.

    As with requests, the authorities are those of `REQUESTS_CA_BUNDLE`, `CURL_CA_BUNDLE` or certifi. Raises OSError
    if they cannot be read.
    """
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    return _tls_context(bundle or certifi.where())


@lru_cache(maxsize=4)
def _tls_context(authorities: str) -> ssl.SSLContext:
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    argument = "capath" if Path(authorities).is_dir() else "cafile"
    context.load_verify_locations(**{argument: authorities})
    return context
