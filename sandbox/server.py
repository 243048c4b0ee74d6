"""A small HTTP/1.1 server on loopback, with one thread, one event loop and keep-alive.

With an event loop, many open connections and delayed replies need no threads. The handler gets a complete request and
must not block.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

from .wire import Reply, Request

HOST = "127.0.0.1"
# Connections that may wait to be accepted.
BACKLOG = 2048
# The most bytes of a request's headers and of its body.
LONGEST_HEAD = 64 * 1024
LONGEST_BODY = 32 * 1024 * 1024
Handler = Callable[[Request], Reply]
log = logging.getLogger("sandbox")


class BadRequestError(Exception):
    """The request is malformed or not supported; `status` is the reply's."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def parse(buffer: bytearray) -> tuple[Request, int] | None:
    """The first request in the buffer and its length in bytes, or None if it is incomplete.

    Raises BadRequestError if it is too long, chunked or malformed.
    """
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        if len(buffer) > LONGEST_HEAD:
            raise BadRequestError(431)
        return None
    first, *lines = buffer[:end].decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequestError(400)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "transfer-encoding" in headers:
        raise BadRequestError(411)
    length = headers.get("content-length", "0")
    if not length.isdecimal():
        raise BadRequestError(400)
    if int(length) > LONGEST_BODY:
        raise BadRequestError(413)
    total = end + 4 + int(length)
    if len(buffer) < total:
        return None
    path, _, query = words[1].partition("?")
    if words[2] == "HTTP/1.0":
        headers.setdefault("connection", "close")
    return Request(words[0], path, query, headers, bytes(buffer[end + 4 : total])), total


class _Connection(asyncio.Protocol):
    """A connection. Its requests are answered one after the other; `_waiting` is True while a reply is not sent yet."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = bytearray()
        self._waiting = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the transport."""
        if self._transport is not None:
            self._server.connections.discard(self._transport)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Answer what is complete."""
        self._buffer += data
        self._serve()

    def _serve(self) -> None:
        while not self._waiting and self._buffer and self._transport is not None:
            try:
                parsed = parse(self._buffer)
            except BadRequestError as error:
                self._send(Reply(error.status), close=True)
                return
            if parsed is None:
                return
            request, length = parsed
            del self._buffer[:length]
            reply = self._server.answer(request)
            close = request.headers.get("connection", "").lower() == "close"
            if reply.delay > 0:
                self._waiting = True
                asyncio.get_running_loop().call_later(reply.delay, self._send_late, reply, close)
            else:
                self._send(reply, close)

    def _send_late(self, reply: Reply, close: bool) -> None:
        self._waiting = False
        self._send(reply, close)
        self._serve()

    def _send(self, reply: Reply, close: bool) -> None:
        transport = self._transport
        if transport is None:
            return
        if reply.drop == "reset":
            transport.abort()
            return
        if reply.drip:
            self._waiting = True
            head, body = self._server.encoded(reply, close)
            transport.write(b"" if reply.drip == "headers" else head)
            dripped, rest = (head, body) if reply.drip == "headers" else (body, b"")
            self._drip(dripped, rest, 0, reply.pace, close)
            return
        if not reply.drop:
            head, body = self._server.encoded(reply, close)
            transport.write(head + body[: reply.sent])
        if reply.drop or close or reply.sent is not None:
            transport.close()

    def _drip(self, dripped: bytes, rest: bytes, position: int, pace: float, close: bool) -> None:
        """Send one byte every `pace` seconds, then `rest`. Stops if the client closes the connection."""
        transport = self._transport
        if transport is None:
            return
        transport.write(dripped[position : position + 1])
        if position + 1 < len(dripped):
            asyncio.get_running_loop().call_later(pace, self._drip, dripped, rest, position + 1, pace, close)
            return
        transport.write(rest)
        self._waiting = False
        if close:
            transport.close()
        else:
            self._serve()


class Server:
    """Runs a handler on 127.0.0.1 in a thread of its own."""

    def __init__(self, handler: Handler, clock: Callable[[], float]) -> None:
        self.connections: set[asyncio.Transport] = set()
        self.port = 0
        self._handler = handler
        self._clock = clock
        self._date = (0, "")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sandbox", daemon=True)

    def start(self, port: int) -> None:
        """Listen on a port, or on any free one for 0. Raises OSError if that fails."""
        create = self._loop.create_server(lambda: _Connection(self), HOST, port, backlog=BACKLOG)
        self._listener = self._loop.run_until_complete(create)
        self.port = self._listener.sockets[0].getsockname()[1]
        self._thread.start()

    def stop(self) -> None:
        """Close all connections at once and end the thread."""
        self._loop.call_soon_threadsafe(self._close)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _close(self) -> None:
        self._listener.close()
        for transport in list(self.connections):
            transport.abort()
        # After the callbacks of the aborted connections.
        self._loop.call_soon(self._loop.stop)

    def answer(self, request: Request) -> Reply:
        """The handler's reply, or 500 if it raises; the error is logged."""
        try:
            return self._handler(request)
        except Exception:
            log.exception("%s %s", request.method, request.path)
            return Reply(500, b"The sandbox itself failed; see its log.", "text/plain")

    def encoded(self, reply: Reply, close: bool) -> tuple[bytes, bytes]:
        """The bytes of a reply: head and body."""
        now = int(self._clock())
        if now != self._date[0]:
            self._date = (now, formatdate(now, usegmt=True))
        head = (
            f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\nDate: {self._date[1]}\r\n"
            f"Content-Type: {reply.content_type}\r\nContent-Length: {len(reply.body)}\r\n"
        )
        for name, value in reply.headers:
            head += f"{name}: {value}\r\n"
        if close:
            head += "Connection: close\r\n"
        return head.encode("latin-1") + b"\r\n", reply.body
