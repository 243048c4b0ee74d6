"""A typed client for Navigatr's API. It knows no Django and nothing of the portal."""

from outbound_http import parse_retry_after

from .client import NavigatrClient
from .errors import (
    NavigatrError,
    NavigatrRejected,
    NavigatrRequirementNotMet,
    NavigatrTokenMalformed,
    NavigatrTokenRefused,
    NavigatrUnavailable,
    NavigatrUnclear,
    NavigatrUnexpectedAnswer,
)
from .records import Account, Assertion, Badge, Page, Provider

__all__ = [
    "Account",
    "Assertion",
    "Badge",
    "NavigatrClient",
    "NavigatrError",
    "NavigatrRejected",
    "NavigatrRequirementNotMet",
    "NavigatrTokenMalformed",
    "NavigatrTokenRefused",
    "NavigatrUnavailable",
    "NavigatrUnclear",
    "NavigatrUnexpectedAnswer",
    "Page",
    "Provider",
    "parse_retry_after",
]
