"""`manage.py portal`: web server, worker, beat and broker in one go."""

import os
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError
from django.db import connections
from django.utils.translation import gettext as _

from launcher import preflight, processes, programs
from vault import secrets as stored_secrets


class Command(BaseCommand):
    """Run the portal until Ctrl-C or SIGTERM; one line and exit code 1 when it cannot start."""

    help = "Runs the whole portal: web server, worker, beat, and an embedded broker unless CELERY_BROKER_URL names one."
    # The preflight says what is wrong in one line; Django's own checks run in `make check`.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """--port, and --sandbox, which takes the next port as well."""
        parser.add_argument("--port", type=int, default=8000, help="loopback port of the pages (8000)")
        parser.add_argument(
            "--sandbox", action="store_true", help="also run a pretend Moodle and Navigatr on the next port, connected"
        )

    def handle(self, *, port: int, sandbox: bool, **options: Any) -> None:
        """Check, then supervise."""
        if not 1 <= port <= 65534:
            raise CommandError(_("--port takes a number from 1 to 65534."))
        os.umask(0o077)
        sandbox_port = port + 1 if sandbox else None
        try:
            lock = preflight.lock(settings.PORTAL_DATA_DIR)
            preflight.check(ports=[port] if sandbox_port is None else [port, sandbox_port])
        except preflight.NotReady as error:
            raise CommandError(str(error)) from error
        if sandbox and not settings.SANDBOX_URL and stored_secrets.any_stored():
            # The sandbox would answer for Navigatr, and badges that nobody has would count as issued.
            raise CommandError(
                _("%(folder)s is in service; name another folder in PORTAL_DATA_DIR for the demo.")
                % {"folder": settings.PORTAL_DATA_DIR}
            )
        chosen = programs.portal_programs(
            data=settings.PORTAL_DATA_DIR,
            port=port,
            sandbox_port=sandbox_port,
            embedded_broker=settings.EMBEDDED_BROKER,
            admin=_an_admin(),
        )
        # The supervisor itself needs the database no more.
        connections.close_all()
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if sandbox_port is not None:
            environment |= programs.sandbox_environment(sandbox_port)
            # The settings keep this folder with its sandbox from now on, in every command and without the sandbox too.
            (settings.PORTAL_DATA_DIR / "sandbox_url").write_text(programs.sandbox_url(sandbox_port), encoding="utf-8")
        elif settings.SANDBOX_URL:
            self.stdout.write(
                _(
                    "%(folder)s holds the demo, whose connections lead to its sandbox and not to Navigatr. For service "
                    "name another folder in PORTAL_DATA_DIR, or remove this one."
                )
                % {"folder": settings.PORTAL_DATA_DIR}
            )
        with lock:
            processes.Supervisor(chosen, environment=environment, out=sys.stdout).run()


def _an_admin() -> str:
    """The name of somebody who may sign in to the admin, or "" when there is nobody yet."""
    User = get_user_model()  # noqa: N806
    admins = User.objects.filter(is_superuser=True, is_active=True).order_by("pk")
    return admins.values_list(User.USERNAME_FIELD, flat=True).first() or ""
