"""Reads the settings anew in another environment."""

import os
import runpy
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.launcher import running


def read_settings(data: Path, **environment: str) -> dict[str, Any]:
    """All settings of a portal with that environment, whose data lies there; those of this process do not change."""
    with patch.dict(os.environ, running.environment(data, **environment), clear=True):
        return runpy.run_path(str(running.ROOT / "config" / "settings.py"))
