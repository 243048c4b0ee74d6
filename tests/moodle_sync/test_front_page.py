"""Addresses as people type them: understood, or told as what they are, in a moment and over real sockets."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from badging import sites
from moodle_sync.client.front_page import typed_address
from moodle_sync.client.inspection import NO_MOODLE
from moodle_sync.models import MoodleSite
from moodle_sync.site_check import finding_text, typed_site
from sandbox import MOODLE, Sandbox
from tests.outbound_http.wire import (
    Answer,
    certificate_file,
    drips,
    floods,
    replies,
    says_nothing,
    sends_and_hangs_up,
    tls_wire,
    wire,
)

pytestmark = pytest.mark.django_db

# What Moodle answers to a call without a token.
NO_TOKEN = b'{"exception":"core\\\\exception\\\\moodle_exception","errorcode":"invalidtoken","message":"Invalid token"}'
HTML = b"<!DOCTYPE html><html><title>Printer</title></html>"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
SECRET = "typed-token"


@pytest.fixture(autouse=True)
def _named_hosts(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator names this machine, so what answers there may be told. Nothing takes longer than a second."""
    settings.MOODLE_HOSTS = ["127.0.0.1", "localhost", "*.invalid", "10.9.0.0/16"]
    settings.MOODLE_TIMEOUT = 1
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)


def tried(text: str, token: str = SECRET) -> tuple[sites.SiteCheck, str]:
    """The result of a test of this address, and what it says is wrong. It must be quick and save nothing."""
    site = MoodleSite(name="Main", url="", token=token)
    started = time.monotonic()
    check = sites.try_typed(site, typed_site(text), now=timezone.now())
    assert time.monotonic() - started < 2.5
    assert not check.saved
    assert not MoodleSite.objects.exists()
    return check, " ".join(finding_text(finding) for finding in check.findings if not finding["ok"])


@pytest.mark.parametrize(
    "typed",
    [
        "{url}", "{url}/", " {url}/my/ ", "{bare}", "{bare}/course/view.php?id=2#section-1", "<{url}/login/index.php>",
        "{url}/mod/quiz/view.php?id=3&forceview=1", "{host}", "{host}/", "http:{url_tail}",
        "{url}/webservice/rest/server.php",
    ],
)  # fmt: skip
def test_any_page_of_the_moodle_is_understood(sandbox: Sandbox, typed: str) -> None:
    """The sandbox's Moodle is in the folder /moodle, and speaks http on loopback."""
    sandbox.reset(demo=True)
    bare = sandbox.moodle_url.removeprefix("http://")
    names = {"url": sandbox.moodle_url, "bare": bare, "host": bare.partition("/")[0], "url_tail": f"//{bare}"}
    check, _wrong = tried(typed.format(**names), sandbox.moodle_token)
    assert (check.readable, check.url, check.feed) == (True, sandbox.moodle_url, "A")


@pytest.mark.parametrize("kind", ["slow", "drip_body"])
def test_a_moodle_that_becomes_slow_is_given_up_within_one_deadline_for_all_calls(sandbox: Sandbox, kind: str) -> None:
    sandbox.reset(demo=True)
    sandbox.faults.on(kind, side=MOODLE, call="core_reportbuilder_list_reports", seconds=3)
    check, wrong = tried(sandbox.moodle_url, sandbox.moodle_token)
    assert not check.readable
    assert "answers too slowly for a page to wait for it" in wrong


def test_http_for_https_and_no_scheme_become_https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = certificate_file(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    with tls_wire(replies(NO_TOKEN), file) as server:
        for typed in ("127.0.0.1:{}", "https://127.0.0.1:{}/my/"):
            check, wrong = tried(typed.format(server.port))
            assert check.url == f"https://127.0.0.1:{server.port}"
            assert "Moodle does not know this token" in wrong
    assert typed_address("http://moodle.example.org/my/").urls[0] == "https://moodle.example.org"
    assert typed_address("http://moodle.example.org:8080").urls[0] == "http://moodle.example.org:8080"


@contextmanager
def nothing(answer: Answer = says_nothing) -> Iterator[str]:
    with wire(answer) as server:
        address = f"http://127.0.0.1:{server.port}"
    yield address


@contextmanager
def plain(answer: Answer, scheme: str = "http") -> Iterator[str]:
    with wire(answer) as server:
        yield f"{scheme}://127.0.0.1:{server.port}"


@contextmanager
def no_tls() -> Iterator[str]:
    with wire(sends_and_hangs_up(b"HTTP/1.1 400 Bad Request\r\n\r\n"), read_first=False) as server:
        yield f"https://127.0.0.1:{server.port}"


def moved(to: str) -> Answer:
    return replies(b"", status="301 Moved Permanently", headers=f"Location: {to}\r\n")


WRONG: dict[str, tuple[Any, str]] = {
    "closed port": (nothing, "Nothing answers at 127.0.0.1:"),
    "silence": (lambda: plain(says_nothing), "does not answer in time"),
    "dripping headers": (lambda: plain(drips(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n")), "does not answer in time"),
    "dripping body": (lambda: plain(drips(HEAD + b"Content-Length: 90000\r\n\r\n")), "does not answer in time"),
    "no TLS": (no_tls, "does not speak https there"),
    "a page": (lambda: plain(sends_and_hangs_up(HEAD + b"\r\n" + HTML)), "no Moodle was found there"),
    "other JSON": (lambda: plain(replies(b'{"status": "green"}')), "no Moodle was found there"),
    "not found": (lambda: plain(replies(b"", status="404 Not Found")), "no Moodle was found there"),
    "password": (lambda: plain(replies(b"", status="401 Unauthorized")), "a password page, refuses the portal"),
    "web services off": (lambda: plain(replies(b"", status="403 Forbidden")), "Enable web services"),
    "moved": (
        lambda: plain(moved("https://www.college.example/webservice/rest/server.php")),
        "sends visitors on to www.college.example. If that is your Moodle, enter its address: https://www.college.exa",
    ),
    "moved to a script": (lambda: plain(moved("javascript:alert(1)")), "no Moodle was found there"),
    "maintenance": (
        lambda: plain(replies(b'{"exception":"x","errorcode":"sitemaintenance"}')),
        "Moodle is in maintenance mode",
    ),
}


@pytest.mark.parametrize(("server", "said"), WRONG.values(), ids=WRONG.keys())
def test_an_address_that_is_wrong_is_told_as_what_it_is(
    server: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with server() as url:
        _check, wrong = tried(url)
    assert said in wrong
    assert SECRET not in caplog.text


def test_an_endless_body_is_given_up() -> None:
    with plain(floods(HEAD + b"\r\n", b"x")) as url:
        _check, wrong = tried(url)
    assert "without end" in wrong or "does not answer in time" in wrong


@pytest.mark.parametrize(
    ("certificate", "trusted", "said"),
    [
        ({}, False, "is self-signed"),
        ({"ends": -timedelta(hours=1)}, True, "has expired"),
        ({"address": "127.0.0.9"}, True, "is for another name"),
    ],
)
def test_a_bad_certificate_is_named_and_never_passed_over(
    certificate: Any, trusted: bool, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = certificate_file(tmp_path, **certificate)
    if trusted:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    with tls_wire(replies(NO_TOKEN), file) as server:
        for typed in ("https://127.0.0.1:{}", "127.0.0.1:{}/my/"):
            check, wrong = tried(typed.format(server.port))
            assert said in wrong
            assert check.url == ""
    assert server.requests == []


def test_a_typing_error_in_the_host_and_a_host_that_is_not_allowed(settings: Any) -> None:
    assert "There is no host named moodel.invalid" in tried("moodel.invalid/my/")[1]
    settings.MOODLE_HOSTS = ["moodle.example.org"]
    with pytest.raises(ValueError, match="MOODLE_HOSTS"):
        typed_site("moodle.example.com")
    # Its name leads where the setting does not allow it.
    settings.MOODLE_HOSTS = ["10.9.0.0/16"]
    assert "MOODLE_HOSTS" in tried("http://localhost:1")[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://me:word@moodle.example", "user name or password"),
        ("me:word@moodle.example", "user name or password"), ("ftp://moodle.example", "must start with"),
        ("javascript:alert(1)", "must start with"), ("", "not a web address"),
        ("<script>alert(1)</script>", "not a web address"), ("moodle example", "not a web address"),
        ("https://", "not a web address"), ("x" * 10_000, "not a web address"), ("https://[::1", "not a web address"),
    ],
)  # fmt: skip
def test_what_cannot_be_an_address_is_refused_before_anything_is_asked(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as error:
        typed_address(text)
    assert "word@" not in str(error.value)


def test_the_token_goes_only_where_a_moodle_answers_and_few_folders_are_asked() -> None:
    with wire(replies(HTML, status="404 Not Found")) as server:
        tried(f"http://127.0.0.1:{server.port}/a/b/c/d/e/f?x=1")
    paths = [request.split(b" ")[1] for request in server.requests]
    root = b"/webservice/rest/server.php"
    assert paths == [b"/a/b/c/d/e/f" + root, b"/a/b/c/d/e" + root, b"/a/b/c/d" + root, root]
    assert not any(SECRET.encode() in request for request in server.requests)


def test_of_hosts_inside_that_nobody_named_nothing_is_told(settings: Any) -> None:
    settings.MOODLE_HOSTS = []
    for name in ("closed port", "silence", "no TLS", "a page", "moved", "password"):
        with WRONG[name][0]() as url:
            assert tried(url)[1] == NO_MOODLE
