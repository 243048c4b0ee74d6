"""manage.py connect_moodle: check a Moodle site and save it."""

from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _

from moodle_sync.client.findings import NOTES
from moodle_sync.models import MoodleSite
from moodle_sync.site_check import finding_text, site_address

from ..base import PortalCommand, check_fields, check_when_free, read_secret


class Command(PortalCommand):
    """A site with a known name is reconnected: its address and token are replaced."""

    help = "Check a Moodle site, save it, and say which functions, report and rights are missing."

    def add_arguments(self, parser: CommandParser) -> None:
        """The site's name, address, token and pace."""
        super().add_arguments(parser)
        parser.add_argument("--name", required=True)
        parser.add_argument("--url", required=True, help="the address of Moodle's front page")
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
            site.url = site_address(options["url"])
        except ValueError as error:
            raise CommandError(str(error)) from error
        if options["poll_seconds"] is not None:
            site.poll_interval = timedelta(seconds=options["poll_seconds"])
        site.token = read_secret(options["token_stdin"], _("Moodle web-service token"))
        check_fields(site)
        check = check_when_free(site, same_moodle=options["same_moodle"])
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
