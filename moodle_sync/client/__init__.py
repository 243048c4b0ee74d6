"""Moodle's web services for programs that know no Django: the client, its records, its errors, the report's cells."""

from .client import BATCH, LARGEST_ANSWER, MoodleClient, flatten, normalise_url

__all__ = ["BATCH", "LARGEST_ANSWER", "MoodleClient", "flatten", "normalise_url"]
