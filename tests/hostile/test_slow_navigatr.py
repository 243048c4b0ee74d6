"""Forty requests of one manager at a slow Navigatr, over HTTP to the real web server: they cost others nothing."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from badging.waiting import MOST_IN_ALL, MOST_PER_PERSON
from sandbox import NAVIGATR, Sandbox
from tests.conftest import SharedSandbox
from tests.launcher import running

from . import attacking

# How late Navigatr answers, in seconds. A page that had to wait for one of those that wait would take at least as long;
# one that does not is quicker than half of it, even on a machine that is busy with other tests.
SLOW = 8.0
QUICK = SLOW / 2
REQUESTS = 40

# Run in the portal's own process, because these tests have another database.
SET_UP = """
import json
from django.contrib.auth.models import User
from django.test import Client
from badging.models import CourseManager, NavigatrConnection
from moodle_sync.models import Course, MoodleSite

site = MoodleSite.objects.create(name="Moodle", url="https://moodle.example", token="x", enabled=False)
NavigatrConnection.objects.create(name="Trial", environment="staging", pat=PAT).grants.create(kind="all")
told = {}
for number, name in enumerate(["mina", "omar", *(f"manager{n}" for n in range(12))], start=1):
    user = User.objects.create_user(name)
    course = Course.objects.create(site=site, moodle_id=number, shortname=name, fullname=name)
    CourseManager.objects.create(user=user, course=course)
    told[name] = [user, course.pk]
told["root"] = [User.objects.create_superuser("root"), 0]
for name, (user, course) in told.items():
    client = Client()
    client.force_login(user)
    told[name] = [client.cookies["sessionid"].value, course]
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Answer:
    """What a page answered, and after how many seconds."""

    status: int
    seconds: float
    text: str
    retry_after: str | None


class Person:
    """Somebody who is signed in, and manages one course."""

    def __init__(self, address: str, session: str, course: int) -> None:
        self._address, self._session = address, session
        self.wizard = f"/courses/{course}/badge/"

    def get(self, path: str) -> Answer:
        """Ask for a page."""
        request = urllib.request.Request(self._address + path, headers={"Cookie": f"sessionid={self._session}"})
        started = time.monotonic()
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, body, headers = answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            status, body, headers = error.code, error.read(), error.headers
        return Answer(status, time.monotonic() - started, body.decode(), headers["Retry-After"])


@pytest.fixture
def slow(shared_sandbox: SharedSandbox) -> Sandbox:
    """A Navigatr that answers every call late."""
    sandbox = shared_sandbox.as_new()
    sandbox.faults.on("slow", side=NAVIGATR, call="all", seconds=SLOW)
    return sandbox


@pytest.fixture
def people(slow: Sandbox, own_data: Path) -> Iterator[dict[str, Person]]:
    """The portal's web server with its people, by name. Each test has its own, which keeps nothing that was said."""
    settings = {"NAVIGATR_STAGING_URL": slow.navigatr_url}
    done = running.manage(own_data, "shell", "--no-imports", "-c", f"PAT = {slow.pat!r}{SET_UP}", **settings)
    assert done.returncode == 0, done.stderr
    with attacking.web(own_data, people=False, **settings) as web:
        told = json.loads(done.stdout.strip().splitlines()[-1])
        found = {name: Person(f"http://127.0.0.1:{web.port}", *values) for name, values in told.items()}
        # The first of each page takes longer, because code and templates are loaded.
        for path in ("/courses/", "/admin/"):
            assert found["root"].get(path).status == 200
        yield found


def test_forty_requests_of_one_manager_cost_others_nothing(people: dict[str, Person], slow: Sandbox) -> None:
    mina, omar, root = people["mina"], people["omar"], people["root"]
    with ThreadPoolExecutor(REQUESTS + 1) as threads:
        hers = [threads.submit(mina.get, mina.wizard) for _number in range(REQUESTS)]
        time.sleep(0.5)
        his = threads.submit(omar.get, omar.wizard)
        meanwhile = [
            person.get(path) for _time in range(5) for person, path in ((omar, "/courses/"), (root, "/admin/"))
        ]
        assert [answer.status for answer in meanwhile] == [200] * 10
        assert max(answer.seconds for answer in meanwhile) < QUICK
        # All of this happened while Navigatr let her wait.
        assert not all(answer.done() for answer in hers)
        refused = [answer for answer in (future.result() for future in hers) if answer.status == 503]
        # Who has a place for his own page gets it.
        assert his.result().status == 200
        assert "Northgate College" in his.result().text
    assert len(refused) == REQUESTS - MOST_PER_PERSON
    for answer in refused:
        assert answer.retry_after == "5"
        assert "Other pages that you have opened still wait" in answer.text
        assert answer.seconds < SLOW
    # Her two and his one.
    assert len(slow.navigatr.ledger) == MOST_PER_PERSON + 1
    # What was said is kept now.
    assert mina.get(mina.wizard).seconds < QUICK


def test_many_managers_together_leave_half_of_the_server_to_others(people: dict[str, Person], slow: Sandbox) -> None:
    managers = [person for name, person in people.items() if name.startswith("manager")]
    with ThreadPoolExecutor(len(managers)) as threads:
        waiting = [threads.submit(person.get, person.wizard) for person in managers]
        time.sleep(0.5)
        meanwhile = [people["omar"].get("/courses/") for _time in range(5)]
        assert [answer.status for answer in meanwhile] == [200] * 5
        assert max(answer.seconds for answer in meanwhile) < QUICK
        answers = [future.result() for future in waiting]
    assert [answer.status for answer in answers].count(503) == len(managers) - MOST_IN_ALL
    assert all("slow just now" in answer.text for answer in answers if answer.status == 503)
