"""The commands as a person types them, in processes of their own: with and without workers."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandbox import Sandbox
from tests.launcher import running
from tests.services import free_port, wait_until

# Runs commands one after the other: each would take a second of a processor only to start.
SEVERAL = """
import io, json, sys
from contextlib import redirect_stdout
from django.core.management import call_command
said = []
for name, arguments, typed in json.load(sys.stdin):
    sys.stdin, out = io.StringIO(typed), io.StringIO()
    with redirect_stdout(out):
        call_command(name, *arguments)
    said.append(out.getvalue())
json.dump(said, sys.stdout)
"""


@dataclass(frozen=True)
class Typed:
    """A command with its arguments and its standard input."""

    arguments: tuple[str | int, ...]
    stdin: str = ""


class Shell:
    """A shell whose environment names a portal's data folder, database, broker and Navigatr."""

    def __init__(self, sandbox: Sandbox, data: Path, **settings: str) -> None:
        self.sandbox = sandbox
        self.data = data
        self.settings = {"NAVIGATR_STAGING_URL": sandbox.navigatr_url, **settings}

    def run(self, *arguments: str | int, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run one command; its output never holds a token."""
        done = subprocess.run(
            [sys.executable, "manage.py", *map(str, arguments)],
            cwd=running.ROOT,
            env=running.environment(self.data, **self.settings),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        for secret in (self.sandbox.pat, self.sandbox.moodle_token):
            assert secret not in done.stdout + done.stderr
        return done

    def json(self, *arguments: str | int, stdin: str = "") -> Any:
        """Run one command that must succeed."""
        done = self.run(*arguments, "--json", stdin=stdin)
        assert (done.returncode, done.stderr) == (0, "")
        return json.loads(done.stdout)

    def several(self, *commands: Typed) -> list[str]:
        """Run commands that must succeed in one process; returns what each of them said."""
        typed = [(command.arguments[0], [*map(str, command.arguments[1:])], command.stdin) for command in commands]
        done = self.run("shell", "--no-imports", "-c", SEVERAL, stdin=json.dumps(typed))
        assert (done.returncode, done.stderr) == (0, "")
        said: list[str] = json.loads(done.stdout)
        return said

    def connect(self) -> int:
        """Connect and map a course; returns the course's id."""
        course = self.sandbox.moodle.add_course("ÉTH-1", "Café & Éthique")
        navigatr = ("--name", "College", "--environment", "staging", "--pat-stdin")
        assert self.json("connect_navigatr", *navigatr, stdin=self.sandbox.pat)["ok"]
        moodle = ("--name", "Moodle", "--url", self.sandbox.moodle_url, "--token-stdin", "--poll-seconds", "1")
        assert self.json("connect_moodle", *moodle, stdin=self.sandbox.moodle_token)["strategy"] == "A"
        badge = ("--connection", "College", "--provider", 11, "--badge", 111)
        assert self.json("map_course", "--site", "Moodle", "--course", "ÉTH-1", *badge)["queued"] == 0
        return course

    def complete(self, course: int, number: int) -> list[str]:
        """So many new learners complete the course; returns their addresses."""
        moodle = self.sandbox.moodle
        learners = moodle.add_learners(number, course_id=course)
        moodle.complete_many(course, learners)
        return [moodle.users[learner].email for learner in learners]

    def badges(self, emails: list[str]) -> list[int]:
        """How often each has got a badge."""
        return [len(self.sandbox.navigatr.assertions_for(email)) for email in emails]


def test_without_a_worker_and_beside_one(sandbox: Sandbox, data: Path, valkey_url: str) -> None:
    """On SQLite, which all processes share; tests/chaos has several on PostgreSQL."""
    shell = Shell(sandbox, data, CELERY_BROKER_URL="redis://127.0.0.1:1/0")
    course = shell.connect()
    emails = shell.complete(course, 5)
    assert shell.json("poll")["sites"][0]["queued"] == 5
    assert shell.json("issue")["issued"] == 5
    assert shell.badges(emails) == [1] * 5

    shell.settings["CELERY_BROKER_URL"] = valkey_url
    with running.portal(shell.data, "--port", str(free_port()), **shell.settings) as portal:
        portal.wait_for("Ctrl-C stops everything", seconds=60)
        # By hand and by the worker at the same time: nobody is left out, and nobody gets two.
        emails += shell.complete(course, 20)
        shell.json("poll")
        shell.json("issue")
        wait_until(lambda: shell.badges(emails) == [1] * 25, what="the badges")
        # And by the worker alone.
        emails += shell.complete(course, 3)
        wait_until(lambda: shell.badges(emails) == [1] * 28, what="the worker's badges")
        assert portal.stop() == 0
    assert shell.json("status")["issuances"]["issued"] == 28
    assert len(sandbox.navigatr.puts) == 28


def test_a_portal_that_is_not_set_up_is_one_line(sandbox: Sandbox, tmp_path: Path) -> None:
    done = Shell(sandbox, tmp_path / "nothing here").run("status")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "make setup" in line


def test_an_option_that_is_missing_is_told(sandbox: Sandbox, tmp_path: Path) -> None:
    done = Shell(sandbox, tmp_path).run("map_course", "--site", "Moodle")
    assert done.returncode == 2
    assert "the following arguments are required: --course" in done.stderr
