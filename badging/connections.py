"""Navigatr connections: tested before they are saved, paused when their token is refused, resumed, removed."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from moodle_sync import history
from navigatr_client import (
    NavigatrClient,
    NavigatrError,
    NavigatrRejected,
    NavigatrTokenRefused,
    Provider,
)

from . import audit
from .meanings import Outcome
from .models import AuditEntry, Issuance, NavigatrConnection
from .queueing import bring_forward

log = logging.getLogger(__name__)

State = NavigatrConnection.State


class EnvironmentIsFixed(Exception):
    """A saved connection was to be moved to the other environment; nothing was changed."""


@dataclass(frozen=True, slots=True)
class ConnectionFinding:
    """One thing that a test looked at; `message` says what is wrong and what to do, or what was found."""

    check: str
    ok: bool
    message: str


@dataclass(frozen=True, slots=True)
class ConnectionTest:
    """What a test came to: passed or not, whose account it is, and for which providers it may issue."""

    ok: bool
    message: str
    account: str
    providers: list[Provider]
    findings: list[ConnectionFinding]


def navigatr_client_for(connection: NavigatrConnection, *, most_seconds: float | None = None) -> NavigatrClient:
    """A client for the connection's environment. Raises WrongKey, and NavigatrTokenRefused for what is no token.

    It waits for each answer as long as the connection says, but no longer than `most_seconds`.
    """
    timeout = connection.timeout if most_seconds is None else min(connection.timeout, most_seconds)
    return NavigatrClient(connection.base_url, connection.pat, timeout=timeout)


def try_out(connection: NavigatrConnection) -> ConnectionTest:
    """Try the connection's token as it stands in memory; nothing is saved. Never raises for what Navigatr answers."""
    try:
        with navigatr_client_for(connection) as client:
            account = client.current_user()
            providers = client.providers()
    except NavigatrError as error:
        message = explain(error)
        kind = "token" if isinstance(error, NavigatrTokenRefused) else "address"
        return ConnectionTest(False, message, "", [], [ConnectionFinding(kind, False, message)])
    who = f"{account.firstname} {account.lastname}".strip() or f"#{account.id}"
    findings = [ConnectionFinding("token", True, _("The token belongs to %(who)s.") % {"who": who})]
    if providers:
        findings.append(
            ConnectionFinding(
                "providers", True, _("It may issue for %(count)d provider(s).") % {"count": len(providers)}
            )
        )
    else:
        findings.append(
            ConnectionFinding(
                "providers",
                False,
                _(
                    "The account is no provider administrator, so it has no badges to issue. Make it one in Navigatr, "
                    "or use another account's token."
                ),
            )
        )
    return ConnectionTest(True, " ".join(finding.message for finding in findings), who, providers, findings)


def explain(error: NavigatrError) -> str:
    """What went wrong with a call that is no single learner's, and what to do, in plain words."""
    if isinstance(error, NavigatrTokenRefused):
        todo = _(
            "Navigatr refused the token: it is mistyped, expired or revoked, or belongs to the other environment. "
            "Create a new Personal Access Token in Navigatr and enter it here."
        )
    elif isinstance(error, NavigatrRejected):
        todo = _("Navigatr refused the request. Check the account's rights in Navigatr, and the address.")
    else:
        todo = _("Navigatr could not be reached or gave no usable answer. Nothing was changed; try again later.")
    return f"{todo} ({error})"


@transaction.atomic
def save_tested(
    connection: NavigatrConnection, tested: ConnectionTest, *, actor: Any, now: datetime, enable_mappings: bool = True
) -> int:
    """Save a connection whose test passed; returns how many badges that waited for it go on.

    Without `enable_mappings` the mappings of a connection that had been removed are disabled, so that their badges go
    on waiting. Raises EnvironmentIsFixed, because the ids of badges and providers mean something else in the other
    environment.
    """
    before = NavigatrConnection.objects.filter(pk=connection.pk).first()
    if before is not None and before.environment != connection.environment:
        raise EnvironmentIsFixed
    connection.state, connection.resumed_at = State.ACTIVE, now
    connection.pat = connection.pat.strip()
    connection.pat_hint = f"…{connection.pat[-4:]}"
    connection.account = tested.account
    connection.failures, connection.not_before, connection.last_outcome = 0, None, ""
    note_test(connection, tested, now)
    history.by(connection, actor, at=now)
    connection.save()
    audit.record(AuditEntry.Action.CONNECTION_SAVED, connection, actor=actor)
    if before is None or before.state == State.ACTIVE:
        return 0
    if before.state == State.REMOVED and not enable_mappings:
        for mapping in connection.mappings.filter(active=True).select_related("course"):
            mapping.active = False
            history.by(mapping, actor, at=now)
            mapping.save(update_fields=["active"])
            audit.record(AuditEntry.Action.MAPPING_DISABLED, mapping.course, actor=actor)
    return _go_on(connection, now)


def note_test(connection: NavigatrConnection, tested: ConnectionTest, now: datetime) -> None:
    """Put the test's result on the connection (not saved)."""
    connection.tested_at, connection.test_ok, connection.test_message = now, tested.ok, tested.message
    if tested.ok:
        connection.providers = [[row.id, row.name] for row in tested.providers]


def retest(connection: NavigatrConnection, *, actor: Any, now: datetime) -> ConnectionTest:
    """Test a saved connection. A passing test resumes a paused one; a failing one only leaves its note."""
    tested = try_out(connection)
    note_test(connection, tested, now)
    with transaction.atomic():
        connection.save(update_fields=["tested_at", "test_ok", "test_message", "providers"])
        audit.record(AuditEntry.Action.CONNECTION_TESTED, connection, actor=actor, ok=tested.ok)
        # Removed ones stay so: it may have been removed while Navigatr answered.
        standing = NavigatrConnection.objects.filter(pk=connection.pk).exclude(state=State.REMOVED)
        if tested.ok:
            if standing.filter(state=State.PAUSED).update(state=State.ACTIVE, resumed_at=now):
                history.note(connection, actor, at=now)
                audit.record(AuditEntry.Action.CONNECTION_RESUMED, connection, actor=actor)
                _go_on(connection, now)
            standing.update(failures=0)
            # A pause that Navigatr asked for is kept.
            standing.exclude(last_outcome=Outcome.RATE_LIMITED).update(not_before=None, last_outcome="")
    return tested


@transaction.atomic
def pause(connection: NavigatrConnection, *, asked_at: datetime) -> None:
    """Its token was refused: nothing more is sent with it, and what waits is held, with no tries used up.

    `asked_at` is when the refused call began. A refusal from before the present token was saved, or last passed a test,
    is ignored.
    """
    current = NavigatrConnection.objects.select_for_update(no_key=True).get(pk=connection.pk)
    passed_since = bool(current.test_ok and current.tested_at and current.tested_at > asked_at)
    if current.state != State.ACTIVE or current.pat != connection.pat or passed_since:
        return
    current.state, current.last_outcome = State.PAUSED, Outcome.TOKEN_REFUSED
    history.by(current, None)
    current.save(update_fields=["state", "last_outcome"])
    audit.record(AuditEntry.Action.CONNECTION_PAUSED, connection)
    log.warning("%s is paused: Navigatr refused its token; everything waits until it is reconnected", connection)


@transaction.atomic
def remove(connection: NavigatrConnection, *, actor: Any) -> int:
    """Forget the token, so that what waits is held; returns how many. Reconnecting takes all of it up again."""
    connection.pat, connection.pat_hint, connection.state = "", "", State.REMOVED
    history.by(connection, actor)
    connection.save(update_fields=["pat", "pat_hint", "state"])
    audit.record(AuditEntry.Action.CONNECTION_REMOVED, connection, actor=actor)
    return count_waiting(connection)


def _go_on(connection: NavigatrConnection, now: datetime) -> int:
    """Let what waited for the connection be due now; returns how many wait."""
    bring_forward(Issuance.objects.unsent_for(connection), now=now)
    bring_forward(Issuance.objects.unknown_for(connection), now=now)
    return count_waiting(connection)


def count_waiting(connection: NavigatrConnection) -> int:
    """How many badges wait to be sent, or looked up, with the connection."""
    queued = Issuance.objects.filter(state=Issuance.State.QUEUED)
    return queued.unsent_for(connection).count() + queued.unknown_for(connection).count()
