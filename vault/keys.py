"""The keys in FIELD_ENCRYPTION_KEYS: the newest writes, all of them read."""

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext as _


class WrongKey(Exception):
    """A stored secret cannot be read with any of the keys; nothing was changed."""

    def __init__(self) -> None:
        super().__init__(
            _(
                "A stored token cannot be read with the keys in FIELD_ENCRYPTION_KEYS. "
                "Put the key it was saved with back (at the end of the list), or enter the token anew."
            )
        )


def cipher() -> MultiFernet:
    """All keys, newest first; raises ImproperlyConfigured when there are none or one is malformed."""
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
    """The text sealed with the newest key."""
    return cipher().encrypt(text.encode()).decode()


def decrypt(sealed: str) -> str:
    """The text back; raises WrongKey rather than ever handing out ciphertext."""
    try:
        return cipher().decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise WrongKey from error


def rotate(sealed: str) -> str:
    """The same secret sealed with the newest key; raises WrongKey."""
    try:
        return cipher().rotate(sealed.encode()).decode()
    except InvalidToken as error:
        raise WrongKey from error
