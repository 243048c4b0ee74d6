"""What the portal's commands share: `--json`, and secrets that come in through standard input."""

import getpass
import json
import math
import re
import sys
import time
from argparse import ArgumentTypeError
from typing import Any

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError
from django.db.models import Model
from django.utils import timezone
from django.utils.translation import gettext as _

from moodle_sync.models import MoodleSite, MoodleSiteState
from moodle_sync.polling import PollResult
from vault.keys import WrongKey

from .. import sites
from ..polling import poll

# Where argparse repeats what was typed, which may be a token.
_REPEATED = re.compile(
    r"(ignored explicit argument|invalid \w+ value|invalid choice):? .*?(?= \(choose from|\Z)", re.DOTALL
)
_UNKNOWN = re.compile(r"unrecognized arguments: (.*)", re.DOTALL)

# How long a command waits for a poll of the same site that a worker has under way.
LONGEST_WAIT = 60


class QuietParser(CommandParser):
    """Names the option that is wrong, and never what was typed after it: that may be a token."""

    def error(self, message: str) -> Any:
        """End with the message, without values."""
        if unknown := _UNKNOWN.fullmatch(message):
            names = [word.partition("=")[0] for word in unknown[1].split() if word.startswith("--")]
            message = " ".join(["unrecognized arguments", *names])
        return super().error(_REPEATED.sub(r"\1", message))


class PortalCommand(BaseCommand):
    """Results on stdout (JSON with `--json`), errors on stderr, exit 0 only on success."""

    # Each problem is one line on stderr; Django's own checks run in `make check`.
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """A parser that guesses no option from its beginning and repeats no value."""
        parser = super().create_parser(prog_name, subcommand, **{"allow_abbrev": False, **kwargs})
        # Django's method names its class and offers no way to another one.
        parser.__class__ = QuietParser
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Every command takes `--json`."""
        parser.add_argument("--json", action="store_true", help=_("print the result as JSON"))

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run, and turn a wrong encryption key, or a database that is not set up, into one clear line."""
        try:
            return super().execute(*args, **options)
        except (WrongKey, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        except (OperationalError, ProgrammingError) as error:
            # PostgreSQL tells the values of a row, if any, on the lines after the first.
            reason = str(error).strip().partition("\n")[0]
            raise CommandError(
                _("The database cannot be used (%(reason)s). “make setup” sets it up.") % {"reason": reason}
            ) from error

    def say(self, options: dict[str, Any], result: dict[str, Any], *lines: str) -> None:
        """Print the result for a script, or the lines for a person."""
        self.stdout.write(json.dumps(result, ensure_ascii=False) if options["json"] else "\n".join(lines))


def read_secret(from_stdin: bool, prompt: str) -> str:
    """A token from standard input, or typed unseen at a terminal; blanks around it are dropped."""
    if from_stdin:
        secret = sys.stdin.readline().strip()
    elif sys.stdin.isatty():
        secret = getpass.getpass(f"{prompt}: ").strip()
    else:
        secret = ""
    if not secret:
        raise CommandError(_("No token was given. Pass it on standard input, with the option ending in -stdin."))
    return secret


def check_fields(row: Model) -> None:
    """Raise a CommandError that names each field of the row that is wrong, with what is wrong with it."""
    labels = {field.name: field.verbose_name for field in row._meta.concrete_fields}
    try:
        row.full_clean(validate_unique=False)
    except ValidationError as error:
        wrong = [f"{labels.get(name, name)}: {' '.join(said)}" for name, said in error.message_dict.items()]
        raise CommandError(" ".join(wrong)) from error


def percent(text: str) -> int:
    """A whole number from 0 to 100, for argparse."""
    if not text.isdecimal() or int(text) > 100:
        raise ArgumentTypeError(_("a whole number from 0 to 100 is needed"))
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds above 0, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise ArgumentTypeError(_("a number above 0 is needed"))
    return number


def site_named(name: str) -> MoodleSite:
    """The Moodle site of that name, or a clear error."""
    site = MoodleSite.objects.filter(name=name).first()
    if site is None:
        known = ", ".join(MoodleSite.objects.values_list("name", flat=True)) or _("none")
        raise CommandError(_("There is no Moodle site “%(name)s”. Known: %(known)s.") % {"name": name, "known": known})
    return site


def check_when_free(site: MoodleSite, *, same_moodle: bool) -> sites.SiteCheck:
    """`sites.save_when_readable`; a poll that a worker has under way is waited for first."""
    until = time.monotonic() + LONGEST_WAIT
    while True:
        try:
            return sites.save_when_readable(site, actor=None, now=timezone.now(), same_moodle=same_moodle)
        except sites.BeingPolled as error:
            if time.monotonic() > until:
                raise CommandError(_("The site is being polled all the time. Try again later.")) from error
            time.sleep(0.2)


def poll_when_free(site: MoodleSite) -> PollResult:
    """Poll the site in the foreground; a poll that a worker has under way is waited for first."""
    until = time.monotonic() + LONGEST_WAIT
    while (result := poll.poll_and_queue(site, now=timezone.now())).busy and time.monotonic() < until:
        if not MoodleSiteState.objects.filter(site=site, polling_until__gt=timezone.now()).exists():
            break
        time.sleep(0.2)
    return result
