"""The whole portal as `make run` starts it, for benchmarks: set up in a folder of its own, stopped at the end."""

import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from tests import services

from . import stage


@contextmanager
def portal(variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run `manage.py portal` until the block ends; yields its supervisor's process once the pages answer.

    The broker is the embedded Valkey. Raises AssertionError when the portal does not start or stop in time.
    """
    stage.run([sys.executable, "manage.py", "setup_portal"], variables)
    port = services.free_port()
    command = [sys.executable, "manage.py", "portal", "--port", str(port)]
    with subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, text=True) as process:
        try:
            services.wait_until(lambda: _answers(port), seconds=60, what="the portal's first page")
            yield process
        finally:
            process.terminate()
            process.wait(timeout=60)


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
    except (urllib.error.URLError, TimeoutError):
        return False
    return True
