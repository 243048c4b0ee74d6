"""The documentation builds, its links lead somewhere, and it tells of every setting, function and cited section."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from moodle_sync.client import functions
from moodle_sync.client.errors import ERRORCODES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
LARGEST_PICTURE = 80 * 1024
# A link or picture in Markdown that does not lead to another host.
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
# How code cites a page, and perhaps its sections: docs/moodle-api.md, "Errors" and "Batches".
CITED = re.compile(r'\b(docs/[\w/-]+\.md)((?:(?:,| and) "[^"]+")*)')


def headings(page: Path) -> set[str]:
    """The headings of a Markdown page."""
    return set(re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE))


def anchor(heading: str) -> str:
    """How the forges, and MyST, name a heading in a link."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build the site as `make docs` does."""
    options = ["--nitpicky", "--fail-on-warning", "--keep-going", "--quiet"]
    command = [sys.executable, "-m", "sphinx", *options, str(source), str(target)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    done = build(DOCS, tmp_path / "html")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "html" / "index.html").is_file()


def test_dead_links_fail(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    (source / "conf.py").write_text('extensions = ["myst_parser"]\nmyst_heading_anchors = 3\n')
    (source / "index.md").write_text("# A page\n\n[1](no-page.md) [2](index.md#no-heading) ![3](no-picture.png)\n")
    done = build(source, tmp_path / "html")
    assert done.returncode != 0
    assert [name for name in ("no-page", "no-heading", "no-picture") if name not in done.stderr] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_of_the_top_level_papers_lead_somewhere(name: str) -> None:
    for target, section in LINK.findall((ROOT / name).read_text(encoding="utf-8")):
        path = ROOT / (target or name)
        assert path.is_file(), f"{name}: {target}"
        assert not section or section in map(anchor, headings(path)), f"{name}: {target}#{section}"


def dead_citations(text: str) -> list[str]:
    """The citations in a source text of pages or sections that do not exist."""
    # A citation may go on in the next line of a comment.
    in_one_line = re.sub(r"\s*\n\s*(?:# ?)?", " ", text)
    return [
        page + sections
        for page, sections in CITED.findall(in_one_line)
        if not (ROOT / page).is_file() or not set(re.findall('"([^"]+)"', sections)) <= headings(ROOT / page)
    ]


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ('# See docs/moodle-api.md, "Errors" and "Grades".', False),
        ('# See docs/moodle-api.md,\n    # "Calling a\n    # function".', False),
        ('# See docs/moodle-api.md, "Errors" and "Nonsense".', True),
        ("# See docs/no-such-page.md.", True),
    ],
)
def test_a_citation_is_looked_up(text: str, dead: bool) -> None:
    assert bool(dead_citations(text)) is dead


def test_pages_and_sections_that_code_cites_exist() -> None:
    folders = [path for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith((".", "var"))]
    files = [file for folder in folders for file in folder.rglob("*") if file.suffix in (".py", ".html")]
    sources = [file for file in files if file != Path(__file__) and DOCS / "_build" not in file.parents]
    assert sources
    dead = {str(file.relative_to(ROOT)): dead_citations(file.read_text(encoding="utf-8")) for file in sources}
    assert {name: citations for name, citations in dead.items() if citations} == {}


def test_every_setting_is_told() -> None:
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    told = (DOCS / "operators.md").read_text(encoding="utf-8")
    settings = re.findall(r"^# ([A-Z_]+)=", example, re.MULTILINE)
    assert settings
    assert [name for name in settings if f"`{name}`" not in told] == []


def test_every_moodle_function_is_told() -> None:
    told = (DOCS / "moodle-setup.md").read_text(encoding="utf-8")
    names = {functions.SITE_INFO, *(need.function for need in functions.NEEDS)}
    assert names
    assert {name for name in names if f"`{name}`" not in told} == set()


def test_every_error_code_of_moodle_is_told() -> None:
    told = (DOCS / "moodle-api.md").read_text(encoding="utf-8")
    assert {code for code in ERRORCODES if f"`{code}`" not in told} == set()


def test_pictures_are_small_and_used() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md"))
    pictures = list((DOCS / "pictures").iterdir())
    assert pictures
    for picture in pictures:
        assert f"pictures/{picture.name}" in pages
        assert picture.stat().st_size <= LARGEST_PICTURE, picture.name
