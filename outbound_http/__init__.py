"""An HTTP client with limits on time, size and memory. It needs neither Django nor other packages of the portal."""

from .client import Answer, ApiClient, HttpClient
from .decoding import NotJson, decode_json
from .failures import (
    ADDRESS_REFUSED,
    HOST_UNKNOWN,
    NO_ANSWER_IN_TIME,
    NO_CONNECTION_IN_TIME,
    TLS_FAILED,
    AnswerTooLarge,
    BadCertificate,
    WireFailure,
)
from .headers import VERSION, parse_http_date, parse_retry_after
from .hosts import Address, HostRule, MayConnect, anywhere, is_loopback_host, public_only, web_address

__all__ = [
    "ADDRESS_REFUSED",
    "HOST_UNKNOWN",
    "NO_ANSWER_IN_TIME",
    "NO_CONNECTION_IN_TIME",
    "TLS_FAILED",
    "VERSION",
    "Address",
    "Answer",
    "AnswerTooLarge",
    "ApiClient",
    "BadCertificate",
    "HostRule",
    "HttpClient",
    "MayConnect",
    "NotJson",
    "WireFailure",
    "anywhere",
    "decode_json",
    "is_loopback_host",
    "parse_http_date",
    "parse_retry_after",
    "public_only",
    "web_address",
]
