"""`make sbom` lists what the service needs, with licences, and none of the development tools."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from .making import Folder

pytestmark = pytest.mark.slow


def test_the_sbom_holds_the_service_with_its_licences(folder: Folder) -> None:
    # It takes seconds to load, which only the process that runs this test shall spend.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    # The development tools are those of the tests' own environment, whose list of them says that they are installed.
    own = Path(sys.prefix)
    (folder.path / ".venv").symlink_to(own)
    shutil.copy(own / "installed-dev.txt", folder.path / "requirements-dev.txt")
    folder.require("alpha", "beta")
    done = folder.make("sbom")
    assert done.returncode == 0, done.stderr
    text = (folder.path / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    assert bom["metadata"]["component"]["name"] == "navigatr-badge-portal"
    licences = {row["name"]: row["licenses"][0]["license"]["id"] for row in bom["components"]}
    assert licences == {"alpha": "MIT", "beta": "MIT"}
