"""A pretend Moodle and a pretend Navigatr on loopback, for trying the portal and for tests.

`with Sandbox() as sandbox:` in a test, `python -m sandbox --port 8001` for people. Nothing here is part of the service.
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
