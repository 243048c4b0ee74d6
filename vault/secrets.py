"""All secrets in the database. They are found by the type of their field, so none is forgotten."""

from collections.abc import Iterator

from django.apps import apps
from django.db import models, transaction

from . import keys
from .fields import EncryptedTextField, Sealed


def encrypted_fields() -> Iterator[tuple[type[models.Model], EncryptedTextField]]:
    """The encrypted fields of all installed models."""
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, EncryptedTextField):
                yield model, field


def any_stored() -> bool:
    """Whether the database holds a secret. Needs no key."""
    return any(model._default_manager.exclude(**{field.name: ""}).exists() for model, field in encrypted_fields())


def problem() -> str:
    """Decrypt every secret; return what to do if one cannot be decrypted, or ""."""
    for model, field in encrypted_fields():
        for (sealed,) in model._default_manager.exclude(**{field.name: ""}).values_list(field.name):
            try:
                keys.decrypt(sealed.ciphertext)
            except keys.WrongKey as error:
                return str(error)
    return ""


@transaction.atomic
def rotate_all() -> int:
    """Encrypt all secrets with the first key and return their number. Raises keys.WrongKey and then changes none."""
    count = 0
    for model, field in encrypted_fields():
        rows = model._default_manager.exclude(**{field.name: ""}).select_for_update()
        for pk, sealed in rows.values_list("pk", field.name):
            rotated = Sealed(keys.rotate(sealed.ciphertext))
            count += model._default_manager.filter(pk=pk).update(**{field.name: rotated})
    return count
