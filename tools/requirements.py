"""The pinned requirements of the service."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SERVICE = ROOT / "requirements.txt"
# django-allauth[mfa, socialaccount]==65.22.1 ; sys_platform != 'win32' \
PIN = re.compile(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
MARKER = re.compile(r"^([\w.-]+(?:\[[^\]]*\])?==\S+) ;[^\\\n]*", re.MULTILINE)


def pins(text: str) -> dict[str, str]:
    """The version of each requirement by its name, those for other systems included."""
    return dict(PIN.findall(text))


def without_markers(text: str) -> str:
    """The same requirements for every system."""
    return MARKER.sub(r"\1 ", text)
