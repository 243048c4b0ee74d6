"""A client for Moodle's web services, without Django: calls, records, errors, the report's cells, the check."""

from .client import MoodleClient
from .connection import normalise_url

__all__ = ["MoodleClient", "normalise_url"]
