"""Where Moodle sites may be, and what the check tells of machines that are none."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import pytest
from django.utils import timezone

from badging import sites
from badging.admin.sites import SiteForm
from moodle_sync.client.inspection import NO_MOODLE
from moodle_sync.models import MoodleSite
from moodle_sync.site_check import finding_text, moodle_client_for, site_address
from sandbox import Sandbox
from tests.builders import make_course, make_site
from tests.commands.calling import manage
from tests.outbound_http.wire import Answer, floods, replies, says_nothing, sends_and_hangs_up, wire

from .recordings import recording

pytestmark = pytest.mark.django_db

METADATA = ["http://169.254.169.254", "http://[fe80::1]", "http://[fd00:ec2::254]", "http://100.100.100.200",
            "http://[::ffff:169.254.169.254]", "http://0.0.0.0", "http://224.0.0.1", "http://2852039166",
            "http://0xA9FEA9FE", "http://169.254.43518"]  # fmt: skip


def form_errors(url: str) -> str:
    form = SiteForm({"name": "Main", "url": url, "new_token": "t", "poll_interval": "60", "busy_interval": "5"})
    return str(form.errors.get("url", ""))


@pytest.mark.parametrize("url", METADATA)
def test_link_local_and_metadata_addresses_are_refused_whatever_the_setting(settings: Any, url: str) -> None:
    for hosts in ([], ["0.0.0.0/0", "::/0"]):
        settings.MOODLE_HOSTS = hosts
        with pytest.raises(ValueError, match="may not connect"):
            site_address(url)
    assert form_errors(url)
    done = manage("connect_moodle", "--name", "Main", "--url", url, "--token-stdin", stdin="token")
    assert (done.code, MoodleSite.objects.count()) == (1, 0)


def test_the_setting_limits_hosts_at_the_form_and_when_connecting(settings: Any, sandbox: Sandbox) -> None:
    site = make_site(url=sandbox.moodle_url, token=sandbox.moodle_token)
    assert moodle_client_for(site).site_info()
    settings.MOODLE_HOSTS = ["*.example.org", "10.1.0.0/16"]
    assert "may not connect" in form_errors("http://127.0.0.1:8001")
    assert form_errors("https://moodle.example.org") == ""
    # Which network it is in is known when its name is resolved.
    assert form_errors("https://moodle.test") == ""
    asked = sandbox.moodle.count()
    check = sites.save_when_readable(site, actor=None, now=timezone.now())
    assert not check.saved
    assert sandbox.moodle.count() == asked
    settings.MOODLE_HOSTS = ["127.0.0.0/8"]
    assert moodle_client_for(site).site_info()


@contextmanager
def nothing_listening() -> Iterator[str]:
    with wire(says_nothing) as server:
        url = f"http://127.0.0.1:{server.port}"
    yield url


@contextmanager
def listening(answer: Answer, scheme: str = "http") -> Iterator[str]:
    with wire(answer) as server:
        yield f"{scheme}://127.0.0.1:{server.port}"


@contextmanager
def only(url: str) -> Iterator[str]:
    yield url


HTML = b"<!DOCTYPE html><html><title>Printer</title></html>"
NO_MOODLES = {
    "closed port": nothing_listening,
    "time-out": lambda: listening(says_nothing),
    "no HTTP": lambda: listening(sends_and_hangs_up(b"SSH-2.0-OpenSSH_9\r\n")),
    "HTTP where HTTPS was entered": lambda: listening(replies(b"{}"), "https"),
    "headers without end": lambda: listening(floods(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n")),
    "a page": lambda: listening(sends_and_hangs_up(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + HTML)),
    "other JSON": lambda: listening(replies(b'{"status": "green"}')),
    "an empty list": lambda: listening(replies(b"[]")),
    "moved": lambda: listening(replies(b"", status="302 Found", headers="Location: /login\r\n")),
    "not found": lambda: listening(replies(b"", status="404 Not Found")),
    "password": lambda: listening(replies(b"", status="401 Unauthorized")),
    "forbidden": lambda: listening(replies(b"", status="403 Forbidden")),
    "broken": lambda: listening(replies(b"", status="503 Service Unavailable")),
    "unknown name": lambda: only("https://no-such-host.invalid"),
}


@pytest.mark.parametrize("machine", NO_MOODLES.values(), ids=NO_MOODLES.keys())
def test_the_check_says_the_same_of_every_machine_that_is_no_moodle(
    machine: Any, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MOODLE_TIMEOUT = 1
    with machine() as url:
        site = MoodleSite(name="Main", url=url, token="secret-token")
        check = sites.save_when_readable(site, actor=None, now=timezone.now())
    assert not check.saved
    assert [finding_text(finding) for finding in check.findings] == [NO_MOODLE]
    # The operator can tell them apart.
    (line,) = caplog.messages
    assert url.partition("://")[2] in line
    assert "secret-token" not in line


def test_an_address_that_a_name_may_not_lead_to_looks_like_any_other_failure(settings: Any, sandbox: Sandbox) -> None:
    settings.MOODLE_HOSTS = ["10.0.0.0/8"]
    site = MoodleSite(name="Main", url=sandbox.moodle_url.replace("127.0.0.1", "localhost"), token="t")
    check = sites.save_when_readable(site, actor=None, now=timezone.now())
    assert [finding_text(finding) for finding in check.findings] == [NO_MOODLE]


@pytest.mark.parametrize(
    "siteurl",
    ["javascript:alert(1)//", "data:text/html,x", "//evil.example", "https://me:word@moodle.example", "",
     "https://moodle.example/\t", "https://moodle.example/" + "x" * 500],
)  # fmt: skip
def test_a_moodle_whose_own_address_is_no_web_address_is_not_connected(siteurl: str) -> None:
    info = deepcopy(recording("site_info")["response"]) | {"siteurl": siteurl}
    with wire(replies(json.dumps(info).encode())) as server:
        site = MoodleSite(name="Main", url=f"http://127.0.0.1:{server.port}", token="t")
        check = sites.save_when_readable(site, actor=None, now=timezone.now())
    assert not check.saved
    assert not MoodleSite.objects.exists()


@pytest.mark.parametrize(
    ("wwwroot", "home"),
    [
        ("https://www.moodle.example", "https://www.moodle.example"),
        ("", "https://moodle.example"),
        ("javascript:alert(1)//", "https://moodle.example"),
        ("https://me:word@moodle.example", "https://moodle.example"),
    ],
)
def test_links_to_courses_begin_with_a_web_address(wwwroot: str, home: str) -> None:
    course = make_course(make_site(url="https://moodle.example", wwwroot=wwwroot))
    assert course.url == f"{home}/course/view.php?id={course.moodle_id}"
