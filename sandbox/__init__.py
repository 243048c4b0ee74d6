"""A pretend Moodle and a pretend Navigatr on loopback, for demos and tests. The service itself does not use it.

Tests use `with Sandbox() as sandbox:`; `python -m sandbox --port 8001` starts one for people.
"""

from .app import Sandbox
from .demo import (
    DEMO_BADGE_ID,
    DEMO_COURSE,
    DEMO_MOODLE_TOKEN,
    DEMO_PAT,
    DEMO_PRODUCTION_PAT,
    DEMO_PROVIDER_ID,
)
from .faults import KINDS, MOODLE, NAVIGATR, NAVIGATR_PRODUCTION, Faults
from .moodle import Moodle
from .navigatr import Assertion, Navigatr

__all__ = [
    "DEMO_BADGE_ID",
    "DEMO_COURSE",
    "DEMO_MOODLE_TOKEN",
    "DEMO_PAT",
    "DEMO_PRODUCTION_PAT",
    "DEMO_PROVIDER_ID",
    "KINDS",
    "MOODLE",
    "NAVIGATR",
    "NAVIGATR_PRODUCTION",
    "Assertion",
    "Faults",
    "Moodle",
    "Navigatr",
    "Sandbox",
]
