"""`manage.py portal`: web server, worker, beat and broker with one command."""

import ipaddress
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
        """Add --bind, --port and --sandbox."""
        parser.add_argument("--bind", default=settings.BIND_ADDRESS, help="IP address of the pages (BIND_ADDRESS)")
        parser.add_argument("--port", type=int, default=settings.PORT, help="port of the pages (PORT)")
        parser.add_argument(
            "--sandbox", action="store_true", help="also run a pretend Moodle and Navigatr on the next port, connected"
        )

    def handle(self, *, bind: str, port: int, sandbox: bool, **options: Any) -> None:
        """Check, then run the programs until a signal stops them."""
        _check_address(bind, port)
        os.umask(0o077)
        sandbox_port = port + 1 if sandbox else None
        try:
            lock = preflight.lock(settings.PORTAL_DATA_DIR)
            # The sandbox stays on loopback: it asks nobody to sign in.
            preflight.check(listen=[(bind, port), *([("127.0.0.1", sandbox_port)] if sandbox_port else [])])
        except preflight.NotReady as error:
            raise CommandError(str(error)) from error
        self._warn_of_unreachable_pages(bind)
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
            bind=bind,
            port=port,
            sandbox_port=sandbox_port,
            broker=embedded.find_program(settings.EMBEDDED_BROKER_PROGRAM) if settings.EMBEDDED_BROKER else None,
            admin=_admin_name(),
            public_url=settings.PUBLIC_URL,
        )
        # From here on only the programs need the database.
        connections.close_all()
        with lock:
            processes.Launcher(portal_programs, environment=environment, out=sys.stdout).run()

    def _warn_of_unreachable_pages(self, bind: str) -> None:
        """Say that nobody but this host can open the pages, although they listen for others."""
        if ipaddress.ip_address(bind).is_loopback or set(settings.ALLOWED_HOSTS) - set(settings.LOOPBACK_HOSTS):
            return
        self.stdout.write(
            _(
                "The pages listen on %(bind)s, but ALLOWED_HOSTS names no host: other computers get “Bad request”. Set "
                "ALLOWED_HOSTS to the name or address that people type."
            )
            % {"bind": bind}
        )

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


def _check_address(bind: str, port: int) -> None:
    """Raise CommandError for what is no IP address, or no port."""
    try:
        ipaddress.ip_address(bind)
    except ValueError as error:
        raise CommandError(_("--bind takes an IP address, such as 127.0.0.1, 0.0.0.0 or ::.")) from error
    if not 1 <= port <= 65534:
        raise CommandError(_("--port takes a number from 1 to 65534."))


def _admin_name() -> str:
    """The user name of a superuser, or "" if there is none yet."""
    user_model = get_user_model()
    admins = user_model.objects.filter(is_superuser=True, is_active=True).order_by("pk")
    return admins.values_list(user_model.USERNAME_FIELD, flat=True).first() or ""
