"""Where the pages listen, and how they are reached."""

import errno
import socket

import pytest

from launcher import addresses
from tests.services import free_port


@pytest.mark.parametrize(
    ("bind", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("192.0.2.7", "http://192.0.2.7:8000"),
        ("::", "http://[::1]:8000"),
        ("2001:db8::7", "http://[2001:db8::7]:8000"),
    ],
)
def test_pages_that_listen_everywhere_are_opened_on_loopback(bind: str, url: str) -> None:
    assert addresses.url(bind, 8000) == url


@pytest.mark.parametrize(
    ("bind", "reached"),
    [
        ("127.0.0.1", ["127.0.0.1"]),
        ("0.0.0.0", ["127.0.0.1"]),
        ("::1", ["::1"]),
        ("::", ["::1", "127.0.0.1"]),
    ],
)
def test_a_socket_listens_where_it_was_told(bind: str, reached: list[str]) -> None:
    port = free_port()
    with addresses.listening_socket(bind, port):
        for host in ("127.0.0.1", "::1"):
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            with socket.socket(family) as client:
                assert (client.connect_ex((host, port)) == 0) == (host in reached), host


def test_an_address_of_another_computer_cannot_be_listened_at() -> None:
    with pytest.raises(OSError, match="assign") as refused:
        addresses.listening_socket("192.0.2.7", free_port())
    assert refused.value.errno == errno.EADDRNOTAVAIL
