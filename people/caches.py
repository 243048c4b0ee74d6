"""Deleting what has expired in the cache tables: limits of sign-ins stand there under IP addresses.

Django deletes an expired row only when its key is asked for again, or when the table is full.
"""

from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.db import BaseDatabaseCache
from django.db import connections, router
from django.utils import timezone


def clear_expired(*, now: datetime | None = None, **kwargs: Any) -> None:
    """Delete the expired rows of all caches in the database. Receives `badging.tasks.once_a_day`."""
    for name in settings.CACHES:
        if isinstance(caches[name], BaseDatabaseCache):
            _clear(caches[name], now or timezone.now())


def _clear(cache: Any, now: datetime) -> None:
    # As Django's own `DatabaseCache._cull` does it.
    connection = connections[router.db_for_write(cache.cache_model_class)]
    table, expires = connection.ops.quote_name(cache._table), connection.ops.quote_name("expires")
    with connection.cursor() as cursor:
        cursor.execute(
            f"DELETE FROM {table} WHERE {expires} < %s",  # noqa: S608 - the name is of the settings
            [connection.ops.adapt_datetimefield_value(now)],
        )
