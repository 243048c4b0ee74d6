"""Keyed digests: they stand for a text, such as an e-mail address, that can be recognised but not read from them.

DIGEST_KEYS holds the keys, newest first. The oldest key digests the text (HMAC-SHA256), and each newer key digests the
result of the one before it. So a new key can be put on all stored digests although the texts are no longer known, and
two digests of one text stay equal. For the same reason no key may ever be left out.

A digest begins with the name of the keys that it was made with. The name follows from all of them and says nothing
about them, so that a missing or another key is noticed before digests are compared.
"""

import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, models, transaction
from django.utils.translation import gettext as _

from .fields import DIGEST_LENGTH, DigestField, fields_of_type
from .keys import WrongKey

# The length of the name at the beginning of a digest, and the least length of a key.
NAME_LENGTH = 8
LEAST_LENGTH = 32
# How many rows are written at once when the keys are rotated.
ROTATED_AT_ONCE = 1000


class WrongDigestKey(WrongKey):
    """The digests in the database were made with other keys than the settings hold."""

    def __init__(self) -> None:
        Exception.__init__(
            self,
            _(
                "The address digests in the database were made with other keys than those in DIGEST_KEYS, so nobody "
                "could be kept from getting a badge twice. Put all keys back, newest first."
            ),
        )


class Key(NamedTuple):
    """One key, and the name of all keys up to it."""

    name: str
    secret: bytes


def all_keys() -> tuple[Key, ...]:
    """The keys of the settings, oldest first. Raises ImproperlyConfigured if there are none or one is too short."""
    return _named(tuple(reversed(settings.DIGEST_KEYS)))


@lru_cache(maxsize=16)
def _named(secrets: tuple[str, ...]) -> tuple[Key, ...]:
    if not secrets:
        raise ImproperlyConfigured(_("DIGEST_KEYS is empty. Run “make setup”, which creates a key."))
    if any(len(secret) < LEAST_LENGTH for secret in secrets):
        raise ImproperlyConfigured(
            _("DIGEST_KEYS holds a key of less than %(length)d characters. Run “make setup”, which creates a good one.")
            % {"length": LEAST_LENGTH}
        )
    keys: list[Key] = []
    name = ""
    for secret in secrets:
        name = hmac.digest(secret.encode(), f"name after {name}".encode(), "sha256").hex()[:NAME_LENGTH]
        keys.append(Key(name, secret.encode()))
    return tuple(keys)


def newest() -> str:
    """The name of all keys of the settings. Raises ImproperlyConfigured."""
    return all_keys()[-1].name


def in_use() -> str:
    """The name of the keys that all stored digests are made with; one query. Raises WrongDigestKey.

    Whoever compares a new digest with stored ones, or stores it, asks for it in the same transaction.
    """
    from .models import DigestKey

    name = DigestKey.objects.newest()
    if name not in {key.name for key in all_keys()}:
        raise WrongDigestKey
    return name


def digest(text: str, made_with: str) -> str:
    """The digest of the text, made with the keys of this name. Raises WrongDigestKey."""
    value = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    for key in all_keys():
        value = _wrap(key, value)
        if key.name == made_with:
            return value
    raise WrongDigestKey


def name_of(value: str) -> str:
    """The name of the keys that this digest was made with."""
    return value[:NAME_LENGTH]


def _wrap(key: Key, value: str) -> str:
    return key.name + hmac.digest(key.secret, value.encode(), "sha256").hex()[: DIGEST_LENGTH - NAME_LENGTH]


def problem() -> str:
    """What to do if the settings do not hold the keys of the stored digests, or ""."""
    try:
        in_use()
    except WrongDigestKey as error:
        return str(error)
    return ""


@transaction.atomic
def rotate_all() -> int:
    """Put the keys that are newer than those in use on all stored digests; returns how many were changed.

    Digests from before there were keys are plain SHA-256: all keys are put on them. Raises WrongDigestKey, and then
    changes nothing.
    """
    from .models import DigestKey

    fields = list(fields_of_type(DigestField))
    _lock(fields)
    keys, name = all_keys(), DigestKey.objects.newest()
    names = [key.name for key in keys]
    if name and name not in names:
        raise WrongDigestKey
    newer = keys[names.index(name) + 1 :] if name else keys
    if not newer:
        return 0
    count = sum(_rotate(model, field.attname, newer) for model, field in fields)
    DigestKey.objects.bulk_create(DigestKey(name=key.name) for key in newer)
    return count


def adopt() -> None:
    """In a database that has no digest key yet, begin with those of the settings, if there are any."""
    from .models import DigestKey

    if settings.DIGEST_KEYS and not DigestKey.objects.exists():
        rotate_all()


def _lock(fields: Sequence[tuple[type[models.Model], DigestField]]) -> None:
    """Let nobody write digests meanwhile. On SQLite the transaction itself does that.

    Whoever stores one has locked its row before they ask which keys are in use, so they see the keys from before or
    from after this transaction, together with the digests.
    """
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        for model, _field in fields:
            cursor.execute(f"LOCK TABLE {connection.ops.quote_name(model._meta.db_table)} IN EXCLUSIVE MODE")


def _rotate(model: type[models.Model], name: str, newer: Sequence[Key]) -> int:
    count, last = 0, 0
    stored = model._default_manager.exclude(**{name: ""}).order_by("pk").only("pk", name)
    while rows := list(stored.filter(pk__gt=last)[:ROTATED_AT_ONCE]):
        for row in rows:
            for key in newer:
                setattr(row, name, _wrap(key, getattr(row, name)))
        model._default_manager.bulk_update(rows, [name])
        count, last = count + len(rows), rows[-1].pk
    return count
