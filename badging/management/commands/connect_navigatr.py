"""manage.py connect_navigatr: test a Personal Access Token and save the connection."""

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _

from ... import connections, reach
from ...models import ConnectionGrant, Environment, NavigatrConnection
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
        parser.add_argument(
            "--open-to",
            action="append",
            metavar="WHOM",
            help="all, nobody, site:NAME, category:ID:SITE (without sub-categories) or manager:USERNAME; may be given "
            "more than once, and replaces what was open before. Without it a new connection is open to all",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Save a connection that passes the test, and open it. One that fails changes nothing."""
        connection = NavigatrConnection.objects.filter(name=options["name"]).first()
        if connection is None:
            connection = NavigatrConnection(name=options["name"], environment=options["environment"])
        elif connection.environment != options["environment"]:
            raise CommandError(
                _("“%(name)s” is a connection to %(environment)s, and stays one. Choose another name.")
                % {"name": connection.name, "environment": connection.get_environment_display()}
            )
        grants = self._grants(options["open_to"], is_new=connection.pk is None)
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
        if grants is not None:
            reach.open_only_to(connection, grants, now=timezone.now())
        open_to = [grant.label for grant in connection.grants.select_related("site", "user")]
        self.say(
            options,
            {
                "ok": True,
                "account": tested.account,
                "providers": [{"id": row.id, "name": row.name} for row in tested.providers],
                "findings": findings,
                "released": released,
                "open_to": open_to,
            },
            _("Connected “%(name)s” as %(account)s.") % {"name": connection.name, "account": tested.account},
            *(f"  {_('provider')} {row.id}: {row.name}" for row in tested.providers),
            _("  open to: %s") % ("; ".join(open_to) or _("nobody but site admins")),
            *(finding.message for finding in tested.findings if not finding.ok),
            *([_("%d issuance(s) that waited go on.") % released] if released else []),
        )

    def _grants(self, words: list[str] | None, *, is_new: bool) -> list[ConnectionGrant] | None:
        """To whom the connection is to be opened; None: as it is. Raises CommandError."""
        if words is None:
            return [ConnectionGrant(kind=ConnectionGrant.Kind.ALL)] if is_new else None
        try:
            grants = [reach.grant_from(word) for word in words]
        except reach.NotOpened as error:
            raise CommandError(str(error)) from error
        if None in grants and len(grants) > 1:
            raise CommandError(_("--open-to nobody stands alone."))
        return [grant for grant in grants if grant is not None]
