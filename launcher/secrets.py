"""Creates the portal's own secrets, once: they are never overwritten, for what they sealed would be lost."""

import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet


def create_missing(folder: Path, *, secret_key: bool, encryption_key: bool) -> list[str]:
    """Create the wanted secrets that the folder lacks; returns the names of the new files.

    The folder is made with mode 0700, files with 0600. Raises OSError when that cannot be done.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = {}
    if secret_key:
        wanted["secret_key"] = secrets.token_urlsafe(50)
    if encryption_key:
        wanted["field_encryption_keys"] = Fernet.generate_key().decode()
    return [name for name, content in wanted.items() if _create(folder / name, content)]


def _create(path: Path, content: str) -> bool:
    """Write a new file whole or not at all; False when there is one already."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
        # A link fails when the name is taken, so two set-ups at once agree on one secret.
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
