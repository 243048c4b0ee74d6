"""Files, folders, names and commands that the documentation names exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import get_commands

ROOT = Path(__file__).parents[2]
PAPERS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs" / "decisions").glob("*.md")]
OURS = ("badging", "launcher", "moodle_sync", "people", "vault")
# Folders beside the tracked ones, which come and go.
UNTRACKED = {"var", "node_modules", "htmlcov", "_build", "__pycache__"}
SUFFIXES = (".css", ".html", ".ini", ".js", ".json", ".md", ".py", ".sh", ".svg", ".toml", ".txt", ".yaml", ".yml")
QUOTED = re.compile(r"`([^`\n]+)`")
# `name` in `file.py`, also with several names before it; and `file.py:name`.
NAME_IN_FILE = re.compile(r"((?:`\w[\w.]*`(?:, | or | and ))*`\w[\w.]*`)\s+in\s+`([\w./-]+\.py)`")
FILE_AND_NAME = re.compile(r"`([\w./-]+\.py):(\w+)`")


def tracked(folder: Path = ROOT) -> Iterator[Path]:
    """The files of the repository, without what is built or installed."""
    for path in sorted(folder.iterdir()):
        if path.name in UNTRACKED or (path.name.startswith(".") and path.name not in (".ci", ".env.example")):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from tracked(path)
        elif path.is_file():
            yield path


FILES = list(tracked())
TOP_LEVEL = {path.relative_to(ROOT).parts[0] for path in FILES}
FILE_NAMES = {path.name for path in FILES}


def is_dead(quoted: str) -> bool:
    """Whether the text in code quotes names a file or folder of the repository that does not exist.

    A path begins with a folder at the top. A bare file name may be anywhere, because its folder is named nearby.
    """
    path = quoted.partition(":")[0] if ".py:" in quoted else quoted
    first, slash, _rest = path.partition("/")
    if not re.fullmatch(r"[\w./-]+", path) or path.startswith("/"):
        return False
    if not slash:
        return path.endswith(".py") and path not in FILE_NAMES
    if first in TOP_LEVEL:
        return path != "docs/_build/html" and not (ROOT / path).exists()
    return path.endswith(SUFFIXES)


def defines(file: Path, name: str) -> bool:
    """Whether a name, or the last part of a dotted one, is defined in a Python file, at any depth."""
    last = re.escape(name.rpartition(".")[2])
    pattern = rf"^\s*(?:def|class) {last}\b|^\s*{last}\s*(?::[^=\n]+)?=(?!=)"
    return re.search(pattern, file.read_text(encoding="utf-8"), re.MULTILINE) is not None


def dead_names(text: str) -> list[str]:
    """What a text says to be in a Python file, and is not."""
    named = [(file, name) for names, file in NAME_IN_FILE.findall(text) for name in QUOTED.findall(names)]
    named += FILE_AND_NAME.findall(text)
    return [f"{name} in {file}" for file, name in named if not _is_defined(file, name)]


def _is_defined(file: str, name: str) -> bool:
    files = [ROOT / file] if "/" in file else [path for path in FILES if path.name == file]
    return any(path.is_file() and defines(path, name) for path in files)


@pytest.mark.parametrize(
    ("quoted", "dead"),
    [
        ("badging/mapping.py", False),
        ("badging/sending/", False),
        ("mapping.py", False),
        ("moodle/site:viewfullnames", False),
        ("var/", False),
        ("make run", False),
        ("badging/no_such_file.py", True),
        ("badging/no_such_folder/", True),
        ("sending/lookup.py", True),
        ("no_such_file.py", True),
        ("badging/no_such_file.py:claim", True),
    ],
)
def test_a_path_is_looked_for(quoted: str, dead: bool) -> None:
    assert is_dead(quoted) is dead


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("`claim` in `badging/sending/claiming.py`", []),
        ("`Event` and `TABLE` in\n  `badging/transitions.py`", []),
        ("`Issuance.state` in `badging/models.py`", []),
        ("`badging/mapping.py:save_mapping`", []),
        ("`claim` and `nonsense` in `badging/sending/claiming.py`", ["nonsense in badging/sending/claiming.py"]),
        ("`badging/mapping.py:nonsense`", ["nonsense in badging/mapping.py"]),
    ],
)
def test_a_name_is_looked_for(text: str, dead: list[str]) -> None:
    assert dead_names(text) == dead


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: str(paper.relative_to(ROOT)))
def test_files_folders_and_names_that_the_documentation_names_exist(paper: Path) -> None:
    text = paper.read_text(encoding="utf-8")
    assert [quoted for quoted in QUOTED.findall(text) if is_dead(quoted)] == []
    assert dead_names(text) == []


def test_the_table_of_commands_names_each_command() -> None:
    ours = {name for name, app in get_commands().items() if app.partition(".")[0] in OURS}
    table = re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "commands.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert ours
    assert sorted(table) == sorted(ours)
