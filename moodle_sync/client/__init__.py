"""A client for Moodle's web services, without Django: calls, records, errors, the report's cells, the check."""

from .client import MoodleClient
from .connection import LARGEST_ANSWER, flatten, normalise_url
from .questions import BATCH_SIZE

__all__ = ["BATCH_SIZE", "LARGEST_ANSWER", "MoodleClient", "flatten", "normalise_url"]
