"""Navigatr's answers on file."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "replies" / "navigatr"


def reply(name: str) -> Any:
    """One answer, parsed anew so that a test may change it."""
    return json.loads((FOLDER / f"{name}.json").read_text())
