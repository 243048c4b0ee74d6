"""The sandbox as a whole: its page, its control calls, its state file, and `python -m sandbox`."""

import json
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import requests

from sandbox import DEMO_BADGE_ID, DEMO_COURSE, DEMO_PROVIDER_ID, Sandbox
from sandbox.moodle import AGREED_COLUMNS
from sandbox.page import COURSE_CHANGES, LEARNER_CHANGES, REPORT_CHANGES
from sandbox.server import LONGEST_HEAD

from .conftest import Portal


@pytest.fixture
def demo(sandbox: Sandbox) -> Sandbox:
    """The sandbox with the demo's courses and learners."""
    sandbox.reset(demo=True)
    return sandbox


def post(sandbox: Sandbox, path: str, **form: object) -> requests.Response:
    """Send one of the page's forms and follow where it leads."""
    return requests.post(f"{sandbox.url}{path}", data=form, timeout=10)


def control(sandbox: Sandbox, method: str, path: str, arguments: Any = None) -> Any:
    """A control call that must succeed."""
    answer = requests.request(method, f"{sandbox.url}/control/{path}", json=arguments, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


# The page


def test_the_demo_has_courses_learners_and_a_badge_with_fixed_ids(demo: Sandbox) -> None:
    assert [course.shortname for course in demo.moodle.courses.values()][0] == DEMO_COURSE
    assert len(demo.moodle.users) == 13
    assert len(demo.navigatr.badges) > 120
    badge = demo.navigatr.badges[DEMO_BADGE_ID]
    assert (badge.name, badge.provider_id) == ("Safeguarding Essentials", DEMO_PROVIDER_ID)


def test_the_page_names_addresses_tokens_and_learners(demo: Sandbox) -> None:
    page = requests.get(f"{demo.url}/", timeout=10)
    assert page.headers["Content-Type"].startswith("text/html")
    for text in (demo.moodle_url, demo.moodle_token, demo.navigatr_url, demo.pat, demo.production_pat, "Öztürk"):
        assert text in page.text


def test_a_course_is_completed_and_taken_back_by_button(demo: Sandbox) -> None:
    course, user = 2, next(number for number, user in demo.moodle.users.items() if user.firstname == "Ümit")
    page = post(demo, "/complete", course=course, user=user)
    assert page.status_code == 200
    assert "1 of 12" in page.text
    assert demo.moodle.completion(course, user)
    assert "0 of 12" in post(demo, "/uncomplete", course=course, user=user).text
    assert demo.moodle.completion(course, user) is None


def test_a_learner_is_added_by_form_with_hostile_names_shown_as_text(demo: Sandbox) -> None:
    page = post(demo, "/add-learner", firstname="<script>", lastname="x", email=" n@example.org ", course=3)
    assert "&lt;script&gt;" in page.text
    assert "<script>" not in page.text
    assert demo.moodle.ids_by_email("n@example.org")
    assert "needs an @" in post(demo, "/add-learner", firstname="a", lastname="b", email="c", course=3).text


def test_an_issued_badge_is_shown_and_revoked_by_button(demo: Sandbox) -> None:
    speaker = Portal(demo)
    assertion = speaker.issue("ümit@example.org", score=75).json()
    speaker.session.close()
    page = requests.get(f"{demo.url}/", timeout=10).text
    assert "ümit@example.org" in page
    assert "score 75 %" in page
    post(demo, "/revoke", side="navigatr", assertion=assertion["id"])
    assert demo.navigatr.assertions[assertion["id"]].status == "Revoked"


def test_faults_are_switched_on_and_off_by_form(demo: Sandbox) -> None:
    fields = {"fault": "navigatr 429", "call": "", "percent": 50, "count": 3, "seconds": "", "retry_after": 9}
    page = post(demo, "/fault-on", **fields)
    assert "issue, 50 % of them, 3 more" in page.text
    [fault] = demo.faults.listing()
    assert (fault["kind"], fault["call"], fault["probability"], fault["left"]) == ("429", "issue", 0.5, 3)
    post(demo, "/fault-off", id=fault["id"])
    assert demo.faults.listing() == []
    post(demo, "/fault-on", fault="moodle maintenance", call="", percent="", count="", seconds="", retry_after="")
    assert "No fault is on" in post(demo, "/faults-off").text


def test_learners_courses_site_and_report_are_changed_by_form(demo: Sandbox) -> None:
    course, user = next(iter(demo.moodle.courses)), 102
    for name in LEARNER_CHANGES:
        demo.reset()
        demo.moodle.complete(course, user)
        shown = post(demo, "/change-learner", course=course, user=f"{user} somebody", change=name)
        assert shown.status_code == 200
        assert "no longer exists" not in shown.text, name
    demo.reset()
    assert "not confirmed" in post(demo, "/change-learner", course=course, user=user, change="unconfirm").text
    for name in COURSE_CHANGES:
        assert 'role="alert"' not in post(demo, "/change-course", course=course, change=name).text, name
    assert course not in demo.moodle.courses
    for name in REPORT_CHANGES:
        assert 'role="alert"' not in post(demo, "/change-report", change=name).text, name
    assert demo.moodle.reports[2].columns == AGREED_COLUMNS
    site = {"force_timezone": "Australia/Sydney", "date_form": "us", "titles": "customised", "version": "5.0"}
    shown = post(demo, "/change-site", **site, filter_headings="no")
    assert 'value="Australia/Sydney"' in shown.text
    assert (demo.moodle.site.date_form, demo.moodle.site.filter_headings) == ("us", False)
    assert "no time zone Mars" in post(demo, "/change-site", **(site | {"force_timezone": "Mars"})).text
    assert post(demo, "/rebuild", people="new").status_code == 200
    assert demo.moodle.users[user].lastname == f"Person{user}"


def test_a_button_for_something_gone_explains_itself(demo: Sandbox) -> None:
    page = post(demo, "/complete", course=2, user=99_999)
    assert page.status_code == 200
    assert 'role="alert"' in page.text
    assert post(demo, "/no-such-form").status_code == 404
    assert requests.get(f"{demo.url}/nothing", timeout=10).status_code == 404


def test_the_page_of_an_empty_moodle_says_so(sandbox: Sandbox) -> None:
    assert "There are no courses" in requests.get(f"{sandbox.url}/", timeout=10).text


@pytest.mark.parametrize("header", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
def test_foreign_pages_can_neither_use_the_forms_nor_the_control_calls(demo: Sandbox, header: dict[str, str]) -> None:
    form = {"course": 2, "user": 102}
    assert requests.post(f"{demo.url}/complete", data=form, headers=header, timeout=10).status_code == 403
    assert requests.get(f"{demo.url}/control/info", headers=header, timeout=10).status_code == 403


# The control calls


def test_another_process_controls_everything_by_http(sandbox: Sandbox) -> None:
    info = control(sandbox, "GET", "info")
    assert info["pat"] == sandbox.pat
    course = control(sandbox, "POST", "moodle/add_course", {"shortname": "C", "fullname": "Course"})
    learners = control(sandbox, "POST", "moodle/add_learners", {"number": 3, "course_id": course})
    control(sandbox, "POST", "moodle/complete_many", {"course_id": course, "user_ids": learners, "grade": 70})
    assert len(sandbox.moodle.rows(2)) == 3
    badge = control(sandbox, "POST", "navigatr/add_badge", {"provider_id": 11, "name": "New", "min_score": 50})
    control(sandbox, "POST", "navigatr/set_badge", {"badge_id": badge, "status": "Draft"})
    assert sandbox.navigatr.badges[badge].status == "Draft"
    sandbox.navigatr.issue(111, 11, recipient_email="ana@example.org")
    assert len(control(sandbox, "GET", "navigatr/assertions?email=ana@example.org&badge_id=111")) == 1
    assert len(control(sandbox, "GET", "navigatr/assertions")) == 1
    assert control(sandbox, "GET", "navigatr-production/assertions?badge_id=1") == []
    assert control(sandbox, "GET", "navigatr/counts") == {"assertions": 1, "requests": 0, "puts": 0}
    assert control(sandbox, "GET", "navigatr/ledger") == control(sandbox, "GET", "moodle/ledger") == []
    assert control(sandbox, "POST", "faults", {"kind": "429"})["call"] == "issue"
    control(sandbox, "POST", "faults/plan", {"recipients": ["a@example.org"], "kind": "422"})
    assert len(control(sandbox, "GET", "faults")) == 1
    control(sandbox, "DELETE", "faults")
    assert control(sandbox, "GET", "faults") == []
    control(sandbox, "POST", "reset", {"demo": True})
    assert (len(sandbox.moodle.courses), len(sandbox.navigatr.assertions)) == (3, 0)


@pytest.mark.parametrize(
    ("method", "path", "arguments", "status"),
    [
        ("GET", "nothing", None, 404),
        ("POST", "moodle/reset", {}, 404),
        ("POST", "moodle/complete", {"course_id": 99, "user_id": 1}, 404),
        ("POST", "moodle/complete", {"colour": 1}, 400),
        ("POST", "faults", {"kind": "no such"}, 400),
        ("POST", "reset", [1], 400),
        ("GET", "navigatr/secrets", None, 404),
        ("POST", "navigatr/set_badge", {"badge_id": 111, "colour": "red"}, 404),
    ],
)
def test_a_wrong_control_call_says_why(sandbox: Sandbox, method: str, path: str, arguments: Any, status: int) -> None:
    answer = requests.request(method, f"{sandbox.url}/control/{path}", json=arguments, timeout=10)
    assert answer.status_code == status
    assert answer.json()["error"]


# HTTP


def raw(sandbox: Sandbox, data: bytes) -> bytes:
    """Send bytes, read until the server closes."""
    port = int(sandbox.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_one_connection_carries_many_requests_even_sent_at_once(sandbox: Sandbox) -> None:
    one = b"GET /control/faults HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n"
    answer = raw(sandbox, one * 2 + one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert raw(sandbox, one.replace(b"1.1", b"1.0")).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"x" * (LONGEST_HEAD + 1), 431),
    ],
)
def test_bytes_that_are_no_request_are_refused(sandbox: Sandbox, data: bytes, status: int) -> None:
    assert raw(sandbox, data).startswith(f"HTTP/1.1 {status} ".encode())


def test_the_date_header_is_the_sandboxs_own_clock(sandbox: Sandbox) -> None:
    date = requests.get(f"{sandbox.url}/", timeout=10).headers["Date"]
    assert date == "Mon, 23 Nov 2026 12:30:00 GMT"


def test_many_callers_at_once_each_get_their_badge(sandbox: Sandbox) -> None:
    def work(first: int) -> None:
        speaker = Portal(sandbox)
        statuses.extend(speaker.issue(f"l{first + n}@example.org").status_code for n in range(10))
        speaker.session.close()

    statuses: list[int] = []
    threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 160, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [201] * 160
    assert len({assertion.recipient_email for assertion in sandbox.navigatr.assertions.values()}) == 160


# The state file


def test_everything_is_back_after_a_restart(tmp_path: Path) -> None:
    file = tmp_path / "new folder" / "sandbox.json"
    with Sandbox(demo=True, state=file) as first:
        course = next(iter(first.moodle.courses))
        learner = first.moodle.add_learner("Zoë", "Öz", "zoe@example.org", course_id=course)
        first.moodle.complete(course, learner, grade=55)
        first.moodle.add_report("Another", ["Username"])
        first.navigatr.issue(DEMO_BADGE_ID, DEMO_PROVIDER_ID, recipient_email="zoe@example.org")
        then = (first.moodle.dump(), first.navigatr.dump(), first.production.dump(), first.moodle.rows(2))
    with Sandbox(demo=True, state=file) as second:
        now = (second.moodle.dump(), second.navigatr.dump(), second.production.dump(), second.moodle.rows(2))
        assert now == then
        assert second.moodle.add_learner("New", "One", "new@example.org") == learner + 1
        assert second.moodle.ids_by_email("zoe@example.org") == [learner]
        assert len(second.navigatr.assertions_for("zoe@example.org")) == 1
    assert [path.name for path in file.parent.iterdir()] == ["sandbox.json"]


def test_a_state_that_did_not_change_is_not_written_again(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.json"
    with Sandbox(state=file):
        pass
    before = file.stat().st_mtime_ns
    with Sandbox(state=file):
        pass
    assert file.stat().st_mtime_ns == before


# The command


def start(*arguments: str) -> "subprocess.Popen[str]":
    """`python -m sandbox` in a process of its own."""
    command = [sys.executable, "-m", "sandbox", *arguments]
    root = Path(__file__).parent.parent.parent
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_command_serves_the_demo_until_it_is_told_to_stop(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.json"
    with start("--port", "0", "--state", str(file), "--pat", "my-own") as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[1].rstrip("/")
        info = requests.get(f"{url}/control/info?secret=1", timeout=10).json()["result"]
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 0
    assert info["pat"] == "my-own"
    assert DEMO_COURSE in info["courses"]
    assert errors == "GET /control/info 200\n"
    assert json.loads(file.read_text(encoding="utf-8"))["moodle"]["courses"]
    assert file.stat().st_mode & 0o077 == 0


def test_a_port_in_use_is_one_line_and_exit_1(sandbox: Sandbox) -> None:
    with start("--port", sandbox.url.rpartition(":")[2]) as process:
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert "address already in use" in errors


def test_a_state_file_of_something_else_is_one_line_and_exit_1(tmp_path: Path) -> None:
    file = tmp_path / "sandbox.json"
    file.write_text('{"other": 1}', encoding="utf-8")
    with start("--port", "0", "--state", str(file)) as process:
        _, errors = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "is not a state file" in errors
    assert file.read_text(encoding="utf-8") == '{"other": 1}'
