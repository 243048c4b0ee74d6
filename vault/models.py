"""Which keys the digests in the database are made with."""

from django.db import models


class DigestKeyQuerySet(models.QuerySet["DigestKey"]):
    """Questions about the keys in use."""

    def newest(self) -> str:
        """The name of the keys that all stored digests are made with, "" before there are any."""
        return self.order_by("-pk").values_list("name", flat=True).first() or ""


class DigestKey(models.Model):
    """That a key of DIGEST_KEYS was put on all stored digests. The newest row counts.

    Personal data: none. `name` follows from the keys and says nothing about them.
    """

    name = models.CharField(max_length=8)
    at = models.DateTimeField(auto_now_add=True)

    objects = DigestKeyQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name
