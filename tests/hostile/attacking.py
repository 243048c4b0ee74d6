"""A web process of the portal, and clients that mean it no good. Everything goes over real sockets."""

import http.client
import json
import re
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.launcher import running
from tests.services import free_port, wait_until

# Far more than a page takes, and far less than a slow client.
PAGE_SECONDS = 8.0

# Signs in without the sign-in page, which these tests are not about. Prints the session of each person.
SIGN_IN = """
import json
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.test import Client
from badging.models import CourseManager
from badging.setup import DATA_PROTECTION_OFFICERS, SITE_ADMINS
sessions = {}
for name, group in (("officer", DATA_PROTECTION_OFFICERS), ("site-admin", SITE_ADMINS), ("root", ""), ("manager", "")):
    user, created = User.objects.get_or_create(username=name)
    user.is_superuser, user.is_staff = name == "root", name != "manager"
    user.set_password("a long pass phrase of " + name)
    user.save()
    user.groups.set(Group.objects.filter(name=group))
    client = Client()
    client.force_login(user)
    sessions[name] = client.cookies[settings.SESSION_COOKIE_NAME].value
print(json.dumps(sessions))
"""


@dataclass(frozen=True)
class Answer:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: str


@dataclass(frozen=True)
class Web:
    """A running web process, and the sessions of people who are signed in to it."""

    port: int
    process: running.Running
    sessions: Mapping[str, str]

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        person: str = "",
        body: bytes | None = None,
        headers: Sequence[tuple[str, str]] = (),
        timeout: float = PAGE_SECONDS,
    ) -> Answer:
        """One request, written exactly as given: a header may be there twice, and no path is tidied."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.putrequest(method, path, skip_host=any(name.lower() == "host" for name, _ in headers))
            # A CSRF cookie of one's own making: forms are then read before they are refused.
            cookies = [f"csrftoken={'x' * 32}", *([f"sessionid={self.sessions[person]}"] if person else [])]
            connection.putheader("Cookie", "; ".join(cookies))
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            for name, value in headers:
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read().decode())
        finally:
            connection.close()

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PAGE_SECONDS)

    def seconds_for(self, path: str, *, person: str = "") -> float:
        """How long a page takes, which must be answered well."""
        started = time.monotonic()
        assert self.ask(path, person=person).status == 200
        return time.monotonic() - started


@contextmanager
def web(
    data: Path, *arguments: str, application: str = "config.wsgi:application", people: bool = True, **settings: str
) -> Iterator[Web]:
    """Run the web server on a data folder that has been set up; killed at the end if it still runs."""
    sessions = {}
    if people:
        done = running.manage(data, "shell", "--no-imports", "-c", SIGN_IN, **settings)
        assert done.returncode == 0, done.stderr
        sessions = json.loads(done.stdout)
    port = free_port()
    command = [sys.executable, "-m", "launcher.web", application, "--bind", "127.0.0.1", "--port", str(port)]
    env = running.environment(data, DJANGO_SETTINGS_MODULE="config.settings", **settings)
    with running.program([*command, *arguments], env) as process:
        started = Web(port, process, sessions)

        def answers() -> bool:
            assert process.process.poll() is None, process.text
            with suppress(OSError, http.client.HTTPException):
                return bool(started.ask("/sign-in/").status)
            return False

        wait_until(answers, seconds=60, what="the first answer")
        yield started


@contextmanager
def dripping(web: Web, clients: int, start: bytes) -> Iterator[Callable[[], int]]:
    """Clients that send this and then one byte every half second. Yields how many of them are still connected."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(web.connect()) for _ in range(clients)]
        connected = set(sockets)
        ended = threading.Event()

        def drip() -> None:
            while not ended.wait(0.5):
                for client in list(connected):
                    try:
                        client.sendall(b"x")
                    except OSError:
                        connected.discard(client)

        for client in sockets:
            client.sendall(start)
        thread = threading.Thread(target=drip)
        thread.start()
        try:
            yield lambda: len(connected)
        finally:
            ended.set()
            thread.join()


def answer_to(client: socket.socket) -> bytes:
    """All that the server still says on this connection, until it closes it."""
    said = b""
    with suppress(ConnectionError):
        while part := client.recv(65536):
            said += part
    return said


def is_connected(web: Web, client: socket.socket) -> bool:
    """Whether the server still holds its end of this connection."""
    ends = (f"{port:04X}" for port in (web.port, client.getsockname()[1]))
    open_ends = rf": \w+:{next(ends)} \w+:{next(ends)} 01 "
    return re.search(open_ends, Path("/proc/net/tcp").read_text()) is not None


def bytes_in_temporary_files(pid: int) -> int:
    """The size of the deleted files that a process holds open: so Python keeps temporary files."""
    total = 0
    for handle in Path(f"/proc/{pid}/fd").iterdir():
        # Files come and go while this looks at them.
        with suppress(OSError):
            found = handle.stat()
            if stat.S_ISREG(found.st_mode) and handle.readlink().name.endswith("(deleted)"):
                total += found.st_size
    return total
