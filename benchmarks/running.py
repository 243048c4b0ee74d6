"""The whole portal as `make run` starts it, for benchmarks, and what its processes cost (by /proc, so on Linux)."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import services

from . import stage


@contextmanager
def portal(variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Set up and run `manage.py portal` until the block ends; yields its supervisor's process once the pages answer.

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


def family(pid: int) -> list[int]:
    """The process and all that it has started, and they in turn."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(grandchild for child in children for grandchild in family(int(child)))]


def parent(pid: int) -> int:
    """The process that started this one."""
    return int(_stat(pid)[1])


def cpu_seconds(pid: int) -> float:
    """Processor time so far, in user and kernel mode."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_seconds_together(pid: int) -> float:
    """Processor time of the process and all that it has started, those that have ended too."""
    ended = sum(map(int, _stat(pid)[13:15])) / os.sysconf("SC_CLK_TCK")
    return ended + sum(map(cpu_seconds, family(pid)))


def resident_mb(pid: int) -> float:
    """Memory of the process, with what it shares."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def name(pid: int) -> str:
    """The command line, without the folders before the program's name."""
    program, *arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return " ".join([Path(program).name, *arguments])[:120]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
