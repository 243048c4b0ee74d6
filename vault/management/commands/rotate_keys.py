"""`manage.py rotate_keys`: let all stored secrets and digests use the newest keys."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from vault import digests, keys, secrets


class Command(BaseCommand):
    """To replace a key, put the new one first in FIELD_ENCRYPTION_KEYS, run this, and remove the old one.

    A new key for digests is put first in DIGEST_KEYS; there the older ones must stay.
    """

    help = "Encrypt every stored token with the first key of FIELD_ENCRYPTION_KEYS; put new DIGEST_KEYS on all digests."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --json."""
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Rotate all, or change nothing if a key is missing."""
        try:
            with transaction.atomic():
                count, digested = secrets.rotate_all(), digests.rotate_all()
        except keys.WrongKey as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps({"rotated": count, "digests_rotated": digested}))
            return
        self.stdout.write(
            f"{count} stored token(s) now use the newest key. Older keys of FIELD_ENCRYPTION_KEYS can be removed.\n"
            f"{digested} digest(s) got a newer key. Keep all keys of DIGEST_KEYS."
        )
