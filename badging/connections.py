"""Navigatr connections: tested before they are saved, paused when their token is refused, resumed, removed."""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils.translation import gettext as _

from navigatr_client import (
    NavigatrClient,
    NavigatrError,
    NavigatrRejected,
    NavigatrTokenRefused,
    Provider,
)

from . import audit
from .meanings import Outcome
from .models import AuditEntry, CourseBadgeMapping, Issuance, NavigatrConnection
from .queueing import release_held

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


def navigatr_client_for(connection: NavigatrConnection, *, most_seconds: int | None = None) -> NavigatrClient:
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
    """Save a connection whose test passed, and let what it held go on; returns how many issuances are released.

    `enable_mappings`: also enable the mappings that removing the connection had disabled. Raises EnvironmentIsFixed,
    because the ids of badges and providers mean something else in the other environment.
    """
    known = NavigatrConnection.objects.filter(pk=connection.pk).values_list("environment", flat=True).first()
    if known not in (None, connection.environment):
        raise EnvironmentIsFixed
    connection.state = State.ACTIVE
    connection.pat = connection.pat.strip()
    connection.pat_hint = f"…{connection.pat[-4:]}"
    connection.account = tested.account
    connection.failures, connection.not_before, connection.last_outcome = 0, None, ""
    note_test(connection, tested, now)
    connection.save()
    audit.record(AuditEntry.Action.CONNECTION_SAVED, connection, actor=actor)
    if enable_mappings:
        connection.mappings.filter(removed_with_connection=True).update(active=True, removed_with_connection=False)
    return resume(connection, now=now)


def note_test(connection: NavigatrConnection, tested: ConnectionTest, now: datetime) -> None:
    """Put the test's result on the connection (not saved)."""
    connection.tested_at, connection.test_ok, connection.test_message = now, tested.ok, tested.message


def retest(connection: NavigatrConnection, *, actor: Any, now: datetime) -> ConnectionTest:
    """Test a saved connection. A passing test resumes a paused one; a failing one only leaves its note."""
    tested = try_out(connection)
    note_test(connection, tested, now)
    with transaction.atomic():
        connection.save(update_fields=["tested_at", "test_ok", "test_message"])
        audit.record(AuditEntry.Action.CONNECTION_TESTED, connection, actor=actor, ok=tested.ok)
        # As it stands now: it may have been removed while Navigatr answered.
        standing = NavigatrConnection.objects.filter(pk=connection.pk).exclude(state=State.REMOVED)
        if tested.ok:
            if standing.filter(state=State.PAUSED).exists():
                audit.record(AuditEntry.Action.CONNECTION_RESUMED, connection, actor=actor)
            if standing.update(state=State.ACTIVE, failures=0):
                # A pause that Navigatr asked for is kept.
                standing.exclude(last_outcome=Outcome.RATE_LIMITED).update(not_before=None, last_outcome="")
                resume(connection, now=now)
    return tested


@transaction.atomic
def pause(connection: NavigatrConnection, *, now: datetime, asked_at: datetime) -> None:
    """Its token was refused: nothing more is sent with it, and everything that waits is held, no tries used up.

    `asked_at` is when the refused call began. Where a new token has been saved, or the token has passed a test, since
    then, the refusal is news of the past: what was held for it goes on.
    """
    current = NavigatrConnection.objects.select_for_update(no_key=True).get(pk=connection.pk)
    passed_since = bool(current.test_ok and current.tested_at and current.tested_at > asked_at)
    if current.state == State.ACTIVE and (current.pat != connection.pat or passed_since):
        resume(current, now=now)
        return
    if current.state == State.ACTIVE:
        current.state, current.last_outcome = State.PAUSED, Outcome.TOKEN_REFUSED
        current.save(update_fields=["state", "last_outcome"])
        audit.record(AuditEntry.Action.CONNECTION_PAUSED, connection)
        log.warning("%s is paused: Navigatr refused its token; everything waits until it is reconnected", connection)
    hold_queued(connection, current.hold_reason or Outcome.CONNECTION_PAUSED)


def hold_queued(connection: NavigatrConnection, reason: Outcome) -> int:
    """Hold what is queued for a connection; returns how many."""
    return Issuance.objects.filter(connection=connection, state=Issuance.State.QUEUED).update(
        state=Issuance.State.HELD, reason=reason
    )


@transaction.atomic
def resume(connection: NavigatrConnection, *, now: datetime) -> int:
    """Queue what the connection held; returns how many."""
    # What may have been sent stays under the connection of that time, while its mapping may have moved to this one.
    concerned = Q(connection=connection) | Q(mapping__connection=connection)
    return release_held(Issuance.objects.filter(concerned), now=now)


@transaction.atomic
def remove(connection: NavigatrConnection, *, actor: Any) -> int:
    """Forget the token, disable the connection's mappings and hold what is queued; returns how many are held.

    Nothing that waits is spent: reconnecting takes all of it up again.
    """
    connection.pat, connection.pat_hint, connection.state = "", "", State.REMOVED
    connection.save(update_fields=["pat", "pat_hint", "state"])
    CourseBadgeMapping.objects.filter(connection=connection, active=True).update(
        active=False, removed_with_connection=True
    )
    audit.record(AuditEntry.Action.CONNECTION_REMOVED, connection, actor=actor)
    return hold_queued(connection, Outcome.CONNECTION_REMOVED)
