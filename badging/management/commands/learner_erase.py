"""manage.py learner_erase: erase a person for good."""

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext as _

from ... import privacy
from ..base import LearnerCommand


class Command(LearnerCommand):
    """Erases every account with the address, in every Moodle site. Audit rows stay: they hold no personal data."""

    help = "Erase all personal data of a person, and cancel what is queued for them."

    def handle(self, *args: Any, **options: Any) -> None:
        """Erase, or say that nobody is known."""
        learners = self.learners(options)
        cancelled = sum(privacy.erase_learner(learner, now=timezone.now()) for learner in learners)
        self.say(
            options,
            {"learners": len(learners), "cancelled": cancelled},
            _("%(count)d account(s) erased, %(cancelled)d waiting badge(s) cancelled. Badges already issued stay in "
              "Navigatr: ask there to erase them too.")
            % {"count": len(learners), "cancelled": cancelled},
        )  # fmt: skip
