"""Creates the portal's own secrets. Existing ones are never overwritten, because encrypted data would be lost."""

import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet


def create_missing(folder: Path, *, secret_key: bool, encryption_key: bool, digest_key: bool) -> list[str]:
    """Create the requested secrets that do not exist; return the names of the new files.

    The folder gets mode 0700, files get 0600. Raises OSError if the folder cannot be written to.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    contents = {}
    if secret_key:
        contents["secret_key"] = secrets.token_urlsafe(50)
    if encryption_key:
        contents["field_encryption_keys"] = Fernet.generate_key().decode()
    if digest_key:
        contents["digest_keys"] = secrets.token_urlsafe(50)
    return [name for name, content in contents.items() if create_file(folder / name, content)]


def create_file(path: Path, content: str) -> bool:
    """Create a file of mode 0600 with all of its content, or return False if the file exists."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Linking fails if the file exists, so of two set-ups at the same time only one creates it.
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True
