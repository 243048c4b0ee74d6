"""manage.py rotate_keys: seal every stored secret with the newest key."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from vault import keys, secrets


class Command(BaseCommand):
    """Put a new key first in FIELD_ENCRYPTION_KEYS, run this, then take the old key out."""

    help = "Encrypt every stored token with the first key of FIELD_ENCRYPTION_KEYS."

    def add_arguments(self, parser: CommandParser) -> None:
        """--json for scripts."""
        parser.add_argument("--json", action="store_true", help="print the result as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Rotate all, or say which key is missing and change nothing."""
        try:
            count = secrets.rotate_all()
        except keys.WrongKey as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            json.dumps({"rotated": count})
            if options["json"]
            else f"{count} stored token(s) now use the newest key. Older keys can be taken out."
        )
