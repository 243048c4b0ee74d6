"""The licences of the service's requirements: `make licences` writes the table in docs/licences.md.

A licence is told in the package's own words, as the installed metadata has them.
"""

import importlib.metadata
import re
import sys

from .requirements import ROOT, SERVICE, pins

PAGE = ROOT / "docs" / "licences.md"
TABLE = re.compile(r"(?<=\| package \| licence \|\n\| --- \| --- \|\n)(?:\|.*\n)*")
# Requirements for other systems or older Pythons, which are not installed everywhere.
ELSEWHERE = {"async-timeout": "Apache 2", "colorama": "BSD License"}
# What the field License may hold in place of a name.
SAYS_NOTHING = ("", "UNKNOWN", "Dual License")
# Longer values of that field are the licence's whole text.
LONGEST_NAME = 40


def licence_of(package: str) -> str:
    """The package's licence. Raises PackageNotFoundError if the package is not installed and not in ELSEWHERE."""
    try:
        metadata = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError:
        if package in ELSEWHERE:
            return ELSEWHERE[package]
        raise
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    name: str = (metadata.get_all("License") or [""])[0]
    if name not in SAYS_NOTHING and len(name) <= LONGEST_NAME and "\n" not in name:
        return name
    classifiers = [row for row in metadata.get_all("Classifier") or [] if row.startswith("License :: ")]
    return ", ".join(row.rpartition(" :: ")[2] for row in classifiers) or "not told"


def table() -> str:
    """The rows for all requirements, those for other systems included."""
    packages = sorted(pins(SERVICE.read_text(encoding="utf-8")))
    return "".join(f"| {package} | {licence_of(package)} |\n" for package in packages)


def main() -> int:
    """Replace the rows of the page; returns the exit code."""
    PAGE.write_text(TABLE.sub(lambda _found: table(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
