"""HTTP to servers outside, bounded in time, size and memory. It knows no Django and nothing of the portal."""

from .client import Answer, HttpClient
from .decoding import NotJson, decode_json
from .failures import AnswerTooLarge, WireFailure
from .headers import VERSION, parse_http_date, parse_retry_after

__all__ = [
    "VERSION",
    "Answer",
    "AnswerTooLarge",
    "HttpClient",
    "NotJson",
    "WireFailure",
    "decode_json",
    "parse_http_date",
    "parse_retry_after",
]
