"""A course manager tries to use connections, providers, badges and courses that are not open to them.

The portal runs as in service, with its web server, worker and scheduler, and every request goes over HTTP.
"""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox import Sandbox
from tests.conftest import SharedSandbox
from tests.launcher import running
from tests.services import free_port, wait_until

# Run by `manage.py shell` of the portal under test. "Ours" is open to the site of mina's course, but for provider 11
# only; "Theirs" to another site, and works just as well.
SET_UP = """
import json
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from badging.models import ConnectionGrant, CourseManager
from tests import builders

site = builders.make_site(name="North", enabled=False)
south = builders.make_site(name="South", enabled=False)
course, foreign = builders.make_course(site, fullname="First Aid"), builders.make_course(south, fullname="Secret")
busy, closed = builders.make_course(site), builders.make_course(site)
def connection(name, **fields):
    return builders.make_connection(name=name, open_to_all=False, **fields)
ours, theirs = connection("Ours", pat="{pat}"), connection("Theirs", pat="{pat}")
paused = connection("Paused", pat="{pat}", state="paused")
live = connection("Live", pat="{production_pat}", environment="production")
def open_to(connection, site, provider_id=None):
    return ConnectionGrant.objects.create(connection=connection, kind="site", site=site, provider_id=provider_id)
open_to(ours, site, 11)
open_to(theirs, south)
mina, omar = User.objects.create_user("mina"), User.objects.create_user("omar")
for row in (course, busy, closed):
    CourseManager.objects.create(user=mina, course=row)
CourseManager.objects.create(user=omar, course=foreign)
badge = {{"provider_id": 11, "badge_id": 111, "chosen_by": mina}}
sent = builders.owe(builders.make_mapping(busy, ours, **badge), person={{"email": "sent@example.org"}})
held = builders.owe(builders.make_mapping(closed, theirs, **badge), person={{"email": "held@example.org"}})
client = Client()
client.force_login(mina)
print(json.dumps({{
    "course": course.pk, "foreign": foreign.pk, "closed": closed.pk, "ours": ours.pk, "theirs": theirs.pk,
    "paused": paused.pk, "live": live.pk, "site": site.pk, "held": held.pk,
    "cookie": [settings.SESSION_COOKIE_NAME, client.cookies[settings.SESSION_COOKIE_NAME].value],
}}))
"""
OPEN = """
from django.utils import timezone
from badging import reach
from badging.models import ConnectionGrant
grant = ConnectionGrant(connection_id={theirs}, kind="site", site_id={site})
reach.open_connection(grant, actor=None, now=timezone.now())
"""
MAPPINGS = "SELECT course_id, connection_id, provider_id, badge_id FROM badging_coursebadgemapping ORDER BY course_id"


@dataclass
class Attacked:
    """A running portal, and the browser of a manager of one course."""

    data: Path
    address: str
    ids: dict[str, Any]
    browser: requests.Session
    settings: dict[str, str]

    def run(self, code: str) -> str:
        """Run this in the portal's own shell; returns what it printed."""
        done = running.manage(self.data, "shell", "--no-imports", "-c", code, **self.settings)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def mappings(self) -> list[list[int]]:
        """Course, connection, provider and badge of every mapping."""
        return [list(row) for row in running.rows(self.data, MAPPINGS)]

    def save(self, course: int, *query: tuple[str, object], **body: object) -> requests.Response:
        """Post the last step's form, with a valid CSRF token."""
        token = re.search(
            r'name="csrfmiddlewaretoken" value="(\w+)"', self.get("/courses/%d/badge/review/", query=self.own)
        )
        assert token is not None
        data = {"who": "past", "csrfmiddlewaretoken": token[1], **body}
        url = f"{self.address}/courses/{course}/badge/review/"
        return self.browser.post(url, params=list(query), data=data, timeout=30, allow_redirects=False)

    @property
    def own(self) -> list[tuple[str, object]]:
        """The choice that is open to the manager."""
        return [("connection", self.ids["ours"]), ("provider", 11), ("badge", 111)]

    def get(self, path: str, *, query: Any = ()) -> str:
        """The text of a page of the manager's course."""
        answer = self.browser.get(self.address + path % self.ids["course"], params=query, timeout=30)
        assert answer.status_code == 200
        return answer.text


@pytest.fixture(scope="module")
def attacked(
    prepared: Path, tmp_path_factory: pytest.TempPathFactory, shared_sandbox: SharedSandbox
) -> Iterator[Attacked]:
    """One portal for both tests, which look at different courses."""
    sandbox, port = shared_sandbox.as_new(), free_port()
    data = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("attacked") / "var"))
    settings = {"NAVIGATR_STAGING_URL": sandbox.navigatr_url, "NAVIGATR_PRODUCTION_URL": sandbox.production_url}
    with running.portal(data, "--port", str(port), **settings) as portal:
        portal.wait_for("Ctrl-C stops everything", seconds=120)
        here = Attacked(data, f"http://127.0.0.1:{port}", {}, requests.Session(), settings)
        here.ids = json.loads(here.run(SET_UP.format(pat=sandbox.pat, production_pat=sandbox.production_pat)))
        name, value = here.ids["cookie"]
        here.browser.cookies.set(name, value)
        yield here


def test_a_manager_reaches_no_connection_provider_badge_or_course_of_others(
    attacked: Attacked, shared_sandbox: SharedSandbox
) -> None:
    sandbox = shared_sandbox.running
    ids, before = attacked.ids, attacked.mappings()
    offered = attacked.get("/courses/%d/badge/")
    assert "Ours" in offered
    assert not re.search("Theirs|Paused|Live|Südstadt", offered)
    course = ids["course"]
    closed, provider = "This Navigatr connection is not open to this course", "This provider is not open to this course"
    attempts: list[tuple[int, list[tuple[str, object]], int, str]] = [
        (course, [("connection", ids["theirs"]), ("provider", 11), ("badge", 111)], 200, closed),
        (course, [("connection", ids["paused"]), ("provider", 11), ("badge", 111)], 200, closed),
        (course, [("connection", ids["live"]), ("provider", 7011), ("badge", 7111)], 200, closed),
        (course, [("connection", ids["ours"]), ("provider", 12), ("badge", 111)], 200, provider),
        (course, [("connection", ids["ours"]), ("provider", 13), ("badge", 111)], 200, provider),
        # Both are sent: what is checked is what is used.
        (course, [*attacked.own, ("connection", ids["theirs"])], 200, closed),
        (course, [*attacked.own, ("provider", 12)], 200, provider),
        # A badge of the other provider, and one that does not exist.
        (
            course,
            [("connection", ids["ours"]), ("provider", 11), ("badge", other_badge(sandbox))],
            200,
            "does not belong",
        ),
        (course, [*attacked.own, ("badge", 10**12)], 200, "no badge with the number"),
        (course, [("connection", 10**9), ("provider", 11), ("badge", 111)], 404, ""),
        (ids["foreign"], attacked.own, 404, ""),
        (ids["foreign"], [("connection", ids["theirs"]), ("provider", 11), ("badge", 111)], 404, ""),
        (10**9, attacked.own, 404, ""),
        # No numbers: back to the first step.
        (course, [("connection", "-1"), ("provider", 11), ("badge", 111)], 302, ""),
        (course, [("connection", "1 OR 1=1"), ("provider", "²"), ("badge", "9" * 40)], 302, ""),
        (course, [], 302, ""),
    ]
    for number, query, status, says in attempts:
        answer = attacked.save(number, *query)
        assert (answer.status_code, says in answer.text) == (status, True), (
            query,
            answer.status_code,
            answer.text[:900],
        )
        assert "Theirs" not in answer.text
    assert attacked.mappings() == before
    # What a forged body names is not asked for: only the checked address counts.
    forged = {"connection": ids["theirs"], "provider": 12, "by_admin": "on", "past_release": "free"}
    assert attacked.save(course, *attacked.own, **forged).status_code == 302
    assert [course, ids["ours"], 11, 111] in attacked.mappings()
    assert "wait until the portal has counted them" in attacked.get("/courses/%d/")


def test_the_running_worker_sends_nothing_with_a_closed_connection_until_it_is_opened(
    attacked: Attacked, shared_sandbox: SharedSandbox
) -> None:
    sandbox = shared_sandbox.running
    wait_until(lambda: sandbox.navigatr.assertions_for("sent@example.org"), seconds=60, what="the open course's badge")
    # Both were due from the same second on, and the sweep has come by.
    assert not sandbox.navigatr.assertions_for("held@example.org")
    page = attacked.browser.get(f"{attacked.address}/courses/{attacked.ids['closed']}/", timeout=30).text
    assert "is not open to this course any more" in page
    attacked.run(OPEN.format(**attacked.ids))
    wait_until(lambda: sandbox.navigatr.assertions_for("held@example.org"), seconds=60, what="the held badge")


def other_badge(sandbox: Sandbox) -> int:
    """A badge that can be issued, of the provider that is not open."""
    return next(
        badge.id
        for badge in sandbox.navigatr.badges.values()
        if (badge.provider_id, badge.status, badge.source) == (12, "Published", "Internal")
    )
