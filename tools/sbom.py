"""The packages of an environment with their licences, in CycloneDX's format: `make sbom`.

Usage: python -m tools.sbom PYTHON OUTPUT
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from .licences import licence_of
from .requirements import ROOT


def main(arguments: list[str]) -> int:
    """Write the file; returns the exit code."""
    python, output = arguments
    command = [
        *(sys.executable, "-m", "cyclonedx_py", "environment", "--pyproject", str(ROOT / "pyproject.toml")),
        *("--output-reproducible", "--spec-version", "1.6", "-o", "-", python),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        return done.returncode
    bom = json.loads(done.stdout)
    for component in bom["components"]:
        _name_licence(component)
    Path(output).write_text(json.dumps(bom, indent=2) + "\n", encoding="utf-8")
    print(f"{output}: {len(bom['components'])} packages")
    return 0


def _name_licence(component: dict[str, Any]) -> None:
    """Fill in what cyclonedx-py leaves out: a licence that is told in free words only."""
    if not component.get("licenses"):
        licence = {"name": licence_of(component["name"]), "acknowledgement": "declared"}
        component["licenses"] = [{"license": licence}]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
