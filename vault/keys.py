"""Encryption with the keys in FIELD_ENCRYPTION_KEYS: the first one encrypts, all of them decrypt."""

from datetime import timedelta

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _


class WrongKey(Exception):
    """A stored secret cannot be decrypted with any of the keys."""

    def __init__(self) -> None:
        super().__init__(
            _(
                "A stored token cannot be read with the keys in FIELD_ENCRYPTION_KEYS. "
                "Put the key it was saved with back (at the end of the list), or enter the token again."
            )
        )


def cipher() -> MultiFernet:
    """The keys as one cipher. Raises ImproperlyConfigured if there are none or one is malformed."""
    keys = settings.FIELD_ENCRYPTION_KEYS
    if not keys:
        raise ImproperlyConfigured(_("FIELD_ENCRYPTION_KEYS is empty. Run “make setup”, which creates a key."))
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError as error:
        raise ImproperlyConfigured(
            _("FIELD_ENCRYPTION_KEYS holds a malformed key. Each is 32 bytes in URL-safe base64, newest first.")
        ) from error


def encrypt(text: str) -> str:
    """Encrypt with the first key."""
    return cipher().encrypt(text.encode()).decode()


def decrypt(ciphertext: str) -> str:
    """Decrypt. Raises WrongKey if none of the keys fits."""
    try:
        return cipher().decrypt(ciphertext.encode()).decode()
    except InvalidToken as error:
        raise WrongKey from error


def decrypt_recent(ciphertext: str, *, within: timedelta) -> str | None:
    """Decrypt what was encrypted so short a time ago; None for what is older, or cannot be read any more."""
    try:
        return cipher().decrypt(ciphertext.encode(), ttl=int(within.total_seconds())).decode()
    except InvalidToken:
        return None


def rotate(ciphertext: str) -> str:
    """Encrypt the same secret with the first key. Raises WrongKey if none of the keys fits."""
    try:
        return cipher().rotate(ciphertext.encode()).decode()
    except InvalidToken as error:
        raise WrongKey from error
