"""Real sockets: what happens when the wire itself goes wrong."""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from navigatr_client import (
    NavigatrClient,
    NavigatrError,
    NavigatrUnavailable,
    NavigatrUnclear,
    NavigatrUnexpectedAnswer,
)
from navigatr_client.client import LARGEST_ANSWER
from tests.outbound_http.wire import Answer, Wire, drips, replies, says_nothing, sends_and_hangs_up, wire

TOKEN = "pat-0123456789-secret"
ASSERTION = b'{"id": 90210, "status": "Pending"}'


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "requests_ca_bundle", "curl_ca_bundle"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def read(client: NavigatrClient) -> Any:
    return client.assertion("90210")


def issue(client: NavigatrClient) -> Any:
    return client.issue(
        51, provider_id=7, recipient_email="ada@example.org", recipient_firstname="Ada", recipient_lastname="Lovelace"
    )


def failure(call: Callable[[NavigatrClient], Any], url: str) -> NavigatrError:
    """The error that a call ends in, with the shortest time-out, and in not much more time than that."""
    started = time.monotonic()
    with NavigatrClient(url, TOKEN, timeout=1) as client, pytest.raises(NavigatrError) as error:
        call(client)
    assert time.monotonic() - started < 3
    return error.value


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
TOO_MUCH = b" " * (LARGEST_ANSWER + 1)

# After the request was sent: a read may be repeated, a change may have happened. (answer, error of a read, its message)
AFTER_SENDING = [
    pytest.param(says_nothing, NavigatrUnavailable, "no answer in time", id="silence"),
    pytest.param(sends_and_hangs_up(b""), NavigatrUnavailable, "connection lost", id="dropped"),
    pytest.param(sends_and_hangs_up(b"SSH-2.0\r\n"), NavigatrUnavailable, "connection lost", id="not HTTP"),
    pytest.param(drips(b"HTTP/1.1 200 OK\r\nX-Slow:"), NavigatrUnavailable, "no answer in time", id="dripping headers"),
    pytest.param(
        drips(HEAD + b"Content-Length: 900\r\n\r\n"),
        NavigatrUnavailable,
        "HTTP 200, no answer in time",
        id="dripping body",
    ),
    pytest.param(
        sends_and_hangs_up(HEAD + b"Content-Length: 900\r\n\r\n" + ASSERTION),
        NavigatrUnavailable,
        "HTTP 200, connection lost",
        id="cut short",
    ),
    pytest.param(
        sends_and_hangs_up(HEAD + b"Transfer-Encoding: chunked\r\n\r\n900\r\n" + ASSERTION),
        NavigatrUnavailable,
        "HTTP 200, connection lost",
        id="cut short in a chunk",
    ),
    pytest.param(
        sends_and_hangs_up(HEAD + b"Content-Encoding: gzip\r\n\r\nnot gzip"),
        NavigatrUnavailable,
        "HTTP 200, connection lost",
        id="not gzip",
    ),
    pytest.param(
        drips(HEAD + b"Content-Length: 3000000\r\n\r\n"),
        NavigatrUnexpectedAnswer,
        "HTTP 200, the answer is too large",
        id="too large by its own word",
    ),
    pytest.param(
        sends_and_hangs_up(HEAD + b"\r\n" + TOO_MUCH),
        NavigatrUnexpectedAnswer,
        "HTTP 200, the answer is too large",
        id="too large unannounced",
    ),
]


@pytest.mark.parametrize(("answer", "of_a_read", "message"), AFTER_SENDING)
def test_trouble_after_sending_leaves_a_change_unclear(
    answer: Answer, of_a_read: type[NavigatrError], message: str
) -> None:
    with wire(answer) as server:
        of_the_read, of_the_change = failure(read, server.url), failure(issue, server.url)

    assert type(of_the_read) is of_a_read
    assert str(of_the_read) == f"GET /badge_assertion/90210: {message}"
    assert type(of_the_change) is NavigatrUnclear
    assert str(of_the_change) == f"PUT /badge/51/issue: {message}"
    assert len(server.requests) == 2


def test_tls_connection_lost_in_the_handshake_was_never_sent() -> None:
    with wire(sends_and_hangs_up(b""), read_first=False) as server:
        error = failure(issue, server.url.replace("http", "https"))

    assert type(error) is NavigatrUnavailable


@pytest.mark.parametrize("call", [read, issue])
class TestBeforeSending:
    """Nothing was sent, so nothing happened, whatever the call."""

    def test_refused_connection(self, call: Callable[[NavigatrClient], Any]) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            port = listener.getsockname()[1]
        error = failure(call, f"http://127.0.0.1:{port}/v1")

        assert type(error) is NavigatrUnavailable
        assert str(error).endswith(": no connection")
        assert error.status is None

    def test_unknown_host(self, call: Callable[[NavigatrClient], Any], monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(*args: Any, **kwargs: Any) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        error = failure(call, "http://navigatr.invalid/v1")

        assert type(error) is NavigatrUnavailable
        assert str(error).endswith(": host name not found")

    def test_no_tls_at_the_other_end(self, call: Callable[[NavigatrClient], Any]) -> None:
        with wire(sends_and_hangs_up(b"HTTP/1.1 400 Bad Request\r\n\r\n"), read_first=False) as server:
            error = failure(call, server.url.replace("http", "https"))

        assert type(error) is NavigatrUnavailable
        assert str(error).endswith(": TLS failed")

    def test_handshake_that_never_ends(self, call: Callable[[NavigatrClient], Any]) -> None:
        with wire(says_nothing, read_first=False) as server:
            error = failure(call, server.url.replace("http", "https"))

        assert type(error) is NavigatrUnavailable
        assert str(error).endswith(": no connection in time")

    def test_proxy_that_is_down(self, call: Callable[[NavigatrClient], Any], monkeypatch: pytest.MonkeyPatch) -> None:
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{listener.getsockname()[1]}")
        error = failure(call, "http://navigatr.invalid/v1")

        assert type(error) is NavigatrUnavailable

    def test_proxy_that_refuses_the_tunnel(
        self, call: Callable[[NavigatrClient], Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with wire(replies(b"", status="403 Forbidden")) as proxy:
            monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{proxy.port}")
            error = failure(call, "https://navigatr.invalid/v1")

        assert type(error) is NavigatrUnavailable
        assert proxy.requests[0].startswith(b"CONNECT navigatr.invalid:443")
        assert TOKEN.encode() not in proxy.requests[0]


def test_answer_lost_behind_a_proxy_is_unclear(monkeypatch: pytest.MonkeyPatch) -> None:
    with wire(sends_and_hangs_up(b"")) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        error = failure(issue, "http://navigatr.invalid/v1")

    assert type(error) is NavigatrUnclear


def test_answer_of_exactly_the_limit_is_read() -> None:
    with wire(replies(ASSERTION.ljust(LARGEST_ANSWER))) as server, NavigatrClient(server.url, TOKEN) as client:
        assert read(client).id == "90210"


def test_odd_content_length_of_an_error_does_not_hide_its_status() -> None:
    with wire(sends_and_hangs_up(b"HTTP/1.1 403 Forbidden\r\nContent-Length: some\r\n\r\n<html>")) as server:
        error = failure(issue, server.url)

    assert error.status == 403
    assert str(error) == "PUT /badge/51/issue: HTTP 403"


@pytest.fixture
def redirecting() -> Iterator[tuple[Wire, Wire]]:
    with wire(replies(ASSERTION)) as target:
        location = f"Location: {target.url}/badge_assertion/90210\r\n"
        with wire(replies(b"", status="307 Temporary Redirect", headers=location)) as source:
            yield source, target


@pytest.mark.parametrize("call", [read, issue])
def test_token_never_reaches_the_target_of_a_redirect(
    call: Callable[[NavigatrClient], Any], redirecting: tuple[Wire, Wire]
) -> None:
    source, target = redirecting
    error = failure(call, source.url)

    assert type(error) is NavigatrUnavailable
    assert len(source.requests) == 1
    assert target.requests == []


@pytest.mark.parametrize(
    "answer",
    [
        replies(ASSERTION),
        replies(b'{"detail": "Lovelace"}', status="422 Unprocessable Entity"),
        replies(b"<html>ada@example.org</html>"),
        sends_and_hangs_up(b""),
    ],
)
def test_no_secret_and_no_person_in_messages_causes_or_logs(answer: Answer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    errors: list[NavigatrError] = []
    told = ""
    with wire(answer) as server, NavigatrClient(server.url, TOKEN) as client:
        for call in (issue, read):
            try:
                told += repr(call(client))
            except NavigatrError as error:
                errors.append(error)

    assert all(error.__cause__ is None for error in errors)
    assert all(error.__suppress_context__ or error.__context__ is None for error in errors)
    told += "".join(f"{error}{error!r}{error.args}" for error in errors)
    logged = " ".join(record.getMessage() for record in caplog.records)
    assert logged
    assert not any(word in logged + told for word in (TOKEN, "secret", "ada@", "Ada", "Lovelace"))
