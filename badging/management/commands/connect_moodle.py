"""manage.py connect_moodle: check a Moodle site and save it."""

import math
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _

from moodle_sync.client.findings import NOTES
from moodle_sync.client.front_page import NoMoodleFound
from moodle_sync.models import MoodleSite
from moodle_sync.site_check import as_json, find_site, finding_text, typed_site

from ... import sites
from ..base import PortalCommand, check_fields, check_when_free, read_secret


class Command(PortalCommand):
    """A site with a known name is reconnected: its address and token are replaced."""

    help = "Check a Moodle site, save it, and say which functions, report and rights are missing."

    def add_arguments(self, parser: CommandParser) -> None:
        """The site's name, address, token and pace."""
        super().add_arguments(parser)
        parser.add_argument("--name", required=True)
        parser.add_argument("--url", required=True, help="the address of Moodle's front page, or of any of its pages")
        parser.add_argument("--token-stdin", action="store_true", help="read the token from standard input")
        parser.add_argument(
            "--same-moodle",
            action="store_true",
            help="a known site has moved to this address, and is still the same Moodle with the same people",
        )
        parser.add_argument("--poll-seconds", type=int, help="how long to wait between two polls (60)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Save a site that can be read. One that cannot be read changes nothing."""
        site = MoodleSite.objects.filter(name=options["name"]).first() or MoodleSite(name=options["name"])
        try:
            typed = typed_site(options["url"])
        except ValueError as error:
            raise CommandError(str(error)) from error
        if options["poll_seconds"] is not None:
            site.poll_interval = timedelta(seconds=options["poll_seconds"])
        site.token = read_secret(options["token_stdin"], _("Moodle web-service token"))
        site.url = typed.urls[0]
        check_fields(site)
        try:
            # Whoever has a shell may know what answers at an address.
            site.url = find_site(typed, until=math.inf, tell=True).url
            check = check_when_free(site, same_moodle=options["same_moodle"])
        except NoMoodleFound as error:
            check = sites.SiteCheck(False, [as_json(error.finding)], readable=False)
        except ValueError as error:
            raise CommandError(str(error)) from error
        findings = [
            {"check": finding["check"], "ok": finding["ok"], "message": finding_text(finding)}
            for finding in check.findings
        ]
        feed = site.state.feed if check.saved else ""
        result = {"ok": check.saved, "strategy": feed, "feed": feed, "findings": findings}
        lines = [f"{_sign(finding)} {finding['message']}" for finding in findings]
        if check.saved:
            lines += [_("Saved. Feed: %s.") % site.state.get_feed_display()]
            self.say(options, result, *lines)
            if any(finding["check"] == "same-moodle" for finding in findings):
                raise CommandError(_("Saved, but nothing is read from it until the question above is answered."))
            return
        if options["json"]:
            self.say(options, result)
        problems = [finding["message"] for finding in findings if not finding["ok"]]
        raise CommandError("\n".join([_("Not saved:"), *problems]))


def _sign(finding: dict[str, Any]) -> str:
    if finding["check"] in NOTES:
        return "ⓘ"
    return "✓" if finding["ok"] else "✗"
