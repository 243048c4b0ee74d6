"""Errors of a connection. Their messages hold nothing of the request or the answer."""

import ssl
from enum import StrEnum

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

# All errors of sending a request and reading its answer. Those of reading a body are urllib3's.
WIRE_ERRORS = (requests.RequestException, HTTPError)

# Messages that are used more than once.
NO_CONNECTION_IN_TIME = "no connection in time"
NO_ANSWER_IN_TIME = "no answer in time"
HOST_UNKNOWN = "host name not found"
TLS_FAILED = "TLS failed"
ADDRESS_REFUSED = "the portal may not connect to this address"


class BadCertificate(StrEnum):
    """Why a server's certificate is not accepted."""

    SELF_SIGNED = "self-signed"
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"
    OTHER_NAME = "for another name"
    UNKNOWN_ISSUER = "of an unknown issuer"
    OTHER = "not valid"


# OpenSSL's numbers (X509_V_ERR_…).
_BAD_CERTIFICATES = {
    9: BadCertificate.NOT_YET_VALID,
    10: BadCertificate.EXPIRED,
    18: BadCertificate.SELF_SIGNED,
    19: BadCertificate.UNKNOWN_ISSUER,
    20: BadCertificate.UNKNOWN_ISSUER,
    21: BadCertificate.UNKNOWN_ISSUER,
    62: BadCertificate.OTHER_NAME,
    64: BadCertificate.OTHER_NAME,
}


class WireFailure(Exception):
    """There is no complete answer; the message says why in a few words.

    `undelivered`: the request was certainly not sent, so even one that changes something can be repeated.
    `certificate`: what is wrong with the server's certificate, if that is why.
    """

    def __init__(self, message: str, *, undelivered: bool = False, certificate: BadCertificate | None = None) -> None:
        super().__init__(message)
        self.undelivered = undelivered
        self.certificate = certificate


class AnswerTooLarge(Exception):
    """The answer has more bytes, or its JSON more values, than the limit."""


class AddressRefused(OSError):
    """None of the host's addresses may be connected to."""


class Undelivered(NewConnectionError):
    """There was no connection, so the request was not sent; `reason` says why."""

    def __init__(self, connection: HTTPConnection, cause: Exception) -> None:
        self.reason = _connection_problem(cause)
        self.certificate = (
            _BAD_CERTIFICATES.get(cause.verify_code, BadCertificate.OTHER)
            if isinstance(cause, ssl.SSLCertVerificationError)
            else None
        )
        super().__init__(connection, self.reason)


def wire_failure(error: Exception) -> WireFailure:
    """Convert one of WIRE_ERRORS."""
    cause = _root_cause(error)
    if isinstance(cause, Undelivered):
        return WireFailure(cause.reason, undelivered=True, certificate=cause.certificate)
    if isinstance(cause, ConnectTimeoutError | requests.ConnectTimeout):
        return WireFailure(NO_CONNECTION_IN_TIME, undelivered=True)
    # Perhaps delivered: with TLS 1.3 a server may refuse the client after it has received the request.
    if isinstance(error, requests.exceptions.SSLError):
        return WireFailure(TLS_FAILED)
    if isinstance(cause, requests.Timeout | ReadTimeoutError):
        return WireFailure(NO_ANSWER_IN_TIME)
    return connection_lost()


def connection_lost() -> WireFailure:
    """The failure of an answer that is cut off or cannot be decompressed."""
    return WireFailure("connection lost")


def _root_cause(error: BaseException) -> BaseException:
    """The innermost error: requests, urllib3's retries and urllib3's proxies each wrap another one."""
    if isinstance(error, requests.RequestException) and error.args and isinstance(error.args[0], BaseException):
        return _root_cause(error.args[0])
    if isinstance(error, MaxRetryError) and error.reason is not None:
        return _root_cause(error.reason)
    if isinstance(error, ProxyError):
        return _root_cause(error.original_error)
    return error


def _connection_problem(cause: Exception) -> str:
    if isinstance(cause, NameResolutionError):
        return HOST_UNKNOWN
    if isinstance(cause, AddressRefused):
        return ADDRESS_REFUSED
    if isinstance(cause, ssl.SSLError):
        return TLS_FAILED
    if isinstance(cause, TimeoutError | ConnectTimeoutError) and not isinstance(cause, NewConnectionError):
        return NO_CONNECTION_IN_TIME
    return "no connection"
