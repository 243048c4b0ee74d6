"""A typed client for Navigatr's API. It needs neither Django nor the portal's models."""

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
]
