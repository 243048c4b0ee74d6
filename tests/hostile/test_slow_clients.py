"""Clients that send their request byte by byte hold up nobody else, and not for ever."""

import http.client
import signal
import socket
import threading
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from launcher import web as web_server
from tests.services import wait_until

from . import attacking
from .apps import LARGE
from .attacking import PAGE_SECONDS, Web

CLIENTS = 60
HEADERS = b"GET /sign-in/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
BODY = b"POST /sign-in/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500000\r\n\r\nusername="
BLANK_LINE = b"\r\n"
WAITING = "tests.hostile.apps:waiting"


@pytest.mark.parametrize("start", [HEADERS, BODY], ids=["headers", "bodies"])
def test_pages_are_answered_while_many_clients_drip(web: Web, start: bytes) -> None:
    with attacking.dripping(web, CLIENTS, start) as connected:
        for _ in range(5):
            assert web.seconds_for("/sign-in/") < PAGE_SECONDS
            assert web.seconds_for("/admin/", person="officer") < PAGE_SECONDS
        assert connected() == CLIENTS


def test_a_slow_client_is_sent_away_however_it_drips(data: Path) -> None:
    with attacking.web(data, "--client-seconds", "2", people=False) as web, ExitStack() as stack:
        dripping = {
            name: stack.enter_context(attacking.dripping(web, 5, start))
            for name, start in {"headers": HEADERS, "bodies": BODY, "a blank line": BLANK_LINE, "nothing": b""}.items()
        }

        def still_connected() -> dict[str, int]:
            return {name: number for name, connected in dripping.items() if (number := connected())}

        wait_until(lambda: not still_connected(), seconds=20, what="the end of all slow clients")
        assert web.ask("/sign-in/").status == 200


def test_a_client_that_does_not_take_its_answer_is_sent_away(tmp_path: Path) -> None:
    with (
        attacking.web(tmp_path, "--client-seconds", "2", application=WAITING, people=False) as web,
        socket.socket() as client,
    ):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(PAGE_SECONDS)
        client.connect(("127.0.0.1", web.port))
        client.sendall(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert attacking.is_connected(web, client)
        wait_until(lambda: not attacking.is_connected(web, client), seconds=20, what="the end of the connection")
        assert len(attacking.answer_to(client)) < LARGE


# With a page of half a second, each look that the server takes once a second falls into a pause.
@pytest.mark.parametrize(("path", "pause"), [("/", 0.3), ("/late", 0.12)])
def test_a_connection_in_use_is_kept_and_an_idle_one_is_closed(tmp_path: Path, path: str, pause: float) -> None:
    with (
        attacking.web(tmp_path, "--client-seconds", "2", application=WAITING, people=False) as web,
        closing(http.client.HTTPConnection("127.0.0.1", web.port, timeout=PAGE_SECONDS)) as client,
    ):
        client.connect()
        connection = client.sock
        until = time.monotonic() + 5
        while time.monotonic() < until:
            client.request("GET", path)
            assert client.getresponse().read() == b"finished"
            # `http.client` would connect anew without a word.
            assert client.sock is connection
            time.sleep(pause)
        wait_until(lambda: not attacking.is_connected(web, connection), seconds=20, what="the end of the connection")


def test_waiting_for_a_request_and_sending_it_have_their_own_times(tmp_path: Path) -> None:
    """The time that the portal needs for the answer counts for neither."""
    with (
        attacking.web(tmp_path, "--client-seconds", "3", application=WAITING, people=False) as web,
        web.connect() as client,
    ):
        for _ in range(2):
            # Two of these together are too long.
            time.sleep(2.2)
            client.sendall(b"GET /wait HTTP/1.1\r\n")
            time.sleep(2.2)
            client.sendall(b"Host: localhost\r\n\r\n")
            time.sleep(2.2)
            (tmp_path / "go").touch()
            answer = b""
            while not answer.endswith(b"finished"):
                part = client.recv(65536)
                assert part
                answer += part
            (tmp_path / "go").unlink()


def test_sigterm_lets_a_request_in_flight_finish_and_waits_for_no_slow_client(tmp_path: Path) -> None:
    answers: list[str] = []
    with (
        attacking.web(tmp_path, application=WAITING, people=False) as web,
        attacking.dripping(web, CLIENTS, HEADERS),
        attacking.dripping(web, CLIENTS, BODY),
    ):
        asking = threading.Thread(target=lambda: answers.append(web.ask("/wait", timeout=30).body))
        asking.start()
        wait_until((tmp_path / "begun").exists, what="the request")
        web.process.process.send_signal(signal.SIGTERM)
        wait_until(lambda: _refuses(web), what="the end of the listening socket")
        assert not answers
        released = time.monotonic()
        (tmp_path / "go").touch()
        assert web.process.process.wait(timeout=web_server.STOP_SECONDS) == 0
        asking.join()
        assert answers == ["finished"]
        # Well before the time limit, which is there for requests that never end.
        assert time.monotonic() - released < web_server.STOP_SECONDS / 2
        assert "cut off" not in web.process.text


def test_sigterm_ends_the_server_although_a_request_never_ends(tmp_path: Path) -> None:
    with (
        attacking.web(tmp_path, "--stop-seconds", "1", application=WAITING, people=False) as web,
        web.connect() as client,
    ):
        client.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until((tmp_path / "begun").exists, what="the request")
        assert web.process.stop(signal.SIGTERM, seconds=15) == 0
        assert "1 request(s) did not end within 1 s and were cut off" in web.process.text


def _refuses(web: Web) -> bool:
    try:
        web.connect().close()
    except (ConnectionRefusedError, ConnectionResetError):
        return True
    return False
