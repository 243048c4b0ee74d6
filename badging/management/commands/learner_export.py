"""manage.py learner_export: everything held about a person, as a JSON file."""

import json
import os
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _

from ... import privacy
from ..base import PortalCommand


class Command(PortalCommand):
    """The file is made readable for its owner only, and never written over."""

    help = "Write everything held about a person to a file."

    def add_arguments(self, parser: CommandParser) -> None:
        """Who, and where to."""
        super().add_arguments(parser)
        parser.add_argument("email")
        parser.add_argument("--output", required=True, type=Path, metavar="FILE")

    def handle(self, *args: Any, **options: Any) -> None:
        """Export, or say that nobody is known."""
        try:
            learners = privacy.find_learners(options["email"])
        except privacy.NobodyFound as error:
            raise CommandError(_("Nobody is known under this address.")) from error
        output: Path = options["output"]
        try:
            handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise CommandError(
                _("%(file)s cannot be written: %(why)s") % {"file": output, "why": error.strerror}
            ) from error
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(privacy.export_learners(learners), file, ensure_ascii=False, indent=2)
        self.say(
            options,
            {"learners": len(learners), "output": str(output)},
            _("%(count)d account(s) written to %(file)s.") % {"count": len(learners), "file": output},
        )
