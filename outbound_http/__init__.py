"""An HTTP client with limits on time, size and memory. It needs neither Django nor other packages of the portal."""

from .client import Answer, ApiClient, HttpClient
from .decoding import NotJson, decode_json
from .failures import AnswerTooLarge, WireFailure
from .headers import VERSION, parse_http_date, parse_retry_after
from .hosts import HostRule, MayConnect, anywhere, public_only, web_address

__all__ = [
    "VERSION",
    "Answer",
    "AnswerTooLarge",
    "ApiClient",
    "HostRule",
    "HttpClient",
    "MayConnect",
    "NotJson",
    "WireFailure",
    "anywhere",
    "decode_json",
    "parse_http_date",
    "parse_retry_after",
    "public_only",
    "web_address",
]
