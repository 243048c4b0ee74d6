"""`manage.py portal`: web server, worker, beat and broker with one command."""

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils.translation import gettext as _

from launcher import embedded, preflight, processes, programs
from vault import secrets as stored_secrets


class Command(BaseCommand):
    """Run the portal until Ctrl-C or SIGTERM. If it cannot start, print one line and exit with code 1."""

    help = "Runs the whole portal: web server, worker, beat, and an embedded broker unless CELERY_BROKER_URL names one."
    # The preflight finds the same problems and prints one line.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --port and --sandbox."""
        parser.add_argument("--port", type=int, default=8000, help="loopback port of the pages (8000)")
        parser.add_argument(
            "--sandbox", action="store_true", help="also run a pretend Moodle and Navigatr on the next port, connected"
        )

    def handle(self, *, port: int, sandbox: bool, **options: Any) -> None:
        """Check, then run the programs until a signal stops them."""
        if not 1 <= port <= 65534:
            raise CommandError(_("--port takes a number from 1 to 65534."))
        os.umask(0o077)
        sandbox_port = port + 1 if sandbox else None
        try:
            lock = preflight.lock(settings.PORTAL_DATA_DIR)
            preflight.check(ports=[port] if sandbox_port is None else [port, sandbox_port])
        except preflight.NotReady as error:
            raise CommandError(str(error)) from error
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if sandbox_port is not None:
            environment |= self._use_sandbox(sandbox_port)
        elif settings.SANDBOX_URL:
            self.stdout.write(
                _(
                    "%(folder)s holds the demo, whose connections lead to its sandbox and not to Navigatr. For service "
                    "name another folder in PORTAL_DATA_DIR, or remove this one."
                )
                % {"folder": settings.PORTAL_DATA_DIR}
            )
        portal_programs = programs.portal_programs(
            data=settings.PORTAL_DATA_DIR,
            port=port,
            sandbox_port=sandbox_port,
            broker=embedded.find_program(settings.EMBEDDED_BROKER_PROGRAM) if settings.EMBEDDED_BROKER else None,
            admin=_admin_name(),
        )
        # From here on only the programs need the database.
        connections.close_all()
        with lock:
            processes.Launcher(portal_programs, environment=environment, out=sys.stdout).run()

    def _use_sandbox(self, sandbox_port: int) -> dict[str, str]:
        """Bind the data folder to the sandbox and return the settings for that."""
        data = settings.PORTAL_DATA_DIR
        if not settings.SANDBOX_URL and stored_secrets.any_stored():
            # The sandbox would answer in place of Navigatr, and badges that do not exist would count as issued.
            raise CommandError(
                _("%(folder)s is in service; name another folder in PORTAL_DATA_DIR for the demo.") % {"folder": data}
            )
        # The settings read this file in every later command, also without --sandbox.
        (data / "sandbox_url").write_text(programs.sandbox_url(sandbox_port), encoding="utf-8")
        return programs.sandbox_environment(sandbox_port)


def _admin_name() -> str:
    """The user name of a superuser, or "" if there is none yet."""
    user_model = get_user_model()
    admins = user_model.objects.filter(is_superuser=True, is_active=True).order_by("pk")
    return admins.values_list(user_model.USERNAME_FIELD, flat=True).first() or ""
