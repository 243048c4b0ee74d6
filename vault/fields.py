"""A model field that is plain text in Python and ciphertext in the database."""

from typing import TYPE_CHECKING, Any

from django.db import models

from . import keys

# Only the type checker's Django is generic.
if TYPE_CHECKING:
    _TextField = models.TextField[Any, Any]
else:
    _TextField = models.TextField


class EncryptedTextField(_TextField):
    """Text encrypted at rest with MultiFernet. Empty stays empty, so "no token" can be asked for in a query.

    Reading with the wrong keys raises `keys.WrongKey`, when the attribute is first used and not when the row is
    loaded, so one unreadable row never takes a list page down.
    """

    def contribute_to_class(self, cls: type[models.Model], name: str, private_only: bool = False) -> None:
        """Put the lazy descriptor on the model."""
        super().contribute_to_class(cls, name, private_only=private_only)
        setattr(cls, self.attname, _DecryptOnRead(self.attname))

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:
        """Wrap what the database holds, still encrypted."""
        return Sealed(value) if value else value

    def get_prep_value(self, value: Any) -> Any:
        """Encrypt on the way into the database; a secret that nobody read goes back as it was."""
        if isinstance(value, Sealed):
            return value.ciphertext
        return keys.encrypt(value) if value else value

    def value_from_object(self, obj: models.Model) -> str:
        """Nothing: neither a form nor `dumpdata` gets to show the secret."""
        return ""

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Take the raw attribute, so that saving a row does not need its secret to be readable."""
        return model_instance.__dict__.get(self.attname)


class Sealed:
    """Ciphertext on its way through Python; its repr never shows it."""

    __slots__ = ("ciphertext",)

    def __init__(self, ciphertext: str) -> None:
        self.ciphertext = ciphertext

    def __repr__(self) -> str:
        return "<sealed>"


class _DecryptOnRead:
    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: models.Model | None, owner: type[models.Model]) -> Any:
        if instance is None:
            return self
        if self.name not in instance.__dict__:
            instance.refresh_from_db(fields=[self.name])
        value = instance.__dict__[self.name]
        return keys.decrypt(value.ciphertext) if isinstance(value, Sealed) else value

    def __set__(self, instance: models.Model, value: Any) -> None:
        instance.__dict__[self.name] = value
