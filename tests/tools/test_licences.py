"""The page of licences is as the installed packages are."""

import re

from tools import licences
from tools.requirements import SERVICE, pins, without_markers


def test_the_page_lists_every_requirement_with_its_licence() -> None:
    # If this fails: `make licences`, and look whether the new licence fits the words above the table.
    assert licences.TABLE.findall(licences.PAGE.read_text(encoding="utf-8")) == [licences.table()]


def test_each_requirement_is_read_from_the_file() -> None:
    text = SERVICE.read_text(encoding="utf-8")
    assert len(pins(text)) == len(re.findall(r"^\S.*==", text, re.MULTILINE))
    assert pins(text)["django-allauth"] == pins(without_markers(text))["django-allauth"]
    assert " ; " in text
    assert " ; " not in without_markers(text)
    assert pins(without_markers(text)) == pins(text)


def test_no_licence_is_unknown_or_left_unexplained() -> None:
    text = licences.PAGE.read_text(encoding="utf-8")
    asks = text.partition("## What they ask of you")[2].partition("## ")[0]
    for package in pins(SERVICE.read_text(encoding="utf-8")):
        licence = licences.licence_of(package)
        assert licence != "not told", package
        assert re.search(r"GPL|MPL|Mozilla", licence) is None or package in asks, package
