"""The leases of one round: what it has in hand is its own until they run out."""

import uuid
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from .. import transitions
from ..models import NOTHING_OPEN, Issuance, NavigatrConnection
from ..privacy import end_erased
from ..queueing import cancel_unmapped, lock_mappings
from ..transitions import Event

State = Issuance.State

# The client's own time-out for making a connection comes before that for the answer.
CONNECTING = timedelta(seconds=5)


def lease_of(connection: NavigatrConnection) -> timedelta:
    """How long an issuance is a worker's own: what it begins within LEASE has then been answered or given up."""
    return settings.LEASE + timedelta(seconds=connection.timeout) + CONNECTING


class Leases:
    """The leases of the rows that carry one `claim_id`."""

    def __init__(self, connection: NavigatrConnection) -> None:
        self.claim_id = uuid.uuid4()
        self._connection = connection
        # A call that begins later may be answered after its lease has run out.
        self._begin_until = timezone.now() + settings.LEASE

    def may_begin(self, now: datetime) -> bool:
        """Whether a call may still begin: it is answered, or given up, before the lease runs out."""
        return now < self._begin_until

    def renew(self, pks: Collection[int], now: datetime) -> None:
        """Keep these ours while Navigatr is slow; done once a third of the time has passed.

        What could not be renewed in time, as the database was away or this machine stood still, may be another's by
        now: it is not renewed, and no call begins any more.
        """
        if not self._begin_until - settings.LEASE * 2 / 3 < now < self._begin_until:
            return
        mine = Issuance.objects.filter(pk__in=list(pks), claim=self.claim_id, state=State.SENDING)
        renewed = mine.update(leased_until=now + lease_of(self._connection))
        # Where some are another's already, the clocks of two hosts differ, and no lease can be trusted.
        self._begin_until = now + settings.LEASE if renewed == len(pks) else now

    @transaction.atomic
    def hand_back(self, pks: Sequence[int]) -> None:
        """Let others take these, which were never begun; those that others have taken already stay theirs."""
        mine = Issuance.objects.filter(pk__in=pks, claim=self.claim_id, state=State.SENDING).order_by("pk")
        lock_mappings(set(mine.values_list("course_id", flat=True)))
        own = list(mine.select_for_update().values_list("pk", flat=True))
        # What was never begun has not begun its week of tries.
        Issuance.objects.filter(NOTHING_OPEN, pk__in=own, failures=0).update(first_attempt_at=None)
        transitions.change(own, Event.HAND_BACK)
        cancel_unmapped(Issuance.objects.filter(pk__in=own))
        end_erased(own)
