"""The sandbox as a whole: both services, the page and the control calls behind one port, and the state file."""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from . import control, page
from .demo import PRODUCTION_FIRST_ID, STAGING_FIRST_ID, seed_moodle, seed_navigatr
from .faults import NAVIGATR, NAVIGATR_PRODUCTION, Faults
from .moodle import Moodle
from .moodle_wire import MoodleWire
from .navigatr import Navigatr
from .server import HOST, Server
from .wire import Reply, Request, json_reply

SAVE_PAUSE_SECONDS = 0.5


class Sandbox:
    """A pretend Moodle and two pretend Navigatr environments on loopback.

    As a context manager it listens on `port` (0: any free one) until it is left. Navigatr always holds the demo's
    providers and badges; Moodle is empty unless `demo` is set. Tokens are made up where none are given. With `state`
    everything but ledgers and faults is kept in that file. `clock` gives the time in seconds since the epoch, also
    for the answers' Date header.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        demo: bool = False,
        moodle_token: str = "",
        pat: str = "",
        production_pat: str = "",
        state: Path | None = None,
        quiet: bool = True,
        seed: int = 1,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.demo = demo
        self.faults = Faults(seed)
        self.moodle = Moodle(token=moodle_token or secrets.token_hex(16), clock=clock)
        self.navigatr = Navigatr(
            pat=pat or secrets.token_urlsafe(24), faults=self.faults, first_id=STAGING_FIRST_ID, clock=clock
        )
        self.production = Navigatr(
            pat=production_pat or secrets.token_urlsafe(24),
            faults=self.faults,
            side=NAVIGATR_PRODUCTION,
            first_id=PRODUCTION_FIRST_ID,
            clock=clock,
        )
        self._wire = MoodleWire(self.moodle, self.faults)
        self._port = port
        self._state = state
        self._quiet = quiet
        self._server = Server(self._handle, clock)
        self._saver = threading.Thread(target=self._keep_saving, name="sandbox state", daemon=True)
        self._stopping = threading.Event()
        self._saved = -1
        self._seed()
        if state is not None and state.exists():
            self._load(state)

    # Addresses and secrets, as they are entered into the portal

    @property
    def url(self) -> str:
        """The address of the page."""
        return self.moodle.origin

    @property
    def moodle_url(self) -> str:
        """The pretend Moodle's address."""
        return self.moodle.url

    @property
    def moodle_token(self) -> str:
        """The token that the pretend Moodle accepts."""
        return self.moodle.token

    @property
    def navigatr_url(self) -> str:
        """The API of the staging environment."""
        return self.navigatr.url

    @property
    def pat(self) -> str:
        """The access token of the staging environment."""
        return self.navigatr.pat

    @property
    def production_url(self) -> str:
        """The API of the production environment."""
        return self.production.url

    @property
    def production_pat(self) -> str:
        """The access token of the production environment."""
        return self.production.pat

    # Life

    def start(self) -> None:
        """Listen. Raises OSError where the port is in use."""
        self._server.start(self._port)
        origin = f"http://{HOST}:{self._server.port}"
        for service in (self.moodle, self.navigatr, self.production):
            service.origin = origin
        if self._state is not None:
            self._saver.start()

    def stop(self) -> None:
        """Close all connections at once and save a last time."""
        self._server.stop()
        if self._state is not None:
            self._stopping.set()
            self._saver.join()
            self._save(self._state)

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def reset(self, demo: bool | None = None) -> None:
        """Start over: faults off, everything as at the first start. `demo` changes what Moodle holds then."""
        self.demo = self.demo if demo is None else demo
        self.faults.clear()
        for service in (self.moodle, self.navigatr, self.production):
            service.reset()
        self._seed()

    def environment(self, side: str) -> Navigatr:
        """The Navigatr environment with this name. Raises ValueError for another name."""
        if side not in (NAVIGATR, NAVIGATR_PRODUCTION):
            raise ValueError(f"environment must be {NAVIGATR} or {NAVIGATR_PRODUCTION}")
        return self.navigatr if side == NAVIGATR else self.production

    def _seed(self) -> None:
        seed_navigatr(self.navigatr)
        seed_navigatr(self.production)
        if self.demo:
            seed_moodle(self.moodle)

    # Requests

    def _handle(self, request: Request) -> Reply:
        reply = self._route(request)
        if not self._quiet:
            # The path only: a query may hold an e-mail address or a token.
            told = "no answer" if reply.drop else str(reply.status)
            print(f"{request.method} {request.path} {told}", file=sys.stderr, flush=True)
        return reply

    def _route(self, request: Request) -> Reply:
        path = request.path
        if path.startswith("/navigatr/"):
            return self.navigatr.handle(request)
        if path.startswith("/moodle/") or path == "/moodle":
            return self._wire.handle(request)
        if path.startswith("/navigatr-production/"):
            return self.production.handle(request)
        if not _from_here(request):
            return json_reply({"error": "only pages of this sandbox may do this"}, 403)
        if path.startswith("/control/"):
            return control.handle(self, request)
        return page.handle(self, request)

    # The state file

    def _version(self) -> int:
        return self.moodle.changes + self.navigatr.changes + self.production.changes

    def _load(self, state: Path) -> None:
        held: dict[str, Any] = json.loads(state.read_text(encoding="utf-8"))
        self.moodle.load(held["moodle"])
        self.navigatr.load(held["navigatr"])
        self.production.load(held["production"])
        self._saved = self._version()

    def _keep_saving(self) -> None:
        assert self._state is not None
        while not self._stopping.wait(SAVE_PAUSE_SECONDS):
            self._save(self._state)

    def _save(self, state: Path) -> None:
        """Write the state if it has changed: a new file beside the old one, then renamed over it."""
        version = self._version()
        if version == self._saved:
            return
        held = {
            "moodle": self.moodle.dump(),
            "navigatr": self.navigatr.dump(),
            "production": self.production.dump(),
        }
        state.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=state.parent, prefix=f".{state.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(held, file, ensure_ascii=False, separators=(",", ":"))
        Path(name).replace(state)
        self._saved = version


def _from_here(request: Request) -> bool:
    """Whether the page or a local program asks: a foreign web page open in the same browser must not."""
    host = request.headers.get("host", "")
    origin = request.headers.get("origin", "")
    return host.rpartition(":")[0] in (HOST, "localhost") and origin in ("", f"http://{host}")
