"""The table of transitions: what it allows, what it refuses, and that nothing changes a state without it."""

import ast
import uuid
from pathlib import Path
from typing import Any

import pytest

from badging import transitions
from badging.meanings import Outcome
from badging.models import Issuance
from badging.transitions import TABLE, Change, Event, NotAllowed
from tests.builders import NOW, make_issuance

ROOT = Path(__file__).parents[2]
State = Issuance.State
EVERY_CASE = [(event, state) for event in Event for state in State]


def make(state: State) -> Issuance:
    """A row in this state, with what the database asks of it."""
    lease: dict[str, Any] = {"claim": uuid.uuid4(), "leased_until": NOW} if state == State.SENDING else {}
    return make_issuance(state=state, assertion_id="1", reason=Outcome.UNAVAILABLE, **lease)


def values_for(event: Event) -> dict[str, Any]:
    """What the caller adds: a lease, or a time for the next try."""
    if TABLE[event].target == State.SENDING:
        return {"claim": uuid.uuid4(), "leased_until": NOW}
    return {"next_attempt_at": NOW} if TABLE[event].target == State.QUEUED else {}


@pytest.mark.django_db
@pytest.mark.parametrize(("event", "state"), EVERY_CASE)
def test_an_event_changes_rows_in_its_states_only(event: Event, state: State) -> None:
    row = make(state)
    allowed = state in TABLE[event].sources
    assert transitions.change([row.pk], event, **values_for(event)) == allowed
    row.refresh_from_db()
    assert row.state == (TABLE[event].target if allowed else state)
    assert (row.claim is None) == (row.leased_until is None) == (row.state != State.SENDING)
    assert row.reason == Outcome.UNAVAILABLE


@pytest.mark.django_db
@pytest.mark.parametrize(("event", "state"), EVERY_CASE)
def test_a_row_in_memory_follows_the_same_table(event: Event, state: State) -> None:
    row = make(state)
    change = Change(event, Outcome.BY_HAND, values_for(event))
    if state not in TABLE[event].sources:
        with pytest.raises(NotAllowed):
            transitions.change_row(row, change)
        assert (row.state, row.reason) == (state, Outcome.UNAVAILABLE)
        return
    transitions.change_row(row, change)
    assert (row.state, row.reason) == (TABLE[event].target, Outcome.BY_HAND)
    assert row.next_attempt_at is None or row.state in (State.QUEUED, State.SENDING)


@pytest.mark.django_db
def test_rows_are_written_as_they_are_in_memory_and_no_other_column_is() -> None:
    row = make(State.QUEUED)
    Issuance.objects.filter(pk=row.pk).update(badge_name="Renamed since")
    transitions.change_row(row, Change(Event.FAIL, Outcome.REJECTED))
    transitions.write_rows([row], ["state", "reason", "next_attempt_at"])
    row.refresh_from_db()
    assert (row.state, row.reason, row.next_attempt_at) == (State.FAILED, Outcome.REJECTED, None)
    assert row.badge_name == "Renamed since"


def test_nothing_else_changes_the_state_of_an_issuance() -> None:
    own = {ROOT / "badging" / "transitions.py"}
    places = [path for path in (ROOT / "badging").rglob("*.py") if path not in own and "migrations" not in path.parts]
    found = [f"{path.relative_to(ROOT)}:{line}" for path in places for line in _state_changes(path)]
    assert found == []


def _state_changes(path: Path) -> list[int]:
    """The lines that write a state of an issuance: `.update(state=State.…)`, or `row.state = State.…`."""
    lines = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "update":
            values = [keyword.value for keyword in node.keywords if keyword.arg == "state"]
        elif isinstance(node, ast.Assign):
            targets = [part for target in node.targets for part in getattr(target, "elts", [target])]
            writes = any(isinstance(target, ast.Attribute) and target.attr == "state" for target in targets)
            values = [node.value] if writes else []
        else:
            values = []
        # Connections and background actions have states as well.
        of_others = ("ACTIVE", "PAUSED", "REMOVED", "WAITING", "RUNNING", "STOPPED", "DONE", "BulkRun")
        lines += [node.lineno for value in values if not any(name in ast.unparse(value) for name in of_others)]
    return lines


def test_the_documentation_shows_the_table() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = [
        f"| {event} | {', '.join(state for state in State if state in transition.sources)} | {transition.target} | "
        f"{transition.meaning} |"
        for event, transition in TABLE.items()
    ]
    table = "\n".join(["| event | from | to | when |", "| --- | --- | --- | --- |", *rows])
    assert table in page, f"docs/architecture.md should hold this table:\n{table}"
