"""manage.py learner_erase: blank a person for good."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _

from ... import privacy
from ..base import PortalCommand


class Command(PortalCommand):
    """Every account with the address, in every Moodle site. Audit rows stay; they hold no personal data."""

    help = "Erase a person's name and address, and cancel what is queued for them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Who."""
        super().add_arguments(parser)
        parser.add_argument("email")

    def handle(self, *args: Any, **options: Any) -> None:
        """Erase, or say that nobody is known."""
        try:
            learners = privacy.find_learners(options["email"])
        except privacy.NobodyFound as error:
            raise CommandError(_("Nobody is known under this address.")) from error
        cancelled = sum(privacy.erase_learner(learner, now=timezone.now()) for learner in learners)
        self.say(
            options,
            {"learners": len(learners), "cancelled": cancelled},
            _("%(count)d account(s) erased, %(cancelled)d waiting badge(s) cancelled. Badges already issued live in "
              "Navigatr: ask there to erase them too.")
            % {"count": len(learners), "cancelled": cancelled},
        )  # fmt: skip
