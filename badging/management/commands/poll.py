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
        name = options["site"]
        sites = [site_named(name)] if name is not None else list(MoodleSite.objects.filter(enabled=True))
        results = [poll_when_free(site) for site in sites]
        lines = [_line(result) for result in results if not result.error]
        if not results:
            lines.append(_("No Moodle site is connected and enabled."))
        self.say(options, {"sites": [_as_json(result) for result in results]}, *lines)
        for result in results:
            for problem in result.problems:
                if problem not in result.error:
                    self.stderr.write(f"{result.site}: {problem}")
        failed = [f"{result.site}: {_error(result)}" for result in results if result.error]
        if failed:
            raise CommandError("\n".join(failed))


def _as_json(result: PollResult) -> dict[str, Any]:
    return {
        "name": result.site,
        "new_completions": result.new_completions,
        "queued": result.queued,
        "calls": result.calls,
        "error": result.error,
    }


def _line(result: PollResult) -> str:
    values = {"site": result.site, "new": result.new_completions, "queued": result.queued, "calls": result.calls}
    return _("%(site)s: %(new)d new completion(s), %(queued)d queued, %(calls)d call(s)") % values


def _error(result: PollResult) -> str:
    """Why the site was not read: because a worker is polling it, it is disabled, or the poll failed."""
    polled = MoodleSiteState.objects.filter(site__name=result.site, polling_until__gt=timezone.now())
    if result.busy and polled.exists():
        return _("A worker is polling this site right now, so nothing was read here. Try again in a minute.")
    return result.error
