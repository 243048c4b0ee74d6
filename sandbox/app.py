"""The sandbox: both services, the page and the control calls on one port, and the state file."""

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
from typing import Any

from . import control, page
from .demo import PRODUCTION_FIRST_ID, STAGING_FIRST_ID, seed_moodle, seed_navigatr
from .faults import NAVIGATR, NAVIGATR_PRODUCTION, Faults
from .moodle import Moodle
from .moodle_wire import MoodleWire
from .navigatr import Navigatr
from .server import HOST, Server
from .wire import Reply, Request, json_reply

# Time between two checks whether the state has to be saved.
SAVE_PAUSE_SECONDS = 0.5


class Sandbox:
    """A pretend Moodle and two pretend Navigatr environments on loopback.

    As a context manager it listens on `port` (0: any free one) until the end of the block. Navigatr always has the
    demo's providers and badges; Moodle is empty unless `demo` is set. Tokens that are not given are random. `state` is
    a file that keeps everything except ledgers and faults. `clock` returns the time in seconds since the epoch.
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

    # Addresses and tokens to enter into the portal.

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

    # Start and stop.

    def start(self) -> None:
        """Listen. Raises OSError if the port is in use."""
        self._server.start(self._port)
        origin = f"http://{HOST}:{self._server.port}"
        for service in (self.moodle, self.navigatr, self.production):
            service.origin = origin
        if self._state is not None:
            self._saver.start()

    def stop(self) -> None:
        """Close all connections at once and save the state."""
        self._server.stop()
        if self._state is not None:
            self._stopping.set()
            self._saver.join()
            self._save(self._state)

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def reset(self, demo: bool | None = None) -> None:
        """Return to the state of the first start, without faults. `demo` decides whether Moodle has the demo's data."""
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

    # Requests.

    def _handle(self, request: Request) -> Reply:
        reply = self._route(request)
        if not self._quiet:
            # Without the query, which may hold an e-mail address or a token.
            outcome = "no answer" if reply.drop else str(reply.status)
            print(f"{request.method} {request.path} {outcome}", file=sys.stderr, flush=True)
        return reply

    def _route(self, request: Request) -> Reply:
        path = request.path
        if path.startswith("/navigatr/"):
            return self.navigatr.handle(request)
        if path.startswith("/moodle/") or path == "/moodle":
            return self._wire.handle(request)
        if path.startswith("/navigatr-production/"):
            return self.production.handle(request)
        if not _is_local(request):
            return json_reply({"error": "only pages of this sandbox may do this"}, 403)
        if path.startswith("/control/"):
            return control.handle(self, request)
        return page.handle(self, request)

    # The state file.

    def _version(self) -> int:
        return self.moodle.changes + self.navigatr.changes + self.production.changes

    def _load(self, state: Path) -> None:
        saved: dict[str, Any] = json.loads(state.read_text(encoding="utf-8"))
        self.moodle.load(saved["moodle"])
        self.navigatr.load(saved["navigatr"])
        self.production.load(saved["production"])
        self._saved = self._version()

    def _keep_saving(self) -> None:
        assert self._state is not None
        while not self._stopping.wait(SAVE_PAUSE_SECONDS):
            self._save(self._state)

    def _save(self, state: Path) -> None:
        """Write the state to a new file and rename it over the old one, if the state has changed."""
        version = self._version()
        if version == self._saved:
            return
        content = {
            "moodle": self.moodle.dump(),
            "navigatr": self.navigatr.dump(),
            "production": self.production.dump(),
        }
        state.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=state.parent, prefix=f".{state.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False, separators=(",", ":"))
        Path(name).replace(state)
        self._saved = version


def _is_local(request: Request) -> bool:
    """Whether the request comes from the sandbox's page or a local program, and not from another site's page."""
    host = request.headers.get("host", "")
    origin = request.headers.get("origin", "")
    return host.rpartition(":")[0] in (HOST, "localhost") and origin in ("", f"http://{host}")
