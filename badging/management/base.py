"""What the portal's commands share: `--json`, quiet errors, values from standard input, and waiting for a poll."""

import argparse
import getpass
import json
import math
import re
import sys
import time
from typing import Any

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError, ProgrammingError
from django.db.models import Model
from django.utils import timezone
from django.utils.text import Truncator
from django.utils.translation import gettext as _

from moodle_sync.models import Learner, MoodleSite, MoodleSiteState
from moodle_sync.polling import PollResult
from vault.keys import WrongKey

from .. import privacy, sites
from ..models import NavigatrConnection
from ..polling import site_poll

# The parts of argparse's messages that repeat what was typed, which may be a token.
_REPEATED = re.compile(
    r"(ignored explicit argument|invalid \w+ value|invalid choice):? .*?(?= \(choose from|\Z)", re.DOTALL
)
_UNKNOWN = re.compile(r"unrecognized arguments: (.*)", re.DOTALL)

# How many seconds a command waits while a worker polls the same site.
LONGEST_WAIT = 60
# How much of a typed value an error message repeats.
LONGEST_ECHO = 80


class QuietParser(CommandParser):
    """Names the option that is wrong, and never its value: that may be a token."""

    def error(self, message: str) -> Any:
        """Exit with the message, without values."""
        if unknown := _UNKNOWN.fullmatch(message):
            names = [word.partition("=")[0] for word in unknown[1].split() if word.startswith("--")]
            message = " ".join(["unrecognized arguments", *names])
        return super().error(_REPEATED.sub(r"\1", message))


class PortalCommand(BaseCommand):
    """Results on stdout (JSON with `--json`), errors on stderr, exit 0 only on success."""

    # Django's checks run in `make check`; here they would add lines to stderr.
    requires_system_checks = []

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Django's parser, made quiet, and without abbreviated options."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        return QuietParser(
            prog=parser.prog,
            description=parser.description,
            formatter_class=parser.formatter_class,
            missing_args_message=parser.missing_args_message,
            called_from_command_line=parser.called_from_command_line,
            parents=[parser],
            # It comes from the parent.
            add_help=False,
            allow_abbrev=False,
        )

    def add_arguments(self, parser: CommandParser) -> None:
        """Every command takes `--json`."""
        parser.add_argument("--json", action="store_true", help=_("print the result as JSON"))

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run, and report a wrong encryption key or an unusable database in one line."""
        try:
            return super().execute(*args, **options)
        except (WrongKey, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        except (OperationalError, ProgrammingError) as error:
            # PostgreSQL names the values of a row on the lines after the first.
            reason = str(error).strip().partition("\n")[0]
            raise CommandError(
                _("The database cannot be used (%(reason)s). “make setup” sets it up.") % {"reason": reason}
            ) from error

    def say(self, options: dict[str, Any], result: dict[str, Any], *lines: str) -> None:
        """Print the result for a script, or the lines for a person."""
        self.stdout.write(json.dumps(result, ensure_ascii=False) if options["json"] else "\n".join(lines))


class LearnerCommand(PortalCommand):
    """A command about a person. The e-mail address is read from standard input, or asked for at a terminal.

    It is never an argument, because process lists and shell histories hold those.
    """

    def add_arguments(self, parser: CommandParser) -> None:
        """Accepts arguments only in order to say where the address belongs."""
        super().add_arguments(parser)
        parser.add_argument("arguments", nargs="*", help=argparse.SUPPRESS)

    def learners(self, options: dict[str, Any]) -> list[Learner]:
        """Everybody known under the address. Raises CommandError."""
        if options["arguments"]:
            raise CommandError(
                _("The address is not taken as an argument, because process lists and shell histories hold those. "
                  "Leave it out: the command asks for it, or reads it from standard input.")
            )  # fmt: skip
        email = read_line(_("E-mail address: "))
        try:
            return privacy.find_learners(email)
        except privacy.NobodyFound as error:
            raise CommandError(_("Nobody is known under this address.")) from error


def read_line(prompt: str) -> str:
    """A line from standard input, with a prompt at a terminal; blanks around it are stripped."""
    return (input(prompt) if sys.stdin.isatty() else sys.stdin.readline()).strip()


def read_secret(from_stdin: bool, prompt: str) -> str:
    """A token from standard input, or typed unseen at a terminal; blanks around it are stripped."""
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
    """Raise a CommandError that names each invalid field of the row, with the reason."""
    labels = {field.name: field.verbose_name for field in row._meta.concrete_fields}
    try:
        row.full_clean(validate_unique=False)
    except ValidationError as error:
        invalid = [f"{labels.get(name, name)}: {' '.join(texts)}" for name, texts in error.message_dict.items()]
        raise CommandError(" ".join(invalid)) from error


def percent(text: str) -> int:
    """A whole number from 0 to 100, for argparse."""
    if not text.isdecimal() or int(text) > 100:
        raise argparse.ArgumentTypeError(_("a whole number from 0 to 100 is needed"))
    return int(text)


def seconds(text: str) -> float:
    """A number of seconds above 0, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(_("a number above 0 is needed"))
    return number


def site_named(name: str) -> MoodleSite:
    """The Moodle site of that name. Raises CommandError."""
    site = MoodleSite.objects.filter(name=name).first()
    if site is None:
        known = ", ".join(MoodleSite.objects.values_list("name", flat=True)) or _("none")
        values = {"name": shortened(name), "known": known}
        raise CommandError(_("There is no Moodle site “%(name)s”. Known: %(known)s.") % values)
    return site


def connection_named(name: str) -> NavigatrConnection:
    """The Navigatr connection of that name. Raises CommandError."""
    connection = NavigatrConnection.objects.filter(name=name).first()
    if connection is None:
        known = ", ".join(NavigatrConnection.objects.values_list("name", flat=True)) or _("none")
        values = {"name": shortened(name), "known": known}
        raise CommandError(_("There is no Navigatr connection “%(name)s”. Known: %(known)s.") % values)
    return connection


def shortened(text: str) -> str:
    """What was typed, short enough for an error message."""
    return Truncator(text).chars(LONGEST_ECHO)


def check_when_free(site: MoodleSite, *, same_moodle: bool) -> sites.SiteCheck:
    """`sites.save_when_readable`, after waiting while a worker polls the site."""
    until = time.monotonic() + LONGEST_WAIT
    while True:
        try:
            return sites.save_when_readable(site, actor=None, now=timezone.now(), same_moodle=same_moodle, tell=True)
        except sites.BeingPolled as error:
            if time.monotonic() > until:
                raise CommandError(_("The site is being polled all the time. Try again later.")) from error
            time.sleep(0.2)


def poll_when_free(site: MoodleSite) -> PollResult:
    """Poll the site here, after waiting while a worker polls it."""
    until = time.monotonic() + LONGEST_WAIT
    while (result := site_poll.poll_and_queue(site, now=timezone.now())).busy and time.monotonic() < until:
        if not MoodleSiteState.objects.filter(site=site, polling_until__gt=timezone.now()).exists():
            break
        time.sleep(0.2)
    return result
