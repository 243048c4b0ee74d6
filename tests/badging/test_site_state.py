"""How a Moodle site is doing, in a sentence."""

from datetime import timedelta
from typing import Any

import pytest

from badging import site_state
from badging.models import Issuance
from tests.builders import NOW, make_course, make_issuance, make_mapping, make_site

pytestmark = pytest.mark.django_db

SECOND = timedelta(seconds=1)
READ = {"last_poll_at": NOW - 12 * SECOND, "next_poll_at": NOW + 18 * SECOND}


@pytest.mark.parametrize(
    ("fields", "tone", "text", "todo"),
    [
        ({"feed": "A", **READ}, "good", "Read 12 s ago by the report; next in 18 s.", ""),
        ({"feed": "B", **READ}, "waiting", "Read 12 s ago, learner by learner (slower); next in 18 s.", "report"),
        ({"feed": "A", **READ, "error": "Mind this."}, "waiting", "Read 12 s ago by the report", "Mind this."),
        (
            {"feed": "A", **READ, "failures": 3, "error": "Create a new token.", "trouble": "token"},
            "bad", "Moodle refused the token. Next try: in 18 s.", "Create a new token.",
        ),
        ({"feed": "A", **READ, "doubt": "Is it the same?"}, "bad", "it may be another Moodle", "Is it the same?"),
        ({"feed": "A", **READ, "enabled": False}, "waiting", "it is switched off", "Tick “enabled”"),
        ({"feed": "A", **READ, "next_poll_at": NOW - 600 * SECOND}, "bad", "nobody polls", "worker"),
        ({"feed": "A", **READ, "polling_until": NOW + SECOND}, "good", "Being read now.", ""),
        ({}, "waiting", "Not read yet. Next try: now.", ""),
    ],
)  # fmt: skip
def test_a_site_says_how_it_is_doing(fields: dict[str, Any], tone: str, text: str, todo: str) -> None:
    found = site_state.state_of_site(make_site(**fields), NOW)
    assert found.tone == tone
    assert text in found.text
    assert todo in found.todo


def test_courses_and_what_waits_are_counted_for_the_site_alone() -> None:
    site = make_site()
    mapping = make_mapping(make_course(site))
    make_issuance(mapping)
    make_issuance(make_mapping(), state=Issuance.State.QUEUED)
    make_course(site)
    make_course(site, gone_at=NOW)
    assert site_state.count_courses(site) == site_state.CourseCounts(mapped=1, unmapped=1, gone=1)
    assert site_state.badges_waiting(site) == 1
