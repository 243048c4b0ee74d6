"""Model fields: one that is plain text in Python and ciphertext in the database, and one that holds a digest."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from django.apps import apps
from django.core.exceptions import FieldError
from django.db import models
from django.db.models.lookups import Exact

from . import keys

# TextField is generic for the type checker only.
if TYPE_CHECKING:
    _TextField = models.TextField[Any, Any]
    _CharField = models.CharField[Any, Any]
else:
    _TextField = models.TextField
    _CharField = models.CharField

# The length of a keyed digest: see digests.py.
DIGEST_LENGTH = 64

F = TypeVar("F", bound="models.Field[Any, Any]")


def fields_of_type(kind: type[F]) -> Iterator[tuple[type[models.Model], F]]:
    """The fields of this type, with their models, of all installed apps."""
    for model in apps.get_models():
        for field in model._meta.concrete_fields:
            if isinstance(field, kind):
                yield model, field


class EncryptedTextField(_TextField):
    """Text that is stored encrypted with MultiFernet. Empty text is stored as it is, so queries can filter by it.

    A value is decrypted when the attribute is read and not when the row is loaded: a row whose key is missing raises
    `keys.WrongKey` there, and lists that do not show the value still work.

    Queries can ask whether there is a value, with `isnull` and with `token=""`. Every other look-up and every transform
    raises FieldError: with `startswith`, the ciphertext could be read letter by letter.
    """

    def contribute_to_class(self, cls: type[models.Model], name: str, private_only: bool = False) -> None:
        """Set the descriptor that decrypts."""
        super().contribute_to_class(cls, name, private_only=private_only)
        setattr(cls, self.attname, _DecryptOnRead(self.attname))

    def get_lookup(self, lookup_name: str) -> Any:
        """No look-ups but those that ask whether there is a value. Django raises FieldError for others."""
        return {"exact": _IsEmpty, "isnull": super().get_lookup("isnull")}.get(lookup_name)

    def get_transform(self, lookup_name: str) -> None:
        """No transforms."""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Any:
        """Wrap the ciphertext."""
        return Sealed(value) if value else value

    def get_prep_value(self, value: Any) -> Any:
        """Encrypt the value. A value that was loaded and not changed is stored as it was."""
        if isinstance(value, Sealed):
            return value.ciphertext
        return keys.encrypt(value) if value else value

    def value_from_object(self, obj: models.Model) -> str:
        """Always empty, so that neither forms nor `dumpdata` show the secret."""
        return ""

    def pre_save(self, model_instance: models.Model, add: bool) -> Any:
        """Bypass the descriptor: a row can be saved even if its secret cannot be decrypted."""
        return model_instance.__dict__.get(self.attname)


class _IsEmpty(Exact):
    """`token=""`, and no other comparison."""

    def get_prep_lookup(self) -> Any:
        if self.rhs != "":
            raise FieldError("An encrypted field can be compared with empty text only.")
        return self.rhs


class Sealed:
    """Ciphertext from the database. Its repr() does not show it."""

    __slots__ = ("ciphertext",)

    def __init__(self, ciphertext: str) -> None:
        self.ciphertext = ciphertext

    def __repr__(self) -> str:
        return "<sealed>"


class _DecryptOnRead:
    """Descriptor of the field: decrypts on access, and loads the field if it was deferred."""

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


class DigestField(_CharField):
    """A keyed digest (see digests.py), or "". By this type the rotation of keys finds all digests."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs | {"max_length": DIGEST_LENGTH, "blank": True, "editable": False})
