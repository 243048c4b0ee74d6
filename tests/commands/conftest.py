"""A portal that is connected to the sandbox by its own commands."""

from dataclasses import dataclass

import pytest

from sandbox import Sandbox

from .calling import succeed


@dataclass(frozen=True)
class Connected:
    """A portal that is connected to the sandbox, with one course that is not mapped yet."""

    sandbox: Sandbox
    course: int

    def complete(self, number: int, *, grade: float | None = None) -> list[str]:
        """So many new learners complete the course; returns their addresses."""
        moodle = self.sandbox.moodle
        learners = moodle.add_learners(number, course_id=self.course)
        moodle.complete_many(self.course, learners, grade=grade)
        return [moodle.users[learner].email for learner in learners]

    def map(self, *more: str | int) -> int:
        """Map the course to the sandbox's first badge; returns how many issuances were queued."""
        queued: int = succeed("map_course", *MAP, "--course", self.course, *more)["queued"]
        return queued

    def badges(self, email: str) -> int:
        """How often Navigatr has issued a badge to this address."""
        return len(self.sandbox.navigatr.assertions_for(email))


CONNECT_NAVIGATR = ("--name", "College", "--environment", "staging", "--pat-stdin")
CONNECT_MOODLE = ("--name", "Moodle", "--token-stdin")
MAP = ("--site", "Moodle", "--connection", "College", "--provider", 11, "--badge", 111)


@pytest.fixture
def connected(db: None, sandbox: Sandbox) -> Connected:
    """Connected by the commands themselves."""
    course = sandbox.moodle.add_course("ÉTH-1", "Café & Éthique")
    succeed("connect_navigatr", *CONNECT_NAVIGATR, stdin=sandbox.pat)
    succeed("connect_moodle", *CONNECT_MOODLE, "--url", sandbox.moodle_url, stdin=sandbox.moodle_token)
    return Connected(sandbox, course)
