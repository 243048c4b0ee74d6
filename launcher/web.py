"""The web server: waitress, with limits, time limits for slow clients, and an orderly end.

waitress reads a request whole before it takes a thread, so slow clients hold up no page. Imports no Django. Usage:
python -m launcher.web config.wsgi:application --bind 127.0.0.1 --port 8000
"""

import argparse
import pkgutil
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.server import create_server

from .addresses import listening_socket

# Enough that pages that wait for a slow Navigatr do not hold up the others.
THREADS = 16
CONNECTIONS = 1000
# What a connection may open: its socket, and files for a long body and a long answer.
FILES_PER_CONNECTION = 3
# Files for everything else: the program, the database, the broker.
OTHER_FILES = 100
# The portal takes forms and no files. In bytes.
LARGEST_BODY = 1_000_000
LARGEST_HEADERS = 32_768
# Longer bodies wait in a temporary file, so that many of them do not fill the memory. In bytes.
LARGEST_BODY_IN_MEMORY = 65_536
# A client has this many seconds to begin a request, as many to send the rest of it, and as many to take the answer.
CLIENT_SECONDS = 60.0
# After SIGTERM, requests in flight have this many seconds to end.
STOP_SECONDS = 10.0


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("application", help="module:name")
    parser.add_argument("--bind", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--client-seconds", type=float, default=CLIENT_SECONDS)
    parser.add_argument("--stop-seconds", type=float, default=STOP_SECONDS)
    options = parser.parse_args()
    listening = listening_socket(options.bind, options.port)
    server = create_server(
        pkgutil.resolve_name(options.application),
        sockets=[listening],
        threads=THREADS,
        connection_limit=_connection_limit(),
        asyncore_use_poll=True,
        max_request_body_size=LARGEST_BODY,
        max_request_header_size=LARGEST_HEADERS,
        inbuf_overflow=LARGEST_BODY_IN_MEMORY,
        # The application decides whose forwarding headers count.
        clear_untrusted_proxy_headers=False,
        # Clients that go away are no errors.
        log_socket_errors=False,
        ident="portal",
    )
    server.channel_class = _Channel
    cut_off = _Serving(server, client_seconds=options.client_seconds, stop_seconds=options.stop_seconds).run()
    if cut_off:
        print(f"{cut_off} request(s) did not end within {options.stop_seconds:g} s and were cut off", file=sys.stderr)
    return 0


def _connection_limit() -> int:
    """CONNECTIONS, or fewer where the system allows too few open files. Raises the process's own limit if it can."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS * FILES_PER_CONNECTION + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS
    return max(1, min(CONNECTIONS, (soft - OTHER_FILES) // FILES_PER_CONNECTION))


class _Channel(HTTPChannel):
    """A connection that knows since when the portal waits for its client.

    It waits for the first byte of a request, then for the rest of it, and then for the client to take the answer.
    Each of the three has its own time. A sample now and then would not do: a quick request comes and goes between two.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.waits_since = time.monotonic()
        # Whether a request has begun to arrive. `request` is None again after each blank line, of which any number may
        # come before a request.
        self._begun = False
        super().__init__(*args, **kwargs)

    def received(self, data: bytes) -> Any:
        """Read on. The rest of a request has its own time from the first byte on."""
        if not self._begun:
            self._begun, self.waits_since = True, time.monotonic()
        return super().received(data)

    def service(self) -> None:
        """Answer a request that has arrived whole. `_close_slow_clients` keeps the time up to date meanwhile."""
        self._begun, self.waits_since = False, time.monotonic()
        super().service()

    def handle_write(self) -> None:
        """Send on. Once the answer is taken, the next request has its own time to begin."""
        super().handle_write()
        if not (self._begun or self.requests or self.total_outbufs_len):
            self.waits_since = time.monotonic()


class _Serving:
    """Runs the server's loop. waitress's own loop would end at once on SIGTERM, and never close a dripping client."""

    def __init__(self, server: Any, *, client_seconds: float, stop_seconds: float) -> None:
        self._server = server
        self._client_seconds = client_seconds
        self._stop_seconds = stop_seconds
        self._stopping = False

    def run(self) -> int:
        """Serve until a signal, then finish what is in flight. Returns the number of requests that were cut off."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._loop(lambda: self._stopping)
        # Closes the listening socket only: `server.close` would also close what wakes the loop when an answer is ready.
        wasyncore.dispatcher.close(self._server)
        # Reads what has already arrived.
        self._turn(0)
        deadline = time.monotonic() + self._stop_seconds
        self._loop(lambda: not self._in_flight() or time.monotonic() >= deadline)
        return self._in_flight()

    def _stop(self, *_args: object) -> None:
        self._stopping = True
        self._server.pull_trigger()

    def _loop(self, ended: Callable[[], bool]) -> None:
        checked = time.monotonic()
        while not ended():
            self._turn(1)
            if time.monotonic() - checked >= 1:
                checked = time.monotonic()
                self._close_slow_clients(checked)

    def _turn(self, seconds: float) -> None:
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._server._map, count=1)

    def _in_flight(self) -> int:
        channels = self._server.active_channels.values()
        return sum(bool(channel.requests or channel.total_outbufs_len) for channel in channels)

    def _close_slow_clients(self, now: float) -> None:
        """Close the connections on which the portal has waited for the client too long."""
        for channel in list(self._server.active_channels.values()):
            if channel.requests:
                # The client waits for the portal.
                channel.waits_since = now
            elif now - channel.waits_since >= self._client_seconds:
                # `will_close` would wait until the client takes what is left of the answer.
                channel.handle_close()


if __name__ == "__main__":
    sys.exit(main())
