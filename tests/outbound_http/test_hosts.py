"""Which addresses are never connected to, which hosts a rule allows, and which links may be shown."""

import socket
from ipaddress import ip_address
from typing import Any

import pytest

from outbound_http import HostRule, HttpClient, MayConnect, WireFailure, anywhere, public_only, web_address
from outbound_http.hosts import is_refused, literal_address

from .wire import replies, wire

# ruff: noqa: S104 - nothing is bound to these addresses
REFUSED = [
    *("169.254.169.254", "169.254.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "0.0.0.0", "0.1.2.3"),
    *("224.0.0.1", "240.0.0.1", "255.255.255.255", "fe80::1", "fe80::1%2", "ff02::1", "::", "fd00:ec2::254"),
    *("fd20:ce::254", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "::169.254.169.254", "64:ff9b::a9fe:a9fe"),
    *("2002:a9fe:a9fe::1", "::ffff:100.100.100.200"),
]
INSIDE = ["127.0.0.1", "::1", "10.0.0.5", "192.168.1.1", "172.16.0.1", "fd12::1", "::ffff:10.0.0.5", "100.64.0.1"]
PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"]


@pytest.mark.parametrize("address", REFUSED)
def test_link_local_metadata_and_meaningless_addresses_are_refused_by_every_rule(address: str) -> None:
    assert is_refused(ip_address(address))
    for rule in (anywhere, public_only, HostRule().allows, HostRule(["moodle.example", "0.0.0.0/0", "::/0"]).allows):
        assert not rule("moodle.example", ip_address(address))


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_inside_are_for_hosts_that_the_operator_names(address: str) -> None:
    assert anywhere("moodle.example", ip_address(address))
    assert HostRule().allows("moodle.example", ip_address(address))
    assert not public_only("moodle.example", ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_for_all(address: str) -> None:
    assert anywhere("moodle.example", ip_address(address))
    assert public_only("moodle.example", ip_address(address))


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "2852039166", "0xA9FEA9FE", "0xa9.0xfe.0xa9.0xfe", "0251.0376.0251.0376", "169.254.43518"],
)
def test_an_address_is_known_in_every_spelling_that_resolvers_read(host: str) -> None:
    assert literal_address(host) == ip_address("169.254.169.254")
    client = HttpClient(f"http://{host}/", {}, timeout=1, connect_timeout=1, largest_answer=1)
    with pytest.raises(WireFailure, match="may not connect") as error:
        client.send("GET", "/latest/meta-data/")
    assert error.value.undelivered


@pytest.mark.parametrize("host", ["moodle.example", "1.2.3.4.5", "0xzz", "deadbeef", "256.1.1.1", ""])
def test_a_name_is_no_address(host: str) -> None:
    assert literal_address(host) is None


@pytest.mark.parametrize(
    ("entries", "host", "address", "allowed"),
    [
        ([], "moodle.example", "10.0.0.5", True),
        (["moodle.example"], "moodle.example", "10.0.0.5", True),
        (["moodle.example"], "MOODLE.example.", "10.0.0.5", True),
        (["moodle.example"], "other.example", "10.0.0.5", False),
        (["moodle.example"], "moodle.example.evil.example", "10.0.0.5", False),
        (["*.example.org"], "a.b.example.org", "10.0.0.5", True),
        (["*.example.org"], "example.org", "10.0.0.5", False),
        (["10.1.0.0/16"], "any.example", "10.1.2.3", True),
        (["10.1.0.0/16"], "any.example", "10.2.2.3", False),
        (["10.1.0.0/16"], "any.example", "::ffff:10.1.2.3", True),
        (["10.1.2.3"], "10.1.2.3", "10.1.2.3", True),
        (["[::1]"], "::1", "::1", True),
        (["moodle.example"], "127.0.0.1", "127.0.0.1", False),
    ],
)
def test_a_rule_allows_named_hosts_and_addresses_in_its_networks(
    entries: list[str], host: str, address: str, allowed: bool
) -> None:
    assert HostRule(entries).allows(host, ip_address(address)) is allowed


def test_a_rule_tells_what_it_can_without_resolving_a_name() -> None:
    assert HostRule().may_allow("moodle.example")
    assert not HostRule().may_allow("2852039166")
    assert HostRule(["*.example"]).may_allow("moodle.example")
    assert not HostRule(["*.example"]).may_allow("moodle.test")
    assert not HostRule(["*.example"]).may_allow("127.0.0.1")
    # The address of the name decides.
    assert HostRule(["10.0.0.0/8"]).may_allow("moodle.test")


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "https://moodle.example", "moodle example", "a/b", ""])
def test_a_malformed_entry_is_an_error(entry: str) -> None:
    with pytest.raises(ValueError, match="^" if not entry else entry.split("/", maxsplit=1)[0]):
        HostRule([entry])


def answers_of_dns(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Have the resolver answer one after the other; returns the names that it is asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, port: Any, *arguments: Any, **options: Any) -> Any:
        if literal_address(host) is not None:
            return real(host, port, *arguments, **options)
        asked.append(host)
        addresses = answers[min(len(asked), len(answers)) - 1]
        family = {4: socket.AF_INET, 6: socket.AF_INET6}
        return [(family[ip_address(one).version], socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def ask(port: int, may_connect: MayConnect) -> int:
    url = f"http://moodle.example:{port}"
    client = HttpClient(url, {}, timeout=1, connect_timeout=1, largest_answer=100, may_connect=may_connect)
    try:
        return client.send("GET", "/").status
    finally:
        client.close()


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that resolves to an allowed address when it is checked, and to another one a moment later."""
    rule = HostRule(["127.0.0.2/32"]).allows
    asked = answers_of_dns(monkeypatch, ["127.0.0.2"], ["127.0.0.1"])
    with wire(replies(b"{}")) as server:
        # Nothing listens there, and the resolver is not asked again for the connection.
        with pytest.raises(WireFailure, match="no connection"):
            ask(server.port, rule)
        assert asked == ["moodle.example"]
        with pytest.raises(WireFailure, match="may not connect"):
            ask(server.port, rule)
        assert server.requests == []


def test_of_several_addresses_only_allowed_ones_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    answers_of_dns(monkeypatch, ["169.254.169.254", "::ffff:169.254.169.254", "127.0.0.1"])
    with wire(replies(b"{}")) as server:
        assert ask(server.port, anywhere) == 200
    with pytest.raises(WireFailure, match="may not connect"):
        ask(server.port, public_only)


@pytest.mark.parametrize(
    "link",
    [
        "https://moodle.example",
        "http://127.0.0.1:8000/course/view.php?id=1#top",
        "HTTPS://Moodle.Example/",
        "https://bücher.example/é",
        "https://[::1]:8443/",
    ],
)
def test_a_web_address_may_be_shown(link: str) -> None:
    assert web_address(link) == link


@pytest.mark.parametrize(
    "link",
    [
        "",
        "javascript:alert(1)",
        "JavaScript://moodle.example/%0aalert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "file:///etc/passwd",
        "ftp://moodle.example/",
        "//moodle.example/",
        "/course",
        "moodle.example",
        "http:moodle.example",
        "http:///course",
        "https://",
        "http://user@moodle.example/",
        "http://user:word@moodle.example/",
        "https://moodle.example\\@evil.example/",
        " https://moodle.example",
        "java\tscript:alert(1)",
        "https://moodle.example/\nX: y",
        "https://moodle.example/a b",
        "https://moodle.example/\x00",
        "https://moodle.example/\u202egpj.exe",
        'https://moodle.example/"onclick=',
        "https://moodle.example/<b>",
        "https://moodle.example:port/",
        "https://moodle.example:99999/",
        "https://[::1/",
        "https://moodle.example\u2215evil.example\uff0fx/",
        "https://moodle.example/" + "x" * 2000,
    ],
)
def test_anything_else_is_no_link(link: str) -> None:
    assert web_address(link) == ""


def test_a_link_may_be_limited_to_the_length_of_its_column() -> None:
    assert web_address("https://moodle.example/x", longest=24) == "https://moodle.example/x"
    assert web_address("https://moodle.example/xy", longest=24) == ""
