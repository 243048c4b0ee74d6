"""Starts the portal's programs, restarts and stops them. One thread with one loop; imports no Django."""

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

# The longest pause before a restart, in seconds.
LONGEST_PAUSE = 60.0
# A program that has run for this many seconds starts with the shortest pause again.
HEALTHY_AFTER = 60.0
# Longer lines of output are split. In bytes.
LONGEST_LINE = 64 * 1024
# These signals stop the portal.
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# From Linux's <sys/prctl.h>.
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Program:
    """A program to run.

    `grace`: seconds between SIGTERM and SIGKILL. `once`: the program is not restarted when it ends.
    """

    name: str
    command: Sequence[str]
    grace: float = 5.0
    once: bool = False


@dataclass
class _Output:
    """A program's output. `partial_line` is the start of a line whose end has not been read yet."""

    name: str
    pipe: IO[bytes]
    partial_line: bytearray = field(default_factory=bytearray)


@dataclass
class _Child:
    """The state of a program. `failures` counts its ends in a row; `restart_at` is when it is started again."""

    program: Program
    process: subprocess.Popen[bytes] | None = None
    output: _Output | None = None
    started_at: float = 0.0
    failures: int = 0
    restart_at: float | None = None


def restart_pause(failures: int) -> float:
    """Seconds to wait before a restart after that many failures in a row: 1, 2, 4 … 60."""
    return min(2.0 ** min(failures - 1, 10), LONGEST_PAUSE)


def dying_with_parent() -> Callable[[], None]:
    """A `preexec_fn` that lets the kernel kill the new process when this one dies, even by SIGKILL.

    Call Popen from the main thread, because for the kernel the parent is the thread that called it. Linux only: on
    other systems the function does nothing, and children survive a killed launcher.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        if _libc is None:
            return
        if _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        # If the parent died before the call of prctl, there is no signal.
        if os.getppid() != parent:
            os._exit(1)

    return die_with_parent


def how_it_ended(returncode: int) -> str:
    """How a process ended, as text: "exit code 3" or "SIGKILL"."""
    return f"exit code {returncode}" if returncode >= 0 else signal.Signals(-returncode).name


class Launcher:
    """Runs programs until SIGINT, SIGTERM or SIGHUP, then stops them in reverse order.

    A program that ends is restarted after a growing pause. Each program has its own process group, so Ctrl-C on the
    terminal reaches only the launcher, and running work can finish. `run` must be called in the main thread, because
    it handles signals and uses `dying_with_parent`.
    """

    def __init__(self, programs: Sequence[Program], *, environment: Mapping[str, str], out: TextIO) -> None:
        self._children = [_Child(program) for program in programs]
        self._environment = dict(environment)
        self._out = out
        self._width = max(len(program.name) for program in programs)
        self._selector = selectors.DefaultSelector()
        self._stop_signals = 0
        self._stopping = False

    def run(self) -> None:
        """Start all programs and return when they have stopped. After an error no process is left either."""
        with self._signals():
            try:
                for child in self._children:
                    self._start(child)
                while not self._stop_signals:
                    self._run_once(self._seconds_to_next_start())
                self._stop_in_order()
            finally:
                for child in reversed(self._children):
                    self._kill(child)
                self._selector.close()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Handle signals; each of them wakes the loop through a socket."""
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        self._selector.register(reader, selectors.EVENT_READ, reader)
        previous = {number: signal.signal(number, self._count_stop_signal) for number in STOP_SIGNALS}
        # SIGCHLD wakes the loop only if it has a handler.
        previous[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda number, frame: None)
        previous_fd = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(previous_fd)
            for number, handler in previous.items():
                signal.signal(number, handler)
            reader.close()
            writer.close()

    def _count_stop_signal(self, number: int, frame: FrameType | None) -> None:
        self._stop_signals += 1

    def _start(self, child: _Child) -> None:
        child.restart_at = None
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
        child.output = _Output(child.program.name, pipe)
        self._selector.register(pipe, selectors.EVENT_READ, child.output)

    def _run_once(self, wait: float | None) -> None:
        """Wait up to `wait` seconds for an event, forward output, handle programs that ended, restart those due."""
        for key, _ in self._selector.select(wait):
            if isinstance(key.data, _Output):
                self._forward(key.data)
            else:
                key.data.recv(4096)
        now = time.monotonic()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._handle_end(child, child.process, now)
            if child.restart_at is not None and child.restart_at <= now and not self._stopping:
                self._start(child)

    def _seconds_to_next_start(self) -> float | None:
        due = [child.restart_at for child in self._children if child.restart_at is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _handle_end(self, child: _Child, process: subprocess.Popen[bytes], now: float) -> None:
        child.process = None
        # What a dead program has started may live on and keep a port.
        _kill_group(process.pid)
        self._forward_rest(child)
        if self._stopping or (child.program.once and process.returncode == 0):
            return
        ended = f"{child.program.name} ended with {how_it_ended(process.returncode)}"
        if child.program.once:
            self._say(ended)
            return
        child.failures = 1 if now - child.started_at >= HEALTHY_AFTER else child.failures + 1
        pause = restart_pause(child.failures)
        child.restart_at = now + pause
        self._say(f"{ended}, starting it again in {pause:.0f} s")

    def _forward_rest(self, child: _Child) -> None:
        """Forward what a program that has ended left in its pipe."""
        # Somebody else may hold the pipe open, and say nothing.
        with suppress(BlockingIOError):
            while child.output is not None and not child.output.pipe.closed:
                self._forward(child.output)

    def _forward(self, output: _Output) -> None:
        chunk = os.read(output.pipe.fileno(), LONGEST_LINE)
        output.partial_line += chunk
        *lines, rest = output.partial_line.split(b"\n")
        if rest and (not chunk or len(rest) >= LONGEST_LINE):
            lines.append(rest)
            rest = bytearray()
        output.partial_line = rest
        for line in lines:
            self._write(output.name, line.decode(errors="replace"))
        if not chunk:
            self._selector.unregister(output.pipe)
            output.pipe.close()

    def _stop_in_order(self) -> None:
        self._stopping = True
        self._say("stopping; calls in progress may take up to 30 s to finish (Ctrl-C stops at once)")
        for child in reversed(self._children):
            self._stop(child)
        self._say("stopped")

    def _stop(self, child: _Child) -> None:
        if child.process is None:
            return
        child.process.terminate()
        deadline = time.monotonic() + child.program.grace
        while child.process is not None and self._stop_signals < 2 and (left := deadline - time.monotonic()) > 0:
            self._run_once(left)
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


def _kill_group(leader: int) -> None:
    """Kill the processes that are left in a child's process group, if any."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
