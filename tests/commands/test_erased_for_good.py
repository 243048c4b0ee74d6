"""Nothing of an erased person is left in the database: looked for in its file, and in every column of every table.

All comes in by the ways that it really takes: polls of Moodle, and answers of Navigatr that quote the person.
"""

import sqlite3
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from html import escape
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from sandbox import Sandbox

from .test_from_a_shell import Shell, Typed

FIRST, LAST = "Zoë", "Öz-Leewenhoek"
OLD, NEW = "zoe.oezl@example.org", "zoe.new@example.net"
# An answer names her in this wrong spelling, which nobody can scrub.
MISSPELT = "Zoëh"


def spellings() -> set[str]:
    """What nobody should find any more, in lower case."""
    name = f"{FIRST} {LAST}"
    apart = unicodedata.normalize("NFD", name)
    bare = "".join(letter for letter in apart if not unicodedata.combining(letter))
    local = OLD.partition("@")[0]
    found = {
        name, f"{LAST}, {FIRST}", apart, bare, bare.replace("-", " "), bare.replace(" ", "-"), f"{bare}'s",
        name.encode("ascii", "xmlcharrefreplace").decode(), escape(name), quote(name), OLD, NEW, quote(OLD),
        OLD.replace("@", " at "), local, "zoe.new",
        LAST, unicodedata.normalize("NFD", LAST), "Oz-Lee", "Leewenhoek", FIRST,
        unicodedata.normalize("NFD", FIRST), "Zo&#235;", "Zo%C3%AB", MISSPELT,
    }  # fmt: skip
    return {spelling.casefold() for spelling in found} | {spelling.upper().casefold() for spelling in found}


class Contents:
    """All that a database holds: of SQLite the bytes of its files, and the text of every column of every row."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell

    def text(self) -> str:
        """Everything, in lower case."""
        url = self.shell.settings.get("DATABASE_URL", "")
        parts = [*self._of_postgresql(url)] if url else [*self._of_sqlite(), *self._bytes()]
        return "\n".join(parts).casefold()

    def _bytes(self) -> Iterator[str]:
        for file in self.shell.data.glob("portal.sqlite3*"):
            yield file.read_bytes().decode("utf-8", "replace")

    def _of_sqlite(self) -> Iterator[str]:
        with closing(sqlite3.connect(self.shell.data / "portal.sqlite3")) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for (name,) in names:
                yield from map(str, connection.execute(f'SELECT * FROM "{name}"').fetchall())  # noqa: S608

    def _of_postgresql(self, url: str) -> Iterator[str]:
        with psycopg.connect(url) as connection:
            names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
            for (name,) in names:
                every_row = sql.SQL("SELECT * FROM {}").format(sql.Identifier(name))
                yield from map(str, connection.execute(every_row).fetchall())


def keep_a_person(shell: Shell) -> tuple[str, list[str]]:
    """Poll and send until much is known of a person; returns the page of their badge, and their address's digests."""
    sandbox = shell.sandbox
    courses = [sandbox.moodle.add_course(name, f"Course {name}") for name in ("A-1", "B-2")]
    shell.several(
        Typed(("migrate", "--verbosity", 0)),
        Typed(("createcachetable",)),
        Typed(("connect_navigatr", "--name", "College", "--environment", "staging", "--pat-stdin"), sandbox.pat),
        Typed(
            ("connect_moodle", "--name", "Moodle", "--url", sandbox.moodle_url, "--token-stdin"), sandbox.moodle_token
        ),
        *(
            Typed(("map_course", "--site", "Moodle", "--course", course, "--connection", "College", "--provider", 11,
                   "--badge", 111 + number))
            for number, course in enumerate(courses)
        ),
    )  # fmt: skip
    person = sandbox.moodle.add_learner(FIRST, LAST, OLD)
    for course in courses:
        sandbox.moodle.enrol(course, person)
        sandbox.moodle.set_grade(course, person, 83)
        sandbox.moodle.complete(course, person)
    sandbox.faults.plan(OLD, "422_quotes")
    shell.several(Typed(("poll",)), Typed(("issue",)))
    (assertion,) = sandbox.navigatr.assertions_for(OLD)
    sandbox.moodle.set_email(person, NEW)
    script = "from badging.models import Issuance\nfor row in Issuance.objects.all(): print(row.recipient_key)"
    _polled, keys = shell.several(Typed(("poll",)), Typed(("shell", "--no-imports", "--command", script)))
    assert len(keys.split()) == 2
    return f"/assertion/{assertion.id}", keys.split()


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The setting that names the database; a fresh one on PostgreSQL."""
    if request.param == "sqlite":
        yield {}
        return
    server: str = request.getfixturevalue("postgres_url")
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS shell WITH (FORCE)")
        connection.execute("CREATE DATABASE shell")
    yield {"DATABASE_URL": server.rpartition("/")[0] + "/shell"}


def test_an_erased_person_is_in_no_byte_of_the_database(sandbox: Sandbox, data: Path, database: dict[str, str]) -> None:
    shell = Shell(sandbox, data, **database)
    page, keys = keep_a_person(shell)
    contents = Contents(shell)
    before = contents.text()
    for known in (FIRST, LAST, NEW, MISSPELT, page, *keys):
        assert known.casefold() in before, known
    # The address that the badge was sent to finds her, though Moodle has another one by now.
    assert shell.json("learner_erase", stdin=OLD)["learners"] == 1
    after = contents.text()
    left = [wanted for wanted in (*spellings(), page, *keys) if wanted in after]
    assert left == []
    # Nor does she come back.
    shell.several(Typed(("poll",)), Typed(("issue",)))
    after = contents.text()
    assert [wanted for wanted in (*spellings(), page, *keys) if wanted in after] == []
    assert len(sandbox.navigatr.assertions_for(NEW)) == 0
    assert len(sandbox.navigatr.assertions_for(OLD)) == 1
