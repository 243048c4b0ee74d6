"""Requests that are too large are refused before they fill the disk or the memory."""

from collections.abc import Iterator
from contextlib import suppress

import pytest

from launcher.web import LARGEST_BODY, LARGEST_HEADERS
from tests.services import wait_until

from . import attacking
from .attacking import Web

START = "POST /sign-in/ HTTP/1.1\r\nHost: localhost\r\n"
PIECE = b"x" * 65536
CHUNK = b"10000\r\n" + PIECE + b"\r\n"
# What a client can send before it notices: the limit, and what the system holds on its way.
MOST_SENT = LARGEST_BODY + 12_000_000
FORM = "application/x-www-form-urlencoded"


def upload(web: Web, start: str, piece: bytes) -> Iterator[tuple[int, bytes]]:
    """Send pieces until the server closes the connection; yields how much was sent, and at the end the answer."""
    sent = 0
    with web.connect() as client:
        client.sendall(start.encode())
        with suppress(ConnectionError):
            while sent <= MOST_SENT:
                client.sendall(piece)
                sent += len(piece)
                yield sent, b""
        yield sent, attacking.answer_to(client)


@pytest.mark.parametrize(
    ("headers", "piece"),
    [
        ("Content-Length: 100000000000\r\n\r\n", PIECE),
        ("Content-Length: 100000000000\r\nExpect: 100-continue\r\n\r\n", PIECE),
        ("Transfer-Encoding: chunked\r\n\r\n", CHUNK),
        ("Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", CHUNK),
        # A size of a chunk that never ends.
        ("Transfer-Encoding: chunked\r\n\r\n", b"1" * 65536),
    ],
    ids=["length", "length, asked first", "chunks", "chunks, asked first", "one size"],
)
def test_an_endless_upload_is_closed_early_and_leaves_no_file(web: Web, headers: str, piece: bytes) -> None:
    pid, largest, total = web.process.process.pid, 0, 0
    for sent, _answer in upload(web, START + headers, piece):
        total = sent
        largest = max(largest, attacking.bytes_in_temporary_files(pid))
    assert total < MOST_SENT
    assert largest <= LARGEST_BODY + len(piece)
    assert web.ask("/sign-in/").status == 200
    wait_until(lambda: attacking.bytes_in_temporary_files(pid) == 0, what="the end of all temporary files")


def test_many_endless_uploads_take_a_bounded_part_of_the_disk(web: Web) -> None:
    pid = web.process.process.pid
    start = f"{START}Content-Length: {LARGEST_BODY - 1}\r\n\r\n".encode()
    clients = [web.connect() for _ in range(20)]
    try:
        for client in clients:
            client.sendall(start + b"x" * (LARGEST_BODY - 2))
        assert web.ask("/sign-in/").status == 200
        assert attacking.bytes_in_temporary_files(pid) <= 20 * LARGEST_BODY
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (f"Content-Length: {LARGEST_BODY}\r\n\r\n", 413),
        ("Content-Length: 99999999999999999999999999\r\n\r\n", 413),
        ("Content-Length: -1\r\n\r\n", 400),
        ("Content-Length: x\r\n\r\n", 400),
        ("Transfer-Encoding: chunked\r\n\r\nnonsense\r\n", 400),
        ("Transfer-Encoding: gzip\r\n\r\n", 501),
        ("X-Long: " + "x" * LARGEST_HEADERS + "\r\n\r\n", 431),
        ("".join(f"X-{number}: {'x' * 50}\r\n" for number in range(1000)) + "\r\n", 431),
        ("no header\r\n\r\n", 400),
    ],
)
def test_a_bad_request_is_refused_with_a_short_plain_answer(web: Web, headers: str, status: int) -> None:
    with web.connect() as client:
        client.sendall((START + headers).encode())
        head, _blank, body = attacking.answer_to(client).decode().partition("\r\n\r\n")
    assert head.startswith(f"HTTP/1.0 {status} ") or head.startswith(f"HTTP/1.1 {status} ")
    assert "text/plain" in head
    assert len(body) < 300
    assert not any(word in (head + body).lower() for word in ("traceback", "waitress", "python", "django", ".py"))


def test_an_address_that_is_too_long_is_refused(web: Web) -> None:
    assert web.ask("/" + "x" * LARGEST_HEADERS).status == 431


def multipart(*parts: str) -> tuple[bytes, list[tuple[str, str]]]:
    body = "".join(f"--limit\r\nContent-Disposition: form-data; {part}\r\n" for part in parts) + "--limit--\r\n"
    return body.encode(), [("Content-Type", "multipart/form-data; boundary=limit")]


@pytest.mark.parametrize("path", ["/sign-in/", "/admin/", "/sign-out/"])
def test_files_are_refused(web: Web, path: str) -> None:
    file = 'name="picture"; filename="x.png"\r\nContent-Type: image/png\r\n\r\n' + "x" * 200_000
    body, headers = multipart('name="username"\r\n\r\nada', file)
    assert web.ask(path, method="POST", person="root", body=body, headers=headers).status == 400
    pid = web.process.process.pid
    wait_until(lambda: attacking.bytes_in_temporary_files(pid) == 0, what="the end of all temporary files")


def test_a_form_with_too_many_fields_is_refused(web: Web) -> None:
    body = "&".join(f"f{number}=x" for number in range(2000)).encode()
    assert web.ask("/sign-in/", method="POST", body=body, headers=[("Content-Type", FORM)]).status == 400


def test_a_usual_form_is_taken(web: Web) -> None:
    """The limits refuse no form of ours: this one ends at the missing CSRF token."""
    body = ("username=ada&password=" + "x" * 500_000).encode()
    answer = web.ask("/sign-in/", method="POST", body=body, headers=[("Content-Type", FORM)])
    assert answer.status == 403
