"""Checks before the start. Each problem is one line that says what to do."""

import errno
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.utils.translation import gettext as _
from kombu import Connection

from vault import digests, keys
from vault import secrets as stored_secrets

from . import addresses, embedded

# How long a broker may take to connect and to answer.
BROKER_SECONDS = 3


class NotReady(Exception):
    """The portal cannot start; the message is one line for the user."""


def check(*, listen: Sequence[tuple[str, int]]) -> None:
    """Check keys, addresses with ports, broker and database. Raises NotReady for the first problem."""
    check_keys()
    for bind, port in listen:
        _check_listening(bind, port)
    if settings.EMBEDDED_BROKER:
        _check_embedded_broker(settings.PORTAL_DATA_DIR)
    else:
        _check_broker(settings.CELERY_BROKER_URL)
    _check_database()


def lock(folder: Path) -> IO[str]:
    """Create the data folder and lock it until the file is closed or the process ends.

    Raises NotReady if the folder cannot be written to, or if another portal has locked it: two brokers would damage
    each other's files.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / "portal.lock").open("a+")
    except OSError as error:
        raise NotReady(
            _("The data folder %(folder)s cannot be written to (%(reason)s). Set PORTAL_DATA_DIR to one that can.")
            % {"folder": folder, "reason": error.strerror}
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise NotReady(
            _("Another portal is running on the data folder %(folder)s. Stop it, or set another PORTAL_DATA_DIR.")
            % {"folder": folder}
        ) from error
    return file


def check_keys() -> None:
    """Raise NotReady if SECRET_KEY is not set, or there are no valid keys for tokens and digests."""
    if settings.SECRET_KEY == settings.SECRET_KEY_NOT_SET:
        raise NotReady(_("The portal is not set up yet, or its keys cannot be read. Run “make setup”."))
    try:
        keys.cipher()
        digests.all_keys()
    except ImproperlyConfigured as error:
        raise NotReady(str(error)) from error


def _check_listening(bind: str, port: int) -> None:
    try:
        addresses.listening_socket(bind, port).close()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            text = _("This host does not have the address %(bind)s (%(reason)s). Choose another with --bind.")
        else:
            text = _("Port %(port)d cannot be used (%(reason)s). Choose another with --port.")
        raise NotReady(text % {"bind": bind, "port": port, "reason": reason}) from error


def _check_embedded_broker(data: Path) -> None:
    try:
        embedded.make_socket_folder(data)
        program = embedded.find_program(settings.EMBEDDED_BROKER_PROGRAM)
        program.folder(data).mkdir(mode=0o700, exist_ok=True)
    except (OSError, embedded.NoBroker) as error:
        raise NotReady(
            _(
                "The embedded broker cannot be started (%(reason)s). Install Valkey or Redis and name it in "
                "EMBEDDED_BROKER_PROGRAM, or set CELERY_BROKER_URL to a broker that runs."
            )
            % {"reason": error}
        ) from error


def _check_broker(url: str) -> None:
    try:
        timeouts = {"socket_connect_timeout": BROKER_SECONDS, "socket_timeout": BROKER_SECONDS}
        with Connection(url, connect_timeout=BROKER_SECONDS, transport_options=timeouts) as broker:
            # Celery would retry for longer.
            broker.ensure_connection(max_retries=1, interval_start=0)
    except Exception as error:  # Each transport has exceptions of its own.
        raise NotReady(
            _("The broker in CELERY_BROKER_URL cannot be reached (%(reason)s).") % {"reason": type(error).__name__}
        ) from error


def _check_database() -> None:
    try:
        executor = MigrationExecutor(connection)
        unapplied = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (DatabaseError, ImproperlyConfigured) as error:
        raise NotReady(
            _("The database cannot be reached (%(reason)s).") % {"reason": str(error).strip().splitlines()[0]}
        ) from error
    if unapplied:
        raise NotReady(_("The database is not up to date. Run “make setup”."))
    if problem := stored_secrets.problem() or digests.problem():
        raise NotReady(problem)
