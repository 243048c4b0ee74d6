"""Guessing at the real web server: other pages stay quick, and the owner still gets in."""

import http.client
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.launcher import running

from . import attacking

pytestmark = pytest.mark.slow

SECONDS = 10
# What `/courses/` may take while passwords are guessed and other tests run, in seconds. By itself this test measures
# some 0.25 s; without the bounded hashing 7 to 22 s.
NEVER_LONGER = 2.0
PASSWORD = "correct horse battery"
GUESSERS = [sys.executable, str(Path(__file__).with_name("guessers.py"))]

# A course manager with a course, and the key of a session of theirs.
PREPARE = f"""
from django.contrib.auth.models import User
from django.test import Client
from badging.models import CourseManager
from moodle_sync.models import Course, MoodleSite
user = User.objects.create_user("mina", "mina@example.org", {PASSWORD!r})
site = MoodleSite.objects.create(name="Main", url="https://moodle.example.org", enabled=False)
for number in range(20):
    course = Course.objects.create(site=site, moodle_id=number, shortname=f"C{{number}}", fullname=f"Course {{number}}")
    CourseManager.objects.create(user=user, course=course)
client = Client()
client.force_login(user)
print("session", client.cookies["sessionid"].value)
"""


@pytest.fixture
def guessed_at(own_data: Path) -> Iterator[tuple[int, str]]:
    """The port of a running web server, and the session of a course manager."""
    done = running.manage(own_data, "shell", "-c", PREPARE)
    assert done.returncode == 0, done.stderr
    session = done.stdout.rsplit("session ", 1)[1].strip()
    with attacking.web(own_data, people=False) as web:
        yield web.port, session


def p95_of_courses(port: int, session: str, seconds: float) -> float:
    """The 95th percentile of the seconds that `/courses/` takes, asked again and again."""
    took = []
    until = time.monotonic() + seconds
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    while time.monotonic() < until:
        started = time.monotonic()
        connection.request("GET", "/courses/", headers={"Cookie": f"sessionid={session}"})
        answer = connection.getresponse()
        page = answer.read().decode()
        took.append(time.monotonic() - started)
        assert (answer.status, "Course 1" in page) == (200, True)
        time.sleep(0.05)
    return sorted(took)[int(len(took) * 0.95)]


def sign_in(port: int, cookies: dict[str, str]) -> int:
    """Sign mina in from a browser with these cookies, and keep those that it gets."""

    def ask(method: str, body: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        headers |= {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        connection.request(method, "/sign-in/", body, headers)
        answer = connection.getresponse()
        for name, value in answer.getheaders():
            if name.lower() == "set-cookie":
                cookie, _separator, content = value.split(";")[0].partition("=")
                cookies[cookie] = content
        return answer.status, answer.read().decode()

    _status, page = ask("GET")
    token = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)[0]
    form = {"csrfmiddlewaretoken": token, "login": "mina", "password": PASSWORD}
    return ask("POST", urlencode(form))[0]


def test_while_32_clients_guess_pages_stay_quick_and_the_owner_gets_in(guessed_at: tuple[int, str]) -> None:
    port, session = guessed_at
    known: dict[str, str] = {}
    assert sign_in(port, known) == 302
    # Only the cookie of the known browser: it signs in anew.
    known = {"known_browser": known["known_browser"]}
    alone = p95_of_courses(port, session, 2)
    with subprocess.Popen([*GUESSERS, str(port), str(SECONDS)], stdout=subprocess.PIPE, text=True) as guessers:
        # They need a moment to start.
        time.sleep(2)
        meanwhile = p95_of_courses(port, session, SECONDS - 5)
        status_of_owner = sign_in(port, known)
        answers = json.loads(guessers.communicate(timeout=60)[0])
    print(f"/courses/ p95: {alone:.3f} s alone, {meanwhile:.3f} s while guessing; guesses by status: {answers}")
    assert status_of_owner == 302
    # Some were checked, most were refused at once, none broke anything.
    assert set(answers) <= {"200", "429", "503"}
    assert answers["200"] > 0
    assert answers["503"] > answers["200"]
    assert meanwhile < NEVER_LONGER
