"""`manage.py portal`, run for real: it starts, survives its children, and leaves nothing behind."""

import http.client
import json
import os
import shutil
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings

from badging.models import NavigatrConnection
from badging.schedule import BEAT, BY_TASK
from launcher import embedded
from moodle_sync.models import MoodleSite
from tests.services import free_port, two_free_ports, wait_until

from . import running


def pid_of(data: Path, words: str) -> int:
    """The one process whose command line has these words."""
    (pid,) = [pid for pid, command in running.processes_of(data).items() if words in command]
    return pid


def none_left(data: Path) -> bool:
    return not running.processes_of(data)


def test_a_portal_from_its_start_to_its_end(data: Path) -> None:
    """One portal for all of it, because each start of one takes seconds of a processor."""
    port, started = free_port(), datetime.now(UTC)
    with running.portal(data, "--port", str(port)) as portal:
        portal.wait_for("Ctrl-C stops everything")
        pages_and_programs_are_there(data, port, portal)
        assert "Another portal is running" in refused_by_process(data, "--port", str(free_port()))
        beat_and_worker_give_signs_of_life(data, started)
        killed_children_are_started_again_and_said_so(data, portal)
        assert running.status_of(f"http://127.0.0.1:{port}/sign-in/") == 200
        assert portal.stop(signal.SIGTERM) == 0
        assert portal.lines[-1].endswith("stopped")
        assert "was killed" not in portal.text
        assert none_left(data)


def pages_and_programs_are_there(data: Path, port: int, portal: running.Running) -> None:
    assert running.status_of(f"http://127.0.0.1:{port}/sign-in/") == 200
    assert f"http://127.0.0.1:{port}/courses/" in portal.text
    assert "Sign in as “admin”" in portal.text
    commands = " ".join(running.processes_of(data).values())
    assert all(name in commands for name in ("launcher.web", "worker", "beat", "valkey-server"))
    assert stat.S_IMODE((data / "valkey.sock").stat().st_mode) == 0o600


def beat_and_worker_give_signs_of_life(data: Path, started: datetime) -> None:
    def all_were_heard() -> bool:
        since = f"{started:%Y-%m-%d %H:%M:%S}"
        heard = {name for (name,) in running.rows(data, "SELECT name FROM badging_heartbeat WHERE at > ?", since)}
        return BEAT in heard and not heard.isdisjoint(BY_TASK)

    wait_until(all_were_heard, seconds=90, what="a sign of life of both")
    told = json.loads(running.manage(data, "status", "--json").stdout)
    assert all(told[program]["last_seen"] > started.isoformat() for program in ("beat", "worker"))
    assert [told[program]["problem"] for program in ("beat", "worker")] == ["", ""]
    assert [row["problem"] for row in told["schedule"]] == [""] * 4


def killed_children_are_started_again_and_said_so(data: Path, portal: running.Running) -> None:
    killed = {name: pid_of(data, words) for name, words in {"beat": "config beat", "valkey": "valkey-server"}.items()}
    for pid in killed.values():
        os.kill(pid, signal.SIGKILL)
    for name in killed:
        portal.wait_for(f"{name} ended with SIGKILL, starting it again in 1 s")

    def both_are_back() -> bool:
        commands = " ".join(running.processes_of(data).values())
        return "config beat" in commands and "valkey-server" in commands

    wait_until(both_are_back, what="the return of both")


def test_a_broker_of_the_system_in_a_deep_folder_pages_for_other_hosts_and_a_killed_launcher(
    data: Path, tmp_path: Path
) -> None:
    # Too deep for the broker's socket to be in it.
    data = data.rename(tmp_path / ("deep" * 25))
    broker = Path(shutil.copy(embedded.packaged_program().path, tmp_path / "redis-server"))
    port = free_port()
    settings = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "EMBEDDED_BROKER_PROGRAM": "redis-server",
        "PORT": str(port),
    }
    with running.portal(data, "--bind", "::", **settings) as portal:
        portal.wait_for("Ctrl-C stops everything")
        the_broker_is(broker, data)
        assert "ALLOWED_HOSTS names no host" in portal.text
        assert f"http://[::1]:{port}/courses/" in portal.text
        assert running.status_of(f"http://[::1]:{port}/sign-in/") == 200
        assert running.status_of(f"http://127.0.0.1:{port}/sign-in/") == 200

        # The launcher, the web server, the worker, beat and the broker.
        assert len(running.processes_of(data)) >= 5
        portal.stop(signal.SIGKILL)
        wait_until(lambda: none_left(data), what="the end of all children")
    shutil.rmtree(embedded.broker_socket(data).parent)


def the_broker_is(program: Path, data: Path) -> None:
    """That program, which listens at a private socket outside the folder, and keeps its data apart in the folder."""
    socket_path = embedded.broker_socket(data)
    assert socket_path.parent != data
    assert stat.S_IMODE(socket_path.stat().st_mode) == 0o600
    pid = pid_of(data, "unixsocket")
    assert Path(f"/proc/{pid}/exe").resolve() == program
    (folder,) = data.glob("broker-valkey-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert any(folder.iterdir())


def test_a_real_database_and_broker_replace_the_embedded_ones_behind_an_https_address(
    tmp_path: Path, postgres_url: str, valkey_url: str
) -> None:
    data, port = tmp_path / "var", free_port()
    services = {"DATABASE_URL": postgres_url, "CELERY_BROKER_URL": valkey_url}
    done = running.manage(data, "setup_portal", **services)
    assert done.returncode == 0, done.stderr
    https = {
        "CSRF_TRUSTED_ORIGINS": "https://badges.example.org",
        "ALLOWED_HOSTS": "badges.example.org",
        "TRUST_PROXY_HEADER": "true",
        "BIND_ADDRESS": "0.0.0.0",
    }
    with running.portal(data, "--port", str(port), **services, **https) as portal:
        portal.wait_for("Ctrl-C stops everything")
        assert "https://badges.example.org/courses/" in portal.text
        assert "names no host" not in portal.text
        page = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with closing(page):
            page.request("GET", "/sign-in/", headers={"Host": "badges.example.org", "X-Forwarded-Proto": "https"})
            assert page.getresponse().status == 200
        assert "valkey-server" not in " ".join(running.processes_of(data).values())
        assert not list(data.glob("*.sqlite3"))
        assert portal.stop(signal.SIGINT) == 0
        assert none_left(data)


def refused_by_process(data: Path, *arguments: str, **settings: str) -> str:
    """The one line with which a portal that cannot start ends."""
    before = running.processes_of(data)
    done = running.manage(data, "portal", *arguments, **settings)
    assert done.returncode == 1
    assert done.stdout == ""
    assert running.processes_of(data).keys() <= before.keys()
    (line,) = done.stderr.splitlines()
    return line


def test_an_unwritable_data_folder_is_one_line(tmp_path: Path) -> None:
    # A file in the folder's place stops root as well, whom no mode would.
    folder = tmp_path / "var"
    folder.write_text("")
    assert f"The data folder {folder} cannot be written to" in refused_by_process(folder)


def test_a_portal_that_was_never_set_up_says_so(tmp_path: Path) -> None:
    assert "Run “make setup”" in refused_by_process(tmp_path / "new")


def test_missing_tables_are_one_line(data: Path) -> None:
    (data / "portal.sqlite3").unlink()
    line = refused_by_process(data, "--port", str(free_port()))
    assert "The database is not up to date. Run “make setup”." in line


def test_an_unreachable_database_is_one_line(data: Path) -> None:
    url = f"postgres://portal:hush@127.0.0.1:{free_port()}/portal"
    line = refused_by_process(data, "--port", str(free_port()), DATABASE_URL=url)
    assert "The database cannot be reached" in line
    assert "hush" not in line


@pytest.fixture
def folder(db: None, data_folder: Path, settings: Settings) -> Iterator[Path]:
    """The data folder of a portal that is run in the test's own process, and ends before it starts anything."""
    settings.PORTAL_DATA_DIR = data_folder
    settings.EMBEDDED_BROKER = True
    before = os.umask(0o077)
    yield data_folder
    os.umask(before)


def refused(*arguments: str) -> str:
    """The one line with which the command ends."""
    with pytest.raises(CommandError) as ended:
        call_command("portal", *arguments)
    (line,) = str(ended.value).splitlines()
    return line


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("of", ["the pages", "the sandbox"])
def test_a_port_in_use_is_one_line(of: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = ["--port", str(port)] if of == "the pages" else ["--port", str(port - 1), "--sandbox"]
        assert f"Port {port} cannot be used (Address already in use)" in refused(*arguments)


@pytest.mark.usefixtures("folder")
def test_a_port_out_of_range_is_one_line() -> None:
    assert "--port takes a number" in refused("--port", "65535")


@pytest.mark.usefixtures("folder")
def test_an_address_to_listen_at_that_cannot_be_used_is_one_line() -> None:
    assert "--bind takes an IP address" in refused("--bind", "badges.example.org")
    line = refused("--bind", "192.0.2.7", "--port", str(free_port()))
    assert "This host does not have the address 192.0.2.7 (Cannot assign requested address)" in line


@pytest.mark.usefixtures("folder")
def test_a_malformed_key_is_one_line(settings: Settings) -> None:
    settings.FIELD_ENCRYPTION_KEYS = ["abc"]
    assert "malformed key" in refused()


@pytest.mark.usefixtures("folder")
def test_a_key_that_cannot_read_the_stored_tokens_is_one_line(settings: Settings) -> None:
    MoodleSite.objects.create(name="A", url="http://a.test", token="hush")
    settings.FIELD_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    line = refused("--port", str(free_port()))
    assert "A stored token cannot be read with the keys in FIELD_ENCRYPTION_KEYS" in line


def test_a_folder_in_service_is_never_given_to_the_sandbox(folder: Path) -> None:
    # Its database is elsewhere, and asked all the same.
    NavigatrConnection.objects.create(name="A", environment="production", pat="hush")
    line = refused("--port", str(two_free_ports()), "--sandbox")
    assert f"{folder} is in service; name another folder in PORTAL_DATA_DIR for the demo." in line
    assert not (folder / "sandbox_url").exists()


@pytest.mark.usefixtures("folder")
def test_a_missing_broker_is_one_line_without_its_password(settings: Settings) -> None:
    settings.EMBEDDED_BROKER = False
    settings.CELERY_BROKER_URL = f"redis://:hush@127.0.0.1:{free_port()}/0"
    line = refused("--port", str(free_port()))
    assert "The broker in CELERY_BROKER_URL cannot be reached" in line
    assert "hush" not in line


@pytest.mark.usefixtures("folder")
def test_an_unknown_kind_of_broker_is_one_line(settings: Settings) -> None:
    settings.EMBEDDED_BROKER = False
    settings.CELERY_BROKER_URL = "pigeon://coop"
    assert "cannot be reached" in refused("--port", str(free_port()))


@pytest.mark.usefixtures("folder")
def test_a_broker_program_that_does_not_exist_is_one_line(settings: Settings) -> None:
    settings.EMBEDDED_BROKER_PROGRAM = "/no/such/program"
    line = refused("--port", str(free_port()))
    assert "/no/such/program is no program" in line
    assert "EMBEDDED_BROKER_PROGRAM" in line
