"""Rules for the product's code that ruff does not check."""

import ast
from collections.abc import Iterator
from pathlib import Path

from django.apps import apps

from moodle_sync.plain_letters import PlainLettersField

ROOT = Path(__file__).parents[1]
ROOMS = (
    "badging",
    "benchmarks",
    "config",
    "launcher",
    "moodle_sync",
    "navigatr_client",
    "outbound_http",
    "people",
    "sandbox",
    "tools",
    "vault",
)
# Lines of a function without its docstring and decorators.
LONGEST_FUNCTION = 40


def modules() -> Iterator[tuple[str, ast.Module]]:
    """The modules with their paths, without migrations and empty files."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            module = ast.parse(path.read_text(encoding="utf-8"))
            if module.body and "migrations" not in path.parts:
                yield str(path.relative_to(ROOT)), module


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function from `def` to its end, without the docstring."""
    assert function.end_lineno is not None
    docstring = function.body[0] if ast.get_docstring(function) else None
    docstring_lines = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
    return function.end_lineno - function.lineno + 1 - docstring_lines


def test_a_function_is_measured_without_its_docstring() -> None:
    source = '@decorator\ndef f(\n    a,\n):\n    """One.\n\n    Two.\n    """\n    return a\n'
    [function] = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    assert length(function) == 4


def test_a_bulk_update_of_names_writes_their_plain_letters_as_well() -> None:
    """Django computes no `PlainLettersField` there."""
    fields = [field for model in apps.get_models() for field in model._meta.fields if type(field) is PlainLettersField]
    assert fields
    missing = set()
    for path, module in modules():
        for node in ast.walk(module):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr == "update":
                named = {keyword.arg for keyword in node.keywords}
            elif node.func.attr == "bulk_update":
                named = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
            else:
                continue
            # Erasing blanks the names together with their letters.
            missing |= {f"{path}:{node.lineno}" for field in fields if named & {*field.of} and field.name not in named}
    assert missing == set()


def test_every_module_has_a_docstring() -> None:
    assert [path for path, module in modules() if not ast.get_docstring(module)] == []


def test_no_function_is_too_long() -> None:
    too_long = {
        f"{path}:{node.name} has {length(node)} lines"
        for path, module in modules()
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > LONGEST_FUNCTION
    }
    assert too_long == set()


def test_style_sheets_close_what_they_open() -> None:
    """A merge may lose a brace, and with it every rule below."""
    sheets = [path for path in ROOT.glob("*/**/static/**/*.css") if ".venv" not in path.parts]
    assert sheets
    open_ones = {
        path.name for path in sheets if path.read_text("utf-8").count("{") != path.read_text("utf-8").count("}")
    }
    assert open_ones == set()
