"""Every secret the database holds, found by its field type, so that none can be forgotten."""

from collections.abc import Iterator

from django.apps import apps
from django.db import models, transaction

from . import keys
from .fields import EncryptedTextField, Sealed


def encrypted_fields() -> Iterator[tuple[type[models.Model], EncryptedTextField]]:
    """Every encrypted field of every installed model."""
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, EncryptedTextField):
                yield model, field


def any_stored() -> bool:
    """Whether any row of any model holds a secret. Needs no key."""
    return any(model._default_manager.exclude(**{field.name: ""}).exists() for model, field in encrypted_fields())


def problem() -> str:
    """One line saying why stored secrets cannot be read, or "" when all is well. Reads every secret."""
    for model, field in encrypted_fields():
        for (sealed,) in model._default_manager.exclude(**{field.name: ""}).values_list(field.name):
            try:
                _ = keys.decrypt(sealed.ciphertext)
            except keys.WrongKey as error:
                return str(error)
    return ""


@transaction.atomic
def rotate_all() -> int:
    """Seal every secret with the newest key, all or none; returns how many. Raises keys.WrongKey."""
    count = 0
    for model, field in encrypted_fields():
        rows = model._default_manager.exclude(**{field.name: ""}).select_for_update()
        for pk, sealed in rows.values_list("pk", field.name):
            fresh = Sealed(keys.rotate(sealed.ciphertext))
            count += model._default_manager.filter(pk=pk).update(**{field.name: fresh})
    return count
