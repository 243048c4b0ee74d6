"""All secrets in the database: encrypted fields, found by their type so that none is forgotten, and other holders."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db import models, transaction

from . import keys
from .fields import EncryptedTextField, Sealed, fields_of_type


@dataclass(frozen=True, slots=True)
class Holder:
    """Secrets that another package stores in a field of its own: all ciphertexts, and what encrypts them anew."""

    ciphertexts: Callable[[], Iterator[str]]
    # Returns how many it has rotated. Raises keys.WrongKey.
    rotate: Callable[[], int]


_holders: list[Holder] = []


def add_holder(holder: Holder) -> None:
    """From now on, look after these secrets too."""
    _holders.append(holder)


def encrypted_fields() -> Iterator[tuple[type[models.Model], EncryptedTextField]]:
    """The encrypted fields of all installed models."""
    return fields_of_type(EncryptedTextField)


def any_stored() -> bool:
    """Whether an encrypted field holds a secret. Needs no key."""
    return any(model._default_manager.exclude(**{field.name: ""}).exists() for model, field in encrypted_fields())


def problem() -> str:
    """Decrypt every secret; return what to do if one cannot be decrypted, or ""."""
    try:
        for ciphertext in _ciphertexts():
            keys.decrypt(ciphertext)
    except keys.WrongKey as error:
        return str(error)
    return ""


def _ciphertexts() -> Iterator[str]:
    for model, field in encrypted_fields():
        for (sealed,) in model._default_manager.exclude(**{field.name: ""}).values_list(field.name):
            yield sealed.ciphertext
    for holder in _holders:
        yield from holder.ciphertexts()


@transaction.atomic
def rotate_all() -> int:
    """Encrypt all secrets with the first key and return their number. Raises keys.WrongKey and then changes none."""
    count = sum(holder.rotate() for holder in _holders)
    for model, field in encrypted_fields():
        rows = model._default_manager.exclude(**{field.name: ""}).select_for_update()
        for pk, sealed in rows.values_list("pk", field.name):
            rotated = Sealed(keys.rotate(sealed.ciphertext))
            count += model._default_manager.filter(pk=pk).update(**{field.name: rotated})
    return count
