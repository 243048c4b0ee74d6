"""Moodle's web-service functions are named in one file of the product, and all of them in what people read."""

import re
from pathlib import Path

import pytest

from moodle_sync.client.functions import NEEDS, SITE_INFO

ROOT = Path(__file__).parents[2]
NAME = re.compile(
    r"\b(?:core_(?:course|completion|enrol|user|webservice|reportbuilder)|gradereport_user|tool_mobile)_\w+"
)


@pytest.mark.parametrize("room", ["moodle_sync", "badging", "config", "launcher"])
def test_functions_are_named_in_one_file(room: str) -> None:
    naming = {path.name for path in (ROOT / room).rglob("*.py") if NAME.search(path.read_text())}
    assert naming == ({"functions.py"} if room == "moodle_sync" else set())


@pytest.mark.parametrize("function", [SITE_INFO, *(need.function for need in NEEDS)])
def test_what_people_read_names_every_function(function: str) -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert any(f"`{function}`" in page.read_text() for page in pages)
