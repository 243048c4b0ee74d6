"""What can go wrong on the wire, in words that hold nothing of the request or the answer."""

import ssl

import requests
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    ReadTimeoutError,
)

# What may come out of sending a request or reading its answer; urllib3's own errors come up while a body is read.
WIRE_ERRORS = (requests.RequestException, HTTPError)

NO_CONNECTION_IN_TIME = "no connection in time"
TLS_FAILED = "TLS failed"


class WireFailure(Exception):
    """No whole answer came; the text says why in a few words.

    `undelivered` is whether the request certainly never left: only then is it safe to send one that changes something
    again. `tls` is whether TLS failed before there was an answer, as with a certificate that is not valid.
    """

    def __init__(self, words: str, *, undelivered: bool = False, tls: bool = False) -> None:
        super().__init__(words)
        self.undelivered = undelivered
        self.tls = tls


class AnswerTooLarge(Exception):
    """An answer has more bytes, or JSON more values, than may be read."""


class Undelivered(NewConnectionError):
    """No connection was made, so the request was never sent; `words` say why."""

    def __init__(self, connection: HTTPConnection, cause: Exception) -> None:
        words = _words(cause)
        super().__init__(connection, words)
        self.words = words


def wire_failure(error: Exception) -> WireFailure:
    """One of WIRE_ERRORS as a failure of ours."""
    reason = _reason(error)
    if isinstance(reason, Undelivered):
        return WireFailure(reason.words, undelivered=True, tls=reason.words == TLS_FAILED)
    if isinstance(reason, ConnectTimeoutError | requests.ConnectTimeout):
        return WireFailure(NO_CONNECTION_IN_TIME, undelivered=True)
    # Not sure to be undelivered: with TLS 1.3 a server may refuse the client after it has received the request.
    if isinstance(error, requests.exceptions.SSLError):
        return WireFailure(TLS_FAILED, tls=True)
    if isinstance(reason, requests.Timeout | ReadTimeoutError):
        return WireFailure("no answer in time")
    return connection_lost()


def connection_lost() -> WireFailure:
    """The failure of an answer that broke off or cannot be unpacked."""
    return WireFailure("connection lost")


def _reason(error: BaseException) -> BaseException:
    """The error at the bottom: requests, urllib3's retries and its proxy support each wrap the one below."""
    if isinstance(error, requests.RequestException) and error.args and isinstance(error.args[0], BaseException):
        return _reason(error.args[0])
    if isinstance(error, MaxRetryError) and error.reason is not None:
        return _reason(error.reason)
    if isinstance(error, ProxyError):
        return _reason(error.original_error)
    return error


def _words(cause: Exception) -> str:
    if isinstance(cause, NameResolutionError):
        return "host name not found"
    if isinstance(cause, ssl.SSLError):
        return TLS_FAILED
    if isinstance(cause, TimeoutError | ConnectTimeoutError) and not isinstance(cause, NewConnectionError):
        return NO_CONNECTION_IN_TIME
    return "no connection"
