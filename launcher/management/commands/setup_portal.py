"""`manage.py setup_portal`: the set-up after the installation. Needs no network."""

import hashlib
import os
import secrets
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import Error as DatabaseError
from django.utils.translation import gettext as _

from launcher import preflight
from launcher.secrets import create_file, create_missing

# The user name of the first superuser.
ADMIN = "admin"
# The file in the data folder with the password of the first superuser.
FIRST_PASSWORD = "first_password"  # noqa: S105 - a file's name


class Command(BaseCommand):
    """Create what is missing: data folder, keys, tables, static files, a superuser. A second run changes nothing."""

    help = "Creates the data folder, the keys, the database tables, the static files and an admin, where missing."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Add --print-password."""
        parser.add_argument(
            "--print-password",
            action="store_true",
            help="for a demo: print the new admin's password; without this it is written to a file",
        )

    def handle(self, *, print_password: bool, **options: Any) -> None:
        """Set up. Raises CommandError with one line if that fails."""
        os.umask(0o077)
        try:
            created = create_missing(
                settings.PORTAL_DATA_DIR,
                secret_key=settings.SECRET_KEY == settings.SECRET_KEY_NOT_SET,
                encryption_key=not settings.FIELD_ENCRYPTION_KEYS,
                digest_key=not settings.DIGEST_KEYS,
            )
        except OSError as error:
            raise CommandError(
                _("The data folder %(folder)s cannot be written to (%(reason)s). Set PORTAL_DATA_DIR to one that can.")
                % {"folder": settings.PORTAL_DATA_DIR, "reason": error.strerror}
            ) from error
        if created:
            self.stdout.write(
                _("Created %(names)s in %(folder)s.")
                % {"names": ", ".join(created), "folder": settings.PORTAL_DATA_DIR}
            )
            self.stdout.flush()
            # Start again, because the settings were read before the keys existed.
            os.execv(sys.executable, [sys.executable, *sys.argv])
        try:
            preflight.check_keys()
            call_command("migrate", interactive=False, verbosity=0, skip_checks=True)
            call_command("createcachetable", verbosity=0)
            self._collect_static_files()
            self._create_admin(print_password)
            self._remove_old_password()
        except preflight.NotReady as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(
                _("The database cannot be set up (%(reason)s).") % {"reason": str(error).strip().splitlines()[0]}
            ) from error

    def _collect_static_files(self) -> None:
        """Collect the static files, unless they have not changed since the last time."""
        stamp = settings.PORTAL_DATA_DIR / "static.stamp"
        fingerprint = _static_fingerprint()
        if stamp.is_file() and stamp.read_text() == fingerprint and settings.STATIC_ROOT.is_dir():
            return
        call_command("collectstatic", interactive=False, verbosity=0, clear=True, skip_checks=True)
        stamp.write_text(fingerprint)

    def _create_admin(self, print_password: bool) -> None:
        users = get_user_model().objects
        if users.filter(is_superuser=True).exists():
            return
        if users.filter(username=ADMIN).exists():
            raise CommandError(
                _("Nobody is a superuser, and “admin” is taken. Create one with “manage.py createsuperuser”.")
            )
        password = secrets.token_urlsafe(12)
        path = settings.PORTAL_DATA_DIR / FIRST_PASSWORD
        values = {"name": ADMIN, "password": password, "path": path}
        if print_password:
            text = _("Created the user “%(name)s” with the password %(password)s – it is shown only this once.")
        else:
            # Not printed: under a service manager, what is printed stays in the journal.
            path.unlink(missing_ok=True)
            create_file(path, password)
            text = _("Created the user “%(name)s”. The password is in %(path)s, which only you can read.")
        users.create_superuser(ADMIN, password=password)
        self.stdout.write(
            (text + "\n" + _("For a new one at any time: .venv/bin/python manage.py sign_in_link %(name)s")) % values
        )

    def _remove_old_password(self) -> None:
        """Remove the file of the first password once another one was chosen."""
        path = settings.PORTAL_DATA_DIR / FIRST_PASSWORD
        if not path.is_file():
            return
        admin = get_user_model().objects.filter(username=ADMIN).first()
        if admin is None or not admin.check_password(path.read_text(encoding="utf-8").strip()):
            path.unlink()


def _static_fingerprint() -> str:
    """A digest that changes with the static files or with STATIC_ROOT."""
    digest = hashlib.sha256(str(settings.STATIC_ROOT).encode())
    for finder in get_finders():
        for name, storage in finder.list([]):
            status = Path(storage.path(name)).stat()
            digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()
