"""Navigatr connections: tested before they are saved, paused when their token is refused, resumed, removed."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.db import transaction
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from moodle_sync import history
from navigatr_client import (
    NavigatrClient,
    NavigatrError,
    NavigatrRejected,
    NavigatrTokenRefused,
    Provider,
)

from . import audit
from .counting import COUNTED_UP_TO, count_up_to
from .meanings import Outcome, of_error
from .models import AuditEntry, Issuance, IssuanceQuerySet, NavigatrConnection
from .queueing import bring_forward
from .status import why_stopped

log = logging.getLogger(__name__)

State = NavigatrConnection.State

# How many providers a test names.
MOST_NAMED = 10


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
    """What a test came to: passed or not, whose account it is, and for which providers it may issue.

    `outcome` is what Navigatr did where the test did not pass.
    """

    ok: bool
    message: str
    account: str
    providers: list[Provider]
    findings: list[ConnectionFinding]
    outcome: Outcome = Outcome.UNAVAILABLE

    @property
    def is_clean(self) -> bool:
        """Whether nothing at all is to be mended."""
        return self.ok and all(finding.ok for finding in self.findings)


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
        return ConnectionTest(False, message, "", [], [ConnectionFinding(kind, False, message)], of_error(error))
    who = f"{account.firstname} {account.lastname}".strip() or f"#{account.id}"
    findings = [ConnectionFinding("token", True, _("The token belongs to %(who)s.") % {"who": who})]
    if providers:
        text = ngettext(
            "The account is a provider administrator. It may issue for %(count)d provider: %(names)s.",
            "The account is a provider administrator. It may issue for %(count)d providers: %(names)s.",
            len(providers),
        )
        values = {"count": len(providers), "names": _named(providers)}
        findings.append(ConnectionFinding("providers", True, text % values))
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


def _named(providers: list[Provider]) -> str:
    """The names of the first few."""
    more = ["…"] if len(providers) > MOST_NAMED else []
    return ", ".join([row.name or f"#{row.id}" for row in providers[:MOST_NAMED]] + more)


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
    before = _before(connection)
    connection.state = State.ACTIVE
    _note_since_when(connection, now, before)
    connection.resumed_at, connection.account, connection.last_outcome = now, tested.account, ""
    _save_with_token(connection, tested, actor=actor, now=now)
    if before is None or before.state == State.ACTIVE:
        return 0
    if before.state == State.REMOVED and not enable_mappings:
        for mapping in connection.mappings.filter(active=True).select_related("course"):
            mapping.active = False
            history.by(mapping, actor, at=now)
            mapping.save(update_fields=["active"])
            audit.record(AuditEntry.Action.MAPPING_DISABLED, mapping.course, actor=actor)
    return _go_on(connection, now)


@transaction.atomic
def save_paused(connection: NavigatrConnection, tested: ConnectionTest, *, actor: Any, now: datetime) -> None:
    """Save a connection whose test did not pass, because an admin insists: paused until a test passes.

    Raises EnvironmentIsFixed as `save_tested` does.
    """
    before = _before(connection)
    connection.state, connection.last_outcome = State.PAUSED, tested.outcome
    _note_since_when(connection, now, before)
    _save_with_token(connection, tested, actor=actor, now=now)
    audit.record(AuditEntry.Action.CONNECTION_PAUSED, connection, actor=actor)


def _before(connection: NavigatrConnection) -> NavigatrConnection | None:
    """The connection as it is stored, None when it is new. Raises EnvironmentIsFixed."""
    before = NavigatrConnection.objects.filter(pk=connection.pk).first()
    if before is not None and before.environment != connection.environment:
        raise EnvironmentIsFixed
    return before


def _note_since_when(connection: NavigatrConnection, now: datetime, before: NavigatrConnection | None) -> None:
    """Note since when the connection is in its state (not saved)."""
    if before is None or before.state != connection.state:
        connection.state_since = now


def _save_with_token(connection: NavigatrConnection, tested: ConnectionTest, *, actor: Any, now: datetime) -> None:
    connection.pat = connection.pat.strip()
    connection.pat_hint = f"…{connection.pat[-4:]}"
    connection.failures, connection.not_before = 0, None
    note_test(connection, tested, now)
    history.by(connection, actor, at=now)
    connection.save()
    audit.record(AuditEntry.Action.CONNECTION_SAVED, connection, actor=actor)


def note_test(connection: NavigatrConnection, tested: ConnectionTest, now: datetime) -> None:
    """Put the test's result on the connection (not saved)."""
    connection.tested_at, connection.test_ok, connection.test_message = now, tested.ok, tested.message
    if tested.ok:
        connection.providers = [[row.id, row.name] for row in tested.providers]


def retest(connection: NavigatrConnection, *, actor: Any, now: datetime) -> ConnectionTest:
    """Test a saved connection. A passing test resumes a paused one; a failing one only leaves its note.

    Why a connection is paused stays what it was: the next test may meet an outage, which is no reason of the pause.
    """
    tested = try_out(connection)
    note_test(connection, tested, now)
    with transaction.atomic():
        connection.save(update_fields=["tested_at", "test_ok", "test_message", "providers"])
        audit.record(AuditEntry.Action.CONNECTION_TESTED, connection, actor=actor, ok=tested.ok)
        # Removed ones stay so: it may have been removed while Navigatr answered.
        standing = NavigatrConnection.objects.filter(pk=connection.pk).exclude(state=State.REMOVED)
        if tested.ok:
            if standing.filter(state=State.PAUSED).update(state=State.ACTIVE, state_since=now, resumed_at=now):
                history.note(connection, actor, at=now)
                audit.record(AuditEntry.Action.CONNECTION_RESUMED, connection, actor=actor)
                _go_on(connection, now)
            standing.update(failures=0)
            # A pause that Navigatr asked for is kept.
            standing.exclude(last_outcome=Outcome.RATE_LIMITED).update(not_before=None, last_outcome="")
    return tested


@transaction.atomic
def pause(connection: NavigatrConnection, *, asked_at: datetime, now: datetime) -> None:
    """Its token was refused: nothing more is sent with it, and what waits is held, with no tries used up.

    `asked_at` is when the refused call began. A refusal from before the present token was saved, or last passed a test,
    is ignored.
    """
    current = NavigatrConnection.objects.select_for_update(no_key=True).get(pk=connection.pk)
    passed_since = bool(current.test_ok and current.tested_at and current.tested_at > asked_at)
    if current.state != State.ACTIVE or current.pat != connection.pat or passed_since:
        return
    current.state, current.state_since, current.last_outcome = State.PAUSED, now, Outcome.TOKEN_REFUSED
    history.by(current, None, at=now)
    current.save(update_fields=["state", "state_since", "last_outcome"])
    audit.record(AuditEntry.Action.CONNECTION_PAUSED, connection)
    log.warning("%s is paused: Navigatr refused its token; everything waits until it is reconnected", connection)


@transaction.atomic
def remove(connection: NavigatrConnection, *, actor: Any, now: datetime) -> int:
    """Forget the token, so that what waits is held; returns how many. Reconnecting takes all of it up again."""
    connection.pat, connection.pat_hint, connection.state, connection.state_since = "", "", State.REMOVED, now
    history.by(connection, actor, at=now)
    connection.save(update_fields=["pat", "pat_hint", "state", "state_since"])
    audit.record(AuditEntry.Action.CONNECTION_REMOVED, connection, actor=actor)
    return count_waiting(connection)


def _go_on(connection: NavigatrConnection, now: datetime) -> int:
    """Let what waited for the connection be due now; returns how many wait."""
    bring_forward(Issuance.objects.unsent_for(connection), now=now)
    bring_forward(Issuance.objects.unknown_for(connection), now=now)
    return count_waiting(connection)


def count_waiting(connection: NavigatrConnection) -> int:
    """How many badges wait to be sent, or looked up, with the connection."""
    return sum(rows.count() for rows in _waiting(connection))


def _waiting(connection: NavigatrConnection) -> Iterator[IssuanceQuerySet]:
    """What waits to be sent with it; then what waits to be looked up."""
    queued = Issuance.objects.filter(state=Issuance.State.QUEUED)
    yield queued.unsent_for(connection)
    yield queued.unknown_for(connection)


# What pages say of a connection with which nothing is sent


class Standing(NamedTuple):
    """Why nothing is sent with a connection, how many badges wait for that, and what a site admin does about it."""

    why: str
    waiting: str
    todo: str

    def __str__(self) -> str:
        return " ".join(filter(None, self))


def standing_of(connection: NavigatrConnection) -> Standing | None:
    """Why nothing is sent with a paused or removed connection; None for an active one. At most three small queries."""
    if connection.state == State.ACTIVE:
        return None
    return Standing(f"{why_stopped(connection)}.", _waiting_text(connection), _todo(connection))


def _waiting_text(connection: NavigatrConnection) -> str:
    """How many badges wait for the connection, counted no further than COUNTED_UP_TO."""
    count = sum(count_up_to(rows) for rows in _waiting(connection))
    if count > COUNTED_UP_TO:
        return _("More than %(count)d badges are waiting.") % {"count": COUNTED_UP_TO}
    text = ngettext("%(count)d badge is waiting.", "%(count)d badges are waiting.", count)
    return text % {"count": count} if count else _("No badge is waiting.")


def _todo(connection: NavigatrConnection) -> str:
    if connection.state == State.PAUSED and connection.last_outcome in (Outcome.UNAVAILABLE, Outcome.RATE_LIMITED):
        return _("Resume it when Navigatr answers again, or reconnect it with a new token.")
    return _("Create a new token and reconnect.")
