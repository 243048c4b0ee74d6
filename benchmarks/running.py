"""Run the whole portal as `make run` does, and read the CPU time and memory of its processes (Linux only)."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests import services

from . import stage


@contextmanager
def portal(variables: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Set up and run `manage.py portal` until the end of the block; yield its process once the pages answer.

    The broker is the embedded Valkey. Raises an error if the portal does not start or stop in time.
    """
    stage.run([sys.executable, "manage.py", "setup_portal"], variables)
    port = services.free_port()
    command = [sys.executable, "manage.py", "portal", "--port", str(port)]
    with started(command, port, variables) as process:
        yield process


@contextmanager
def web(variables: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Run the portal's web server alone until the end of the block; yield its port and process id."""
    port = services.free_port()
    command = [sys.executable, "-m", "launcher.web", "config.wsgi:application", "--bind", "127.0.0.1"]
    # Pages that this user may not see are logged with a traceback.
    quiet = subprocess.DEVNULL
    with started([*command, "--port", str(port)], port, variables, log=quiet) as process:
        yield port, process.pid


@contextmanager
def started(
    command: list[str], port: int, variables: dict[str, str], *, log: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a program until the end of the block; yield its process once it answers at that port."""
    with subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=log, text=True) as process:
        try:
            services.wait_until(lambda: _answers(port), seconds=300, what="the first page")
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
    """The ids of the process and all its descendants. One that ends in this moment has none."""
    children: list[str] = []
    with suppress(FileNotFoundError, ProcessLookupError):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(descendant for child in children for descendant in family(int(child)))]


def parent(pid: int) -> int:
    """The id of the parent process."""
    return int(_stat(pid)[1])


def cpu_seconds(pid: int) -> float:
    """CPU time of the process, in user and kernel mode."""
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def family_cpu_seconds(pid: int) -> float:
    """CPU time of the process and all its descendants, also of those that have ended."""
    total = cpu_seconds(pid) + sum(map(int, _stat(pid)[13:15])) / os.sysconf("SC_CLK_TCK")
    for descendant in family(pid)[1:]:
        # One that ends in this moment is counted with its parent from now on.
        with suppress(FileNotFoundError, ProcessLookupError):
            total += cpu_seconds(descendant)
    return total


def resident_mb(pid: int) -> float:
    """Resident memory of the process, including shared pages."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def name(pid: int) -> str:
    """The command line, without the folder of the program."""
    program, *arguments = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    return " ".join([Path(program).name, *arguments])[:120]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
