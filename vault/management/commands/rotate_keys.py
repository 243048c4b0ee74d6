"""`manage.py rotate_keys`: encrypt all stored secrets with the first key."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from vault import keys, secrets


class Command(BaseCommand):
    """To replace a key, put the new one first in FIELD_ENCRYPTION_KEYS, run this, and remove the old one."""

    help = "Encrypt every stored token with the first key of FIELD_ENCRYPTION_KEYS."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add --json."""
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Rotate all secrets, or change nothing if a key is missing."""
        try:
            count = secrets.rotate_all()
        except keys.WrongKey as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            json.dumps({"rotated": count})
            if options["json"]
            else f"{count} stored token(s) now use the newest key. Older keys can be removed."
        )
