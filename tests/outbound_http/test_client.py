"""Real sockets: requests that go out, answers that come back, and those that never end."""

import gzip
import socket
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from outbound_http import VERSION, AnswerTooLarge, BadCertificate, HttpClient, WireFailure
from outbound_http.failures import TLS_FAILED
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

LIMIT = 100_000
TIMEOUT = 0.3
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SECRET = "secret-token"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@contextmanager
def client_of(url: str, *, timeout: float = TIMEOUT, largest_answer: int = LIMIT) -> Iterator[HttpClient]:
    client = HttpClient(
        url, {"X-Token": SECRET}, timeout=timeout, connect_timeout=TIMEOUT, largest_answer=largest_answer
    )
    try:
        yield client
    finally:
        client.close()


def failure(url: str) -> WireFailure:
    """What a request ends in, which must not take longer than its time-outs."""
    started = time.monotonic()
    with client_of(url) as client, pytest.raises(WireFailure) as error:
        client.send("POST", "/x", b"{}").body()
    assert time.monotonic() - started < TIMEOUT + 0.7
    assert error.value.__cause__ is error.value.__context__ is None
    return error.value


ENDLESS: dict[str, Answer] = {
    "silence": says_nothing,
    "dripping status line": drips(b"HTTP/1.1 200 "),
    "dripping header": drips(b"HTTP/1.1 200 OK\r\nX-Slow:"),
    "dripping headers": drips(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"),
    "dripping body": drips(HEAD + b"Content-Length: 90000\r\n\r\n"),
    "dripping body without length": drips(HEAD + b"\r\n"),
    "dripping chunks": drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "dripping chunk size": drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"0"),
    "dripping trailers": drips(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: 1\r\n"),
    "dripping gzip": drips(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}")[:10], b"\0"),
    "interim answers without end": floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "trailers without end": floods(HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: 1\r\n"),
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS.keys())
def test_an_answer_ends_at_its_deadline_however_it_comes(answer: Answer) -> None:
    with wire(answer) as server:
        error = failure(server.url)
    assert str(error) == "no answer in time"
    assert (error.undelivered, str(error) == TLS_FAILED) == (False, False)


BROKEN: dict[str, Answer] = {
    "hung up": sends_and_hangs_up(b""),
    "not HTTP": sends_and_hangs_up(b"SSH-2.0-OpenSSH_9\r\n"),
    "headers without end": floods(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"),
    "a header without end": floods(b"HTTP/1.1 200 OK\r\nX:", b"x"),
    "two lengths": sends_and_hangs_up(HEAD + b"Content-Length: 1, 2\r\n\r\n{}"),
    "cut short": sends_and_hangs_up(HEAD + b"Content-Length: 100\r\n\r\n{"),
    "cut short in a chunk": sends_and_hangs_up(HEAD + b"Transfer-Encoding: chunked\r\n\r\n9\r\n{"),
    "no chunks": sends_and_hangs_up(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"),
    "no gzip": sends_and_hangs_up(HEAD + b"Content-Encoding: gzip\r\n\r\nnothing"),
    "gzip cut short": sends_and_hangs_up(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"{}")[:-1]),
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
def test_an_answer_that_breaks_off_may_have_been_given(answer: Answer) -> None:
    with wire(answer) as server:
        error = failure(server.url)
    assert str(error) == "connection lost"
    assert (error.undelivered, str(error) == TLS_FAILED) == (False, False)


TOO_LARGE: dict[str, Answer] = {
    "by its own word": drips(HEAD + f"Content-Length: {LIMIT + 1}\r\n\r\n".encode()),
    "unannounced": floods(HEAD + b"\r\n", b"{},"),
    "in chunks": floods(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b" " * 4096 + b"\r\n"),
    "in one chunk": floods(HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n", b" "),
    "packed": floods(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"")[:10], b"\0\0\0\xff\xff"),
}


@pytest.mark.parametrize("answer", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_an_answer_over_the_limit_is_not_read(answer: Answer) -> None:
    with wire(answer) as server, client_of(server.url, timeout=1) as client:
        got = client.send("GET", "/x")
        with pytest.raises(AnswerTooLarge):
            got.body()
    assert got.status == 200


def test_an_answer_of_exactly_the_limit_is_read() -> None:
    body = b" " * LIMIT
    with wire(replies(body)) as server, client_of(server.url) as client:
        assert client.send("GET", "/x").body() == body
    packed = replies(gzip.compress(body), headers="Content-Encoding: gzip\r\n")
    with wire(packed) as server, client_of(server.url) as client:
        assert client.send("GET", "/x").body() == body


def test_twenty_megabytes_are_refused_or_read_as_the_limit_says() -> None:
    body = b"[" + b"{}," * (20 * 1024 * 1024 // 3 - 1)
    with wire(replies(body)) as server:
        with client_of(server.url, timeout=1) as client, pytest.raises(AnswerTooLarge):
            client.send("GET", "/x").body()
        with client_of(server.url, timeout=1, largest_answer=20 * 1024 * 1024) as client:
            assert client.send("GET", "/x").body() == body


def test_a_small_body_that_unpacks_to_a_huge_one_is_refused_before_it_is_unpacked() -> None:
    packer = zlib.compressobj(wbits=31)
    zeros = bytes(1024 * 1024)
    bomb = b"".join(packer.compress(zeros) for _ in range(100)) + packer.flush()
    assert len(bomb) <= LIMIT + 5_000
    answer = replies(bomb, headers="Content-Encoding: gzip\r\n")
    with wire(answer) as server, client_of(server.url, largest_answer=200_000) as client:
        tracemalloc.start()
        try:
            got = client.send("GET", "/x")
            assert tracemalloc.get_traced_memory()[1] < 5 * 1024 * 1024
        finally:
            tracemalloc.stop()
        with pytest.raises(AnswerTooLarge):
            got.body()


def test_thousands_of_tiny_gzip_files_take_no_time() -> None:
    body = gzip.compress(b"{}") * 50_000
    answer = replies(body, headers="Content-Encoding: gzip\r\n")
    with wire(answer) as server, client_of(server.url, timeout=1, largest_answer=len(body)) as client:
        started = time.monotonic()
        assert client.send("GET", "/x").body() == b"{}"
    assert time.monotonic() - started < 1


def test_a_request_is_sent_as_given() -> None:
    with wire(replies(b"{}")) as server, client_of(server.url + "/") as client:
        client.send("PUT", "/a%2Fb?c=d", b"x=1", content_type="text/plain")
        client.send("GET", "/e")
    put, get = (request.decode() for request in server.requests)
    assert put.startswith("PUT /v1/a%2Fb?c=d HTTP/1.1\r\n")
    assert put.endswith("\r\n\r\nx=1")
    assert get.startswith("GET /v1/e HTTP/1.1\r\n")
    assert get.endswith("\r\n\r\n")
    for request in (put, get):
        assert f"\r\nX-Token: {SECRET}\r\n" in request
        assert f"\r\nUser-Agent: navigatr-badge-portal/{VERSION}\r\n" in request


def test_a_connection_is_used_again_and_cookies_are_not_kept() -> None:
    connections: set[socket.socket] = set()

    def answer(connection: socket.socket, over: Any) -> None:
        connections.add(connection)
        packed = gzip.compress(b"{}")
        replies(packed, headers="Set-Cookie: session=1; Path=/\r\nContent-Encoding: gzip\r\n")(connection, over)

    with wire(answer) as server, client_of(server.url) as client:
        for _ in range(3):
            assert client.send("POST", "/x", b"{}").body() == b"{}"
    assert len(connections) == 1
    assert len(server.requests) == 3
    assert b"Cookie" not in server.requests[2]


def test_passwords_in_netrc_are_never_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password hunter2\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with wire(replies(b"{}")) as server, client_of(server.url) as client:
        client.send("GET", "/x")
    assert b"Authorization" not in server.requests[0]


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_no_redirect_is_followed(status: str) -> None:
    with wire(replies(b"{}")) as target:
        answer = replies(b"there", status=status, headers=f"Location: {target.url}/x\r\n")
        with wire(answer) as server, client_of(server.url) as client:
            got = client.send("POST", "/x", b"{}")
            assert (got.status, got.body()) == (int(status[:3]), b"there")
    assert target.requests == []
    assert len(server.requests) == 1


def test_a_proxy_of_the_environment_is_used_but_not_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    with wire(replies(b"{}")) as proxy, wire(replies(b"{}")) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        for url in ("http://elsewhere.invalid/v1", server.url, server.url.replace("127.0.0.1", "localhost")):
            with client_of(url) as client:
                client.send("GET", "/x")
    assert [request.split(b" ")[1] for request in proxy.requests] == [b"http://elsewhere.invalid/v1/x"]
    assert len(server.requests) == 2


class TestNeverSent:
    """Nothing left, so whatever the request, it may be sent again."""

    def test_nobody_listens(self) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            port = listener.getsockname()[1]
        error = failure(f"http://127.0.0.1:{port}")
        assert str(error) == "no connection"
        assert error.undelivered

    def test_an_unknown_host(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(*args: Any, **kwargs: Any) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        error = failure("http://host.invalid")
        assert str(error) == "host name not found"
        assert error.undelivered

    def test_no_tls_at_the_other_end(self) -> None:
        with wire(sends_and_hangs_up(b"HTTP/1.1 400 Bad Request\r\n\r\n"), read_first=False) as server:
            error = failure(server.url.replace("http", "https"))
        assert str(error) == "TLS failed"
        assert error.undelivered
        assert str(error) == TLS_FAILED

    def test_a_handshake_that_never_ends(self) -> None:
        with wire(says_nothing, read_first=False) as server:
            error = failure(server.url.replace("http", "https"))
        assert str(error) == "no connection in time"
        assert error.undelivered
        assert str(error) != TLS_FAILED

    @pytest.mark.parametrize("answer", [drips(b"HTTP/1.1 200 OK\r\nX-Slow:"), replies(b"", status="403 Forbidden")])
    def test_a_proxy_that_opens_no_tunnel(self, answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
        with wire(answer) as proxy:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
            error = failure("https://host.invalid")
        assert error.undelivered
        assert SECRET.encode() not in proxy.requests[0]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file."""
    return certificate_file(tmp_path_factory.mktemp("tls"))


def test_a_certificate_that_nobody_vouches_for_is_refused(authority: Path) -> None:
    with tls_wire(replies(b"{}"), authority) as server:
        error = failure(server.url)
    assert str(error) == TLS_FAILED
    assert (error.undelivered, error.certificate) == (True, BadCertificate.SELF_SIGNED)
    assert server.requests == []


def test_a_certificate_that_is_vouched_for_may_still_be_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong, options in {
        BadCertificate.EXPIRED: {"ends": -timedelta(hours=1)},
        BadCertificate.OTHER_NAME: {"address": "127.0.0.9"},
    }.items():
        folder = tmp_path / wrong.name
        folder.mkdir()
        file = certificate_file(folder, **options)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
        with tls_wire(replies(b"{}"), file) as server:
            assert failure(server.url).certificate == wrong


def test_the_deadline_holds_over_tls(authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    with tls_wire(replies(b"{}"), authority) as server, client_of(server.url) as client:
        assert client.send("GET", "/x").body() == b"{}"
    for start in (b"HTTP/1.1 200 OK\r\nX-Slow:", HEAD + b"Content-Length: 900\r\n\r\n"):
        with tls_wire(drips(start), authority) as server:
            error = failure(server.url)
        assert str(error) == "no answer in time"
        assert str(error) != TLS_FAILED


@pytest.mark.parametrize("url", ["https://", "https://*.example.org", "no address", "https://a\u2024.example"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError), client_of(url):  # noqa: PT011 – the text is requests' own
        pass


def test_an_address_in_other_letters_is_sent_in_ascii() -> None:
    with wire(replies(b"{}")) as server, client_of(f"http://127.0.0.1:{server.port}/schüler") as client:
        client.send("GET", "/x")
    assert server.requests[0].startswith(b"GET /sch%C3%BCler/x ")


def test_a_client_costs_little() -> None:
    HttpClient("https://host.invalid", {}, timeout=1, connect_timeout=1, largest_answer=1)
    started = time.process_time()
    for _ in range(100):
        HttpClient("https://host.invalid", {}, timeout=1, connect_timeout=1, largest_answer=1)
    assert (time.process_time() - started) / 100 < 0.005
