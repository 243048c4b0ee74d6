"""The steps for a Moodle administrator: in Moodle's words, as the documentation has them, and matched to a check."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from moodle_sync.client import MoodleClient
from moodle_sync.client.inspection import inspect
from moodle_sync.client.report_cells import AGREED_HEADERS, AGREED_NAME
from moodle_sync.guide import (
    CAPABILITIES,
    FUNCTIONS,
    OPTIONAL_CAPABILITY,
    SORTED_BY,
    Guide,
    Key,
    Progress,
    as_text,
    guide,
    wording_of,
)
from moodle_sync.site_check import findings_of
from sandbox import MOODLE, Sandbox
from tests.moodle_sync.recordings import recording

DOCS = (Path(__file__).parents[2] / "docs" / "moodle-setup.md").read_text(encoding="utf-8")


def checked(sandbox: Sandbox) -> Guide:
    """The guide for the sandbox's Moodle as a check finds it."""
    with MoodleClient(sandbox.moodle_url, sandbox.moodle_token, timeout=5, language="en") as client:
        return guide(findings_of(inspect(client, now=timezone.now())))


def left(found: Guide) -> set[Key]:
    return {step.key for step in found.steps if step.progress == Progress.LEFT}


@pytest.mark.parametrize(
    ("site_info", "report", "name"),
    [("site_info", "agreed_report_page0", "4.5"), ("site_info_50", "agreed_report_page0_50", "5.0")],
)
def test_the_wording_is_that_of_the_recorded_moodles(site_info: str, report: str, name: str) -> None:
    wording = wording_of(recording(site_info)["response"]["release"])
    assert (wording.name, wording.tried) == (name, True)
    answer = recording(report)["response"]
    assert wording.report_source == answer["details"]["sourcename"]
    assert answer["details"]["name"] == AGREED_NAME
    assert answer["data"]["headers"] == list(AGREED_HEADERS)
    assert {"Time completed", "Completed", *SORTED_BY} <= set(answer["data"]["headers"])
    # The setting that the guide asks for under this name.
    assert answer["details"]["uniquerows"] is True


def test_other_releases_have_the_words_of_the_one_before() -> None:
    assert wording_of("5.2 (Build: 20270101)").name == "5.0"
    assert wording_of("4.3.2").name == "4.1"
    assert wording_of("").name == "5.0"
    assert not wording_of("3.11.4").has_reports
    old = guide([{"check": "version", "ok": False, "message": "Old.", "values": {"release": "3.11.4"}}])
    assert "reportbuilder" not in as_text(old.steps)
    assert "custom reports" not in as_text(old.steps[:1]).lower()


def test_the_documentation_tells_the_same() -> None:
    words = " ".join(DOCS.split())
    for step in guide().steps:
        place = step.place.removeprefix("Site administration → ")
        assert f"*{place}*" in words, place
        for label in re.findall("“(.+?)”", " ".join(step.todo)):
            if label not in ("missing capabilities", "Yes"):
                assert re.search(rf"\*[^*]*{re.escape(label)}[^*]*\*", words), label
    table = DOCS[DOCS.index("## Capabilities") : DOCS.index("## Functions")]
    rows = re.findall(r"^\| (`.+?`(?:, `.+?`)*) \|", table, re.MULTILINE)
    assert re.findall("`(.+?)`", " ".join(rows)) == [*CAPABILITIES, OPTIONAL_CAPABILITY]
    listed = DOCS[DOCS.index("## Functions") : DOCS.index("## The report")]
    assert set(re.findall(r"`(\w+)`", listed)) == set(FUNCTIONS)


def test_a_moodle_in_order_leaves_nothing_to_do(sandbox: Sandbox) -> None:
    sandbox.reset(demo=True)
    found = checked(sandbox)
    assert [step.progress for step in found.steps] == [Progress.DONE] * len(Key)
    assert not found.is_left
    assert found.wording.tried


@pytest.mark.parametrize(
    ("faults", "keys"),
    [
        (["missing_function"], {Key.SERVICE}),
        (["reports_off"], {Key.FEATURES}),
        (["report_refused"], {Key.REPORT}),
        (["report_refused", "participants_refused", "no_emails"], {Key.REPORT, Key.ROLE}),
        (["token_expired"], {Key.ACCOUNT, Key.SERVICE, Key.TOKEN}),
        (["ws_disabled"], {Key.FEATURES, Key.PROTOCOL}),
    ],
)
def test_what_is_missing_is_told_at_its_step(sandbox: Sandbox, faults: list[str], keys: set[Key]) -> None:
    sandbox.reset(demo=True)
    for fault in faults:
        sandbox.faults.on(fault, side=MOODLE)
    found = checked(sandbox)
    assert left(found) == keys
    assert found.is_left
    for step in found.steps:
        assert bool(step.missing) == (step.key in keys)


def test_only_functions_that_are_missing_are_to_be_copied() -> None:
    lack: dict[str, Any] = {"ok": False, "message": "The service lacks {function}: {lost}."}
    names = FUNCTIONS[3:5]
    rows = [lack | {"check": f"function-{name}", "values": {"function": name, "lost": "x"}} for name in names]
    service = next(step for step in guide(rows).steps if step.key == Key.SERVICE)
    assert service.copies[-1].text == "\n".join(names)
    assert service.copies[-1].rows == 2
