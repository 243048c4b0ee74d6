"""Authorities, deadlines, and errors that come up without a server."""

import socket
import time
from pathlib import Path

import certifi
import pytest
import requests
from urllib3.exceptions import ConnectTimeoutError

from outbound_http import HttpClient
from outbound_http.connections import TimedReader, tls_context
from outbound_http.failures import TLS_FAILED, wire_failure


def test_authorities_named_in_the_environment_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    usual = tls_context()
    bundle = tmp_path / "authorities.pem"
    bundle.write_text(
        Path(certifi.where()).read_text().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    )

    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    assert len(tls_context().get_ca_certs()) == 1
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    assert tls_context().get_ca_certs() == []
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    assert tls_context() is usual
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "missing.pem"))
    with pytest.raises(OSError, match="No such file"):
        HttpClient("https://host.invalid", {}, timeout=1, connect_timeout=1, largest_answer=1)


def test_plain_connect_timeout_counts_as_never_sent() -> None:
    wrapped = wire_failure(requests.ConnectionError(ConnectTimeoutError("slow")))

    assert wrapped.undelivered
    assert str(wrapped) == "no connection in time"
    assert wire_failure(requests.ConnectTimeout()).undelivered
    assert not wire_failure(requests.ConnectionError()).undelivered


def test_tls_that_fails_after_the_handshake_may_have_been_sent() -> None:
    error = wire_failure(requests.exceptions.SSLError("alert: certificate required"))

    assert str(error) == TLS_FAILED
    assert not error.undelivered


def test_deadline_ends_an_answer_even_when_more_of_it_is_there() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb", buffering=0) as raw:
        theirs.sendall(b"HTTP/1.1 200 OK")
        with TimedReader(ours, raw, time.monotonic() - 1) as reader, pytest.raises(TimeoutError):
            reader.read(4)
