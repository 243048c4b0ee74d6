"""manage.py poll: one round of polling, in the foreground, no worker needed."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _

from moodle_sync.models import MoodleSite, MoodleSiteState
from moodle_sync.polling import PollResult

from ..base import PortalCommand, poll_when_free, site_named


class Command(PortalCommand):
    """Reads each enabled site now, whether it is due or not."""

    help = "Read what is new in Moodle and queue the badges."

    def add_arguments(self, parser: CommandParser) -> None:
        """One site, or all."""
        super().add_arguments(parser)
        parser.add_argument("--site", help="name of one Moodle site (all enabled ones)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Poll, print, and fail when a site could not be read."""
        sites = (
            [site_named(options["site"])]
            if options["site"] is not None
            else list(MoodleSite.objects.filter(enabled=True))
        )
        results = [poll_when_free(site) for site in sites]
        self.say(
            options,
            {
                "sites": [
                    {
                        "name": result.site,
                        "new_completions": result.new_completions,
                        "queued": result.queued,
                        "calls": result.calls,
                        "error": result.error,
                    }
                    for result in results
                ]
            },
            *(
                _("%(site)s: %(new)d new completion(s), %(queued)d queued, %(calls)d call(s)")
                % {"site": row.site, "new": row.new_completions, "queued": row.queued, "calls": row.calls}
                for row in results
                if not row.error
            ),
            *([] if results else [_("No Moodle site is connected and enabled.")]),
        )
        for result in results:
            for problem in result.problems:
                if problem not in result.error:
                    self.stderr.write(f"{result.site}: {problem}")
        failed = [f"{result.site}: {_wrong(result)}" for result in results if result.error]
        if failed:
            raise CommandError("\n".join(failed))


def _wrong(result: PollResult) -> str:
    """Why the site was not read: a poll that a worker has under way is told from a site that is switched off."""
    if (
        result.busy
        and MoodleSiteState.objects.filter(site__name=result.site, polling_until__gt=timezone.now()).exists()
    ):
        return _("A worker is polling this site right now, so nothing was read here. Try again in a minute.")
    return result.error
