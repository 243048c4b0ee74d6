"""The launcher by itself, with small programs."""

import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from launcher.processes import how_it_ended, restart_pause
from tests.services import wait_until

from . import running

SUPERVISE = """
import os, sys
from launcher.processes import Program, Launcher
programs = [Program(name, [sys.executable, "-c", code], grace=float(grace), once=name == "once")
            for name, code, grace in zip(*[iter(sys.argv[1:])] * 3)]
Launcher(programs, environment=os.environ, out=sys.stdout).run()
"""
WAITS = "import signal; print('up', flush=True); signal.pause()"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAITS}"


def launch(data: Path, *programs: tuple[str, str, float]) -> AbstractContextManager[running.Running]:
    arguments = [str(part) for program in programs for part in program]
    return running.program([sys.executable, "-c", SUPERVISE, *arguments], running.environment(data))


def test_the_pause_before_a_restart_grows_to_a_minute() -> None:
    assert [restart_pause(failures) for failures in (1, 2, 3, 6, 7, 1000)] == [1, 2, 4, 32, 60, 60]


def test_an_end_is_told_in_words() -> None:
    assert how_it_ended(3) == "exit code 3"
    assert how_it_ended(-signal.SIGKILL) == "SIGKILL"


def test_programs_stop_in_reverse_order_and_their_last_words_are_heard(tmp_path: Path) -> None:
    polite = "import signal, sys; signal.signal(signal.SIGTERM, lambda *a: sys.exit(print('bye'))); " + WAITS
    with launch(tmp_path, ("first", polite, 5), ("second", polite, 5)) as launcher:
        wait_until(lambda: launcher.text.count("up") == 2, what="both programs")
        assert launcher.stop() == 0
    assert [line for line in launcher.lines if "bye" in line] == ["second | bye", "first  | bye"]


def test_a_program_that_does_not_stop_in_time_is_killed(tmp_path: Path) -> None:
    with launch(tmp_path, ("mule", STUBBORN, 0.2)) as launcher:
        launcher.wait_for("mule | up")
        assert launcher.stop() == 0
    assert "mule did not stop in time and was killed" in launcher.text
    assert not running.processes_of(tmp_path)


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    with launch(tmp_path, ("mule", STUBBORN, 3600)) as launcher:
        launcher.wait_for("mule | up")
        launcher.process.send_signal(signal.SIGINT)
        launcher.wait_for("stopping;")
        assert launcher.stop(signal.SIGINT) == 0
    assert not running.processes_of(tmp_path)


def test_each_failure_in_a_row_waits_longer(tmp_path: Path) -> None:
    with launch(tmp_path, ("weak", "raise SystemExit(3)", 1)) as launcher:
        launcher.wait_for("weak ended with exit code 3, starting it again in 1 s")
        launcher.wait_for("weak ended with exit code 3, starting it again in 2 s")
        assert launcher.stop() == 0


@pytest.fixture
def one_shot(tmp_path: Path) -> Iterator[running.Running]:
    with launch(tmp_path, ("once", "print('done'); raise SystemExit(4)", 1), ("stays", WAITS, 5)) as launcher:
        yield launcher


def test_a_program_that_runs_once_is_not_started_again_and_its_failure_is_told(one_shot: running.Running) -> None:
    one_shot.wait_for("once ended with exit code 4")
    one_shot.wait_for("stays | up")
    assert one_shot.stop() == 0
    assert one_shot.text.count("done") == 1


def test_a_line_without_an_end_and_odd_bytes_are_passed_on(tmp_path: Path) -> None:
    # It can be stopped only after it has written everything.
    code = (
        "import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}); "
        "os.write(1, b'caf\\xe9 ' + b'x' * 70000); os.write(1, b' tail'); "
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM}); signal.pause()"
    )
    with launch(tmp_path, ("loud", code, 5)) as launcher:
        launcher.wait_for("caf\ufffd x")
        assert launcher.stop() == 0
    assert "tail" in launcher.text


def test_what_a_dead_program_leaves_running_is_killed_before_it_starts_again(tmp_path: Path) -> None:
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {STUBBORN!r}]); raise SystemExit(1)"
    with launch(tmp_path, ("nest", code, 5)) as launcher:
        launcher.wait_for("starting it again in 2 s")
        assert len(running.processes_of(tmp_path)) <= 2
        launcher.stop()
    wait_until(lambda: not running.processes_of(tmp_path), what="an empty house")
