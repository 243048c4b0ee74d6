"""`manage.py portal --sandbox`, as `make demo` runs it: from a click in the sandbox to a badge in the sandbox."""

import json
import urllib.request
from pathlib import Path
from typing import Any

from launcher.welcome import wait_for_pages
from tests.services import two_free_ports, wait_until

from . import running

EMAIL = "zoe.bauer@example.org"


def control(port: int, path: str, **arguments: Any) -> Any:
    """One control call to the sandbox beside the portal on that port."""
    body = json.dumps(arguments).encode() if arguments else None
    with urllib.request.urlopen(f"http://127.0.0.1:{port + 1}/control/{path}", data=body, timeout=10) as answer:
        return json.load(answer)["result"]


def complete_the_mapped_course(port: int) -> None:
    course = control(port, "info")["courses"]["SAFE101"]
    learner = control(port, "moodle/add_learner", firstname="Zoë", lastname="Bauer", email=EMAIL)
    control(port, "moodle/complete", course_id=course, user_id=learner)


def test_the_demo_turns_a_completion_into_one_badge_and_keeps_it_and_its_sandbox_over_a_restart(data: Path) -> None:
    port = two_free_ports()
    with running.portal(data, "--port", str(port), "--sandbox") as portal:
        portal.wait_for("Ctrl-C stops everything", seconds=60)
        assert f"http://127.0.0.1:{port + 1}/" in portal.text
        complete_the_mapped_course(port)
        wait_until(lambda: control(port, f"navigatr/assertions?email={EMAIL}") != [], seconds=15, what="the badge")

        def issued() -> int:
            [(number,)] = running.rows(data, "SELECT COUNT(*) FROM badging_issuance WHERE state = 'issued'")
            return int(number)

        wait_until(lambda: issued() == 1, what="the issuance in the portal")
        assert portal.stop() == 0

    with running.portal(data, "--port", str(port), "--sandbox") as portal:
        assert wait_for_pages(port)
        portal.wait_for("Ctrl-C stops everything", seconds=60)
        assert issued() == 1
        assert len(control(port, f"navigatr/assertions?email={EMAIL}")) == 1
        assert portal.stop() == 0

    # Started for service, its connections still lead to its sandbox.
    with running.portal(data, "--port", str(port)) as portal:
        portal.wait_for("holds the demo")
    done = running.manage(data, "status", "--json")
    assert json.loads(done.stdout)["issuances"]["issued"] == 1
    code = "from django.conf import settings; print(settings.NAVIGATR_URLS['staging'])"
    done = running.manage(data, "shell", "-v", "0", "-c", code)
    assert done.stdout.strip() == f"http://127.0.0.1:{port + 1}/navigatr/v1"
