"""Known vulnerabilities of the service's requirements: `make audit`.

pip-audit asks an advisory service that speaks OSV's API. pip-audit takes an empty answer for "no vulnerability", and so
passes behind a proxy or a mirror that knows no advisories. Therefore the service is first asked about a release that is
known to be vulnerable: only if it says so does the audit count.

Exit code 0: nothing is known. 1: vulnerable. 3: nobody could be asked, or not about every requirement.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import requests

from .requirements import SERVICE, pins, without_markers

OSV = "https://api.osv.dev/v1/query"
# Django 3.2 of 2021 has dozens of advisories.
KNOWN_VULNERABLE = {"package": {"name": "django", "ecosystem": "PyPI"}, "version": "3.2"}
SECONDS = 15

CLEAN, VULNERABLE, NOT_ASKED = 0, 1, 3


class NotAsked(Exception):
    """The audit says nothing; the message says why."""


def main(arguments: list[str] | None = None) -> int:
    """Audit, print what was found, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.audit", description=__doc__)
    parser.add_argument("--url", default=OSV, help=f"the query address of an OSV API ({OSV})")
    parser.add_argument("requirements", nargs="?", type=Path, default=SERVICE)
    options = parser.parse_args(arguments)
    try:
        see_that_it_knows(options.url)
        found = audit(options.requirements, options.url)
    except NotAsked as error:
        print(f"NOT AUDITED: {error}. Whether there are vulnerabilities is unknown.", file=sys.stderr)
        return NOT_ASKED
    vulnerable = [row for row in found if row["vulns"]]
    for row in vulnerable:
        for advisory in row["vulns"]:
            names = ", ".join([advisory["id"], *advisory["aliases"]])
            fixed = ", ".join(advisory["fix_versions"]) or "nothing yet"
            print(f"{row['name']} {row['version']}: {names}; fixed in {fixed}")
    if vulnerable:
        print(f"VULNERABLE: {len(vulnerable)} of {len(found)} requirements.")
        return VULNERABLE
    print(f"No known vulnerability in {len(found)} requirements.")
    return CLEAN


def see_that_it_knows(url: str) -> None:
    """Raise NotAsked unless the service names an advisory for KNOWN_VULNERABLE."""
    try:
        answer = requests.post(url, json=KNOWN_VULNERABLE, timeout=SECONDS)
        answer.raise_for_status()
        known = bool(answer.json()["vulns"][0]["id"])
    except requests.RequestException as error:
        # The message of the exception is long, and repeats the address.
        raise NotAsked(f"the advisory service {url} could not be asked ({type(error).__name__})") from error
    except (LookupError, TypeError):
        known = False
    if not known:
        raise NotAsked(f"{url} answers, but knows no advisory for Django 3.2, and so is no advisory service")


def audit(requirements: Path, url: str) -> list[dict[str, Any]]:
    """What pip-audit says about each requirement. Raises NotAsked unless it was asked about every one of them."""
    text = requirements.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        for_every_system = Path(folder) / "requirements.txt"
        for_every_system.write_text(without_markers(text), encoding="utf-8")
        # With hashes and without pip, so that no package index is asked.
        command = [
            *(sys.executable, "-m", "pip_audit", "--requirement", str(for_every_system)),
            *("--require-hashes", "--disable-pip", "--strict", "--progress-spinner", "off", "--format", "json"),
            *("--vulnerability-service", "osv", "--osv-url", url, "--timeout", str(SECONDS), "--aliases", "on"),
        ]
        done = subprocess.run(command, capture_output=True, text=True)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, LookupError) as error:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise NotAsked(f"pip-audit ended without a report ({last})") from error
    answered = {row["name"] for row in found if "vulns" in row}
    if left := pins(text).keys() - answered:
        raise NotAsked(f"there was no answer about {', '.join(sorted(left))}")
    return found


if __name__ == "__main__":
    sys.exit(main())
