"""`python -m sandbox`: run the sandbox with the demo's courses, learners and badges."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from .app import Sandbox
from .demo import DEMO_MOODLE_TOKEN, DEMO_PAT, DEMO_PRODUCTION_PAT


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or Ctrl-C. If it cannot start, print one line to stderr and return 1."""
    parser = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    parser.add_argument("--port", type=int, default=8001, help="port on 127.0.0.1 (default 8001, 0 for any free one)")
    parser.add_argument("--state", type=Path, help="file to keep everything in; without it a restart starts over")
    parser.add_argument("--quiet", action="store_true", help="no line for each request")
    parser.add_argument("--empty", action="store_true", help="a Moodle without courses and learners")
    parser.add_argument("--moodle-token", default=DEMO_MOODLE_TOKEN, help="the token that Moodle accepts")
    parser.add_argument("--pat", default=DEMO_PAT, help="the access token of Navigatr's staging environment")
    parser.add_argument("--production-pat", default=DEMO_PRODUCTION_PAT, help="the same for production")
    options = parser.parse_args(arguments)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        sandbox = Sandbox(
            options.port,
            demo=not options.empty,
            moodle_token=options.moodle_token,
            pat=options.pat,
            production_pat=options.production_pat,
            state=options.state,
            quiet=options.quiet,
        )
        sandbox.start()
    except (ValueError, KeyError, TypeError):
        print(f"sandbox: {options.state} is not a state file of this sandbox; remove it", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"sandbox: cannot start: {error.strerror}", file=sys.stderr)
        return 1
    print(f"Sandbox: {sandbox.url}/ (Moodle {sandbox.moodle_url}, Navigatr {sandbox.navigatr_url})", flush=True)
    stopping.wait()
    sandbox.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
