"""manage.py connect_navigatr: test a Personal Access Token and save the connection."""

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _

from ... import connections
from ...models import Environment, NavigatrConnection
from ..base import PortalCommand, check_fields, read_secret


class Command(PortalCommand):
    """A connection with a known name is reconnected: its token is replaced, and what it held goes on."""

    help = "Test a Navigatr token, save the connection, and print the account and its providers."

    def add_arguments(self, parser: CommandParser) -> None:
        """The connection's name, environment, token and time-out."""
        super().add_arguments(parser)
        parser.add_argument("--name", required=True)
        parser.add_argument("--environment", required=True, choices=Environment.values)
        parser.add_argument("--pat-stdin", action="store_true", help="read the token from standard input")
        parser.add_argument("--timeout", type=int, help="seconds to wait for an answer, 1 to 300 (30)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Save a connection that passes the test. One that fails changes nothing."""
        connection = NavigatrConnection.objects.filter(name=options["name"]).first()
        if connection is None:
            connection = NavigatrConnection(name=options["name"], environment=options["environment"])
        elif connection.environment != options["environment"]:
            raise CommandError(
                _("“%(name)s” is a connection to %(environment)s, and stays one. Choose another name.")
                % {"name": connection.name, "environment": connection.get_environment_display()}
            )
        connection.timeout = connection.timeout if options["timeout"] is None else options["timeout"]
        connection.pat = read_secret(options["pat_stdin"], _("Personal Access Token"))
        check_fields(connection)
        tested = connections.try_out(connection)
        findings = [asdict(finding) for finding in tested.findings]
        if not tested.ok:
            if options["json"]:
                self.say(options, {"ok": False, "findings": findings})
            raise CommandError(tested.message)
        released = connections.save_tested(connection, tested, actor=None, now=timezone.now())
        self.say(
            options,
            {
                "ok": True,
                "account": tested.account,
                "providers": [{"id": row.id, "name": row.name} for row in tested.providers],
                "findings": findings,
                "released": released,
            },
            _("Connected “%(name)s” as %(account)s.") % {"name": connection.name, "account": tested.account},
            *(f"  {_('provider')} {row.id}: {row.name}" for row in tested.providers),
            *(finding.message for finding in tested.findings if not finding.ok),
            *([_("%d issuance(s) that waited go on.") % released] if released else []),
        )
