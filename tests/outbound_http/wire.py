"""A tiny server on loopback that answers byte for byte as a test says, for what `responses` cannot fake."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Answer = Callable[[socket.socket, threading.Event], None]


class Wire:
    """One listening socket; `requests` holds the raw requests received."""

    def __init__(self, answer: Answer, *, read_first: bool = True, tls: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self._answer = answer
        self._read_first = read_first
        self._tls = tls
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def url(self) -> str:
        """The API's address at this server."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    def _accept(self) -> None:
        while not self._over.is_set():
            connection, _ = self._listener.accept()
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        if self._tls:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:
                # The client does not trust this server, or it is the call that wakes it.
                connection.close()
                return
        with connection:
            while not self._over.is_set():
                if self._read_first:
                    request = _read_request(connection)
                    if not request:
                        return
                    self.requests.append(request)
                try:
                    self._answer(connection, self._over)
                except OSError:
                    # The client hung up, which some tests want it to do.
                    return

    def start(self) -> None:
        """Begin to accept connections."""
        self._threads[0].start()

    def stop(self) -> None:
        """Wake whatever waits and join every thread, which fails when a client left a connection open."""
        self._over.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in self._threads:
            thread.join(timeout=5)
        self._listener.close()
        assert not any(thread.is_alive() for thread in self._threads)


def _read_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


@contextmanager
def wire(answer: Answer, *, read_first: bool = True, tls: ssl.SSLContext | None = None) -> Iterator[Wire]:
    """A running server that gives every request the same `answer`; with read_first=False, every new connection."""
    server = Wire(answer, read_first=read_first, tls=tls)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def certificate_file(folder: Path, *, address: str = "127.0.0.1", ends: timedelta = timedelta(days=1)) -> Path:
    """A self-signed certificate for the address and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


@contextmanager
def tls_wire(answer: Answer, file: Path) -> Iterator[Wire]:
    """A running server that shows the certificate in the file."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    with wire(answer, tls=context) as server:
        yield server


def replies(body: bytes, *, status: str = "200 OK", headers: str = "") -> Answer:
    """A well-formed answer on a connection that stays open."""

    def answer(connection: socket.socket, over: threading.Event) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        connection.sendall(head.encode() + body)

    return answer


def sends_and_hangs_up(data: bytes) -> Answer:
    """These bytes, then the end of the connection."""

    def answer(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_RDWR)

    return answer


def says_nothing(connection: socket.socket, over: threading.Event) -> None:
    """No answer until the test is over."""
    over.wait(10)


def drips(start: bytes, drop: bytes = b" ") -> Answer:
    """The first bytes, then a drop every 50 ms for as long as the client listens (10 s at most)."""

    def answer(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        for _ in range(200):
            if over.wait(0.05):
                return
            connection.sendall(drop)

    return answer


def floods(start: bytes, again: bytes) -> Answer:
    """The first bytes once, then the others as fast as the client takes them (10 s at most)."""

    def answer(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        many = again * (65536 // len(again) + 1)
        until = time.monotonic() + 10
        while time.monotonic() < until and not over.is_set():
            connection.sendall(many)

    return answer
