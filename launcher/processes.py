"""Starts the portal's programs, keeps them running, and stops them in order. One thread, one loop, no Django."""

import ctypes
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import IO, TextIO

LONGEST_PAUSE = 60.0
HEALTHY_AFTER = 60.0
LONGEST_LINE = 64 * 1024

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Program:
    """One program to run. `grace`: seconds it may take to end after SIGTERM before it is killed."""

    name: str
    command: Sequence[str]
    grace: float = 5.0
    once: bool = False
    """Run to its end and not restarted."""


@dataclass
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    start_at: float | None = None


@dataclass
class _Output:
    name: str
    pipe: IO[bytes]
    waiting: bytearray = field(default_factory=bytearray)


def restart_pause(failures: int) -> float:
    """Seconds to wait before a start after that many failures in a row: 1, 2, 4 … 60."""
    return min(2.0 ** min(failures - 1, 10), LONGEST_PAUSE)


def dying_with_parent() -> Callable[[], None]:
    """A `preexec_fn` that has the kernel kill the new process when this one dies, even by SIGKILL.

    The kernel goes by the thread that started the process, so call Popen from the main thread. Linux only; on other
    systems the returned function does nothing and children outlive a killed supervisor.
    """
    parent = os.getpid()

    def bind_life_to_parent() -> None:
        if _libc is None:
            return
        if _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        # The parent may have died between fork and prctl; then nobody is left to send the signal.
        if os.getppid() != parent:
            os._exit(1)

    return bind_life_to_parent


def how_it_ended(returncode: int) -> str:
    """A process's end in words: "exit code 3" or "SIGKILL"."""
    return f"exit code {returncode}" if returncode >= 0 else signal.Signals(-returncode).name


class Supervisor:
    """Runs programs until SIGINT, SIGTERM or SIGHUP, then stops them in the reverse of the order given.

    A program that ends by itself is started again after a growing pause. Each program has a process group of its
    own, so Ctrl-C on the terminal reaches the supervisor alone and running work can finish. Must live in the main
    thread (signals, and see `dying_with_parent`).
    """

    def __init__(self, programs: Sequence[Program], *, environment: Mapping[str, str], out: TextIO) -> None:
        self._children = [_Child(program) for program in programs]
        self._environment = dict(environment)
        self._out = out
        self._width = max(len(program.name) for program in programs)
        self._selector = selectors.DefaultSelector()
        self._stops_asked = 0
        self._stopping = False

    def run(self) -> None:
        """Start everything and return when everything has stopped; no child is left, whatever happens in between."""
        with self._signals():
            try:
                for child in self._children:
                    self._start(child)
                while not self._stops_asked:
                    self._turn(self._seconds_to_next_start())
                self._stop_in_order()
            finally:
                for child in reversed(self._children):
                    self._kill(child)
                self._selector.close()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Catch the signals, and have each of them wake the loop through a socket."""
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        self._selector.register(reader, selectors.EVENT_READ, reader)
        handlers = {number: signal.signal(number, self._ask_to_stop) for number in _STOP_SIGNALS}
        # A handler must exist for the wake-up to be written; the loop itself looks who has ended.
        handlers[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous_fd)
            for number, handler in handlers.items():
                signal.signal(number, handler)
            reader.close()
            writer.close()

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        self._stops_asked += 1

    def _start(self, child: _Child) -> None:
        child.start_at = None
        child.started_at = time.monotonic()
        child.process = subprocess.Popen(
            child.program.command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            process_group=0,
            preexec_fn=dying_with_parent(),
        )
        pipe = child.process.stdout
        assert pipe is not None
        os.set_blocking(pipe.fileno(), False)
        self._selector.register(pipe, selectors.EVENT_READ, _Output(child.program.name, pipe))

    def _turn(self, wait: float | None) -> None:
        """One round of the loop: pass output on, see who has ended, start who is due."""
        for key, _ in self._selector.select(wait):
            if isinstance(key.data, _Output):
                self._pass_on(key.data)
            else:
                key.data.recv(4096)
        now = time.monotonic()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._note_end(child, child.process, now)
            if child.start_at is not None and child.start_at <= now and not self._stopping:
                self._start(child)

    def _seconds_to_next_start(self) -> float | None:
        due = [child.start_at for child in self._children if child.start_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _note_end(self, child: _Child, process: subprocess.Popen[bytes], now: float) -> None:
        child.process = None
        # A dead gunicorn leaves its workers for a moment, and they still hold the port.
        _kill_group(process.pid)
        if self._stopping or (child.program.once and process.returncode == 0):
            return
        ended = f"{child.program.name} ended with {how_it_ended(process.returncode)}"
        if child.program.once:
            self._say(ended)
            return
        child.failures = 1 if now - child.started_at >= HEALTHY_AFTER else child.failures + 1
        pause = restart_pause(child.failures)
        child.start_at = now + pause
        self._say(f"{ended}, starting it again in {pause:.0f} s")

    def _pass_on(self, output: _Output) -> None:
        chunk = os.read(output.pipe.fileno(), LONGEST_LINE)
        output.waiting += chunk
        *lines, rest = output.waiting.split(b"\n")
        if rest and (not chunk or len(rest) >= LONGEST_LINE):
            lines.append(rest)
            rest = bytearray()
        output.waiting = rest
        for line in lines:
            self._write(output.name, line.decode(errors="replace"))
        if not chunk:
            self._selector.unregister(output.pipe)
            output.pipe.close()

    def _stop_in_order(self) -> None:
        self._stopping = True
        self._say("stopping; what is being sent may take up to 30 s to finish (Ctrl-C stops at once)")
        for child in reversed(self._children):
            self._stop(child)
        self._say("stopped")

    def _stop(self, child: _Child) -> None:
        if child.process is None:
            return
        child.process.terminate()
        deadline = time.monotonic() + child.program.grace
        while child.process is not None and self._stops_asked < 2 and (left := deadline - time.monotonic()) > 0:
            self._turn(left)
        if child.process is not None:
            self._say(f"{child.program.name} did not stop in time and was killed")
            self._kill(child)

    def _kill(self, child: _Child) -> None:
        if child.process is not None:
            _kill_group(child.process.pid)
            child.process.wait()
            child.process = None

    def _say(self, text: str) -> None:
        self._write("portal", text)

    def _write(self, name: str, line: str) -> None:
        self._out.write(f"{name:<{self._width}} | {line}\n")
        self._out.flush()


_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _kill_group(leader: int) -> None:
    """Kill what is left of a child's process group; there may be nothing."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
