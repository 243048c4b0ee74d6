"""manage.py issue: send all that is due, in the foreground, no worker needed."""

import time
from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser
from django.utils.translation import gettext as _

from ...sending import rounds
from ..base import PortalCommand, seconds


class Command(PortalCommand):
    """It may run beside workers: each takes its own issuances."""

    help = "Issue every badge that is due."

    def add_arguments(self, parser: CommandParser) -> None:
        """How long to send."""
        super().add_arguments(parser)
        parser.add_argument("--timeout", type=seconds, metavar="S", help="start no new call after this many seconds")

    def handle(self, *args: Any, **options: Any) -> None:
        """Send, and print the results."""
        timeout = options["timeout"]
        end = None if timeout is None else time.monotonic() + timeout
        tally = rounds.send_all_due(should_stop=lambda: end is not None and time.monotonic() >= end)
        self.say(
            options,
            asdict(tally),
            _(
                "%(attempts)d call(s): %(issued)d issued, %(not_met)d requirement not met, %(failed)d failed, "
                "%(retry)d to be tried again, %(held)d held"
            )
            % asdict(tally),
        )
