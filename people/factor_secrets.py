"""The secrets of second factors for the vault: allauth keeps them in a JSON field, encrypted by our adapter."""

from collections.abc import Iterator

from allauth.mfa.models import Authenticator

from vault import keys

# The part of `Authenticator.data` that is encrypted. Passkeys have none: theirs is a public key.
PARTS = {Authenticator.Type.TOTP: "secret", Authenticator.Type.RECOVERY_CODES: "seed"}


def ciphertexts() -> Iterator[str]:
    """All of them."""
    for kind, data in Authenticator.objects.filter(type__in=PARTS).values_list("type", "data"):
        yield data[PARTS[Authenticator.Type(kind)]]


def rotate() -> int:
    """Encrypt all with the first key; returns their number. Raises `vault.keys.WrongKey`. Runs in a transaction."""
    count = 0
    for row in Authenticator.objects.filter(type__in=PARTS).select_for_update():
        part = PARTS[Authenticator.Type(row.type)]
        row.data[part] = keys.rotate(row.data[part])
        row.save(update_fields=["data"])
        count += 1
    return count
