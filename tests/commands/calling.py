"""Runs a management command inside the test and keeps what it said."""

import io
import json
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from django.core.management import CommandError, call_command


@dataclass(frozen=True)
class Done:
    """A command that has ended: its exit code and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What `--json` printed: exactly one document."""
        return json.loads(self.out)


def manage(command: str, *arguments: str | int, stdin: str = "") -> Done:
    """Run one command with that standard input; a CommandError becomes its exit code and its line on stderr."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with patch("sys.stdin", io.StringIO(stdin)), redirect_stdout(out):
        try:
            call_command(command, *map(str, arguments), stdout=out, stderr=err, no_color=True)
        except CommandError as error:
            err.write(f"CommandError: {error}\n")
            code = error.returncode
    return Done(code, out.getvalue(), err.getvalue())


def succeed(command: str, *arguments: str | int, stdin: str = "") -> Any:
    """Run one command with --json that must succeed and say nothing on stderr; returns its JSON."""
    done = manage(command, *arguments, "--json", stdin=stdin)
    assert (done.code, done.err) == (0, "")
    return done.json
