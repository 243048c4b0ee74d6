"""manage.py learner_export: everything held about a person, as a JSON file."""

import json
import os
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _

from ... import privacy
from ..base import LearnerCommand


class Command(LearnerCommand):
    """Only its owner may read the file. An existing file is never overwritten."""

    help = "Write everything held about a person to a file."

    def add_arguments(self, parser: CommandParser) -> None:
        """The file to write."""
        super().add_arguments(parser)
        parser.add_argument("--output", required=True, type=Path, metavar="FILE", help="a new file for the JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        """Export, or say that nobody is known."""
        learners = self.learners(options)
        output: Path = options["output"]
        try:
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            values = {"file": output, "why": error.strerror}
            raise CommandError(_("%(file)s cannot be written: %(why)s") % values) from error
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(privacy.export_learners(learners), file, ensure_ascii=False, indent=2)
        self.say(
            options,
            {"learners": len(learners), "output": str(output)},
            _("%(count)d account(s) written to %(file)s.") % {"count": len(learners), "file": output},
        )
