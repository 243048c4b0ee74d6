"""Headers and spellings of addresses that try to be somebody else, or somewhere else."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import attacking
from .attacking import Web, answer_to

ECHO = "tests.hostile.apps:echo"
ORIGIN = "https://badges.example.org"
# What a client claims about itself.
CLAIMS = [
    ("X-Forwarded-For", "203.0.113.9"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Port", "444"),
    ("X-Forwarded-Prefix", "/admin"),
    ("X-Forwarded-By", "203.0.113.9"),
    ("X-Forwarded-Ssl", "on"),
    ("X-Real-IP", "203.0.113.9"),
    ("Forwarded", "for=203.0.113.9;host=evil.example;proto=https"),
    ("SCRIPT_NAME", "/admin"),
    ("Script-Name", "/admin"),
    ("X-Script-Name", "/admin"),
    ("X_Forwarded_For", "203.0.113.9"),
    ("X_FORWARDED_PROTO", "https"),
    ("X-Forwarded_Proto", "https"),
    ("REMOTE_ADDR", "203.0.113.9"),
    ("Remote-Addr", "203.0.113.9"),
    ("PATH_INFO", "/admin/"),
    ("X-Original-URL", "/admin/"),
    ("X-Rewrite-URL", "/admin/"),
    ("X-HTTP-Method-Override", "DELETE"),
]
PLAIN = {
    "address": "127.0.0.1", "scheme": "http", "host": "localhost", "path": "/courses/", "script_name": "", "kept": []
}  # fmt: skip


@pytest.fixture(scope="module")
def echo(data: Path) -> Iterator[Web]:
    """What the portal sees, when no proxy is trusted."""
    with attacking.web(data, application=ECHO, people=False) as web:
        yield web


@pytest.fixture(scope="module")
def echo_behind_proxy(data: Path) -> Iterator[Web]:
    """What it sees behind a proxy on this host."""
    with attacking.web(data, application=ECHO, people=False, TRUST_PROXY_HEADER="true") as web:
        yield web


@pytest.fixture(scope="module")
def echo_behind_another(data: Path) -> Iterator[Web]:
    """What it sees when the only trusted proxy is another host."""
    settings = {"TRUST_PROXY_HEADER": "true", "TRUSTED_PROXIES": "192.0.2.0/24"}
    with attacking.web(data, application=ECHO, people=False, **settings) as web:
        yield web


def seen(web: Web, *headers: tuple[str, str]) -> Any:
    return json.loads(web.ask("/courses/", headers=[("Host", "localhost"), *headers]).body)


def test_without_a_trusted_proxy_no_claim_counts(echo: Web, echo_behind_another: Web) -> None:
    for claim in [*([claim] for claim in CLAIMS), CLAIMS, CLAIMS + CLAIMS]:
        assert seen(echo, *claim) == PLAIN, claim
        assert seen(echo_behind_another, *claim) == PLAIN, claim


# Headers from a trusted proxy, and what they make different.
FROM_A_PROXY: list[tuple[list[tuple[str, str]], dict[str, Any]]] = [
    ([], {}),
    ([("X-Forwarded-For", "203.0.113.9")], {"address": "203.0.113.9"}),
    ([("X-Forwarded-For", "203.0.113.9:4711")], {"address": "203.0.113.9"}),
    ([("X-Forwarded-For", "2001:db8::9")], {"address": "2001:db8::9"}),
    ([("X-Forwarded-For", "[2001:db8::9]:4711")], {"address": "2001:db8::9"}),
    ([("X-Forwarded-For", "::ffff:203.0.113.9")], {"address": "203.0.113.9"}),
    # The proxy adds the real address behind what the client has claimed.
    ([("X-Forwarded-For", "198.51.100.1, 203.0.113.9")], {"address": "203.0.113.9"}),
    ([("X-Forwarded-For", "127.0.0.1, 203.0.113.9")], {"address": "203.0.113.9"}),
    ([("X-Forwarded-For", "198.51.100.1"), ("X-Forwarded-For", "203.0.113.9")], {"address": "203.0.113.9"}),
    # Two proxies on this host.
    ([("X-Forwarded-For", "198.51.100.1, 203.0.113.9, 127.0.0.1")], {"address": "203.0.113.9"}),
    ([("X-Forwarded-For", "198.51.100.1, nonsense")], {}),
    ([("X-Forwarded-For", "")], {}),
    ([("X-Forwarded-Proto", "https")], {"scheme": "https", "kept": ["HTTP_X_FORWARDED_PROTO"]}),
    ([("X-Forwarded-Proto", "http")], {"kept": ["HTTP_X_FORWARDED_PROTO"]}),
    ([("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")], {}),
    ([("X-Forwarded-Proto", "ftp")], {}),
]


def test_behind_a_trusted_proxy_address_and_scheme_are_the_browsers_and_no_other_claim_counts(
    echo_behind_proxy: Web,
) -> None:
    for headers, expected in FROM_A_PROXY:
        assert seen(echo_behind_proxy, *headers) == PLAIN | expected, headers
    for claim in CLAIMS:
        if claim[0] not in ("X-Forwarded-For", "X-Forwarded-Proto"):
            assert seen(echo_behind_proxy, claim) == PLAIN, claim


OTHER_SPELLINGS = [
    *("//admin/", "///admin/", "/%61dmin/", "/adm%69n/", "/admin%2F", "/%2Fadmin/", "/x/..%2fadmin/", "/admin//"),
    *("http://localhost/admin/", "HTTP://evil.example/admin/", "/./admin/", "/x/../admin/", "/admin;x/", "/\\admin/"),
    *("admin/", "*", "/admin/%00", "/ADMIN/"),
]


def test_the_admin_is_reached_by_its_own_address_only(web: Web) -> None:
    assert web.ask("/admin/", person="root").status == 200
    for target in OTHER_SPELLINGS:
        answer = web.ask(target, person="root")
        assert answer.status in (400, 404), target
        assert "Log out" not in answer.body, target


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "Script-Name", "X-Script-Name", "X-Forwarded-Prefix"])
def test_a_prefix_from_outside_opens_no_other_page(web: Web, name: str) -> None:
    assert web.ask("/public/admin/", person="root", headers=[(name, "/public")]).status == 404


def test_a_page_that_is_not_there_is_protected_like_every_other(web: Web) -> None:
    answer = web.ask("//admin/")
    assert answer.status == 404
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("hosts", [["evil.example"], ["localhost", "evil.example"], ["localhost@evil.example"], [""]])
def test_other_host_names_are_refused(web: Web, hosts: list[str]) -> None:
    assert web.ask("/sign-in/", headers=[("Host", host) for host in hosts]).status == 400


def test_two_requests_cannot_hide_in_one(web: Web) -> None:
    """A proxy that believes the length would see one request here, and the portal two."""
    with web.connect() as client:
        client.sendall(
            b"POST /sign-in/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nContent-Length: 50\r\n\r\n"
            b"0\r\n\r\nGET /"
        )
        assert answer_to(client).startswith(b"HTTP/1.1 400 ")


def test_an_https_address_redirects_what_the_proxy_received_as_plain_http(data: Path) -> None:
    settings = {
        "CSRF_TRUSTED_ORIGINS": ORIGIN, "ALLOWED_HOSTS": "badges.example.org", "TRUST_PROXY_HEADER": "true"
    }  # fmt: skip
    host = ("Host", "badges.example.org")
    with attacking.web(data, people=False, **settings) as web:
        plain = web.ask("/sign-in/", headers=[host, ("X-Forwarded-Proto", "http")])
        assert (plain.status, plain.headers["Location"]) == (301, f"{ORIGIN}/sign-in/")
        assert "Strict-Transport-Security" not in plain.headers
        page = web.ask("/sign-in/", headers=[host, ("X-Forwarded-Proto", "https")])
        assert page.status == 200
        assert page.headers["Strict-Transport-Security"] == "max-age=2592000"
        assert page.headers["Referrer-Policy"] == "same-origin"
        assert page.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "Secure" in page.headers["Set-Cookie"]
